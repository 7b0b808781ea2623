"""Delay changes to a destination: a value that flips back, or one of very many changes.

The first new value is sent at once. A value that the destination had within the last minute waits until one minute
after the last change; if the change is reverted by then, nothing is sent. Any value also waits once there were
`CHANGES_PER_MINUTE_MAX` changes within a minute. A waiting value is compared again when it is due, so the last value
always arrives.
"""

import hashlib
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

import msgspec

from punchcard.clock import from_micros, to_micros
from punchcard.store.engage.engage_tables import NOBODY

DEBOUNCE: Final = timedelta(minutes=1)
CHANGES_PER_MINUTE_MAX: Final = 10
"""Changes of one computation for one profile that a destination gets within a minute; 10 is one every six seconds."""

_DIGEST_CHARACTERS: Final = 16


class SentChange(msgspec.Struct, frozen=True, array_like=True):
    """A change that was sent within the last minute.

    Attributes:
        at: Time of sending, microseconds since 1970.
        replaced: Digest of the value that the destination had before.
    """

    at: int
    replaced: str


_decoder = msgspec.json.Decoder(list[SentChange])


def delayed_until(value: str, changes: Collection[SentChange], now: datetime) -> datetime | None:
    """Return the time at which the change to a value may be sent; None for at once.

    Args:
        value: The new value, as JSON text.
        changes: The changes that were sent recently for the profile and computation.
    """
    recent = _recent(changes, now)
    if digest(value) in {change.replaced for change in recent}:
        return from_micros(max(change.at for change in recent)) + DEBOUNCE
    moments = sorted({change.at for change in recent})
    if len(moments) >= CHANGES_PER_MINUTE_MAX:
        return from_micros(moments[-CHANGES_PER_MINUTE_MAX]) + DEBOUNCE
    return None


def with_change(changes: Collection[SentChange], *, replaced: str, now: datetime) -> str:
    """Return the changes of the last minute plus one that is sent now, as JSON text."""
    newest = SentChange(to_micros(now), digest(replaced))
    return msgspec.json.encode([*_recent(changes, now)[-CHANGES_PER_MINUTE_MAX:], newest]).decode()


def read_changes(text: str) -> list[SentChange]:
    """Decode the changes that `with_change` encoded; "" for none."""
    return _decoder.decode(text) if text else []


def digest(value: str) -> str:
    """Return a short digest of a value (values have up to 32 KB); all values that mean "none" have the same one."""
    return hashlib.sha256(b"" if value in NOBODY else value.encode()).hexdigest()[:_DIGEST_CHARACTERS]


def _recent(changes: Collection[SentChange], now: datetime) -> list[SentChange]:
    # A change with a time in the future was sent before the clock was set back: nothing waits for it.
    end = to_micros(now)
    begin = to_micros(now - DEBOUNCE)
    return sorted((change for change in changes if begin < change.at <= end), key=lambda change: change.at)
