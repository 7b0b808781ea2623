"""One step after another: new events, whose they are, what they change, written down.

The store holds the truth: profiles, traits, what is to be told, and how far the lake is read. The facts follow it: they
are committed right behind it, and a crash between the two is noticed by their stamp and mended from lake and store.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from sqlalchemy import Connection

from punchcard.clock import Clock, from_micros, to_micros
from punchcard.engage import people as whose
from punchcard.engage.computing import (
    Asked,
    Change,
    apply,
    compute,
    day_has_changed,
    in_levels,
    size_of,
    touched_by_time,
)
from punchcard.engage.facts import Facts, Meta
from punchcard.engage.people import PeopleChanges
from punchcard.engage.reading import Reading, read_events
from punchcard.engage.restoring import restore
from punchcard.engage.states import States, asked, due_at, fingerprint, follow_configuration, with_dependents
from punchcard.engage.telemetry import EngageTelemetry
from punchcard.engage.telling import send_again
from punchcard.errors import StorageError
from punchcard.lake.reader import LakeReader
from punchcard.profiles.external_ids import IdReader
from punchcard.profiles.identity import Resolution
from punchcard.store import engage as stored
from punchcard.store import profiles
from punchcard.store.engage import NOBODY, Status
from punchcard.store.engine import Store
from punchcard.store.positions import advance, position_of
from punchcard.store.profiles import StoredTrait
from punchcard.workspace.snapshot import Snapshot

POSITION = "engage"
STAMP = "engage_stamp"
_CHANGES_PER_COMMIT = 5_000  # of a full computation: awards must not wait for all of it to be written


class LeadershipLostError(StorageError):
    """Another process has gone on: this one must begin again from what stands."""

    code = "leadership_lost"


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How an engine works.

    Attributes:
        events_max: Events of the lake read in one step.
        check_seconds: How often everything is computed afresh, and compared.
    """

    events_max: int = 20_000
    check_seconds: float = 3_600.0


