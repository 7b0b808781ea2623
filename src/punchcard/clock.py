"""Time and ids: the only non-determinism, handed in so that tests and the simulation decide it."""

import random
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What every part that needs time or chance is given."""

    def now(self) -> datetime:
        """The current instant, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean something."""

    def jitter(self) -> float:
        """A random factor in [0, 1), for spreading retries."""

    def new_id(self) -> str:
        """A fresh unique id (a UUID's text)."""


class SystemClock:
    """The machine's clock and random source."""

    def now(self) -> datetime:
        """The current instant, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()

    def jitter(self) -> float:
        """A random factor in [0, 1)."""
        return random.random()

    def new_id(self) -> str:
        """A random UUID's text."""
        return str(uuid.uuid4())


def to_micros(instant: datetime) -> int:
    """The instant as whole microseconds since 1970-01-01 UTC, the form in which stores keep time."""
    delta = instant - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def from_micros(micros: int) -> datetime:
    """The aware UTC instant of whole microseconds since 1970-01-01 UTC."""
    return EPOCH + timedelta(microseconds=micros)


def to_iso(instant: datetime) -> str:
    """The instant as Segment writes it: ISO-8601 in UTC with milliseconds and a Z."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
