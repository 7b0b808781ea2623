"""Whether the loops of a process go on: a process may live while the loop that does its work stands still."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from punchcard.clock import Clock

STALLED_AFTER_SECONDS: Final = 120.0  # a round of most loops takes seconds; a slow disk may take its time


class LoopProgress:
    """The loops of a process, each with the last time that it went round. Safe to use from several threads.

    A loop is watched only while it runs: what a process does before, such as reading a large lake, may take its time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rounds: dict[str, tuple[float, float]] = {}

    @contextmanager
    def watch(self, loop: str, *, stalled_after_seconds: float = STALLED_AFTER_SECONDS) -> Iterator[None]:
        """Watch a loop while the block runs.

        Args:
            stalled_after_seconds: Longer than any round of the loop takes.
        """
        with self._lock:
            self._rounds[loop] = (self._clock.monotonic(), stalled_after_seconds)
        try:
            yield
        finally:
            with self._lock:
                del self._rounds[loop]

    def mark(self, loop: str) -> None:
        """Record that a watched loop went round."""
        with self._lock:
            if loop in self._rounds:
                self._rounds[loop] = (self._clock.monotonic(), self._rounds[loop][1])

    def stalled(self) -> list[str]:
        """Return the watched loops that have not gone round for too long."""
        now = self._clock.monotonic()
        with self._lock:
            return sorted(loop for loop, (at, seconds) in self._rounds.items() if now - at > seconds)
