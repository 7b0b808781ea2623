"""A clock that a test or the simulation controls."""

import random
import uuid
from datetime import UTC, datetime, timedelta


class ManualClock:
    """A deterministic clock: time stands still until advanced; ids and jitter follow the seed."""

    def __init__(self, start: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), seed: int = 0) -> None:
        self._now = start
        self._elapsed = 0.0
        self._random = random.Random(seed)

    def advance(self, seconds: float) -> None:
        """Advance the clock by `seconds`."""
        self._now += timedelta(seconds=seconds)
        self._elapsed += seconds

    def set_wall_clock(self, *, by: float) -> None:
        """Set the wall clock forward, or back for a negative number, by seconds; no time passes."""
        self._now += timedelta(seconds=by)

    def now(self) -> datetime:
        """Return the current instant of the clock."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds advanced since the clock was created."""
        return self._elapsed

    def jitter(self) -> float:
        """Return the next factor in [0, 1) of the seeded sequence."""
        return self._random.random()

    def new_id(self) -> str:
        """Return the next UUID of the seeded sequence."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))
