"""Rate limiting of requests."""

from punchcard.clock import Clock


class RateLimit:
    """Limits requests per second, with bursts of the same size after a second without requests. Not thread-safe."""

    def __init__(self, per_second: int, *, clock: Clock) -> None:
        self._seconds = 1.0 / per_second
        self._clock = clock
        self._full_until = 0.0  # time at which the admitted requests would be spread evenly

    def acquire(self) -> bool:
        """Return True and count the request if it is within the limit."""
        now = self._clock.monotonic()
        if self._full_until - now > 1.0 - self._seconds / 2:  # the half tolerates rounding errors of floats
            return False
        self._full_until = max(self._full_until, now) + self._seconds
        return True
