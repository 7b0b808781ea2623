"""Reads log records as events, whatever is in them: a record that cannot be read becomes failures, never an exception.

Every reader of the log comes through here: routing, what feeds the lake, traces, and the debugger.
"""

import re
import traceback
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from punchcard.clock import from_micros
from punchcard.errors import UnreadableRecordError
from punchcard.events.forwarded import FORWARDED
from punchcard.events.model import Event, EventType
from punchcard.events.parse import (
    BATCH,
    BATCH_EVENTS_MAX,
    EVENT_BYTES_MAX,
    MESSAGE_ID_LENGTH_MAX,
    IngestFailure,
    derived_id,
    open_request,
    read_events_at,
    read_request,
    with_text,
)
from punchcard.filters.change_sets import apply_stored
from punchcard.log.bodies import decompress, salvage
from punchcard.log.port import LogRecord
from punchcard.routing.replay_record import REPLAY, read_replay, restore_events
from punchcard.store.routing.event_results import RewrittenEvent, RoutedRecord

Item = Event | IngestFailure

UNREADABLE_RECORD: Final = UnreadableRecordError.code
INTERNAL_ERROR: Final = "internal_error"
QUARANTINED: Final = frozenset({UNREADABLE_RECORD, INTERNAL_ERROR})
"""Results with these reasons keep their record for an operator."""

_CALLS = frozenset({BATCH, *FORWARDED, *(event_type.value for event_type in EventType)})
# What a body that holds no JSON object reads as; one that came through the Tracking API never did.
_NO_OBJECT = frozenset({"empty_batch", "unreadable_json", "event_not_object"})
_MESSAGE_ID = re.compile(rb'"message_?Id"\s*:\s*"([^"\\]{1,%d})"' % MESSAGE_ID_LENGTH_MAX, re.IGNORECASE)


def read_record(record: LogRecord) -> Sequence[Item]:
    """The events of a record, the same every time it is read.

    Returns:
        At least one item, but for a record that holds nothing but forwarded deletions. Failures with a reason of
        `QUARANTINED` for a record that cannot be read.
    """
    try:
        if record.call == REPLAY:
            return restore_events(read_replay(record))
        body = decompress(record)
        if record.call not in _CALLS:
            raise UnreadableRecordError(f'The log record has the unknown call "{record.call[:40]}".')
        items = read_request(
            body,
            call=record.call,
            received_at=from_micros(record.received_at),
            position=record.position,
            ip=record.ip,
        )
        if len(items) == 1 and _holds_no_object(items[0], body):
            raise UnreadableRecordError("The body of the log record is not a JSON object.")
    except UnreadableRecordError as error:
        return _failures(record, UNREADABLE_RECORD, error.message)
    except Exception as error:  # noqa: BLE001  # whatever one record makes of our code, the others are read
        return _failures(record, INTERNAL_ERROR, f"Punchcard failed while it read the log record: {describe(error)}.")
    return items


def read_items_at(record: LogRecord, body: bytes, indices: Collection[int]) -> dict[int, Item]:
    """The events of a record at these indices, as far as it has them. Of a batch, no others are read.

    Args:
        body: The body of the record, decompressed.
    """
    if record.call == BATCH:
        try:
            return read_events_at(
                body,
                indices,
                received_at=from_micros(record.received_at),
                position=record.position,
                ip=record.ip,
            )
        except Exception:  # noqa: BLE001  # reading the whole record finds out what is wrong, and says so
            items = read_record(record)
    else:
        items = read_record(record)
    return {index: items[index] for index in indices if index < len(items)}


def read_items(record: LogRecord, count: int) -> Sequence[Item]:
    """The events of a record of which `count` results are kept, however many this version reads from it."""
    items = read_record(record)
    if len(items) == count:
        return items
    missing = [
        IngestFailure(INTERNAL_ERROR, "This event is not in its log record any more.", _id_at(record, index), b"")
        for index in range(len(items), count)
    ]
    return [*items[:count], *missing]


def read_routed(record: LogRecord, routed: RoutedRecord) -> Sequence[Item]:
    """The events of a record as they were routed: as the rules of their source left them then."""
    items = read_items(record, len(routed.results))
    if not routed.rewritten and not routed.transformed:
        return items
    routed_items = list(items)
    for index, change in _changes_by_index(routed).items():
        if index < len(routed_items):
            item = routed_items[index]
            if isinstance(item, Event):  # a placeholder for an erased event stays one
                routed_items[index] = change(item)
    return routed_items


def as_routed(event: Event, index: int, routed: RoutedRecord) -> Event:
    """Return an event of a record as the rules of its source left it when it was routed.

    Args:
        event: As received.
        index: Its index in the record.
    """
    change = _changes_by_index(routed).get(index)
    return event if change is None else change(event)


def _changes_by_index(routed: RoutedRecord) -> dict[int, Callable[[Event], Event]]:
    changes: dict[int, Callable[[Event], Event]] = {
        rewritten.index: partial(_rewrite, rewritten=rewritten) for rewritten in routed.rewritten
    }
    for same in routed.transformed:
        changes |= dict.fromkeys(same.indices, partial(apply_stored, stored=same.changes))
    return changes


def _rewrite(event: Event, rewritten: RewrittenEvent) -> Event:
    return with_text(event, rewritten.text or event.raw, rewritten.notes)


def internal_failure(item: Item, detail: str) -> IngestFailure:
    """Return the item that replaces an event on which Punchcard fails."""
    return IngestFailure("internal_error", detail, item.message_id, item.raw)


def describe(error: Exception) -> str:
    """The error with the place in the code that raised it: enough to find the defect, too little to flood a log."""
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    place = f" in {Path(frames[0].filename).name}:{frames[0].lineno}" if frames else ""
    return f"{error!a:.300}{place}"


def _holds_no_object(item: Item, body: bytes) -> bool:
    return isinstance(item, IngestFailure) and item.reason in _NO_OBJECT and open_request(body) is None


def _failures(record: LogRecord, reason: str, detail: str) -> list[IngestFailure]:
    """A failure for each message id that can still be made out, so that it is found; else one for the record."""
    text = salvage(record)
    known_ids = dict.fromkeys(match[1].decode(errors="replace") for match in _MESSAGE_ID.finditer(text))
    message_ids = list(known_ids)[:BATCH_EVENTS_MAX] or [_id_at(record, 0)]
    shown = [text[:EVENT_BYTES_MAX], *[b""] * (len(message_ids) - 1)]
    return [IngestFailure(reason, detail, message_id, raw) for message_id, raw in zip(message_ids, shown, strict=True)]


def _id_at(record: LogRecord, index: int) -> str:
    return derived_id(from_micros(record.received_at), record.position, index)
