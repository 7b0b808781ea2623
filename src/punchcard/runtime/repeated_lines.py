"""Limit warnings and errors that repeat: the same line is logged once, and again after a while with its count.

A server that is away is tried every second. Without a limit, each try of each loop would be a line of its own, and the
lines between them would be hard to find.
"""

import sys
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

INTERVAL_SECONDS: Final = 30.0  # between two equal lines
_LINES_MAX: Final = 1_000  # remembered; the one logged longest ago is forgotten first
_LEVELS: Final = frozenset({"warning", "error", "critical", "exception"})


class RepeatedLines:
    """A processor of structlog. Lines are equal if their event and all their fields are.

    Args:
        monotonic: The clock, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._lines: dict[str, _Line] = {}

    def __call__(
        self, _logger: structlog.typing.WrappedLogger, method: str, line: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        """Return the line, with `repeated` if equal ones were left out since the last one.

        Raises:
            structlog.DropEvent: An equal line was logged shortly before.
        """
        if method not in _LEVELS:
            return line
        key = _key(line)
        now = self._monotonic()
        with self._lock:
            before = self._lines.get(key)
            if before is not None and now - before.logged_at < INTERVAL_SECONDS:
                before.repeated += 1
                raise structlog.DropEvent
            self._lines.pop(key, None)
            self._lines[key] = _Line(now)
            while len(self._lines) > _LINES_MAX:
                self._lines.pop(next(iter(self._lines)))
        if before is not None and before.repeated:
            line["repeated"] = before.repeated
        return line


class _Line:
    def __init__(self, logged_at: float) -> None:
        self.logged_at = logged_at
        self.repeated = 0


def _key(line: structlog.typing.EventDict) -> str:
    error = line.get("exc_info")
    if error is True:
        error = sys.exc_info()[1]
    return repr([*sorted((name, repr(value)) for name, value in line.items() if name != "exc_info"), repr(error)])
