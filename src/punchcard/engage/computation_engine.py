"""One step after another: new events, whose they are, what they change, written down.

The store holds the truth: profiles, traits, what is to be told, and how far the lake is read. The facts follow it: they
are committed right behind it, and a crash between the two is noticed by their stamp and mended from lake and store.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import Connection

from punchcard.clock import Clock, from_micros, to_micros
from punchcard.engage import identity_resolution
from punchcard.engage.computing import (
    Change,
    ComputingError,
    RequestedComputation,
    apply,
    changed_by_date,
    compute,
    in_levels,
    next_moment,
    size_of,
    touched_by_time,
)
from punchcard.engage.fact_store import FactStore, Meta
from punchcard.engage.identity_resolution import IdentityChanges
from punchcard.engage.isolation import attribute_failures, is_isolated
from punchcard.engage.pending import Pending, PendingResult
from punchcard.engage.person_events import PersonEvents, read_events
from punchcard.engage.quarantine import TRIED_ALONE_MAX, EventQuarantine
from punchcard.engage.restoring import restore
from punchcard.engage.states import States, fingerprint, follow_configuration, requested
from punchcard.engage.sync_dispatch import send_again
from punchcard.engage.telemetry import EngageTelemetry
from punchcard.engage.writing import hour_of, queue_everybody, resync, write_changes
from punchcard.errors import StorageError
from punchcard.lake.reader import LakeReader
from punchcard.profiles.external_ids import IdReader
from punchcard.profiles.identity import Resolution
from punchcard.store import engage_tables
from punchcard.store.engage_tables import Status
from punchcard.store.engine import Store
from punchcard.store.positions import advance, position_of
from punchcard.workspace.snapshot import Snapshot

POSITION = "engage"
STAMP = "engage_stamp"
_CHANGES_PER_COMMIT = 5_000  # of a full computation: awards must not wait for all of it to be written


class LeadershipLostError(StorageError):
    """Another process has gone on: this one must begin again from what stands."""

    code = "leadership_lost"


@dataclass(frozen=True, kw_only=True)
class ComputationEngineSettings:
    """How an engine works.

    Attributes:
        events_max: Events of the lake read in one step.
        changes_max: Changes of full computations written down in one step: what is new of others does not wait longer.
    """

    events_max: int = 20_000
    changes_max: int = 20_000


class ComputationEngine:
    """Keeps profiles, computed traits and audiences up to date. One at a time; for one thread.

    Args:
        current: The configuration as it stands.
    """

    def __init__(
        self,
        *,
        store: Store,
        lake: LakeReader,
        facts: FactStore,
        clock: Clock,
        current: Callable[[], Snapshot],
        settings: ComputationEngineSettings | None = None,
    ) -> None:
        self._store = store
        self._lake = lake
        self._facts = facts
        self._clock = clock
        self._current = current
        self._rules = current().identity
        self._settings = settings or ComputationEngineSettings()
        self._ids = IdReader(self._rules)
        self._telemetry = EngageTelemetry()
        self._seen: Snapshot | None = None
        self._asked: dict[str, RequestedComputation] = {}
        self._pending = Pending()
        self._computes_alone = False  # because one of several computed together has failed
        self._events_max = self._settings.events_max  # fewer while an event that fails is searched for
        self._quarantine = EventQuarantine(store, clock, write=self._try_people)
        self._first = 0  # the log position before which nothing counts
        with store.reading() as work:
            self._position = position_of(work, POSITION)
            self._stamp = position_of(work, STAMP)
            self._states = States.load(work)
        self._computed_at = (meta := facts.meta()).computed_at
        if (meta.stamp, meta.position) != (self._stamp, self._position):
            restore(facts, store, lake, self._ids, position=self._position, stamp=self._stamp, clock=clock)
            self._computed_at = 0
        # What was computed may be of before: all of it is computed once more.
        self._is_behind = not self._computed_at

    @property
    def position(self) -> int:
        """The last log position whose events are taken in."""
        return self._position

    @property
    def states(self) -> States:
        """How each computation stands."""
        return self._states

    def step(self) -> bool:
        """Take in the next events and bring everything up to now; False if there was nothing to do.

        Raises:
            StorageError: store, lake or facts failed; perhaps some of it is done. Make a new Engine.
        """
        try:
            return self._step()
        except ComputingError as error:  # nothing of the step is done
            self._put_aside(error)
            return True
        except Exception as error:
            if not is_isolated(error) or not self._search_failing_event():
                raise
            return True

    def _search_failing_event(self) -> bool:
        """Make the next step smaller, or leave the events out of it that fail; False if no event does."""
        self._states.discard_changes()
        if self._events_max > TRIED_ALONE_MAX:
            self._events_max = max(TRIED_ALONE_MAX, self._events_max // 10)
            return True
        return self._quarantine.find(self._lake.after(self._position, limit=self._events_max), self._ids)

    def _try_people(self, work: Connection, reading: PersonEvents) -> None:
        """Decide and write what events change of profiles, as a step does."""
        if reading.people:
            identity_resolution.write(
                work,
                identity_resolution.decide(work, reading.people, rules=self._rules, reserved=self._states.standing),
            )
        send_again(work, reading.unsynced, self._clock.now())

    def _step(self) -> bool:
        begun = self._clock.monotonic()
        self._follow_configuration()
        events = self._lake.after(self._position, limit=self._events_max)
        reading = read_events(self._quarantine.without(events), self._ids)
        reading.through = events[-1].log_position if events else 0
        now, is_set_back = next_moment(to_micros(self._clock.now()), last=self._computed_at)
        self._is_behind = self._is_behind or is_set_back
        through = reading.through or self._position
        has_more = len(events) >= self._events_max // 2 and self._lake.last_position() > through
        changes = self._people(reading)
        touched = changes.touched()
        live = [] if has_more or self._is_behind else self._live()
        due = self._touched_by_time(live, now)
        # What the lake has dropped counts no more: else the next restart would change answers.
        first = self._lake.first_position()
        due |= self._facts.people_before(first) if first > self._first else set()
        if events or due:
            self._is_behind = self._is_behind or has_more
            if has_more:
                percent = 100 * through // max(1, self._lake.last_position())
                self._states.tell_progress(f"{percent} % of the events of before are read")
            self._commit(reading, changes, live, touched | due, now=now, first=first, through=through)
            received = events[-1].received_at if events else None
            self._telemetry.step_taken(
                events=len(events),
                seconds=self._clock.monotonic() - begun,
                latency_seconds=None if received is None else (self._clock.now() - received).total_seconds(),
            )
        self._first = first
        if has_more:
            return True
        worked = self._compute_in_full(live, now)
        self._computed_at = now
        if worked:
            with self._facts.unit_of_work():
                self._stand(self._position, self._stamp, now)
        return bool(events or due or worked)

    def check(self) -> int:
        """Compute everything for everybody and put right what differs; returns how many values did, each a defect."""
        now = self._computed_at
        live = [computation for computation in self._live() if computation.key not in self._pending.keys]
        differences = 0
        for level in in_levels(live):
            for computation in level:
                try:
                    with attribute_failures([computation.key]):
                        differences += self._check_one(computation, now)
                except ComputingError as error:
                    self._fail(computation, error)
        for key in [key for key, computation in self._asked.items() if self._states.has_failed(computation)]:
            self._states.update(key, status=Status.PREPARING, detail="", fingerprint="")  # perhaps it can be by now
        self._save_states()
        return differences

    def _check_one(self, one: RequestedComputation, now: int) -> int:
        """Correct the values of a computation that differ; returns how many did."""
        wrong = compute(self._facts, [one], now=now, only_touched=False)
        if wrong:
            self._telemetry.differences_found(one.key, len(wrong))
            self._write_in_parts(wrong, now)
        state = self._states.standing[one.key]
        self._states.update(
            one.key,
            checked_at=from_micros(now),
            differences=state.differences + len(wrong),
            size=size_of(self._facts, one) if wrong else state.size,
        )
        self._save_states()
        return len(wrong)

    def _touched_by_time(self, live: Sequence[RequestedComputation], now: int) -> set[int]:
        touched: set[int] = set()
        for group in self._groups(live):
            with attribute_failures([one.key for one in group]):
                touched |= touched_by_time(self._facts, group, begin=self._computed_at, end=now)
        return touched

    def _groups(self, computations: Sequence[RequestedComputation]) -> list[list[RequestedComputation]]:
        """The computations together, or each alone while the one that fails is searched for."""
        if self._computes_alone:
            return [[computation] for computation in computations]
        return [list(computations)] if computations else []

    def _people(self, reading: PersonEvents) -> IdentityChanges:
        if not reading.people:
            return IdentityChanges([], Resolution())
        with self._store.reading() as work:
            return identity_resolution.decide(work, reading.people, rules=self._rules, reserved=self._states.standing)

    def _live(self) -> list[RequestedComputation]:
        """The computations whose answers stand and are kept up to date."""
        return [computation for computation in self._asked.values() if self._states.is_live(computation)]

    def _commit(
        self,
        reading: PersonEvents,
        changes: IdentityChanges,
        live: Sequence[RequestedComputation],
        touched: set[int],
        *,
        now: int,
        first: int,
        through: int,
    ) -> None:
        """Bring facts and store from one state to the next."""
        facts = self._facts
        with facts.unit_of_work():
            if first > self._first:
                facts.forget_before(first)
            self._add_people(reading, changes)
            computed: list[Change] = []
            if live and touched:
                facts.touch(touched)
                for level in self._levels(live):
                    found = compute(facts, level, now=now, only_touched=True)
                    with attribute_failures([one.key for one in level]):
                        apply(facts, found, self._kinds())
                    computed += found
            with self._store.unit_of_work() as work:
                if changes.people:
                    identity_resolution.write(work, changes)
                    engage_tables.wake(work, changes.with_new_email, waits_for="email")
                    resync(work, changes.with_new_email, self._asked, self._current(), from_micros(now))
                self._write_changes(work, computed, now)
                send_again(work, reading.unsynced, from_micros(now))
                self._quarantine.keep(work, from_micros(now))
                self._advance(work, through)
                self._states.write(work)
            self._stand(through, self._stamp + 1, now)
        self._moved(through)
        self._quarantine.clear()
        self._events_max = self._settings.events_max
        self._pending.leave_out(touched.union(merged for _, merged in changes.merges))

    def _levels(self, live: Sequence[RequestedComputation]) -> list[list[RequestedComputation]]:
        levels = in_levels(live)
        return [group for level in levels for group in self._groups(level)]

    def _put_aside(self, error: ComputingError) -> None:
        """Of computations that cannot be computed together find the one, so that the others go on without it."""
        self._states.discard_changes()
        self._computes_alone = len(error.keys) > 1
        if not self._computes_alone:
            self._fail(self._asked[error.keys[0]], error)

    def _stand(self, position: int, stamp: int, computed_at: int) -> None:
        """Say where the facts stand; what is not computed for everybody yet is begun anew after a stop."""
        is_open = self._is_behind or self._pending
        self._facts.stand(Meta(position=position, stamp=stamp, computed_at=0 if is_open else computed_at))

    def _add_people(self, reading: PersonEvents, changes: IdentityChanges) -> None:
        facts = self._facts
        facts.merge(changes.merges)
        facts.add_people(changes.made)
        facts.make_known(changes.now_known)
        reading.facts.profiles = [changes.profiles[number] for number in reading.fact_people]
        facts.add_facts(reading.facts)
        if changes.merged_traits:
            among = ", ".join(str(profile) for profile in changes.merged_traits)
            facts.run(f"DELETE FROM traits WHERE profile IN ({among})")
        facts.set_traits(
            [(trait.profile_id, trait.name, trait.value, trait.computation) for trait in changes.changed_traits()]
        )

    def _kinds(self) -> dict[str, str]:
        return {key: computation.kind for key, computation in self._asked.items()}

    def _write_changes(self, work: Connection, changes: Sequence[Change], now: int) -> None:
        by_key: dict[str, list[Change]] = {}
        for change in changes:
            by_key.setdefault(change.key, []).append(change)
        groups = by_key.values() if self._computes_alone else [list(changes)] if changes else []
        for group in groups:
            with attribute_failures(sorted({change.key for change in group})):
                write_changes(work, group, states=self._states, snapshot=self._current(), kinds=self._kinds(), now=now)
        for key, count in Counter(change.key for change in changes).items():
            self._telemetry.values_changed(key, count)

    def _advance(self, work: Connection, through: int) -> None:
        if not advance(work, STAMP, expected=self._stamp, to=self._stamp + 1):
            raise LeadershipLostError("another process computes audiences and traits")
        if through > self._position and not advance(work, POSITION, expected=self._position, to=through):
            raise LeadershipLostError(f"Engage's position is no longer {self._position}")

    def _moved(self, through: int) -> None:
        self._stamp += 1
        self._position = through
        self._states.written()

    def _follow_configuration(self) -> None:
        snapshot = self._current()
        if snapshot is self._seen:
            return
        with self._store.unit_of_work() as work:
            follow_configuration(work, self._states, snapshot, self._clock.now())
            self._states.write(work)
        self._states.written()
        self._seen = snapshot
        if snapshot.identity != self._rules:  # for what comes from now on; whoever is one person stays one
            self._rules = snapshot.identity
            self._ids = IdReader(self._rules)
        self._asked = self._ready(snapshot)

    def _ready(self, snapshot: Snapshot) -> dict[str, RequestedComputation]:
        """The enabled computations, without those that could not be made ready or followed."""
        ready: dict[str, RequestedComputation] = {}
        for key, computation in snapshot.computations.items():
            if not computation.configured.enabled or self._states.is_held(key):
                continue
            try:
                with attribute_failures([key]):
                    ready[key] = requested(computation, self._states.standing[key], zone=snapshot.day_zone)
                    fingerprint(ready[key])
            except ComputingError as error:
                ready.pop(key, None)
                self._telemetry.computing_failed(key, error=error.message)
                self._states.hold(key, error.message)
        self._save_states()
        return ready

    def _compute_in_full(self, live: Sequence[RequestedComputation], now: int) -> bool:
        """Compute for everybody what is new, has changed, or could not be followed step by step; False if nothing was.

        What many people get is written down over several steps, so that nothing else waits for it.
        """
        everything = {
            key: computation for key, computation in self._asked.items() if not self._states.has_failed(computation)
        }
        if self._is_behind:
            keys = set(everything)
        else:
            keys = everything.keys() - {computation.key for computation in self._live()}
            for group in self._groups(live):
                with attribute_failures([computation.key for computation in group]):
                    keys |= {
                        computation.key for computation in changed_by_date(group, begin=self._computed_at, end=now)
                    }
        self._is_behind = False
        self._pending.add(keys, among=everything)
        was_pending = bool(self._pending)
        room = self._settings.changes_max
        for computation in self._pending.in_order(everything):
            try:
                with attribute_failures([computation.key]):
                    room -= self._compute_one(computation, now, room=room)
            except ComputingError as error:
                self._fail(computation, error)
            if room <= 0:
                break
        return was_pending

    def _compute_one(self, computation: RequestedComputation, now: int, *, room: int) -> int:
        """Compute one for everybody, or go on writing down what it has given; how many changes were written."""
        begun = self._clock.monotonic()
        if (result := self._pending.take_result(computation)) is not None:
            # When all of it is written it is computed again: meanwhile there may be news.
            return self._write_answer(computation, result, now, room=room)
        changes = compute(self._facts, [computation], now=now, only_touched=False)
        if len(changes) > room:
            return self._write_answer(
                computation, PendingResult(fingerprint(computation), changes, len(changes)), now, room=room
            )
        self._write_in_parts(changes, now)
        self._go_live(computation, now)
        seconds = self._clock.monotonic() - begun
        size = self._states.standing[computation.key].size
        self._telemetry.computed_in_full(computation.key, size=size, changes=len(changes), seconds=seconds)
        return len(changes)

    def _write_answer(self, computation: RequestedComputation, result: PendingResult, now: int, *, room: int) -> int:
        """Write down as much of an answer as there is room for, and keep the rest for the next step."""
        changes = result.take(room)
        if self._states.standing[computation.key].status is Status.PREPARING:
            self._states.update(
                computation.key, detail=f"{result.percent} % of {result.total:,} people are written down"
            )
        self._write_in_parts(changes, now)
        if result.changes:
            self._pending.results[computation.key] = result
        return len(changes)

    def _go_live(self, computation: RequestedComputation, now: int) -> None:
        is_first = not self._states.standing[computation.key].fingerprint
        size = size_of(self._facts, computation)
        at = from_micros(now)
        self._states.update(
            computation.key,
            status=Status.LIVE,
            detail="",
            fingerprint=fingerprint(computation),
            size=size,
            computed_at=at,
        )
        with self._store.unit_of_work() as work:
            if is_first:
                queue_everybody(work, computation.key, self._current(), at)
            engage_tables.save_size(work, computation.key, size=size, at=at, bucket=hour_of(now))
            self._states.write(work)
        self._states.written()
        self._pending.done(computation.key)

    def _fail(self, computation: RequestedComputation, error: ComputingError) -> None:
        """Whatever becomes of one computation, the others go on."""
        self._states.discard_changes()
        self._telemetry.computing_failed(computation.key, error=error.message)
        self._states.update(
            computation.key, status=Status.FAILED, detail=error.message[:500], fingerprint=fingerprint(computation)
        )
        self._save_states()
        self._pending.done(computation.key)

    def _write_in_parts(self, changes: Sequence[Change], now: int) -> None:
        remaining = iter(changes)
        while part := list(islice(remaining, _CHANGES_PER_COMMIT)):
            with self._facts.unit_of_work():
                apply(self._facts, part, self._kinds())
                with self._store.unit_of_work() as work:
                    self._write_changes(work, part, now)
                    self._advance(work, self._position)
                    self._states.write(work)
                self._stand(self._position, self._stamp + 1, self._computed_at)
            self._moved(self._position)

    def _save_states(self) -> None:
        with self._store.unit_of_work() as work:
            self._states.write(work)
        self._states.written()
