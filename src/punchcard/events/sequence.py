"""The position of an event in the log as one number."""

from typing import Final

EVENTS_PER_RECORD_MAX: Final = 1 << 20
"""More than a log record can hold: it has at most 500 KB, and an event at least the two bytes of `{}`."""


def seq_of(position: int, index: int) -> int:
    """Return the position of an event in the log as one number: it rises with the log and is unique."""
    return position * EVENTS_PER_RECORD_MAX + index
