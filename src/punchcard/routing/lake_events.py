"""Read rows of the lake as events, as they were received."""

from punchcard.events.faults import UNREADABLE
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.events.parse import read_request, with_text
from punchcard.lake.reader import LakeEvent


def read_lake_event(event: LakeEvent) -> Event | None:
    """Return the event of a row, with the id and the time that it got when received; None for an invalid event."""
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
        return with_text(read, event.payload)  # it was valid by the rules at that time
    except UNREADABLE:
        return None
