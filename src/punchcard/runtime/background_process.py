"""A process for work that takes long and must not delay awards: it ends with the process that starts it.

A thread would not do: whatever computes in Python keeps the interpreter of its process from routing and delivery.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Final

from punchcard.errors import PunchcardError
from punchcard.runtime.child_process import as_environment, stop_with_parent
from punchcard.runtime.logs import configure_logs
from punchcard.runtime.settings import Settings, read_settings

_STOP_SECONDS: Final = 5.0
_FAILED: Final = 1


class BackgroundProcess:
    """Runs a module, once for each start. For one thread.

    Args:
        module: Its `main` calls `run_in_background`.
    """

    def __init__(self, settings: Settings, module: str) -> None:
        self._command = [sys.executable, "-m", module, "--until-stdin-closes"]
        self._environment = {**os.environ, **as_environment(settings)}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, which must not be running."""
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, env=self._environment)

    def is_running(self) -> bool:
        """Return whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def take_result(self) -> bool | None:
        """Return whether the process that has ended has finished its work; None if none has ended since then."""
        if self._process is None or self._process.poll() is None:
            return None
        is_finished = self._process.returncode == 0
        self._close()
        return is_finished

    def stop(self) -> None:
        """End the process if it is running; whatever it does can be interrupted."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._close()

    def _close(self) -> None:
        if self._process is not None:
            with self._process:
                self._process.wait()
            self._process = None


def run_in_background(
    work: Callable[[Settings], int],
    *,
    niceness: int,
    on_signal: Callable[[], object],
    on_failure: Callable[[PunchcardError], object],
) -> int:
    """Do the work of a background process; return its exit status.

    Args:
        niceness: What is added to the niceness of the parent: its priority is lower.
        on_signal: Called in the main thread when the process is to end, also because its parent is gone.
        on_failure: Called with the error that ends the work.
    """
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--until-stdin-closes", action="store_true")
    until_stdin_closes = arguments.parse_args().until_stdin_closes
    try:
        settings = read_settings(os.environ)
        configure_logs(level=settings.log_level, format=settings.log_format)
        os.nice(niceness)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: on_signal())
        if until_stdin_closes:
            threading.Thread(target=stop_with_parent, daemon=True).start()
        return work(settings)
    except PunchcardError as error:
        on_failure(error)
        return _FAILED
