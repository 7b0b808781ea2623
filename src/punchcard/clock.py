"""Time and ids: the only non-determinism, injected so that tests and the simulation control it."""

import random
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """The time, ids and randomness of a component."""

    def now(self) -> datetime:
        """Return the current instant, aware, in UTC."""

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back; only differences are meaningful."""

    def jitter(self) -> float:
        """Return a random factor in [0, 1), for spreading retries."""

    def new_id(self) -> str:
        """Return a new unique id (the text of a UUID)."""


class SystemClock:
    """The machine's clock and random source."""

    def now(self) -> datetime:
        """Return the current instant, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""
        return time.monotonic()

    def jitter(self) -> float:
        """Return a random factor in [0, 1)."""
        return random.random()

    def new_id(self) -> str:
        """Return the text of a random UUID."""
        return str(uuid.uuid4())


def to_micros(instant: datetime) -> int:
    """Return the instant as whole microseconds since 1970-01-01 UTC, the form in which stores keep time."""
    delta = instant - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_micros(micros: int) -> datetime:
    """Return the aware UTC instant of whole microseconds since 1970-01-01 UTC."""
    return EPOCH + timedelta(microseconds=micros)


def to_iso(instant: datetime) -> str:
    """Return the instant in Segment's format: ISO-8601 in UTC with milliseconds and a Z."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
