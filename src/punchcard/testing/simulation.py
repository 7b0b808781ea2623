"""One seeded run of a simulated world: some hundred random steps, then a run until idle."""

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from punchcard.errors import StorageError
from punchcard.store.delivery import ledger
from punchcard.store.delivery.effects import EffectState
from punchcard.testing.oracle import BrokenPromiseError, Oracle
from punchcard.testing.world import OTHER_SOURCE, SLUG, SOURCE, ProcessEnd, World, batch_of, track

W = TypeVar("W", bound=World)

_CUSTOMERS = ("Ann@example.com", "bob@example.com", "cid@example.com", "ann@EXAMPLE.com")
_PAUSES = (0.1, 1.0, 4.0, 6.0, 11.0, 30.0, 600.0)
_REST_STEPS_MAX = 3_000


class Producer:
    """Produces events of every relevant kind: orders, refunds, copies, contradictions, visits, invalid ones.

    A shop tracks in its browser and on its server; there are refunds of orders that come later, or never.
    """

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._made: list[dict[str, object]] = []
        self._orders: list[tuple[str, str]] = []
        self._refunds: list[dict[str, object]] = []

    def body(self) -> bytes:
        """Return the next request body."""
        return batch_of(*(self._event() for _ in range(self._chance.randint(1, 4))))

    def _event(self) -> dict[str, object]:
        chance = self._chance
        if self._made and chance.random() < 0.2:
            return chance.choice(self._made)  # exactly the same event again: a client that retries, or a replay
        message_id = f"m{len(self._made)}"
        email = chance.choice(_CUSTOMERS)
        quantity = f"{chance.randint(1, 2_000) / 100:.2f}"
        kind = chance.random()
        if kind < 0.1:
            event: dict[str, object] = {**track(message_id, email=email), "properties": {"refund": False}}
        elif kind < 0.3:
            event = track(message_id, email=email, quantity="1")
        elif kind < 0.6 or not self._orders:
            order_id = f"o{len(self._orders)}"
            self._orders.append((order_id, email))
            event = track(message_id, email=email, quantity=quantity, order_id=order_id)
        elif kind < 0.7:
            # The same order again, possibly with another amount: a duplicate or a conflict.
            order_id, email = chance.choice(self._orders)
            event = track(message_id, email=email, quantity=quantity, order_id=order_id)
        elif kind < 0.76 and self._refunds:
            # The shop's other tracker reports the same refund, or there is a second identical refund.
            event = {**chance.choice(self._refunds), "messageId": message_id}
        else:
            order_id, email = chance.choice(self._orders)
            if chance.random() < 0.15:
                order_id = f"o{len(self._orders)}"
                if chance.random() < 0.5:
                    self._orders.append((order_id, email))
            if chance.random() < 0.2:
                email = chance.choice(_CUSTOMERS)
            refunded = None if chance.random() < 0.3 else quantity
            refund_id = f"r{chance.randint(1, 3)}" if chance.random() < 0.2 else None
            event = track(
                message_id, email=email, quantity=refunded, order_id=order_id, refund=True, refund_id=refund_id
            )
            self._refunds.append(event)
        self._made.append(event)
        return event


def simulate(
    folder: Path,
    *,
    seed: int,
    steps: int,
    make_world: Callable[..., W] = World,  # type: ignore[assignment]
    also: Callable[[W, Random], None] | None = None,
) -> W:
    """Run one seed to its end.

    Args:
        make_world: Creates the world.
        also: A further action on the world after each step.

    Raises:
        BrokenPromiseError: A promise was broken. Its note, as on any other error, names the seed.
    """
    chance = Random(f"steps of {seed}")
    world = make_world(folder, seed=seed, refuses_used_keys=chance.random() < 0.3)
    producer = Producer(chance)
    oracle = Oracle(world)
    try:
        for _ in range(steps):
            set_fuse(world, chance)
            take_step(world, producer, chance, _STEPS)
            oracle.always()
            if also is not None:
                also(world, chance)
                oracle.always()
        run_until_idle(world)
        oracle.when_idle()
    except Exception as error:
        error.add_note(f"in the run of seed {seed}, {steps} steps")
        raise
    finally:
        world.close()
    return world


