"""An event as Punchcard handles it: the typed envelope, with `properties`, `traits` and `context` kept raw."""

from datetime import datetime
from enum import StrEnum
from typing import NewType

import msgspec

from punchcard.events.notes import Note

MessageId = NewType("MessageId", str)
WriteKey = NewType("WriteKey", str)

EMPTY_OBJECT = msgspec.Raw(b"{}")


class EventType(StrEnum):
    """The six calls of Segment's spec."""

    TRACK = "track"  # something a person did
    IDENTIFY = "identify"  # who a person is: traits
    PAGE = "page"  # a web page viewed
    SCREEN = "screen"  # an app screen viewed
    GROUP = "group"  # the account a person belongs to
    ALIAS = "alias"  # two ids of one person

    # The hash of an enumeration is computed in Python; this one is needed for every event.
    __hash__ = str.__hash__


# Neither struct can be part of a reference cycle, and many of them would keep the garbage collector busy.
class WireEvent(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    """An event as its sender wrote it. Raw members are the sender's JSON text, decoded only where needed."""

    type: str | None = None
    event: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    message_id: MessageId | None = None
    timestamp: msgspec.Raw = msgspec.Raw()
    original_timestamp: msgspec.Raw = msgspec.Raw()
    sent_at: msgspec.Raw = msgspec.Raw()
    group_id: str | None = None
    previous_id: str | None = None
    name: str | None = None
    category: str | None = None
    email: msgspec.Raw = msgspec.Raw()
    properties: msgspec.Raw = msgspec.Raw()
    traits: msgspec.Raw = msgspec.Raw()
    context: msgspec.Raw = msgspec.Raw()
    integrations: msgspec.Raw = msgspec.Raw()


class Event(msgspec.Struct, gc=False):
    """A valid, normalised event, ready for routing.

    Attributes:
        type: The event's type.
        message_id: The sender's id of the event; derived from its position in the log if the sender gave none.
        timestamp: Time of the event, corrected for the sender's clock (`receivedAt - (sentAt - originalTimestamp)`).
        received_at: Time at which the Tracking API received it.
        wire: The envelope as sent.
        raw: The complete JSON text of the event (with the `context` and `integrations` of the batch merged in, and
            converted as stated in `notes`).
        notes: Values that were converted to read the event.
    """

    type: EventType
    message_id: MessageId
    timestamp: datetime
    received_at: datetime
    wire: WireEvent
    raw: bytes
    notes: tuple[Note, ...] = ()


def message_key(source: str | None, message_id: str) -> str:
    """Return the key by which a received event is known: a message id is unique only within its source."""
    return f"{source or ''} {message_id}"  # a slug has no blanks, so no two pairs have the same text
