"""Does confirmed replays: brings past events to the log again in small portions. For the process that leads routing.

Live awards have priority. The next portion follows only when routing has come to the last one and hardly anything waits
in the destination's outbox, so a live award waits for a handful of others at most.

A portion is two writes: its records in the log, then the replay's place in the store. A crash between them appends the
portion again, and routing finds its effect keys in the ledger: nothing is awarded twice.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from punchcard.clock import Clock
from punchcard.errors import ConfigurationError, LakeError, StorageError
from punchcard.lake.reader import LakeEvent, LakeReader
from punchcard.log.port import EventLog
from punchcard.operations.replay_planning import ReplayCandidate, ReplayPlanner
from punchcard.operations.replays import record_in_audit
from punchcard.routing.conflicts import LedgerPreview
from punchcard.routing.records import describe
from punchcard.routing.replay_record import ReplayBatch, replay_record, replayed_event
from punchcard.store.delivery.pauses import pause_of
from punchcard.store.delivery.queue import count_due
from punchcard.store.engine import Store
from punchcard.store.operations.replays import (
    Replay,
    ReplayStatus,
    change_status,
    note_progress,
    note_wait,
    replay_by_id,
    replays_with_status,
)
from punchcard.store.routing.positions import ROUTING, position_of
from punchcard.workspace.names_of_snapshot import destination_names
from punchcard.workspace.snapshot import RoutedDestination, Snapshot

_ACTOR: Final = "worker"
_EVENTS_PER_STEP: Final = 500
_EVENTS_PER_STEP_FIRST: Final = 40
_AWARDS_PER_STEP: Final = 20
_UNROUTED_MAX: Final = 200
_OUTBOX_SECONDS: Final = 0.5  # of deliveries at the destination's rate limit: what a live award may have to wait


@dataclass
class _Reading:
    """A running replay's place in the lake.

    Attributes:
        revision: Of the configuration that the planner has.
        rows: Read, and not planned yet.
        rows_per_step: How many to plan at once: what is planned beyond a portion is planned again.
    """

    revision: int
    planner: ReplayPlanner
    parts: Iterator[tuple[int, list[LakeEvent]]]
    after: tuple[int, int]
    rows: list[LakeEvent] = field(default_factory=list)
    is_exhausted: bool = False
    rows_per_step: int = _EVENTS_PER_STEP_FIRST

    def fill(self) -> None:
        """Read on until there are rows, or no more."""
        while not self.rows and not self.is_exhausted:
            part = next(self.parts, None)
            if part is None:
                self.is_exhausted = True
            else:
                self.rows = part[1]

    def adapt(self, *, planned: int, used: int) -> None:
        """Plan more rows at once if few of them earn something, fewer if a part of them was a whole portion."""
        if used == planned:
            self.rows_per_step = min(_EVENTS_PER_STEP, self.rows_per_step * 2)
        elif used < planned // 2:
            self.rows_per_step = max(_EVENTS_PER_STEP_FIRST, used * 2)


class ReplayRunner:
    """Takes running replays on, a portion at a time.

    Args:
        current: The configuration in the store.
        before_append: Called before anything is appended; if it raises, nothing is.
    """

    def __init__(
        self,
        *,
        store: Store,
        log: EventLog,
        lake: LakeReader,
        clock: Clock,
        current: Callable[[], Snapshot],
        before_append: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._log = log
        self._lake = lake
        self._clock = clock
        self._current = current
        self._before_append = before_append
        self._readings: dict[str, _Reading] = {}

    def step(self) -> bool:
        """Do the next portion of each replay that can go on; True if one did, or can in a moment.

        Raises:
            StorageError: log or store is away; call again, each replay goes on where it was.
        """
        with self._store.reading() as work:
            running = replays_with_status(work, ReplayStatus.RUNNING)
        self._readings = {replay.id: self._readings[replay.id] for replay in running if replay.id in self._readings}
        busy = False
        destinations: set[str] = set()
        for replay in running:
            if replay.destination in destinations:
                continue  # one at a time, in the order in which they were planned
            destinations.add(replay.destination)
            busy = self._try(replay) or busy
        return busy

    def _try(self, replay: Replay) -> bool:
        """Take one replay on; whatever is wrong with it stops no other."""
        try:
            return self._advance(replay)
        except LakeError as error:
            self._readings.pop(replay.id, None)
            self._wait(replay, f"The data lake cannot be read: {error.message}")
        except StorageError:
            self._readings.pop(replay.id, None)
            raise
        except ConfigurationError as error:
            self._readings.pop(replay.id, None)
            self._wait(replay, error.message)
        except Exception as error:  # noqa: BLE001  # a defect met by one replay must not stop the others
            self._end(replay, ReplayStatus.FAILED, f"Punchcard failed on this replay: {describe(error)}")
        return False

    def _advance(self, replay: Replay) -> bool:
        snapshot = self._current()
        destination = snapshot.destinations.get(replay.destination)
        if destination is None:
            self._end(replay, ReplayStatus.FAILED, f"There is no destination {replay.destination} any more.")
            return False
        if (
            reason := self._reason_to_wait(replay, destination, destination_names(snapshot)[replay.destination])
        ) is not None:
            self._wait(replay, reason)
            return not reason
        reading = self._reading(replay, snapshot)
        reading.fill()
        if not reading.rows:
            self._end(replay, ReplayStatus.COMPLETED, "")
            return True
        rows = reading.rows[: reading.rows_per_step]
        # With a ledger of this portion's own: what is cut off is planned again, when routing has come to the rest.
        planned = reading.planner.plan(rows, LedgerPreview())
        candidates, through = _portion(planned, rows, awards_max=_portion_size(destination))
        position = self._append(replay, [candidate for candidate in candidates if candidate.backtested.would_earn])
        with self._store.unit_of_work() as work:
            is_moved = note_progress(
                work,
                replay,
                after=through,
                done=len(candidates),
                appended=sum(candidate.backtested.would_earn for candidate in candidates),
                appended_position=position,
            )
        if not is_moved:  # somebody has paused or canceled it meanwhile, or another process does it
            del self._readings[replay.id]
            return False
        left = [row for row in reading.rows if (row.log_position, row.event_index) > through]
        reading.adapt(planned=len(rows), used=len(reading.rows) - len(left))
        reading.rows = left
        reading.after = through
        return True

    def _append(self, replay: Replay, candidates: Sequence[ReplayCandidate]) -> int:
        """Bring events to the log; returns the last position, 0 if there are none."""
        now = self._clock.now()
        records = [
            replay_record(
                ReplayBatch(
                    replay=replay.id,
                    destination=replay.destination,
                    source=source,
                    events=tuple(replayed_event(candidate.backtested.event, candidate.previous) for candidate in group),
                ),
                now=now,
            )
            for source, group in groupby(candidates, key=lambda candidate: candidate.backtested.event.source or "")
        ]
        if not records:
            return 0
        self._before_append()
        return self._log.append(records)[-1]

    def _reading(self, replay: Replay, snapshot: Snapshot) -> _Reading:
        reading = self._readings.get(replay.id)
        if reading is None or reading.after != replay.after or reading.revision != snapshot.revision:
            planner = ReplayPlanner(self._store, snapshot, replay.destination, replay.selection)
            parts = self._lake.select(planner.lake_selection(), after=replay.after, through=replay.through_position)
            reading = self._readings[replay.id] = _Reading(snapshot.revision, planner, parts, replay.after)
        return reading

    def _reason_to_wait(self, replay: Replay, destination: RoutedDestination, name: str) -> str | None:
        """Why nothing may be appended now, "" for a moment that need not be shown; None if nothing is in the way."""
        if not destination.destination.enabled:
            return f"{name} is off: the replay goes on once it is on."
        with self._store.reading() as work:
            routed = position_of(work, ROUTING)
            pause = pause_of(work, replay.destination)
            due = count_due(work, replay.destination, now=self._clock.now(), count_max=_portion_size(destination) + 1)
        if routed < replay.appended_position or self._log.last_position() - routed > _UNROUTED_MAX:
            return ""
        if due < _portion_size(destination):
            return None
        return "" if pause is None else f"{name} is paused: the replay goes on once awards are sent."

    def _wait(self, replay: Replay, detail: str) -> None:
        if detail == replay.detail or not detail:
            return
        with self._store.unit_of_work() as work:
            note_wait(work, replay, detail)

    def _end(self, replay: Replay, status: ReplayStatus, detail: str) -> None:
        self._readings.pop(replay.id, None)
        now = self._clock.now()
        with self._store.unit_of_work() as work:
            if not change_status(work, replay, status, possible_from=(ReplayStatus.RUNNING,), now=now, detail=detail):
                return
            ended = replay_by_id(work, replay.destination, replay.id)
            if ended is not None:
                record_in_audit(work, ended, "end", before=ReplayStatus.RUNNING, actor=_ACTOR, now=now)


def _rate(destination: RoutedDestination) -> float:
    if destination.settings is None:
        return 0.0
    return destination.partner.delivery_options(destination.settings).requests_per_second


def _portion_size(destination: RoutedDestination) -> int:
    """Return how many awards may be appended at once, and may wait in the outbox beside live ones."""
    rate = _rate(destination)
    return _AWARDS_PER_STEP if rate <= 0 else max(1, min(_AWARDS_PER_STEP, int(rate * _OUTBOX_SECONDS)))


def _portion(
    candidates: Sequence[ReplayCandidate], rows: Sequence[LakeEvent], *, awards_max: int
) -> tuple[Sequence[ReplayCandidate], tuple[int, int]]:
    """The first candidates with so many awards at most, and the place of the last event that they reach."""
    awards = 0
    for number, candidate in enumerate(candidates):
        awards += candidate.backtested.would_earn
        if awards > awards_max:
            last = candidates[number - 1].backtested.event
            return candidates[:number], (last.log_position, last.event_index)
    return candidates, (rows[-1].log_position, rows[-1].event_index)