def run_until_idle(world: World) -> None:
    """End all mishaps and run everything to its end; an operator acts where one is needed.

    Raises:
        BrokenPromiseError: The world never becomes idle.
    """
    world.fuse.clear()
    world.partner.mishaps = 0
    world.renew_token()
    world.send()
    needing = -1
    for _ in range(_REST_STEPS_MAX):
        world.route()
        world.deliver(room=8)
        for _ in range(8):
            world.perform(0)
            world.receive_result(0)
        world.pass_time(31)
        if _open_count(world) or not world.is_quiet():
            continue
        with world.store.reading() as connection:
            ids = sum(effect.id for effect in ledger.needing_a_person(connection))
        if ids == needing:  # the last retry changed nothing
            world.feed_lake()
            while world.feed.is_behind:  # after a crash one flush brings only some of what the lake lacks
                world.feed_lake()
            return
        needing = ids
        world.retry()
    raise BrokenPromiseError("The world does not become idle.")


# Seconds: set by a person, by network time, after an empty battery.
_CLOCK_CHANGES = (-18_000, 18_000, -3_600, 3_600, -40, 40, -7, 7, -(10**8), 10**8)


def set_fuse(world: World, chance: Random) -> None:
    """Let the process end, or the storage fail, at one of the next points; mostly do not."""
    world.fuse.clear()
    if chance.random() < 0.12:
        error = ProcessEnd() if chance.random() < 0.7 else StorageError("The disk is full.")
        world.fuse.set(chance.randint(1, 6), error=error)


Step = Callable[[Any, Producer, Random], None]
"""One step of a run: it acts on the world."""


def take_step(world: World, producer: Producer, chance: Random, steps: Mapping[Step, int]) -> None:
    """Take a random step.

    Args:
        steps: Each with how often it is taken, relative to the others.
    """
    number = chance.randrange(sum(steps.values()))
    for step, weight in steps.items():
        if number < weight:
            step(world, producer, chance)
            return
        number -= weight


def route(world: World, producer: Producer, chance: Random) -> None:
    """Route what the log has."""
    world.route()


def feed_lake(world: World, producer: Producer, chance: Random) -> None:
    """Append events to the lake."""
    world.feed_lake()


def deliver(world: World, producer: Producer, chance: Random) -> None:
    """Claim some effects."""
    world.deliver(room=chance.randint(0, 4))


def perform(world: World, producer: Producer, chance: Random) -> None:
    """Let one request reach the partner."""
    world.perform(chance.randrange(8))


def receive_result(world: World, producer: Producer, chance: Random) -> None:
    """Let one response arrive."""
    world.receive_result(chance.randrange(8))


def crash(world: World, producer: Producer, chance: Random) -> None:
    """End the process."""
    world.crash()


def retry(world: World, producer: Producer, chance: Random) -> None:
    """Put parked and rejected effects back in the queue, as an operator does."""
    world.retry()


_STEPS: Mapping[Step, int] = {
    lambda world, producer, chance: world.send(producer.body(), source=chance.choice((SOURCE, OTHER_SOURCE))): 120,
    route: 150,
    feed_lake: 40,
    deliver: 230,
    perform: 160,
    receive_result: 140,
    lambda world, producer, chance: world.pass_time(chance.choice(_PAUSES)): 120,
    crash: 10,
    lambda world, producer, chance: world.revoke_token(): 8,
    lambda world, producer, chance: world.renew_token(): 10,
    lambda world, producer, chance: world.set_clock(chance.choice(_CLOCK_CHANGES)): 5,
    retry: 7,
}


def _open_count(world: World) -> int:
    with world.store.reading() as connection:
        return ledger.count(
            connection,
            ledger.LedgerQuery(destination=SLUG, states=[state for state in EffectState if state.is_open]),
        )
