"""Notes about values that were converted to read an event: shown in its trace, counted per source."""

from collections.abc import Sequence
from typing import Final

import msgspec

NOTES_MAX: Final = 20  # per event: an event of 32 KB may hold thousands of values to convert
_encoder = msgspec.json.Encoder()


class Note(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A conversion: a stable code, and a sentence."""

    reason: str
    detail: str


VALUE_CONVERTED: Final = "value_converted"
"""The value has another JSON type than the spec, and no information is lost: a number as `userId`, `[]`."""

VALUE_ABSENT: Final = "value_absent"
"""An empty value counts as absent."""

JSON_REPAIRED: Final = "json_repaired"
"""Text that JSON does not allow was replaced: half a character, a control character, nesting beyond the limit."""

VALUE_NOT_FINITE: Final = "value_not_finite"
"""NaN or Infinity, which JSON does not have, is read as null."""

TIME_CONVERTED: Final = "time_converted"
"""A time in another form than ISO-8601."""

TIME_UNREADABLE: Final = "time_unreadable"
"""A time that cannot be read: the time of receipt is used, or the sender's clock is not corrected."""

TIME_NOT_BELIEVED: Final = "time_not_believed"
"""A time in the future by more than a day: the time of receipt is used."""

REFUSED_IN_STRICT_MODE: Final = frozenset({VALUE_NOT_FINITE, TIME_UNREADABLE, TIME_NOT_BELIEVED})
"""The sender's value is lost with these conversions, so strict mode refuses the event."""


def limited(notes: Sequence[Note]) -> tuple[Note, ...]:
    """Return the first notes, with one that states the number of the others."""
    if len(notes) <= NOTES_MAX:
        return tuple(notes)
    more = notes[NOTES_MAX - 1 :]
    return (*notes[: NOTES_MAX - 1], Note(more[0].reason, f"{len(more):,} more values were converted"))


def to_json(notes: Sequence[Note]) -> str | None:
    """Return the sentences as a JSON list for the lake; None if there are none."""
    return _encoder.encode([note.detail for note in notes]).decode() if notes else None
