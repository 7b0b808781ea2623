"""What one record or event makes of routing stays with that one: which it is, and what of it is kept.

A step that fails as a whole is taken again in halves, until the record that makes it fail is alone; of that record the
events are tried one by one in a unit of work that is undone. Only a fault that follows one record or event through this
is theirs. It ends as `failed_on_ingest` (or `refused`, if it fails at one destination), and is kept as it was received.

Three things keep an outage from emptying the log into the quarantine. A storage fault (`StorageError`) is never a
record's fault. A quarantine is written by the same unit of work as everything else, so a store that takes nothing takes
no quarantine either. And a run of more than `FAILURES_IN_A_ROW_MAX` events on which Punchcard fails, with not one that
it can process among all that waits, is taken for a defect or outage of Punchcard: routing waits and tries again.
What is damaged in the log itself (`unreadable_record`) does not count for this: the bytes prove it.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from punchcard.clock import from_micros
from punchcard.errors import StorageError
from punchcard.routing.batch import Batch, is_quarantined
from punchcard.routing.records import INTERNAL_ERROR, QUARANTINED, UNREADABLE_RECORD
from punchcard.store.routing.event_results import EventResult, EventStatus
from punchcard.store.routing.quarantine import QuarantinedRecord

FAILURES_IN_A_ROW_MAX = 100


class RoutingHaltedError(StorageError):
    """Punchcard fails on every event: nothing is quarantined, and routing tries again."""

    code = "routing_halted"


class FailureRun:
    """Counts the events on which Punchcard has failed since it last processed one."""

    def __init__(self) -> None:
        self._length = 0

    def check(self, batch: Batch, *, something_passes: Callable[[], bool]) -> None:
        """See that what fails in a batch may be quarantined.

        Args:
            something_passes: Whether any record that waits behind the batch can be processed.

        Raises:
            RoutingHaltedError: it may not: all seems to fail.
        """
        if _any_passed(batch):  # which the first event shows nearly always
            return
        failed = _failures_of_ours(batch)
        if failed and self._length + failed > FAILURES_IN_A_ROW_MAX:
            if not something_passes():
                raise RoutingHaltedError(
                    f"Punchcard has failed on more than {FAILURES_IN_A_ROW_MAX} events in a row and processed none. "
                    "This is not taken for a fault of the events: routing tries again until one can be processed"
                )
            self._length = 0

    def add(self, batch: Batch) -> None:
        """Count what was committed."""
        self._length = 0 if _any_passed(batch) else self._length + _failures_of_ours(batch)


def records_to_keep(batch: Batch, *, now: datetime) -> list[QuarantinedRecord]:
    """What is kept of a batch's quarantined records and events."""
    quarantined: list[QuarantinedRecord] = []
    for number, results in enumerate(batch.results):
        for index, event_results in enumerate(results):
            if is_quarantined(event_results):
                result = next(event_result for event_result in event_results if event_result.reason in QUARANTINED)
                quarantined.append(_quarantined(batch, number, index, result, now))
                if result.reason == UNREADABLE_RECORD:
                    break  # the whole record is kept with its first event
    return quarantined


def _quarantined(batch: Batch, number: int, index: int, result: EventResult, now: datetime) -> QuarantinedRecord:
    record, item = batch.records[number], batch.items[number][index]
    is_whole = result.reason == UNREADABLE_RECORD
    return QuarantinedRecord(
        position=record.position,
        event_index=None if is_whole else index,
        message_id=item.message_id,
        received_at=from_micros(record.received_at),
        quarantined_at=now,
        source=batch.sources[number],
        destination=result.destination,
        reason=result.reason or "",
        detail=result.detail or "",
        write_key=record.write_key,
        call=record.call,
        encoding=record.encoding if is_whole else "identity",
        ip=record.ip,
        body=record.body if is_whole else bytes(item.raw),
    )


def _failures_of_ours(batch: Batch) -> int:
    return sum(_failed_before_destinations(results) for record in batch.results for results in record)


def _failed_before_destinations(results: Sequence[EventResult]) -> bool:
    return any(result.reason == INTERNAL_ERROR and result.destination is None for result in results)


def _any_passed(batch: Batch) -> bool:
    return any(not _failed_on_ingest(results) for record in batch.results for results in record)


def _failed_on_ingest(results: Sequence[EventResult]) -> bool:
    return any(result.status is EventStatus.FAILED_ON_INGEST for result in results)
