"""Results in the order of the log, whichever partition they are of, read again from the store with their records."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from punchcard.errors import InvariantError
from punchcard.log.port import EventLog, LogRecord
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import EventResult, ResultBatch, RoutedRecord
from punchcard.store.routing.positions import results_between

_READ_RECORDS: Final = 2_000
_READ_BYTES: Final = 8_000_000
_POSITIONS_MAX: Final = 100_000  # in one part: where the log has lost its records, there are results without end


def read_routed_log(
    log: EventLog, store: Store, *, after: int, through: int
) -> Iterator[tuple[ResultBatch, Sequence[LogRecord], int, int]]:
    """Yield what was routed after a position, whichever partition it is of, in parts that follow each other.

    Args:
        after: The position before the first record.
        through: The last position.

    Yields:
        The results, the records in the same order, the last position that the part covers, and the number of records
        that were routed and that the log has lost.

    Raises:
        StorageError: The log or the store is not available.
    """
    while after < through:
        read_records = log.read(after, records_max=_READ_RECORDS, bytes_max=_READ_BYTES)
        limit = min(through, after + _POSITIONS_MAX)
        records = [record for record in read_records if record.position <= limit]
        # A part that the log has limited ends with its last record. Otherwise nothing else is there.
        end = records[-1].position if records and records[-1] is read_records[-1] else limit
        with store.reading() as work:
            batches = results_between(work, after + 1, end)
        results, lost = _merge(batches, records, first=after + 1, last=end)
        routed = {record.position for record in results.records}
        yield results, [record for record in records if record.position in routed], end, lost
        after = end


def _merge(
    batches: Sequence[ResultBatch], records: Sequence[LogRecord], *, first: int, last: int
) -> tuple[ResultBatch, int]:
    """Return the results of records as one batch, and how many of the results have no record."""
    distinct: list[tuple[EventResult, ...]] = []
    by_position: dict[int, RoutedRecord] = {}
    for batch in batches:
        offset = len(distinct)
        distinct += batch.distinct
        for record in batch.records:
            if not first <= record.position <= last:
                continue
            if record.position in by_position:
                raise InvariantError(f"log record {record.position} was routed twice")
            results = [number + offset for number in record.results] if offset else record.results
            by_position[record.position] = msgspec.structs.replace(record, results=results)
    merged = [by_position.pop(record.position) for record in records if record.position in by_position]
    return ResultBatch(distinct, merged), len(by_position)
