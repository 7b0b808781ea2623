"""When a change waits before a destination gets it: a value that goes back, or one of very many changes.

The first new value goes at once. A value that the destination had within the last minute waits until a minute after the
last change: if it is taken back by then, nothing is sent. So does any value once there were
`CHANGES_PER_MINUTE_MAX` changes within a minute. What waits is compared again when its time comes, so the last value
always arrives.
"""

import hashlib
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

import msgspec

from punchcard.clock import from_micros, to_micros
from punchcard.store.engage_tables import NOBODY

DEBOUNCE: Final = timedelta(minutes=1)
CHANGES_PER_MINUTE_MAX: Final = 10
"""Changes of one computation for one profile that a destination gets within a minute; 10 is one every six seconds."""

_DIGEST_CHARACTERS: Final = 16


class SentChange(msgspec.Struct, frozen=True, array_like=True):
    """A change that was sent within the last minute.

    Attributes:
        at: When, microseconds since 1970.
        replaced: Digest of the value that the destination had before.
    """

    at: int
    replaced: str


_decoder = msgspec.json.Decoder(list[SentChange])


def delayed_until(value: str, changes: Collection[SentChange], now: datetime) -> datetime | None:
    """When the change to a value may be sent; None for at once.

    Args:
        wanted: The value, as JSON text.
        changes: All that were sent of the profile and computation lately.
    """
    recent = _recent(changes, now)
    if digest(value) in {change.replaced for change in recent}:
        return from_micros(max(change.at for change in recent)) + DEBOUNCE
    moments = sorted({change.at for change in recent})
    if len(moments) >= CHANGES_PER_MINUTE_MAX:
        return from_micros(moments[-CHANGES_PER_MINUTE_MAX]) + DEBOUNCE
    return None


def with_change(changes: Collection[SentChange], *, replaced: str, now: datetime) -> str:
    """The changes of the last minute with one that is sent now, as JSON text."""
    newest = SentChange(to_micros(now), digest(replaced))
    return msgspec.json.encode([*_recent(changes, now)[-CHANGES_PER_MINUTE_MAX:], newest]).decode()


def read_changes(text: str) -> list[SentChange]:
    """The changes that `with_change` wrote; "" for none."""
    return _decoder.decode(text) if text else []


def digest(value: str) -> str:
    """A short text that stands for a value: values have up to 32 KB. All ways of having none are one."""
    return hashlib.sha256(b"" if value in NOBODY else value.encode()).hexdigest()[:_DIGEST_CHARACTERS]


def _recent(changes: Collection[SentChange], now: datetime) -> list[SentChange]:
    # A change dated after now was sent before the clock was set back: nothing waits for that.
    end = to_micros(now)
    begin = to_micros(now - DEBOUNCE)
    return sorted((change for change in changes if begin < change.at <= end), key=lambda change: change.at)
