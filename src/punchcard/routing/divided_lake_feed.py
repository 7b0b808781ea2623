"""Brings the rows of a divided log to the lake, in the order of the log whichever partition they are of.

One process feeds the lake, as with one partition, and all that reads the lake finds it complete up to one position. It
makes the rows from the log and the results in the store, up to the position that all partitions have reached: a
partition that nobody routes holds up the lake, and no award.
"""

from collections.abc import Iterator
from typing import Final

from punchcard.lake.schema import LakeRows
from punchcard.routing.batch import lake_rows
from punchcard.routing.lake_feed import LakeFeed
from punchcard.routing.records import read_routed
from punchcard.routing.routed_log import read_routed_log
from punchcard.store.routing.positions import ROUTING, furthest_position, position_of

_ROWS_AT_ONCE: Final = 20_000


class DividedLakeFeed(LakeFeed):
    """A LakeFeed that reads everything from log and store: nothing is offered to it."""

    _has_more = False

    @property
    def is_behind(self) -> bool:
        """Whether more rows are there than the last flush has appended."""
        return self._has_more

    def flush(self) -> int:
        """Append the next rows that all partitions have routed; return how many."""
        self._has_more = False
        with self._changed:
            self._behind = True
        rows = super().flush()
        self._has_more = rows >= _ROWS_AT_ONCE
        return rows

    def _log_missing(self, rows: int) -> None:
        """Log nothing: every row is read from the log here."""

    def _waiting_rows(self, position: int) -> Iterator[tuple[LakeRows, int]]:
        """The rows of all that any partition has routed behind a log position."""
        with self._store.reading() as work:
            through = furthest_position(work, ROUTING)
        yield from self._rows_between(position, through)

    def _rows_after(self, position: int, *, before: int | None = None) -> Iterator[tuple[LakeRows, int]]:
        with self._store.reading() as work:
            through = position_of(work, ROUTING)
        return self._rows_between(position, through)

    def _rows_between(self, position: int, through: int) -> Iterator[tuple[LakeRows, int]]:
        rows = LakeRows()
        end = position
        for results, records, end, lost in read_routed_log(self._log, self._store, after=position, through=through):
            if lost:
                self._telemetry.lake_records_lost(records=lost)
            items = [read_routed(record, routed) for record, routed in zip(records, results.records, strict=True)]
            rows.extend(lake_rows(results, items, [record.received_at for record in records]))
            if len(rows) >= _ROWS_AT_ONCE:
                yield rows, end
                position, rows = end, LakeRows()
        if end > position:
            yield rows, end