class Engine:
    """Keeps profiles, computed traits and audiences up to date. One at a time; for one thread.

    Args:
        current: The configuration as it stands.
    """

    def __init__(
        self,
        *,
        store: Store,
        lake: LakeReader,
        facts: Facts,
        clock: Clock,
        current: Callable[[], Snapshot],
        settings: EngineSettings | None = None,
    ) -> None:
        self._store = store
        self._lake = lake
        self._facts = facts
        self._clock = clock
        self._current = current
        self._rules = current().identity
        self._settings = settings or EngineSettings()
        self._ids = IdReader(self._rules)
        self._telemetry = EngageTelemetry()
        self._seen: Snapshot | None = None
        self._asked: dict[str, Asked] = {}
        self._first = 0  # the log position before which nothing counts
        with store.reading() as work:
            self._position = position_of(work, POSITION)
            self._stamp = position_of(work, STAMP)
            self._states = States.load(work)
        meta = facts.meta()
        self._computed_at = meta.computed_at
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
        begun = self._clock.monotonic()
        self._follow_configuration()
        events = self._lake.after(self._position, limit=self._settings.events_max)
        reading = read_events(events, self._ids)
        now = to_micros(self._clock.now())
        through = reading.through or self._position
        has_more = len(events) >= self._settings.events_max // 2 and self._lake.last_position() > through
        changes = self._people(reading)
        touched = changes.touched()
        live = [] if has_more or self._is_behind else self._live()
        due = set() if not live else touched_by_time(self._facts, live, begin=self._computed_at, end=now)
        # What the lake has dropped counts no more: else the next restart would change answers.
        first = self._lake.first_position()
        due |= self._facts.people_before(first) if first > self._first else set()
        if events or due:
            self._is_behind = self._is_behind or has_more
            if has_more:
                self._tell_progress(through)
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
        whole = self._computed_in_full(live, now)
        self._computed_at = now
        if whole:
            with self._facts.unit_of_work():
                self._facts.stand(Meta(position=self._position, stamp=self._stamp, computed_at=now))
        return bool(events or due or whole)

    def check(self) -> int:
        """Compute everything for everybody and put right what differs; returns how many values did, each a defect."""
        now = self._computed_at
        live = self._live()
        found = 0
        for level in in_levels(live):
            for one in level:
                wrong = compute(self._facts, [one], now=now, only_touched=False)
                found += len(wrong)
                if wrong:
                    self._telemetry.differences_found(one.key, len(wrong))
                    self._write_in_parts(wrong, now)
                standing = self._states.standing[one.key]
                self._states.update(
                    one.key,
                    checked_at=from_micros(now),
                    differences=standing.differences + len(wrong),
                    size=size_of(self._facts, one) if wrong else standing.size,
                )
        self._save_states()
        return found

    def _tell_progress(self, through: int) -> None:
        """Let those that wait for their first answer say how far the events of before are read."""
        last = max(1, self._lake.last_position())
        for key, state in self._states.standing.items():
            if state.status is Status.PREPARING:
                self._states.update(key, detail=f"{100 * through // last} % of the events of before are read")

    def _people(self, reading: Reading) -> PeopleChanges:
        if not reading.people:
            return PeopleChanges([], Resolution())
        with self._store.reading() as work:
            return whose.decide(work, reading.people, rules=self._rules, reserved=self._states.standing)

    def _live(self) -> list[Asked]:
        """The computations whose answers stand and are kept up to date."""
        return [
            one
            for key, one in self._asked.items()
            if self._states.standing[key].status is Status.LIVE
            and self._states.standing[key].fingerprint == fingerprint(one)
        ]

    def _commit(
        self,
        reading: Reading,
        changes: PeopleChanges,
        live: Sequence[Asked],
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
                for level in in_levels(live):
                    found = compute(facts, level, now=now, only_touched=True)
                    apply(facts, found, self._kinds())
                    computed += found
            with self._store.unit_of_work() as work:
                if changes.people:
                    whose.write(work, changes)
                    stored.wake(work, changes.with_new_email, waits_for="email")
                    self._tell_again(work, changes.with_new_email, now)
                self._write_changes(work, computed, now)
                send_again(work, reading.untold, from_micros(now))
                self._advance(work, through)
                self._states.write(work)
            computed_at = 0 if self._is_behind else now
            facts.stand(Meta(position=through, stamp=self._stamp + 1, computed_at=computed_at))
        self._moved(through)

    def _add_people(self, reading: Reading, changes: PeopleChanges) -> None:
        facts = self._facts
        facts.merge(changes.merges)
        facts.add_people(changes.made)
        facts.make_known(changes.now_known)
        reading.facts.profiles = [changes.profiles[number] for number in reading.fact_people]
        facts.add_facts(reading.facts)
        if changes.merged_traits:
            among = ", ".join(str(profile) for profile in changes.merged_traits)
            facts.run(f"DELETE FROM traits WHERE profile IN ({among})")
        facts.set_traits([(one.profile_id, one.name, one.value, one.computation) for one in changes.changed_traits()])

    def _kinds(self) -> dict[str, str]:
        return {key: one.kind for key, one in self._asked.items()}

    def _write_changes(self, work: Connection, changes: Sequence[Change], now: int) -> None:
        """New values become traits of their people, and wait to be told."""
        at = from_micros(now)
        kinds = self._kinds()
        traits = [StoredTrait(one.profile, one.key, one.value, kinds[one.key], at, "", "") for one in changes]
        profiles.keep_traits(work, traits)
        profiles.add_history(work, traits)
        snapshot = self._current()
        queue = []
        grown: dict[str, int] = {}
        for one in changes:
            grown[one.key] = grown.get(one.key, 0) + _difference(one)
            ready = snapshot.computations.get(one.key)
            for slug in ready.configured.destinations if ready is not None else ():
                due = due_at(at, ready.rhythm) if ready is not None else at
                queue.append(
                    {"destination": slug, "key": one.key, "profile_id": one.profile, "queued_at": at, "due_at": due}
                )
        stored.enqueue(work, queue)
        bucket = from_micros(now - now % stored.HOUR_MICROS)
        for key, difference in grown.items():
            self._telemetry.values_changed(key, sum(one.key == key for one in changes))
            size = self._states.standing[key].size + difference
            self._states.update(key, size=size, computed_at=at)
            stored.save_size(work, key, size=size, at=at, bucket=bucket)

    def _tell_again(self, work: Connection, people: set[int], now: int) -> None:
        """Whoever has an email more is told of there too."""
        at = from_micros(now)
        snapshot = self._current()
        queue = [
            {"destination": slug, "key": one.name, "profile_id": one.profile_id, "queued_at": at, "due_at": at}
            for one in profiles.traits_of(work, people, list(self._asked))
            if one.computation and one.name in snapshot.computations
            for slug in snapshot.computations[one.name].configured.destinations
        ]
        stored.enqueue(work, queue)

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
            follow_configuration(work, self._states, snapshot.computations, self._clock.now())
            self._states.write(work)
        self._states.written()
        self._seen = snapshot
        if snapshot.identity != self._rules:  # for what comes from now on; whoever is one person stays one
            self._rules = snapshot.identity
            self._ids = IdReader(self._rules)
        self._asked = {
            key: asked(one, self._states.standing[key])
            for key, one in snapshot.computations.items()
            if one.configured.enabled
        }

    def _computed_in_full(self, live: Sequence[Asked], now: int) -> bool:
        """Compute for everybody what is new, has changed, or could not be followed step by step."""
        everything = list(self._asked.values())
        standing = {one.key for one in self._live()}
        pending = {one.key for one in everything if one.key not in standing and not self._has_failed(one)}
        if self._is_behind:
            pending = {one.key for one in everything if not self._has_failed(one)}
        else:
            pending |= {one.key for one in day_has_changed(live, begin=self._computed_at, end=now)}
        pending = with_dependents(pending, [one for one in everything if not self._has_failed(one)])
        self._is_behind = False
        for level in in_levels([one for one in everything if one.key in pending]):
            for one in level:
                self._compute_one(one, now)
        return bool(pending)

    def _has_failed(self, one: Asked) -> bool:
        state = self._states.standing[one.key]
        return state.status is Status.FAILED and state.fingerprint == fingerprint(one)

    def _compute_one(self, one: Asked, now: int) -> None:
        begun = self._clock.monotonic()
        state = self._states.standing[one.key]
        try:
            found = compute(self._facts, [one], now=now, only_touched=False)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever DuckDB makes of one definition, the others go on
            self._telemetry.computing_failed(one.key, error=str(error))
            self._states.update(one.key, status=Status.FAILED, detail=str(error)[:500], fingerprint=fingerprint(one))
            self._save_states()
            return
        self._write_in_parts(found, now)
        size = size_of(self._facts, one)
        at = from_micros(now)
        is_first = not state.fingerprint
        self._states.update(
            one.key, status=Status.LIVE, detail="", fingerprint=fingerprint(one), size=size, computed_at=at
        )
        with self._store.unit_of_work() as work:
            if is_first:
                self._queue_everybody(work, one.key, at)
            stored.save_size(work, one.key, size=size, at=at, bucket=from_micros(now - now % stored.HOUR_MICROS))
            self._states.write(work)
        self._states.written()
        seconds = self._clock.monotonic() - begun
        self._telemetry.computed_in_full(one.key, size=size, changes=len(found), seconds=seconds)

    def _queue_everybody(self, work: Connection, key: str, at: datetime) -> None:
        # Not only those who have changed: of a computation that was switched off, some were told otherwise meanwhile.
        ready = self._current().computations.get(key)
        for slug in ready.configured.destinations if ready is not None else ():
            stored.enqueue_everybody(work, destination=slug, key=key, at=at)

    def _write_in_parts(self, changes: Sequence[Change], now: int) -> None:
        remaining = iter(changes)
        while some := list(islice(remaining, _CHANGES_PER_COMMIT)):
            with self._facts.unit_of_work():
                apply(self._facts, some, self._kinds())
                with self._store.unit_of_work() as work:
                    self._write_changes(work, some, now)
                    self._advance(work, self._position)
                    self._states.write(work)
                self._facts.stand(Meta(position=self._position, stamp=self._stamp + 1, computed_at=self._computed_at))
            self._moved(self._position)

    def _save_states(self) -> None:
        with self._store.unit_of_work() as work:
            self._states.write(work)
        self._states.written()


def _difference(change: Change) -> int:
    """How many people more have a value."""
    was = change.before is not None and change.before not in NOBODY
    return int(change.value not in NOBODY) - int(was)
