"""Brings routed rows to the lake within seconds, exactly once, whatever stops in between; routing never waits for it.

Rows reach the lake from memory while all is well. Whenever that is not sure, the feed is *behind*: after a start, when
an append has failed, when another process has appended, when routing is too fast. Then the rows in memory are dropped,
and those that the lake lacks are made again from the log and the results that the store keeps, by the same function as
ever, until there are none left. The lake's own commit names the log position up to which it is complete, so none is
missing and none is there twice.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Protocol, TypeVar

from punchcard.clock import Clock
from punchcard.errors import InvariantError, LakeError, StorageError
from punchcard.lake.schema import LakeRows
from punchcard.lake.table import LostRaceError
from punchcard.lake.writer import LakeWriter
from punchcard.log.port import EventLog, LogRecord
from punchcard.routing.batch import lake_rows
from punchcard.routing.records import describe, read_routed
from punchcard.routing.telemetry import RoutingTelemetry
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import ResultBatch
from punchcard.store.routing.lake_status import note_lake_failure, note_lake_success
from punchcard.store.routing.positions import LAKE, forget_results, note_position, position_of, results_after

T = TypeVar("T")

_BATCHES_AT_ONCE = 200
_ROWS_AT_ONCE = 20_000
_READ_BYTES = 8_000_000
_READ_RECORDS = 4_000
_TRIM_RECORDS = 500
# A lake that works is waited for, so that a burst does not fill the memory; but awards do not wait for a slow one.
_PATIENCE_SECONDS = 2.0


class RoutedRows(Protocol):
    """What routing hands its rows to."""

    @property
    def known_through(self) -> int:
        """The log position through which the lake is complete, as far as it could be read."""

    def offer(self, rows: LakeRows, *, first_position: int, last_position: int) -> None:
        """Hand over the rows of a batch with committed results."""


class LakeFeed:
    """Collects routed rows and appends them to the lake: `offer` by routing, `flush` by a thread of its own.

    Args:
        rows_max: How many rows may wait in memory; the others are read from the log again.
    """

    def __init__(self, *, lake: LakeWriter, log: EventLog, store: Store, clock: Clock, rows_max: int) -> None:
        self._lake = lake
        self._log = log
        self._store = store
        self._clock = clock
        self._rows_max = rows_max
        # The first rows are written at once. Loading the libraries for that takes a quarter of a second of the
        # interpreter: better beside the first event than two seconds later, when more are pending.
        self._rows_awaited = 1
        self._telemetry = RoutingTelemetry()
        self._changed = threading.Condition()
        self._rows = LakeRows()
        self._first = 0
        self._last = 0
        self._behind = True
        self._missed = 0  # the last position offered while the feed was behind
        self._through = 0  # the lake's position as last known
        self._faults: dict[str, str] = {}  # by what has failed
        self._is_checked = False
        self._is_noted = False  # that all is well
        self._closed = False

    @property
    def is_behind(self) -> bool:
        """Whether rows that the lake lacks must be read from the log."""
        return self._behind

    @property
    def known_through(self) -> int:
        """The log position through which the lake is complete, as far as it could be read."""
        return self._through

    def offer(self, rows: LakeRows, *, first_position: int, last_position: int) -> None:
        """Hand over the rows of a batch with committed results; wait a moment while the lake is behind."""
        with self._changed:
            if last_position <= self._through:
                return
            if not self._behind and len(self._rows) >= self._rows_max:
                self._changed.wait_for(
                    lambda: len(self._rows) < self._rows_max or self._behind or self._closed, _PATIENCE_SECONDS
                )
                if len(self._rows) >= self._rows_max:
                    self._fall_behind()
            # A store that was put back from an older copy routes again what the lake holds: the log has the rest of it.
            if not self._behind and first_position <= self._through:
                self._fall_behind()
            if self._behind:
                self._missed = last_position
                if len(self._rows) + len(rows) > self._rows_max:
                    self._rows = LakeRows()  # the newest rows are kept, so that reading the log again comes to an end
            if len(self._rows) == 0:
                self._first = first_position
            self._rows.extend(rows)
            self._last = last_position
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Sleep until the buffer is full, the feed is closed, or the time is over; True if it is closed.

        The first time, sleep until there are any rows.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._rows) >= self._rows_awaited or self._closed, seconds)
            if self._rows:
                self._rows_awaited = self._rows_max
            return self._closed

    def close(self) -> None:
        """Release every waiting thread; what is not in the lake yet is appended at the next start."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def flush(self) -> int:
        """Append what the lake lacks, or some of it; returns how many rows.

        Raises:
            LakeError: the lake failed.
            StorageError: the store or the log failed; call again in either case.
        """
        try:
            count = self._append_missing() if self._behind else self._append_waiting()
        except LostRaceError as error:
            # Another process has appended, as it does while it leads: the next call sees what is left to do.
            with self._changed:
                self._fall_behind()
            self._telemetry.lake_moved_on(error=error.message)
            return 0
        except Exception as error:
            with self._changed:
                self._fall_behind()
            if isinstance(error, LakeError) or not isinstance(error, StorageError):
                self._note("append", getattr(error, "message", describe(error)))
            raise
        self._note("append", "")
        return count

    def check(self) -> None:
        """See that all of the lake is there and can be read, and say so where operators look.

        Raises:
            LakeError: it is not.
            StorageError: the store failed.
        """
        self._is_checked = True
        try:
            _use_lake(self._lake.check)
        except LakeError as error:
            self._note("files", error.message)
            raise
        self._note("files", "")

    def recover(self) -> list[str]:
        """Append all that the lake lacks; returns the `message_key`s of these events.

        Raises:
            StorageError: the lake, the store or the log failed; call again.
        """
        message_keys = [key for keys in self.waiting_message_keys() for key in keys]
        while self._behind:
            self.flush()
        return message_keys

    def waiting_message_keys(self) -> Iterator[list[str]]:
        """The `message_key`s of the events that were routed and may not be in the lake at the time of this call.

        Oldest first. Call this before the lake is read: another process may append meanwhile.

        Raises:
            StorageError: the store or the log failed.
        """
        with self._store.reading() as connection:
            position = position_of(connection, LAKE)
        return (rows.known_message_keys() for rows, _ in self._waiting_rows(position))

    def _waiting_rows(self, position: int) -> Iterator[tuple[LakeRows, int]]:
        """The rows of all that was routed behind a log position."""
        return self._rows_after(position)

    def _append_waiting(self) -> int:
        """Append the rows in memory in one commit."""
        with self._changed:
            rows, first, last = self._rows, self._first, self._last
            self._rows = LakeRows()
            self._changed.notify_all()
        if last <= self._through:
            return 0
        self._append(rows, first, last)
        return len(rows)

    def _append_missing(self) -> int:
        """Append the next rows that were routed and that the lake lacks; if there are none, memory is enough again."""
        position = _use_lake(self._lake.last_position)
        with self._changed:
            missed = self._missed
            self._through = position
            if len(self._rows) and self._first <= position:
                self._rows = LakeRows()  # the lake holds some of them
            kept_from = self._first if len(self._rows) else None
        with self._store.reading() as connection:
            noted = position_of(connection, LAKE)
        if position != noted:  # the lake is another one than before: it was deleted, say, or repaired
            with self._store.unit_of_work() as work:
                note_position(work, LAKE, position)
        for rows, last in self._rows_after(position, before=kept_from):
            self._append(rows, position + 1, last)
            self._log_missing(len(rows))
            return len(rows)
        with self._changed:
            # What is offered has been committed before: what came since the look into the store is seen by the next.
            if self._missed == missed if kept_from is None else len(self._rows) and self._first == kept_from:
                self._behind = False
            is_kept = not self._behind and len(self._rows) > 0
        return self._append_waiting() if is_kept else 0

    def _log_missing(self, rows: int) -> None:
        """Log that the lake lacked rows that had been routed."""
        self._telemetry.lake_recovered(rows=rows)

    def _append(self, rows: LakeRows, first: int, last: int) -> None:
        begun = self._clock.monotonic()
        after = self._through
        _use_lake(lambda: self._lake.append(rows, first_position=first, last_position=last, after=after))
        with self._changed:
            self._through = last
        self._telemetry.lake_appended(rows=len(rows), seconds=self._clock.monotonic() - begun)
        with self._store.unit_of_work() as work:
            note_position(work, LAKE, last)

    def _fall_behind(self) -> None:
        """Drop what waits in memory: the log and the store have it. With the lock held."""
        self._rows = LakeRows()
        self._missed = max(self._missed, self._last)
        self._behind = True
        self._changed.notify_all()

    def _note(self, what: str, fault: str) -> None:
        """Say where operators look whether the lake can be used: what has failed and how, "" if it did not."""
        before = dict(self._faults)
        self._faults.pop(what, None)
        if fault:
            self._faults[what] = fault
        if self._faults == before and (self._faults or not self._is_checked or self._is_noted):
            return
        with self._store.unit_of_work() as work:
            if self._faults:
                note_lake_failure(work, next(iter(self._faults.values())), now=self._clock.now())
            elif self._is_checked:
                note_lake_success(work)
                self._is_noted = True

    def tidy(self) -> None:
        """Merge small files of the lake, and delete those that were merged long ago. Cheap if there is nothing to do.

        Raises:
            StorageError: the lake failed; its table is whole.
        """
        _use_lake(self._lake.compact)
        _use_lake(self._lake.vacuum)

    def drop_old(self, *, days: int) -> int:
        """Forget what the lake holds of events received more than so many days ago; returns how many events.

        Raises:
            StorageError: nothing was dropped.
        """
        day = (self._clock.now() - timedelta(days=days)).date()
        dropped = _use_lake(lambda: self._lake.drop_before(day))
        if dropped:
            self._telemetry.lake_dropped(rows=dropped)
        return dropped

    def trim_log(self, *, older_than_micros: int) -> int:
        """Delete a portion of the oldest log records that the lake holds and that are old enough; returns how many.

        Their results go with them: until then, rows that the lake loses can be made again.
        """
        safe = _use_lake(self._lake.last_position)
        oldest = self._log.read(0, records_max=_TRIM_RECORDS, bytes_max=_READ_BYTES)
        old = [
            record.position for record in oldest if record.received_at < older_than_micros and record.position <= safe
        ]
        trimmed = self._log.trim(old[-1] if old else 0, records_max=_TRIM_RECORDS)  # even then: see `EventLog.trim`
        if not old:
            return 0
        with self._store.unit_of_work() as work:
            forget_results(work, old[-1])
        self._telemetry.log_trimmed(records=trimmed)
        return trimmed

    def _rows_after(self, position: int, *, before: int | None = None) -> Iterator[tuple[LakeRows, int]]:
        """The rows of what was routed behind a log position, in parts, each with the last position that it covers.

        Args:
            before: Where rows begin that are at hand; None if none are.
        """
        while True:
            with self._store.reading() as connection:
                batches = results_after(connection, position, batches_max=_BATCHES_AT_ONCE)
            if before is not None:
                batches = [batch for batch in batches if batch.records[-1].position < before]
            if not batches:
                return
            rows = LakeRows()
            for batch in batches:
                rows.extend(self._rows_again(batch, after=position))
                if len(rows) >= _ROWS_AT_ONCE:
                    break
            position = batch.records[-1].position
            yield rows, position

    def _rows_again(self, batch: ResultBatch, *, after: int) -> LakeRows:
        """The rows of a batch's records behind a log position, made from the log."""
        routed = {record.position: record for record in batch.records if record.position > after}
        records = self._read_again(batch, after=after)
        if len(records) < len(routed):
            # The log was lost. Its events cannot be shown any more; their effects are in the ledger and go on.
            self._telemetry.lake_records_lost(records=len(routed) - len(records))
        results = ResultBatch(batch.distinct, [routed[record.position] for record in records])
        items = [read_routed(record, routed[record.position]) for record in records]
        return lake_rows(results, items, [record.received_at for record in records])

    def _read_again(self, batch: ResultBatch, *, after: int) -> Sequence[LogRecord]:
        """The batch's records behind a log position, as far as the log still has them."""
        positions = {record.position for record in batch.records}
        last = batch.records[-1].position
        records: list[LogRecord] = []
        after = max(after, batch.records[0].position - 1)
        while after < last and (
            read_records := self._log.read(after, records_max=_READ_RECORDS, bytes_max=_READ_BYTES)
        ):
            records.extend(record for record in read_records if record.position <= last)
            after = read_records[-1].position
        if not positions.issuperset(record.position for record in records):
            raise InvariantError(f"the log up to {last} is not what was routed")
        return records


def _use_lake(use: Callable[[], T]) -> T:
    """What a use of the lake gives; whatever it raises is the lake's failure, and no defect stops routing."""
    try:
        return use()
    except StorageError:
        raise
    except Exception as error:  # damaged files make its libraries raise whatever they like
        raise LakeError(f"Punchcard failed on the lake: {describe(error)}") from error
