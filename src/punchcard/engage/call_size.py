"""Fit a value into a call: a call has at most 32 KB, and a larger one would fail on ingest.

A list that is too long loses its last entries until the call fits. Any other value that is too large is not sent.
A value that cannot be read as JSON (a number outside every range, such as `1e999`) is not sent either.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from punchcard.events.faults import UNREADABLE

TOO_LARGE: Final = "too_large"
INVALID: Final = "invalid"
"""Why a value is not sent; its queue row waits until the value changes."""

_entries = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, kw_only=True)
class FittedValue:
    """The part of a value that is sent.

    Attributes:
        value: JSON text; None if it is not sent.
        entries_cut: Number of entries that were cut from the end of a list.
        refusal: `TOO_LARGE` or `INVALID` if it is not sent, else "".
    """

    value: str | None
    entries_cut: int = 0
    refusal: str = ""


def fit_value(value: str, *, room: int) -> FittedValue:
    """Return the value, or the part of a list, that fits into `room` bytes.

    Args:
        value: JSON text.
        room: Bytes that the call has left for the value; negative if there are none.
    """
    text = value.encode()
    try:
        msgspec.json.decode(text)
    except UNREADABLE:
        return FittedValue(value=None, refusal=INVALID)
    if len(text) <= room:
        return FittedValue(value=value)
    if not text.lstrip().startswith(b"["):
        return FittedValue(value=None, refusal=TOO_LARGE)
    entries = [bytes(entry) for entry in _entries.decode(text)]
    fitting = _entries_that_fit(entries, room=room)
    if not fitting:
        return FittedValue(value=None, refusal=TOO_LARGE)
    return FittedValue(value=f"[{b','.join(fitting).decode()}]", entries_cut=len(entries) - len(fitting))


def _entries_that_fit(entries: list[bytes], *, room: int) -> list[bytes]:
    size = len(b"[]") - len(b",")
    for number, entry in enumerate(entries):
        size += len(entry) + len(b",")
        if size > room:
            return entries[:number]
    return entries
