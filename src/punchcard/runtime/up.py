"""`punchcard up`: the serving process with a worker beside it, restarted if it dies."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import structlog

from punchcard.clock import SystemClock
from punchcard.runtime.logs import configure_logs
from punchcard.runtime.metrics import prepare_metrics
from punchcard.runtime.settings import ENVIRONMENT_PREFIX, Secret, Settings

_RESTART_FIRST_SECONDS = 0.2
_RESTART_LONGEST_SECONDS = 10.0
_HEALTHY_AFTER_SECONDS = 30.0


def run_up(settings: Settings, *, config: Path | None) -> int:
    """Run the whole product on one machine until SIGTERM or SIGINT; returns the exit status.

    Args:
        config: A config file to apply now, and again whenever it changes.

    Raises:
        PunchcardError: the file is wrong, the port is taken, or storage cannot be opened.
    """
    prepare_metrics(settings.data, fresh=True)
    configure_logs(level=settings.log_level, format=settings.log_format)
    # Only now: prometheus_client decides at import where it keeps its values.
    from punchcard.runtime.serve import Serving, show_token
    from punchcard.workspace.apply import apply
    from punchcard.workspace.file_watch import FileWatch

    clock = SystemClock()
    with Serving(settings) as serving:
        watch = None
        if config is not None:
            watch = FileWatch(
                config,
                lambda wanted: apply(serving.store, wanted, clock=clock, keyring=serving.keyring),
                environment=os.environ,
            )
            watch.apply_now()
            serving.watch.refresh()
        token = serving.first_token()
        stopping = threading.Event()
        worker = _WorkerProcess(settings)
        threads = [threading.Thread(target=worker.keep_running, args=(stopping,), name="worker-keeper")]
        if watch is not None:
            threads.append(
                threading.Thread(
                    target=_poll_file, args=(watch.poll, settings.config_poll_seconds, stopping), name="config-watch"
                )
            )

        def ready() -> None:
            print(f"Punchcard is up: {serving.url} (data in {settings.data})", flush=True)
            show_token(token, settings)

        for thread in threads:
            thread.start()
        try:
            serving.run(on_ready=ready)
        finally:
            stopping.set()
            worker.stop(settings.shutdown_seconds)
            for thread in threads:
                thread.join()
    return 0


class _WorkerProcess:
    """The worker as a child process. It ends by itself when this process is gone: its standard input closes then."""

    def __init__(self, settings: Settings) -> None:
        self._environment = {**os.environ, **_as_environment(settings)}
        self._process: subprocess.Popen[bytes] | None = None
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
                    [sys.executable, "-m", "punchcard.runtime.worker", "--until-stdin-closes"],
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

    def stop(self, grace_seconds: float) -> None:
        """Ask the worker to finish; kill it if it takes too long."""
        with self._guard:
            process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self._log.warning("worker_killed", grace_seconds=grace_seconds)
            process.kill()
            process.wait()


def _poll_file(poll: Callable[[], object], seconds: float, stopping: threading.Event) -> None:
    while not stopping.wait(seconds):
        poll()


def _as_environment(settings: Settings) -> dict[str, str]:
    values = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        values[ENVIRONMENT_PREFIX + field.name.upper()] = value.reveal() if isinstance(value, Secret) else str(value)
    return values
