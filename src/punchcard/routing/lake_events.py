"""Read rows of the lake as events, as they were received."""

from datetime import datetime

from msgspec.structs import replace

from punchcard.events.faults import UNREADABLE
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.events.parse import read_request, with_text
from punchcard.lake.extraction import extract_email
from punchcard.lake.reader import LakeEvent


def read_lake_event(event: LakeEvent) -> Event | None:
    """Return the event of a row, with the id and the time that it got when received; None for an invalid event."""
    if event.timestamp is None or not event.type:
        return None
    return restore_event(
        type=event.type,
        message_id=event.message_id,
        received_at=event.received_at,
        timestamp=event.timestamp,
        position=event.log_position,
        raw=event.payload,
    )


def restore_event(
    *, type: str, message_id: str, received_at: datetime, timestamp: datetime, position: int, raw: bytes
) -> Event | None:
    """Return an event that was received before, None if this version cannot read it.

    Args:
        message_id: As it was given or derived then; so is the timestamp.
        position: Its record's place in the log.
    """
    (item,) = read_request(raw, call=type, received_at=received_at, position=position)
    wire = item.wire if isinstance(item, Event) else WireEvent()
    event = Event(EventType(type), MessageId(message_id), timestamp, received_at, wire, raw)
    if isinstance(item, Event):
        return event
    try:
        return with_text(event, raw)  # it was valid by the rules at that time
    except UNREADABLE:
        return None


def with_event(row: LakeEvent, event: Event) -> LakeEvent:
    """Return the row of an event that was rewritten since it was read from the row."""
    email = extract_email(event)
    return replace(
        row,
        event=event.wire.event,
        user_id=event.wire.user_id,
        anonymous_id=event.wire.anonymous_id,
        email=email,
        payload=event.raw,
        notes=(*row.notes, *(note.detail for note in event.notes)),
    )
