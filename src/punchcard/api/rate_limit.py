"""How many requests a second a caller gets answered."""

from punchcard.clock import Clock


class RateLimit:
    """Lets so many requests a second through, and as many at once after a quiet second. Of one thread alone."""

    def __init__(self, per_second: int, *, clock: Clock) -> None:
        self._seconds = 1.0 / per_second
        self._clock = clock
        self._full_until = 0.0  # when all that was let through would have come, one after the other

    def take(self) -> bool:
        """True if one more may go through now."""
        now = self._clock.monotonic()
        if self._full_until - now > 1.0 - self._seconds / 2:  # the half evens out how floats add up
            return False
        self._full_until = max(self._full_until, now) + self._seconds
        return True
