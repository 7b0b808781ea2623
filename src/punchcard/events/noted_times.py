"""The times in an event's envelope, with notes about unusual ones."""

from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import msgspec

from punchcard.events.faults import UNREADABLE
from punchcard.events.notes import TIME_CONVERTED, TIME_NOT_BELIEVED, TIME_UNREADABLE, VALUE_ABSENT, Note
from punchcard.events.times import YEAR_MAX, YEAR_MIN, read_any_time

_text = msgspec.json.Decoder(str)
_number = msgspec.json.Decoder(Decimal)
_NULL: Final = b"null"
_SHOWN_CHARACTERS_MAX: Final = 60


def read_noted_time(raw: msgspec.Raw, name: str, notes: list[Note]) -> datetime | None:
    """Return the time of a member, None if it has none; add notes about what is unusual."""
    try:
        # Nearly every time has this form: ISO-8601 with a Z.
        text = _text.decode(raw)
        instant = datetime.fromisoformat(text)
    except (ValueError, *UNREADABLE):
        return _unusual_time(bytes(raw), name, notes)
    if YEAR_MIN <= instant.year <= YEAR_MAX:
        if instant.tzinfo is UTC:
            return instant
        if not text.isdigit():
            return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    return _unusual_time(bytes(raw), name, notes)


def future_time_note(timestamp: datetime) -> Note:
    """Return the note about a time in the future."""
    shown = f"{timestamp:%Y-%m-%d %H:%M} UTC"
    return Note(TIME_NOT_BELIEVED, f"timestamp {shown} is in the future; the time of receipt is used")


def _unusual_time(raw: bytes, name: str, notes: list[Note]) -> datetime | None:
    if raw == _NULL:
        return None
    value: object = None
    with suppress(*UNREADABLE):  # a list, an object, true
        value = _text.decode(raw) if raw.startswith(b'"') else _number.decode(raw)
    if isinstance(value, str) and not value.strip():
        notes.append(Note(VALUE_ABSENT, f"{name} was empty and counts as absent"))
        return None
    time = read_any_time(value)
    shown = raw.decode(errors="replace")
    shown = shown if len(shown) <= _SHOWN_CHARACTERS_MAX else shown[:_SHOWN_CHARACTERS_MAX] + "…"
    if time is None:
        instead = "the sender's clock is not corrected" if name.startswith("sentAt") else "the time of receipt is used"
        notes.append(Note(TIME_UNREADABLE, f"{name} cannot be read as a time: {shown}; {instead}"))
        return None
    if time.form is not None:
        notes.append(Note(TIME_CONVERTED, f"{name} {shown} was read as {time.form}: {time.instant.isoformat()}"))
    return time.instant
