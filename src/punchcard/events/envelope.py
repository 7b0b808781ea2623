"""Convert members of an event that have another JSON type than the spec. The slow path: valid events skip it.

Libraries of dynamic languages send a number as `userId`, and PHP sends an empty array instead of an empty object.
Segment's own libraries convert ids to text before they send; other events are read as if they had.
"""

from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from punchcard.events.faults import UNREADABLE
from punchcard.events.notes import VALUE_ABSENT, VALUE_CONVERTED, Note
from punchcard.events.repair import decode_repaired

_IDS: Final = ("userId", "anonymousId", "groupId", "previousId", "messageId")
_OBJECTS: Final = ("properties", "traits", "context", "integrations")
_ID_CHARACTERS_MAX: Final = 100
_NUMBER_STARTS: Final = b"-0123456789"
_EXPONENT_MAX: Final = 100
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
_number = msgspec.json.Decoder(Decimal)
_encoder = msgspec.json.Encoder()
_EMPTY_OBJECT: Final = msgspec.Raw(b"{}")


class Normalized(NamedTuple):
    """An event after its conversions: its text, and notes about them."""

    text: bytes
    notes: list[Note]


def normalize(text: bytes) -> Normalized | None:
    """Return the event's text with members of the types of the spec; None if there is nothing to convert."""
    try:
        members, reading = decode_repaired(_object.decode, text, has_batch=False)
    except UNREADABLE:
        return None
    notes = [*reading.notes.get(None, ()), *_convert(members)]
    return Normalized(_encoder.encode(members), notes) if notes else None


def is_empty_list(raw: bytes | memoryview | msgspec.Raw) -> bool:
    """Return whether the text is `[]`, which is how PHP writes an empty object."""
    text = bytes(raw)
    return text.startswith(b"[") and not text[1:-1].strip()


def empty_list_note(name: str) -> Note:
    """Return the note that an empty list is read as an empty object."""
    return Note(VALUE_CONVERTED, f"{name} was an empty list and is read as an empty object")


def _convert(members: dict[str, msgspec.Raw]) -> list[Note]:
    """Convert the members in place; return notes about the conversions."""
    notes: list[Note] = []
    for name in _IDS:
        text = _number_text(members[name]) if name in members else None
        if text is not None:
            members[name] = msgspec.Raw(_encoder.encode(text))
            notes.append(Note(VALUE_CONVERTED, f'{name} was a number and is read as the text "{text}"'))
    for name in _OBJECTS:
        if name in members and is_empty_list(members[name]):
            members[name] = _EMPTY_OBJECT
            notes.append(empty_list_note(name))
    if _is_blank(members.get("messageId")):
        notes.append(_drop(members, "messageId"))
    for name, other in (("userId", "anonymousId"), ("anonymousId", "userId")):
        if _is_blank(members.get(name)) and _is_text(members.get(other)):
            notes.append(_drop(members, name))
    return notes


def _drop(members: dict[str, msgspec.Raw], name: str) -> Note:
    del members[name]
    return Note(VALUE_ABSENT, f"{name} was empty and counts as absent")


def _number_text(raw: msgspec.Raw) -> str | None:
    """Return a number as text, digit by digit: 1.0 is "1"; None if it is not a number, or extremely long."""
    if bytes(raw)[:1] not in [bytes([start]) for start in _NUMBER_STARTS]:
        return None
    try:
        number = _number.decode(raw)
    except UNREADABLE:
        return None
    if not number.is_finite() or not -_EXPONENT_MAX < number.adjusted() < _EXPONENT_MAX:
        return None
    text = f"{number:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    text = "0" if text == "-0" else text
    return text if len(text) <= _ID_CHARACTERS_MAX else None


def _is_blank(raw: msgspec.Raw | None) -> bool:
    text = _text_of(raw)
    return text is not None and not text.strip()


def _is_text(raw: msgspec.Raw | None) -> bool:
    text = _text_of(raw)
    return text is not None and bool(text.strip())


def _text_of(raw: msgspec.Raw | None) -> str | None:
    if raw is None or not bytes(raw).startswith(b'"'):
        return None
    try:
        return _text.decode(raw)
    except UNREADABLE:
        return None
