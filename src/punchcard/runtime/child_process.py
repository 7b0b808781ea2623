"""A child process that is restarted if it ends: the worker of `punchcard up`, and Engage beside a worker."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import fields

import structlog

from punchcard.runtime.forked_process import ForkedProcess
from punchcard.runtime.settings import ENVIRONMENT_PREFIX, Secret, Settings

_RESTART_FIRST_SECONDS = 0.2
_RESTART_LONGEST_SECONDS = 10.0
_HEALTHY_AFTER_SECONDS = 30.0


class ChildProcess:
    """A child process. It ends when this process is gone, because its standard input closes then.

    Args:
        name: Name of the process in the log.
        module: Module to run, with `--until-stdin-closes`.
        arguments: Further arguments of the module.
        descriptors: Descriptors that the module's process inherits under the same numbers.
        forked: The first process, forked but not begun; those after it are started as new interpreters, because by
            then this process has threads and connections.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        name: str,
        module: str,
        forked: ForkedProcess | None = None,
        arguments: Sequence[str] = (),
        descriptors: Sequence[int] = (),
    ) -> None:
        self._name = name
        self._module = module
        self._forked = forked
        self._arguments = arguments
        self._descriptors = descriptors
        self._environment = {**os.environ, **as_environment(settings)}
        self._process: subprocess.Popen[bytes] | ForkedProcess | None = None
        self._stop_requested_at: float | None = None
        self._guard = threading.Lock()
        self._log = structlog.get_logger("punchcard.up")

    def keep_running(self, stopping: threading.Event) -> None:
        """Start the process, and start it again whenever it ends unexpectedly."""
        pause = _RESTART_FIRST_SECONDS
        while not stopping.is_set():
            begun = time.monotonic()
            with self._guard:
                if stopping.is_set():
                    return
                self._process = self._start()
            status = self._process.wait()
            if stopping.is_set():
                return
            if time.monotonic() - begun > _HEALTHY_AFTER_SECONDS:
                pause = _RESTART_FIRST_SECONDS
            self._log.error(f"{self._name}_stopped", status=status, restart_in_seconds=pause)
            stopping.wait(pause)
            pause = min(_RESTART_LONGEST_SECONDS, pause * 2)

    def _start(self) -> subprocess.Popen[bytes] | ForkedProcess:
        if self._forked is not None:
            forked, self._forked = self._forked, None
            forked.begin()
            return forked
        command = [sys.executable, "-m", self._module, "--until-stdin-closes", *self._arguments]
        return subprocess.Popen(command, stdin=subprocess.PIPE, env=self._environment, pass_fds=self._descriptors)

    def request_stop(self) -> None:
        """Request the process to finish; further requests have no effect."""
        with self._guard:
            if self._stop_requested_at is None:
                self._stop_requested_at = time.monotonic()
            if self._process is not None:
                self._process.terminate()

    def stop(self, grace_seconds: float) -> None:
        """Request the process to finish; kill it if that takes longer than this since the first request."""
        self.request_stop()
        with self._guard:
            process = self._process
        if process is None or self._stop_requested_at is None:
            return
        try:
            process.wait(max(0.0, self._stop_requested_at + grace_seconds - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._log.warning(f"{self._name}_killed", grace_seconds=grace_seconds)
            process.kill()
            process.wait()


def stop_with_parent() -> None:
    """Send this child process a SIGTERM when its parent is gone; to be run in a thread of its own."""
    while os.read(sys.stdin.fileno(), 1024):
        continue
    os.kill(os.getpid(), signal.SIGTERM)


def as_environment(settings: Settings) -> dict[str, str]:
    """Return the variables by which another process gets the same settings."""
    values = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        values[ENVIRONMENT_PREFIX + field.name.upper()] = value.reveal() if isinstance(value, Secret) else str(value)
    return values
