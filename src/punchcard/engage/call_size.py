"""Whether a value fits into a call: a call has at most 32 KB, and a larger one would fail on ingest.

A list that is too long loses its last entries until the call fits. Any other value that is too large is not sent, and
neither is one that cannot be read as JSON (a number beyond every range, such as `1e999`).
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from punchcard.events.faults import UNREADABLE

TOO_LARGE: Final = "too_large"
INVALID: Final = "invalid"
"""Why a value is not sent: what its row in the queue waits for to change."""

_entries = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, kw_only=True)
class FittedValue:
    """What of a value is sent.

    Attributes:
        value: JSON text; None if it is not sent.
        entries_cut: How many entries its list has lost.
        refusal: `TOO_LARGE` or `INVALID` if it is not sent, else "".
    """

    value: str | None
    entries_cut: int = 0
    refusal: str = ""


def fit_value(value: str, *, room: int) -> FittedValue:
    """The value, or the part of it, that fits into so many bytes.

    Args:
        value: JSON text.
        room: Bytes that the call has left for it, below 0 if it has none.
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
    kept = _entries_that_fit(entries, room=room)
    if not kept:
        return FittedValue(value=None, refusal=TOO_LARGE)
    return FittedValue(value=f"[{b','.join(kept).decode()}]", entries_cut=len(entries) - len(kept))


def _entries_that_fit(entries: list[bytes], *, room: int) -> list[bytes]:
    size = len(b"[]") - len(b",")
    for number, entry in enumerate(entries):
        size += len(entry) + len(b",")
        if size > room:
            return entries[:number]
    return entries
