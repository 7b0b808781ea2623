"""Permits for requests to a partner from the part of the rate limit that deliveries do not use.

A destination has one rate limit. Its deliveries take what they can use; what is left in a cycle is granted
to the requests that wait here. While awards use the whole limit, no other request gets a permit.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from punchcard.clock import Clock
from punchcard.delivery.limit import TokenBucket


class RequestPermits(Protocol):
    """Permits for single requests to a partner."""

    @property
    def is_open(self) -> bool:
        """False while another process delivers, so no request may be made here."""

    async def acquire(self) -> None:
        """Wait until one request may be made."""

    def slow_down(self, seconds: float) -> None:
        """Grant no permit for this time, because the partner asked for fewer requests."""


class SparePermits:
    """The permits of the process that delivers. Belongs to its event loop."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._slow_down_seconds: float | None = None
        self._wake: Callable[[], None] = lambda: None
        self.is_open = False

    def on_request(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever a request begins to wait."""
        self._wake = wake

    async def acquire(self) -> None:
        """Wait until deliveries leave room for one request."""
        permit: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(permit)
        self._wake()
        try:
            await permit
        finally:
            if not permit.done() or permit.cancelled():
                self._waiting = deque(
                    waiting_permit for waiting_permit in self._waiting if waiting_permit is not permit
                )

    def slow_down(self, seconds: float) -> None:
        """Slow deliveries down as well, from the next `grant` on."""
        self._slow_down_seconds = max(seconds, self._slow_down_seconds or 0.0)

    def grant(self, bucket: TokenBucket, *, at_most: int) -> None:
        """Grant as many permits as the bucket has tokens for.

        Args:
            at_most: What deliveries were offered and did not take.
        """
        if self._slow_down_seconds is not None:
            bucket.slow_down(self._slow_down_seconds)
            self._slow_down_seconds = None
        while self._waiting and at_most > 0 and bucket.available() >= 1:
            permit = self._waiting.popleft()
            if not permit.done():
                bucket.take(1)
                at_most -= 1
                permit.set_result(None)

    def is_waiting(self) -> bool:
        """Whether a request waits."""
        return bool(self._waiting)


class OwnPermits:
    """The permits of a process beside which nobody delivers: the whole rate limit."""

    is_open = True

    def __init__(self, per_second: float, clock: Clock) -> None:
        self._bucket = TokenBucket(per_second, clock)

    async def acquire(self) -> None:
        """Wait until the rate limit lets one request through."""
        while self._bucket.available() < 1:  # noqa: ASYNC110  # nobody but time fills a bucket
            await asyncio.sleep(self._bucket.seconds_until_one())
        self._bucket.take(1)

    def slow_down(self, seconds: float) -> None:
        """Grant no permit for this time."""
        self._bucket.slow_down(seconds)
