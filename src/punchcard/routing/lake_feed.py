"""Brings routed rows to the lake within seconds, exactly once, whatever stops in between.

The fates of a batch stand in the store from the moment it is routed until the lake's own commit names its log range.
After a crash the rows are made again from the log and those fates, by the same function as ever.
"""

import threading
from collections.abc import Sequence
from datetime import timedelta

from punchcard.clock import Clock
from punchcard.errors import InvariantError, StorageError
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter
from punchcard.log.port import EventLog, LogRecord
from punchcard.routing.batch import lake_rows, read_record
from punchcard.routing.telemetry import RoutingTelemetry
from punchcard.store.engine import Store
from punchcard.store.fates import FateBatch
from punchcard.store.positions import fates_after, forget_fates

_RECOVERY_BATCHES = 50
_READ_BYTES = 8_000_000
_READ_RECORDS = 4_000
_TRIM_RECORDS = 500


class LakeFeed:
    """Collects routed rows and appends them to the lake: `offer` by routing, `flush` by a thread of its own.

    Args:
        rows_max: How many rows may wait; routing waits when the lake is behind by more.
    """

    def __init__(self, *, lake: LakeWriter, log: EventLog, store: Store, clock: Clock, rows_max: int) -> None:
        self._lake = lake
        self._log = log
        self._store = store
        self._clock = clock
        self._rows_max = rows_max
        self._telemetry = RoutingTelemetry()
        self._changed = threading.Condition()
        self._rows = LakeRows()
        self._first = 0
        self._last = 0
        self._closed = False
        self._known_through = 0

    @property
    def known_through(self) -> int:
        """The log position through which the lake was complete after `recover`.

        Routing stands behind it only where the store was put back from an older copy: then it routes records that the
        lake holds already, and must not hand them over in one batch with others.
        """
        return self._known_through

    def offer(self, rows: LakeRows, *, first_position: int, last_position: int) -> None:
        """Hand over the rows of a routed batch; waits while the lake is too far behind."""
        if last_position <= self._known_through:
            return
        with self._changed:
            self._changed.wait_for(lambda: len(self._rows) < self._rows_max or self._closed)
            if len(self._rows) == 0:
                self._first = first_position
            self._rows.extend(rows)
            self._last = last_position
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Sleep until the buffer is full, the feed is closed, or the time is over; True if it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._rows) >= self._rows_max or self._closed, seconds)
            return self._closed

    def close(self) -> None:
        """Let everyone who waits go on; what is not in the lake yet is brought there at the next start."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def flush(self) -> int:
        """Append what waits in one commit of the lake; returns how many rows.

        Raises:
            StorageError: the lake or the store failed; the rows are kept for the next call.
        """
        with self._changed:
            rows, first, last = self._rows, self._first, self._last
            self._rows = LakeRows()
            self._changed.notify_all()
        if last <= self._lake.last_position():
            return 0
        begun = self._clock.monotonic()
        try:
            self._lake.append(rows, first_position=first, last_position=last)
        except StorageError:
            with self._changed:
                rows.extend(self._rows)
                self._rows, self._first = rows, first
            raise
        self._telemetry.lake_appended(rows=len(rows), seconds=self._clock.monotonic() - begun)
        with self._store.unit_of_work() as work:
            forget_fates(work, last)
        return len(rows)

    def recover(self) -> list[str]:
        """Bring to the lake what was routed before the last stop; returns the `message_key`s of these events.

        Raises:
            StorageError: the lake, the store or the log failed; call again.
        """
        recovered: list[str] = []
        while True:
            with self._store.reading() as connection:
                batches = fates_after(connection, self._lake.last_position(), batches_max=_RECOVERY_BATCHES)
            if not batches:
                break
            rows = LakeRows()
            for batch in batches:
                rows.extend(self._rows_again(batch))
            last = batches[-1].records[-1].position
            self._lake.append(rows, first_position=batches[0].records[0].position, last_position=last)
            recovered.extend(rows.known_message_keys())
        self._known_through = self._lake.last_position()
        with self._store.unit_of_work() as work:
            forget_fates(work, self._known_through)
        if recovered:
            self._telemetry.lake_recovered(rows=len(recovered))
        return recovered

    def tidy(self) -> None:
        """Merge small files of the lake, and delete those that were merged long ago. Cheap if there is nothing to do.

        Raises:
            StorageError: the lake failed; its table is whole.
        """
        self._lake.compact()
        self._lake.vacuum()

    def drop_old(self, *, days: int) -> int:
        """Forget what the lake holds of events received more than so many days ago; returns how many events.

        Raises:
            StorageError: nothing was dropped.
        """
        dropped = self._lake.drop_before((self._clock.now() - timedelta(days=days)).date())
        if dropped:
            self._telemetry.lake_dropped(rows=dropped)
        return dropped

    def trim_log(self, *, older_than_micros: int) -> int:
        """Forget some of the oldest log records that the lake holds and that are old enough; returns how many."""
        safe = self._lake.last_position()
        oldest = self._log.read(0, records_max=_TRIM_RECORDS, bytes_max=_READ_BYTES)
        old = [one.position for one in oldest if one.received_at < older_than_micros and one.position <= safe]
        if not old:
            return 0
        trimmed = self._log.trim(old[-1], records_max=_TRIM_RECORDS)
        self._telemetry.log_trimmed(records=trimmed)
        return trimmed

    def _rows_again(self, batch: FateBatch) -> LakeRows:
        records = self._read_again(batch)
        there = {one.position for one in records}
        if len(there) < len(batch.records):
            # The log was lost. Its events cannot be shown any more; their effects stand in the ledger and go on.
            self._telemetry.lake_records_lost(records=len(batch.records) - len(there))
            batch = FateBatch(batch.distinct, [one for one in batch.records if one.position in there])
        return lake_rows(batch, [read_record(one) for one in records], [one.received_at for one in records])

    def _read_again(self, batch: FateBatch) -> Sequence[LogRecord]:
        """The batch's records, as far as the log still has them."""
        wanted = {record.position for record in batch.records}
        last = batch.records[-1].position
        found: list[LogRecord] = []
        after = batch.records[0].position - 1
        while after < last and (some := self._log.read(after, records_max=_READ_RECORDS, bytes_max=_READ_BYTES)):
            found.extend(one for one in some if one.position <= last)
            after = some[-1].position
        if not wanted.issuperset(one.position for one in found):
            raise InvariantError(f"the log up to {last} is not what was routed")
        return found
