"""The worker beside the serving process of `punchcard up`, started again if it dies."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import fields

import structlog

from punchcard.runtime.settings import ENVIRONMENT_PREFIX, Secret, Settings

_RESTART_FIRST_SECONDS = 0.2
_RESTART_LONGEST_SECONDS = 10.0
_HEALTHY_AFTER_SECONDS = 30.0


class WorkerChild:
    """The worker as a child process. It ends by itself when this process is gone: its standard input closes then."""

    def __init__(self, settings: Settings) -> None:
        self._environment = {**os.environ, **_as_environment(settings)}
        self._process: subprocess.Popen[bytes] | None = None
        self._asked_at: float | None = None
        self._guard = threading.Lock()
        self._log = structlog.get_logger("punchcard.up")

    def keep_running(self, stopping: threading.Event) -> None:
        """Start the worker, and start it again whenever it ends before it should."""
        pause = _RESTART_FIRST_SECONDS
        while not stopping.is_set():
            begun = time.monotonic()
            with self._guard:
                if stopping.is_set():
                    return
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "punchcard.runtime.processes", "--until-stdin-closes"],
                    stdin=subprocess.PIPE,
                    env=self._environment,
                )
            status = self._process.wait()
            if stopping.is_set():
                return
            if time.monotonic() - begun > _HEALTHY_AFTER_SECONDS:
                pause = _RESTART_FIRST_SECONDS
            self._log.error("worker_stopped", status=status, restart_in_seconds=pause)
            stopping.wait(pause)
            pause = min(_RESTART_LONGEST_SECONDS, pause * 2)

    def ask_to_stop(self) -> None:
        """Ask the worker to finish; asking again changes nothing."""
        with self._guard:
            if self._asked_at is None:
                self._asked_at = time.monotonic()
            if self._process is not None:
                self._process.terminate()

    def stop(self, grace_seconds: float) -> None:
        """Ask the worker to finish; kill it if it takes longer than this since it was first asked."""
        self.ask_to_stop()
        with self._guard:
            process = self._process
        if process is None or self._asked_at is None:
            return
        try:
            process.wait(max(0.0, self._asked_at + grace_seconds - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._log.warning("worker_killed", grace_seconds=grace_seconds)
            process.kill()
            process.wait()


def _as_environment(settings: Settings) -> dict[str, str]:
    values = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        values[ENVIRONMENT_PREFIX + field.name.upper()] = value.reveal() if isinstance(value, Secret) else str(value)
    return values
