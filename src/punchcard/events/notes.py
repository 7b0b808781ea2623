"""What was converted so that an event could be read: shown on its trace, counted per source."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

NOTES_MAX: Final = 20  # per event: an event of 32 KB may hold thousands of values to convert
_encoder = msgspec.json.Encoder()


class Note(NamedTuple):
    """One conversion: a stable code, and a sentence for a person."""

    reason: str
    detail: str


VALUE_CONVERTED: Final = "value_converted"
"""The value has another JSON type than the spec says, and nothing of it is lost: a number as `userId`, `[]`."""

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
"""What the sender wrote is lost with these conversions, so strict mode refuses the event."""


def limited(notes: Sequence[Note]) -> tuple[Note, ...]:
    """The first few of the notes, with one that says how many more there were."""
    if len(notes) <= NOTES_MAX:
        return tuple(notes)
    more = notes[NOTES_MAX - 1 :]
    return (*notes[: NOTES_MAX - 1], Note(more[0].reason, f"{len(more):,} more values were converted"))


def to_json(notes: Sequence[Note]) -> str | None:
    """The sentences as the JSON list that the lake keeps; None if there are none."""
    return _encoder.encode([note.detail for note in notes]).decode() if notes else None
