"""Wait at start for storage on other machines: a database or brokers that come up later than this process.

A wrong setting ends the process, because waiting would hide it.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import structlog

from punchcard.errors import ConfigurationError, LakeError, StorageError, StorageSettingsError
from punchcard.log.opening import is_shared
from punchcard.runtime.settings import Settings

_RETRY_SECONDS: Final = 1.0

T = TypeVar("T")


def _ignore(_: StorageError) -> None:
    """No-op callback."""


class StorageWait:
    """Opens storage when it is available, for one process. Nothing else may need the calling thread meanwhile.

    Files are opened once: one that cannot be opened now cannot be opened later without somebody's help.

    Args:
        process: Name of the process in the log.
        on_wait: Called with the error after each attempt that failed.
    """

    def __init__(
        self, settings: Settings, *, process: str, on_wait: Callable[[StorageError], object] = _ignore
    ) -> None:
        self._may_wait = is_shared(settings.event_log_url()) or not settings.store_url().startswith("sqlite:")
        self._process = process
        self._on_wait = on_wait
        self._log = structlog.get_logger("punchcard.start")
        self._has_waited = False
        self._handlers: dict[int, Any] = {}  # the signal handlers before this process waited

    def open(self, attempt: Callable[[], T]) -> T:
        """Return what an attempt opens; repeat it while a server is not available.

        Raises:
            ConfigurationError: A setting is wrong.
            StorageError: A file cannot be opened.
            PunchcardError: Whatever else the attempt raises.
        """
        try:
            return self._open(attempt)
        finally:
            self._release_signals()

    def _open(self, attempt: Callable[[], T]) -> T:
        begun = time.monotonic()
        while True:
            try:
                opened = attempt()
            except StorageSettingsError as error:
                raise ConfigurationError(error.message) from error
            except LakeError:
                raise
            except StorageError as error:
                if not self._may_wait or error.code != StorageError.code:
                    raise
                self._report(error)
            else:
                if self._has_waited:
                    self._log.info("storage_opened", process=self._process, seconds=time.monotonic() - begun)
                    self._has_waited = False
                return opened
            threading.Event().wait(_RETRY_SECONDS)

    def _report(self, error: StorageError) -> None:
        self._capture_signals()
        self._on_wait(error)
        self._has_waited = True
        self._log.warning(
            "storage_awaited",
            process=self._process,
            error=" ".join(error.message.split()),
            next_step="Start what is named above. This process goes on by itself once it is available.",
        )

    def _capture_signals(self) -> None:
        """End this process on a signal, also the first process of a container, in which the default is to ignore it."""
        if self._handlers or threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            self._handlers[number] = signal.signal(number, lambda *_: sys.exit(0))

    def _release_signals(self) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())
