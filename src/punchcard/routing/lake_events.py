"""Reads rows of the lake as events again, as they were received."""

from punchcard.events.faults import UNREADABLE
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.events.parse import read_request, rewritten
from punchcard.lake.reader import LakeEvent


def read_lake_event(event: LakeEvent) -> Event | None:
    """Return the event of a row, with the id and the time that it was given when received; None for no valid event."""
    if event.timestamp is None or not event.type:
        return None
    (item,) = read_request(event.payload, call=event.type, received_at=event.received_at, position=event.log_position)
    wire = item.wire if isinstance(item, Event) else WireEvent()
    read = Event(
        EventType(event.type), MessageId(event.message_id), event.timestamp, event.received_at, wire, event.payload
    )
    if isinstance(item, Event):
        return read
    try:
        return rewritten(read, event.payload)  # it was valid by the rules of then
    except UNREADABLE:
        return None
