"""The rate limit of one destination: a token bucket that also obeys a partner's "slow down"."""

from punchcard.clock import Clock

_BURST_SECONDS = 0.1
_SLOWEST = 1 / 16
_RECOVERY_PER_SECOND = 0.05


class TokenBucket:
    """Grants requests at `per_second`; 0 means no limit. Not thread-safe: belongs to one event loop.

    After the partner answered "too many requests", nothing is granted until the time it named; then the rate starts
    from half and recovers by a twentieth of the full rate each second.
    """

    def __init__(self, per_second: float, clock: Clock) -> None:
        self._clock = clock
        self._per_second = per_second
        self._tokens = 1.0
        self._filled_at = clock.monotonic()
        self._closed_until = 0.0
        self._share = 1.0

    def set_rate(self, per_second: float) -> None:
        """Change the limit from now on."""
        if per_second != self._per_second:
            self._fill()
            self._per_second = per_second

    def available(self) -> int:
        """Return how many requests may start now."""
        self._fill()
        if self._clock.monotonic() < self._closed_until:
            return 0
        if self._is_unlimited():
            return 1_000_000
        return int(self._tokens)

    def take(self, count: int) -> None:
        """Use up tokens that `available` has shown."""
        self._tokens -= count

    def seconds_until_one(self) -> float:
        """Return how long until `available` shows at least one."""
        self._fill()
        closed = max(0.0, self._closed_until - self._clock.monotonic())
        if self._is_unlimited():
            return closed
        return max(closed, (1 - self._tokens) / self._rate(), 0.0)

    def slow_down(self, seconds: float) -> None:
        """The partner requires fewer requests: grant none for `seconds`, then fewer than before."""
        self._fill()
        now = self._clock.monotonic()
        if now >= self._closed_until:  # one answer of many at once is enough to halve the rate
            self._share = max(_SLOWEST, self._share / 2)
        self._closed_until = max(self._closed_until, now + seconds)

    def _is_unlimited(self) -> bool:
        return self._per_second <= 0

    def _rate(self) -> float:
        return self._per_second * self._share

    def _fill(self) -> None:
        now = self._clock.monotonic()
        # Nothing grows while it is closed: else a long wait would be followed by the full rate at once.
        elapsed = max(0.0, now - max(self._filled_at, self._closed_until))
        self._filled_at = now
        self._share = min(1.0, self._share + elapsed * _RECOVERY_PER_SECOND)
        if self._is_unlimited():
            self._tokens = 1.0
            return
        self._tokens = min(max(1.0, self._rate() * _BURST_SECONDS), self._tokens + elapsed * self._rate())
