"""A thread that checks once a second whether log and store still belong together, and renews what sending needs."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from punchcard.errors import PunchcardError, StorageError
from punchcard.routing.log_guard import LogGuard, OlderStoreError, OtherLogError

_SECONDS = 1.0


@contextmanager
def run_guard(guard: LogGuard, *, on_failure: Callable[[PunchcardError], None] | None = None) -> Iterator[None]:
    """Check until the block ends.

    Args:
        on_failure: Called once log and store no longer belong together. Without it the process goes on: it accepts no
            events (`LogGuard.refusal`), and handles an older store as at a start.
    """
    stopping = threading.Event()
    checker = _GuardChecker(guard, stopping, on_failure)
    thread = threading.Thread(target=checker.run, name="log-guard", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        guard.renewal_due.set()
        thread.join()


class _GuardChecker:
    def __init__(
        self, guard: LogGuard, stopping: threading.Event, on_failure: Callable[[PunchcardError], None] | None
    ) -> None:
        self._guard = guard
        self._stopping = stopping
        self._on_failure = on_failure
        self._log = structlog.get_logger("punchcard.log")

    def run(self) -> None:
        """Check until stopped, or until a failure is reported to the callback."""
        last_error = ""
        due = self._guard.renewal_due
        while True:
            is_due = due.wait(_SECONDS)
            due.clear()
            if self._stopping.is_set():
                return
            try:
                self._check(is_due=is_due)
                last_error = ""
            except StorageError as error:  # usually temporary; requests and routing report it too
                if error.message != last_error:
                    last_error = error.message
                    self._log.warning("log_check_failed", error=error.message)
            except PunchcardError as error:
                self._log.error(error.code, error=error.message)
                if self._on_failure is not None:
                    self._on_failure(error)
                if self._on_failure is not None or isinstance(error, OtherLogError):
                    return

    def _check(self, *, is_due: bool) -> None:
        try:
            if is_due:
                self._guard.renew()
            elif self._guard.is_private:
                self._guard.check()
            else:
                # Another copy of this data folder must see that this one is in use.
                self._guard.advance()
        except OlderStoreError:
            if self._on_failure is not None:
                raise
            self._guard.open()
