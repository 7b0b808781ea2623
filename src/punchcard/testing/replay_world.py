"""A simulated world in which a destination is switched off and on, and its events are replayed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random

from punchcard.errors import ConfigurationError
from punchcard.operations.replay_planning import plan_replay
from punchcard.operations.replay_runner import ReplayRunner
from punchcard.operations.replays import cancel_replay, pause_replay, resume_replay, save_replay, start_replay
from punchcard.routing.replay_record import REPLAY
from punchcard.store.delivery.counts import RECEIVED, CountQuery, Dimension, read_counts
from punchcard.store.delivery.effects import EffectState
from punchcard.store.operations.replays import ReplaySelection, ReplayStatus, list_replays
from punchcard.testing.oracle import BrokenPromiseError, Oracle
from punchcard.testing.simulation import (
    Producer,
    Step,
    crash,
    deliver,
    feed_lake,
    perform,
    receive_result,
    retry,
    route,
    run_until_idle,
    set_fuse,
    take_step,
)
from punchcard.testing.world import SLUG, World, track
from punchcard.workspace.snapshot import RoutedDestination, Snapshot

_STEPS_MAX = 3_000
_ACTOR = "an operator"
_ENDS = frozenset({EffectState.DELIVERED, EffectState.REJECTED, EffectState.PARKED})


class ReplayWorld(World):
    """A world in which events are recorded while its destination is off, and replayed."""

    def __init__(self, folder: Path, *, seed: int, refuses_used_keys: bool) -> None:
        self._is_on = True
        self._revision = 1
        super().__init__(folder, seed=seed, refuses_used_keys=refuses_used_keys)

    def switch(self, *, on: bool) -> None:
        """Somebody switches the destination."""
        self._is_on = on
        self._revision += 1
        self.configuration = self._snapshot()

    def start_replay(self) -> None:
        """Somebody replays everything."""

        def start() -> None:
            replay = plan_replay(
                self.store, self.lake(), self.configuration, SLUG, ReplaySelection(), clock=self.clock, actor=_ACTOR
            )
            with self.store.unit_of_work() as work:
                save_replay(work, replay)
                start_replay(work, replay.id, self._destination(), actor=_ACTOR, now=self.clock.now())

        if self._is_on:
            self._guarded(start)

    def change_replay(self, number: int) -> None:
        """Somebody pauses, resumes or cancels the newest replay."""
        change = (pause_replay, resume_replay, cancel_replay, resume_replay)[number % 4]

        def change_newest() -> None:
            with self.store.unit_of_work() as work:
                for replay in list_replays(work, SLUG, count=1):
                    change(work, replay.id, SLUG, actor=_ACTOR, now=self.clock.now())

        try:
            self._guarded(change_newest)
        except ConfigurationError:
            return  # it is in no state for that

    def replay(self) -> None:
        """The worker takes replays on."""

        def step() -> None:
            self._runner.step()

        self._guarded(step)

    def replay_everything(self) -> None:
        """Replay all there is, to the end.

        Raises:
            BrokenPromiseError: it never ends.
        """
        self.switch(on=True)
        run_until_idle(self)
        self.start_replay()
        for _ in range(_STEPS_MAX):
            self.replay()
            self.route()
            self.deliver(room=8)
            for _ in range(8):
                self.perform(0)
                self.receive_result(0)
            self.pass_time(1)
            with self.store.reading() as work:
                replays = list_replays(work, SLUG, count=1_000)
            if not any(replay.status is ReplayStatus.RUNNING for replay in replays):
                run_until_idle(self)
                return
        raise BrokenPromiseError("a replay does not end")

    def _destination(self) -> RoutedDestination:
        return self.configuration.destinations[SLUG]

    def _open_components(self) -> None:
        super()._open_components()
        self._runner = ReplayRunner(
            store=self.store,
            log=self.log,
            lake=self.lake(),
            clock=self.clock,
            current=lambda: self.configuration,
        )

    def _snapshot(self) -> Snapshot:
        snapshot = super()._snapshot()

        def switched(routed: RoutedDestination) -> RoutedDestination:
            return replace(routed, destination=replace(routed.destination, enabled=self._is_on))

        destinations = {slug: switched(routed) for slug, routed in snapshot.destinations.items()}
        routes = {
            key: replace(route, destinations=tuple(switched(routed) for routed in route.destinations))
            for key, route in snapshot.routes.items()
        }
        return replace(snapshot, revision=self._revision, destinations=destinations, routes=routes, by_write_key=routes)


class PlainProducer(Producer):
    """Makes visits and orders, copies of them and nonsense: whatever is awarded later is worth the same then."""

    def _event(self) -> dict[str, object]:
        chance = self._chance
        if self._made and chance.random() < 0.2:
            return chance.choice(self._made)
        message_id = f"m{len(self._made)}"
        email = chance.choice(("Ann@example.com", "bob@example.com", "cid@example.com"))
        kind = chance.random()
        if kind < 0.1:
            event: dict[str, object] = {**track(message_id, email=email), "properties": {"refund": False}}
        elif kind < 0.5:
            event = track(message_id, email=email, quantity="1")
        else:
            event = track(message_id, email=email, quantity=f"{chance.randint(1, 999) / 100:.2f}", order_id=message_id)
        self._made.append(event)
        return event


class ReplayOracle(Oracle):
    """Compares with what the log obliges to once everything is replayed; a replay's own records oblige to nothing."""

    def check_counts(self) -> None:
        """Every event is counted once at routing, whatever was replayed.

        Raises:
            BrokenPromiseError: it is not.
        """
        now = self._world.clock.now()
        query = CountQuery(begin=now.replace(year=2000), end=now.replace(year=now.year + 50))
        with self._world.store.reading() as work:
            counts = read_counts(work, query, by=[Dimension.STATUS])
        negative = {status: count for (status,), count in counts.items() if count < 0}
        routed = sum(count for (status,), count in counts.items() if status != RECEIVED and status not in _ENDS)
        received = counts.get((RECEIVED,), 0)
        if negative or not received == routed == self._events:
            raise BrokenPromiseError(f"{self._events} events, {received} received and {routed} results are counted")

    def _read_on(self) -> None:
        for record in self._world.log_records(self._read_through):
            if record.call != REPLAY:
                self._read_record(record)
            self._read_through = record.position


