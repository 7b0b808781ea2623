"""Process new events in steps: read, resolve identities, compute what changes, save.

The store is the source of truth: profiles, traits, the sync queue, and the position up to which the lake is processed.
The facts follow it: they are committed directly after the store. A crash between the two commits is detected by the
stamp, and the facts are restored from lake and store.
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
    group_by_dependency,
    next_moment,
    size_of,
    touched_by_time,
)
from punchcard.engage.demand import POSITION, STAMP
from punchcard.engage.facts import Facts, Meta
from punchcard.engage.identity_resolution import IdentityChanges
from punchcard.engage.isolation import attribute_failures, is_isolated
from punchcard.engage.pending import Pending, PendingResult
from punchcard.engage.person_events import PersonEvents, read_events
from punchcard.engage.quarantine import TRIED_ALONE_MAX, EventQuarantine
from punchcard.engage.restoring import restore
from punchcard.engage.states import States, fingerprint, follow_configuration, prepare_computation
from punchcard.engage.static_lists import ListPart, StaticLists
from punchcard.engage.sync_dispatch import requeue_unsent
from punchcard.engage.telemetry import EngageTelemetry
from punchcard.engage.writing import hour_start, queue_all_profiles, resync, write_changes
from punchcard.errors import StorageError
from punchcard.lake.reader import LakeReader
from punchcard.profiles.external_ids import IdReader
from punchcard.profiles.identity import Resolution
from punchcard.store.engage import engage_tables
from punchcard.store.engage.engage_tables import Status
from punchcard.store.engine import Store
from punchcard.store.routing.positions import advance, position_of
from punchcard.workspace.snapshot import Snapshot

_CHANGES_PER_COMMIT = 5_000  # of a full computation: awards must not wait until it is completely written


class LeadershipLostError(StorageError):
    """Another process leads Engage now; this one must start again from the stored state."""

    code = "leadership_lost"


@dataclass(frozen=True, kw_only=True)
class ComputationEngineSettings:
    """Limits of an engine's steps.

    Attributes:
        events_max: Events of the lake read in one step.
        changes_max: Changes of full computations saved in one step, so that new events do not wait longer.
    """

    events_max: int = 20_000
    changes_max: int = 20_000


class ComputationEngine:
    """Keeps profiles, computed traits and audiences up to date. Use one at a time, from one thread.

    Args:
        current: Returns the current configuration.
    """

    def __init__(
        self,
        *,
        store: Store,
        lake: LakeReader,
        facts: Facts,
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
        self._snapshot: Snapshot | None = None
        self._requested: dict[str, RequestedComputation] = {}
        self._pending = Pending()
        self._computes_alone = False  # one of several computations that ran together has failed
        self._events_max = self._settings.events_max  # reduced while a failing event is searched for
        self._quarantine = EventQuarantine(store, clock, write=self._try_people)
        self._first = 0  # events before this log position do not count
        with store.reading() as work:
            self._position = position_of(work, POSITION)
            self._stamp = position_of(work, STAMP)
            self._states = States.load(work)
        self._computed_at = (meta := facts.meta()).computed_at
        if (meta.stamp, meta.position) != (self._stamp, self._position):
            restore(facts, store, lake, self._ids, position=self._position, stamp=self._stamp, clock=clock)
            self._computed_at = 0
        self._lists = StaticLists(store, facts, clock)
        self._reads_list = (
            False  # the current step has a part of a list instead of events, so that a failure is its own
        )
        self._has_more = True
        # The computed values may be outdated, so everything is computed again.
        self._is_behind = not self._computed_at

    @property
    def position(self) -> int:
        """The last log position with processed events."""
        return self._position

    @property
    def states(self) -> States:
        """The state of each computation."""
        return self._states

    def step(self) -> bool:
        """Process the next events and bring everything up to the current time; False if there was nothing to do.

        Raises:
            StorageError: Store, lake or facts failed, possibly after a part of the step. Create a new engine.
        """
        try:
            return self._step()
        except ComputingError as error:  # nothing of the step is committed
            self._isolate_failure(error)
            return True
        except Exception as error:
            if not is_isolated(error) or not (self._fail_list(error) or self._search_failing_event()):
                raise
            return True

    def _fail_list(self, error: Exception) -> bool:
        """Give up the list that was being read; False if there was none."""
        name = self._lists.fail() if self._reads_list else None
        if name is not None:
            failure = ComputingError(f"The uploaded list cannot be read: {error}.", keys=[name])
            self._record_failure(self._requested[name], failure)
        return name is not None

    def _search_failing_event(self) -> bool:
        """Reduce the size of the next step, or quarantine the events that fail; False if no event fails."""
        self._states.discard_changes()
        if self._events_max > TRIED_ALONE_MAX:
            self._events_max = max(TRIED_ALONE_MAX, self._events_max // 10)
            return True
        return self._quarantine.find(self._lake.after(self._position, limit=self._events_max), self._ids)

    def _try_people(self, work: Connection, reading: PersonEvents) -> None:
        """Plan and write the profile changes of events, as a step does."""
        if reading.people:
            identity_resolution.write_changes(
                work,
                identity_resolution.plan_changes(
                    work, reading.people, rules=self._rules, reserved=self._states.current
                ),
            )
        requeue_unsent(work, reading.unsynced, self._clock.now())

    def _step(self) -> bool:
        begun = self._clock.monotonic()
        self._follow_configuration()
        self._lists.refresh(self._requested.values())
        # Lists wait for past events, which name many of their people, and take turns with new ones.
        part = None if self._reads_list or self._has_more else self._lists.next_part(self._ids)
        self._reads_list = part is not None
        events = self._lake.after(self._position, limit=self._events_max) if part is None else []
        reading = read_events(self._quarantine.without(events), self._ids)
        reading.through = events[-1].log_position if events else 0
        now, is_set_back = next_moment(to_micros(self._clock.now()), last=self._computed_at)
        self._is_behind = self._is_behind or is_set_back
        through = reading.through or self._position
        has_more = len(events) >= self._events_max // 2 and self._lake.last_position() > through
        self._has_more = has_more
        reading.people += part.people if part is not None else []
        changes = self._people(reading)
        touched = changes.touched()
        live = [] if has_more or self._is_behind else self._live()
        due = self._touched_by_time(live, now)
        # Events that the lake has dropped no longer count; otherwise the next restart would change results.
        first = self._lake.first_position()
        due |= self._facts.people_before(first) if first > self._first else set()
        if events or due or changes.people:
            self._is_behind = self._is_behind or has_more
            if has_more:
                percent = 100 * through // max(1, self._lake.last_position())
                self._states.report_progress(f"{percent} % of past events are processed.")
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
        if part is not None:
            self._add_list_members(part)
        worked = self._compute_in_full(live, now)
        self._computed_at = now
        if worked:
            with self._facts.unit_of_work():
                self._save_meta(self._position, self._stamp, now)
        is_swept = self._lists.sweep(self._current())
        return bool(events or due or part or worked or is_swept or self._lists.has_unread())

    def check(self) -> int:
        """Compute everything for everybody and correct differences; returns their number, each of which is a defect."""
        now = self._computed_at
        live = [computation for computation in self._live() if computation.key not in self._pending.keys]
        differences = 0
        for level in group_by_dependency(live):
            for computation in level:
                try:
                    with attribute_failures([computation.key]):
                        differences += self._check_computation(computation, now)
                except ComputingError as error:
                    self._record_failure(computation, error)
        for key in [key for key, computation in self._requested.items() if self._states.has_failed(computation)]:
            self._states.update(key, status=Status.PREPARING, detail="", fingerprint="")  # it may succeed now
        self._save_states()
        return differences

    def _check_computation(self, computation: RequestedComputation, now: int) -> int:
        """Correct the values of a computation that differ; returns how many differed."""
        differences = compute(self._facts, [computation], now=now, only_touched=False)
        if differences:
            self._telemetry.differences_found(computation.key, len(differences))
            self._write_in_batches(differences, now)
        state = self._states.current[computation.key]
        self._states.update(
            computation.key,
            checked_at=from_micros(now),
            differences=state.differences + len(differences),
            size=size_of(self._facts, computation) if differences else state.size,
        )
        self._save_states()
        return len(differences)

    def _touched_by_time(self, live: Sequence[RequestedComputation], now: int) -> set[int]:
        touched: set[int] = set()
        for group in self._groups(live):
            with attribute_failures([computation.key for computation in group]):
                touched |= touched_by_time(self._facts, group, begin=self._computed_at, end=now)
        return touched

    def _groups(self, computations: Sequence[RequestedComputation]) -> list[list[RequestedComputation]]:
        """Return the computations as one group, or each alone while the failing one is searched for."""
        if self._computes_alone:
            return [[computation] for computation in computations]
        return [list(computations)] if computations else []

    def _add_list_members(self, part: ListPart) -> None:
        """Add a part of a list to the facts; after the last one its audience is computed for everybody."""
        if part.is_last:
            self._pending.add({part.name} & self._requested.keys(), among=self._requested)
        with self._facts.unit_of_work():
            self._lists.add(part)
            self._save_meta(self._position, self._stamp, self._computed_at)
        self._lists.mark_added(part)
        if part.name in self._requested:
            self._requested[part.name] = self._lists.with_revision(self._requested[part.name])
            self._states.note_progress(part.name, self._lists.progress())
            self._save_states()

    def _people(self, reading: PersonEvents) -> IdentityChanges:
        if not reading.people:
            return IdentityChanges([], Resolution())
        with self._store.reading() as work:
            return identity_resolution.plan_changes(
                work, reading.people, rules=self._rules, reserved=self._states.current
            )

    def _live(self) -> list[RequestedComputation]:
        """Return the computations with current results, which are kept up to date."""
        return [
            computation
            for computation in self._requested.values()
            if self._states.is_live(computation) and self._lists.is_complete(computation)
        ]

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
                    level_changes = compute(facts, level, now=now, only_touched=True)
                    with attribute_failures([computation.key for computation in level]):
                        apply(facts, level_changes, self._kinds())
                    computed += level_changes
            with self._store.unit_of_work() as work:
                if changes.people:
                    identity_resolution.write_changes(work, changes)
                    engage_tables.wake(work, changes.with_new_email, waits_for="email")
                    resync(work, changes.with_new_email, self._requested, self._current(), from_micros(now))
                self._write_changes(work, computed, now)
                requeue_unsent(work, reading.unsynced, from_micros(now))
                self._quarantine.keep(work, from_micros(now))
                self._advance(work, through)
                self._states.write(work)
            self._save_meta(through, self._stamp + 1, now)
        self._mark_advanced(through)
        self._quarantine.clear()
        self._events_max = self._settings.events_max
        self._pending.discard_people(touched.union(merged for _, merged in changes.merges))

    def _levels(self, live: Sequence[RequestedComputation]) -> list[list[RequestedComputation]]:
        levels = group_by_dependency(live)
        return [group for level in levels for group in self._groups(level)]

    def _isolate_failure(self, error: ComputingError) -> None:
        """Find the failing one of several computations, so that the others go on without it."""
        self._states.discard_changes()
        self._computes_alone = len(error.keys) > 1
        if not self._computes_alone:
            self._record_failure(self._requested[error.keys[0]], error)

    def _save_meta(self, position: int, stamp: int, computed_at: int) -> None:
        """Save the state of the facts; computations that are not complete start again after a restart."""
        is_open = self._is_behind or self._pending
        self._facts.save_meta(Meta(position=position, stamp=stamp, computed_at=0 if is_open else computed_at))

    def _add_people(self, reading: PersonEvents, changes: IdentityChanges) -> None:
        facts = self._facts
        facts.merge(changes.merges)
        facts.add_people(changes.created)
        facts.make_known(changes.now_known)
        reading.facts.profiles = [changes.profiles[number] for number in reading.fact_people]
        facts.add_facts(reading.facts)
        if changes.merged_traits:
            facts.delete_people("traits", changes.merged_traits)
        facts.set_traits(
            [(trait.profile_id, trait.name, trait.value, trait.computation) for trait in changes.changed_traits()]
        )

    def _kinds(self) -> dict[str, str]:
        return {key: computation.kind for key, computation in self._requested.items()}

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
            raise LeadershipLostError("Another process computes audiences and traits.")
        if through > self._position and not advance(work, POSITION, expected=self._position, to=through):
            raise LeadershipLostError(f"Another process has changed Engage's position from {self._position}.")

    def _mark_advanced(self, through: int) -> None:
        self._stamp += 1
        self._position = through
        self._states.mark_committed()

    def _follow_configuration(self) -> None:
        snapshot = self._current()
        if snapshot is self._snapshot:
            return
        # The facts are committed first: a crash between the two commits is followed by the same changes again.
        with self._store.unit_of_work() as work, self._facts.unit_of_work():
            follow_configuration(work, self._states, self._facts, snapshot, self._clock.now())
            self._states.write(work)
        self._states.mark_committed()
        self._snapshot = snapshot
        if snapshot.identity != self._rules:  # for new events; existing profiles stay as they are
            self._rules = snapshot.identity
            self._ids = IdReader(self._rules)
        self._requested = self._ready(snapshot)

    def _ready(self, snapshot: Snapshot) -> dict[str, RequestedComputation]:
        """Return the enabled computations, without those that could not be prepared."""
        ready: dict[str, RequestedComputation] = {}
        for key, computation in snapshot.computations.items():
            if not computation.configured.enabled or self._states.is_held(key):
                continue
            try:
                with attribute_failures([key]):
                    prepared = prepare_computation(computation, self._states.current[key], zone=snapshot.day_zone)
                    ready[key] = self._lists.with_revision(prepared)
                    fingerprint(ready[key])
            except ComputingError as error:
                ready.pop(key, None)
                self._telemetry.computing_failed(key, error=error.message)
                self._states.hold(key, error.message)
        self._save_states()
        return ready

    def _compute_in_full(self, live: Sequence[RequestedComputation], now: int) -> bool:
        """Compute new, changed and date-dependent computations for everybody; False if there was nothing to compute.

        A large result is saved over several steps, so that nothing else waits for it.
        """
        everything = {
            key: computation
            for key, computation in self._requested.items()
            if not self._states.has_failed(computation) and self._lists.is_complete(computation)
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
                    room -= self._compute_for_everybody(computation, now, room=room)
            except ComputingError as error:
                self._record_failure(computation, error)
            if room <= 0:
                break
        return was_pending

    def _compute_for_everybody(self, computation: RequestedComputation, now: int, *, room: int) -> int:
        """Compute one computation for everybody, or go on saving its result; returns the number of saved changes."""
        begun = self._clock.monotonic()
        if (result := self._pending.take_result(computation)) is not None:
            # It is computed again once its result is saved, because there may be new events meanwhile.
            return self._write_result(computation, result, now, room=room)
        changes = compute(self._facts, [computation], now=now, only_touched=False)
        if len(changes) > room:
            return self._write_result(
                computation, PendingResult(fingerprint(computation), changes, len(changes)), now, room=room
            )
        self._write_in_batches(changes, now)
        self._go_live(computation, now)
        seconds = self._clock.monotonic() - begun
        size = self._states.current[computation.key].size
        self._telemetry.computed_in_full(computation.key, size=size, changes=len(changes), seconds=seconds)
        return len(changes)

    def _write_result(self, computation: RequestedComputation, result: PendingResult, now: int, *, room: int) -> int:
        """Save as much of a result as there is room for, and keep the rest for the next step."""
        changes = result.take(room)
        if self._states.current[computation.key].status is Status.PREPARING:
            self._states.update(computation.key, detail=f"{result.percent} % of {result.total:,} profiles are saved.")
        self._write_in_batches(changes, now)
        if result.changes:
            self._pending.results[computation.key] = result
        return len(changes)

    def _go_live(self, computation: RequestedComputation, now: int) -> None:
        is_first = not self._states.current[computation.key].fingerprint
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
                queue_all_profiles(work, computation.key, self._current(), at)
            engage_tables.save_size(work, computation.key, size=size, at=at, bucket=hour_start(now))
            self._states.write(work)
        self._states.mark_committed()
        self._pending.mark_done(computation.key)

    def _record_failure(self, computation: RequestedComputation, error: ComputingError) -> None:
        """Record that a computation has failed; the others go on."""
        self._states.discard_changes()
        self._telemetry.computing_failed(computation.key, error=error.message)
        self._states.update(
            computation.key, status=Status.FAILED, detail=error.message[:500], fingerprint=fingerprint(computation)
        )
        self._save_states()
        self._pending.mark_done(computation.key)

    def _write_in_batches(self, changes: Sequence[Change], now: int) -> None:
        remaining = iter(changes)
        while batch := list(islice(remaining, _CHANGES_PER_COMMIT)):
            with self._facts.unit_of_work():
                apply(self._facts, batch, self._kinds())
                with self._store.unit_of_work() as work:
                    self._write_changes(work, batch, now)
                    self._advance(work, self._position)
                    self._states.write(work)
                self._save_meta(self._position, self._stamp + 1, self._computed_at)
            self._mark_advanced(self._position)

    def _save_states(self) -> None:
        with self._store.unit_of_work() as work:
            self._states.write(work)
        self._states.mark_committed()
