"""Waiting for a state in tests: as long as a slow machine needs, and no longer than necessary."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

PATIENCE_SECONDS = 120.0
"""How long a test waits for what takes a second on an idle machine. It limits hangs and measures nothing."""
_POLL_SECONDS = 0.05

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T],
    what: str | Callable[[], object] = "the condition does not hold",
    *,
    seconds: float = PATIENCE_SECONDS,
) -> T:
    """Return the first true value of the condition.

    Args:
        condition: Called repeatedly.
        what: The message of the failure, or a function that returns it.
        seconds: How long to try. The condition is always called once more after that time.

    Raises:
        AssertionError: The condition was not true within this time.
    """
    deadline = time.monotonic() + seconds
    while True:
        is_last = time.monotonic() > deadline
        if value := condition():
            return value
        if is_last:
            raise AssertionError(f"after {seconds:g} s: {what() if callable(what) else what}")
        time.sleep(_POLL_SECONDS)


@contextmanager
def repeated_meanwhile(action: Callable[[], object], *, pause_seconds: float) -> Iterator[None]:
    """Do it again and again in another thread, for the length of the block, whatever happens in it."""
    stopping = threading.Event()

    def repeat() -> None:
        while not stopping.wait(pause_seconds):
            action()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