def simulate_replays(folder: Path, *, seed: int, steps: int) -> ReplayWorld:
    """Run one seed to its end.

    Raises:
        BrokenPromiseError: a promise was broken. A note on it, as on any other error, names the seed.
    """
    chance = Random(f"replays of {seed}")
    world = ReplayWorld(folder, seed=seed, refuses_used_keys=chance.random() < 0.3)
    producer, oracle = PlainProducer(chance), ReplayOracle(world)
    try:
        for _ in range(steps):
            set_fuse(world, chance)
            take_step(world, producer, chance, _STEPS)
            oracle.always()
        world.fuse.clear()
        world.replay_everything()
        oracle.when_idle()
        oracle.check_counts()
        performed = list(world.partner.keys())
        world.replay_everything()
        oracle.when_idle()
        oracle.check_counts()
        if list(world.partner.keys()) != performed:
            raise BrokenPromiseError("the same replay has added something")
    except Exception as error:
        error.add_note(f"in the run of seed {seed}, {steps} steps")
        raise
    finally:
        world.close()
    return world


_STEPS: Mapping[Step, int] = {
    lambda world, producer, chance: world.send(producer.body()): 120,
    route: 130,
    feed_lake: 80,
    deliver: 130,
    perform: 120,
    receive_result: 110,
    lambda world, producer, chance: world.pass_time(chance.choice((0.1, 1.0, 6.0, 30.0))): 70,
    crash: 15,
    lambda world, producer, chance: world.switch(on=chance.random() < 0.5): 40,
    lambda world, producer, chance: world.start_replay(): 30,
    lambda world, producer, chance: world.change_replay(chance.randrange(4)): 15,
    retry: 20,
    lambda world, producer, chance: world.replay(): 120,
}
