"""Events that may be about a person who is deleted, or asks for what is stored."""

from dataclasses import dataclass
from typing import Final

import msgspec

from punchcard.events.faults import UNREADABLE
from punchcard.events.model import WireEvent
from punchcard.lake.lake_event import LakeEvent
from punchcard.profiles.erasure import ErasedIds

Place = tuple[int, int]
"""Log position and index of an event."""

_alias: Final = msgspec.json.Decoder(WireEvent)


@dataclass(frozen=True, kw_only=True)
class SubjectEvent:
    """An event of the lake that may be about a subject.

    Attributes:
        text: The text as received of an item that is not a valid event, else None.
        previous_id: Of an alias call, else None.
    """

    path: str
    place: Place
    source: str
    message_id: str
    user_id: str | None
    anonymous_id: str | None
    email: str | None
    text: bytes | None
    previous_id: str | None = None

    def is_of(self, ids: ErasedIds) -> bool:
        """Return whether it is about a subject."""
        if self.text is not None:
            return ids.mentions(self.text.decode(errors="replace"))
        return ids.has_former_id(self.previous_id) or ids.owns(
            user_id=self.user_id, anonymous_id=self.anonymous_id, email=self.email
        )

    def may_be_of(self, ids: ErasedIds) -> bool:
        """Return whether it has an id of a subject, or may name one because it is not a valid event."""
        return (
            self.text is not None
            or self.user_id in ids.user_ids
            or self.anonymous_id in ids.anonymous_ids
            or self.email in ids.emails
            or ids.has_former_id(self.previous_id)
        )


def subject_event(event: LakeEvent) -> SubjectEvent:
    """Return what decides whom an event is about."""
    return SubjectEvent(
        path="",
        place=(event.log_position, event.event_index),
        source=event.source or "",
        message_id=event.message_id,
        user_id=event.user_id,
        anonymous_id=event.anonymous_id,
        email=event.email,
        text=None if event.type else event.payload,
        previous_id=previous_id_in(event.payload) if event.type == "alias" else None,
    )


def previous_id_in(text: bytes) -> str | None:
    """Return the previous id of an alias call."""
    try:
        return _alias.decode(text).previous_id
    except UNREADABLE:  # an earlier version may have read it
        return None
