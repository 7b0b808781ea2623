"""Do what regulations request, while the worker leads routing.

A thread of the worker takes the short steps. For the long ones it starts this module as a process.
"""

import sys
import threading
from collections.abc import Callable
from contextlib import closing

import structlog

from punchcard.clock import Clock, SystemClock
from punchcard.errors import StorageError
from punchcard.lake.erasure import LakeEraser
from punchcard.lake.reader import LakeReader
from punchcard.log.port import EventLog
from punchcard.operations.deletion_runner import DeletionRunner, Steps
from punchcard.routing.suppression import Suppressions
from punchcard.routing.telemetry import RoutingTelemetry
from punchcard.runtime.assembly import open_keyring, open_log, open_store
from punchcard.runtime.background_process import BackgroundProcess, run_in_background
from punchcard.runtime.settings import Settings
from punchcard.store.changes import StoreChanges
from punchcard.store.engine import Store
from punchcard.store.privacy.regulations import unfinished_regulations
from punchcard.workspace.snapshot import Snapshot, SnapshotWatch
from punchcard.workspace.subject_vault import SubjectVault

_MODULE = "punchcard.runtime.regulating"
_ROLE = "regulations"
_POLL_SECONDS = 0.5
_RETRY_SECONDS = 1.0
_PAUSE_FIRST_SECONDS = 0.2
_PAUSE_LONGEST_SECONDS = 60.0
_INTERRUPTED = 130
_FAILED = 1


def open_suppressions(settings: Settings, store: Store, *, clock: Clock) -> Suppressions:
    """Return what routing knows of suppressed subjects."""
    return Suppressions(store, SubjectVault(open_keyring(settings)), clock=clock)


class RegulationThread(threading.Thread):
    """Takes regulations on, whatever one of them meets, until this process routes no more.

    Args:
        current: Returns the configuration as stored.
        over: Set when routing ends.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        log: EventLog,
        current: Callable[[], Snapshot],
        over: threading.Event,
    ) -> None:
        super().__init__(name="regulations")
        self._store = store
        self._clock = SystemClock()
        self._over = over
        self._runner = _deletion_runner(settings, store, log=log, current=current, steps=Steps.SHORT)
        self._long_steps = _LongSteps(settings, self._clock)

    def run(self) -> None:
        """Take steps until it is over."""
        wait_seconds = 0.0
        has_work = False
        with closing(StoreChanges(self._store, clock=self._clock)) as changes, closing(self._long_steps):
            while not self._over.wait(wait_seconds):
                wait_seconds = _POLL_SECONDS
                # Without a regulation, only a commit can make one; one that waits may wait for time or for readers.
                if not has_work and not changes.have_come():
                    continue
                try:
                    is_busy = self._runner.step()
                    if self._runner.is_long_step_due:
                        self._long_steps.start()
                    wait_seconds = 0.0 if is_busy else _POLL_SECONDS
                    has_work = is_busy or self._has_unfinished()
                except StorageError as error:
                    RoutingTelemetry().storage_failed(error=error.message)
                    wait_seconds, has_work = _RETRY_SECONDS, True
                except Exception as error:  # noqa: BLE001  # no defect around regulations may stop awards
                    structlog.get_logger("punchcard.worker").error("regulations_failed", exc_info=error)
                    wait_seconds, has_work = _RETRY_SECONDS, True

    def _has_unfinished(self) -> bool:
        with self._store.reading() as work:
            return bool(unfinished_regulations(work))


class _LongSteps:
    """The process of long steps. One that achieves nothing is started again after longer and longer pauses."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._process = BackgroundProcess(settings, _MODULE)
        self._clock = clock
        self._due_at = 0.0
        self._pause = _PAUSE_FIRST_SECONDS

    def start(self) -> None:
        """Start the process if it is not running and its pause is over."""
        if self._process.is_running():
            return
        now = self._clock.monotonic()
        is_finished = self._process.take_result()
        if is_finished is False:
            self._due_at = now + self._pause
            self._pause = min(2 * self._pause, _PAUSE_LONGEST_SECONDS)
        elif is_finished:
            self._pause = _PAUSE_FIRST_SECONDS
        if now >= self._due_at:
            self._process.start()

    def close(self) -> None:
        """End the process. What it was doing is done again: each of its steps may be repeated."""
        self._process.stop()


def take_long_steps(settings: Settings) -> int:
    """Take the long steps that are due; return the exit status.

    Raises:
        PunchcardError: Storage or secret key cannot be opened.
    """
    clock = SystemClock()
    with (
        closing(open_store(settings, leaves_pauses=True)) as store,
        store.leadership(_ROLE) as leadership,
        open_log(settings) as log,
    ):
        if not leadership.held():  # one that a killed worker has left ends in a moment
            return _FAILED
        watch = SnapshotWatch(store, open_keyring(settings), clock=clock)
        runner = _deletion_runner(settings, store, log=log, current=watch.newest, steps=Steps.LONG)
        has_done_any = False
        while runner.step():
            has_done_any = True
    return 0 if has_done_any else _FAILED


def _deletion_runner(
    settings: Settings, store: Store, *, log: EventLog, current: Callable[[], Snapshot], steps: Steps
) -> DeletionRunner:
    clock = SystemClock()
    return DeletionRunner(
        store=store,
        log=log,
        lake=LakeReader(settings.lake_location()),
        eraser=LakeEraser(settings.lake_location(), clock=clock),
        vault=SubjectVault(open_keyring(settings)),
        clock=clock,
        current=current,
        log_retention_hours=settings.log_retention_hours,
        steps=steps,
    )


def main() -> int:
    """Run as the worker's child."""
    logger = structlog.get_logger("punchcard.privacy")
    return run_in_background(
        take_long_steps,
        niceness=0,  # it would keep awards waiting for the database, while other processes keep it from the processor
        on_signal=lambda: sys.exit(_INTERRUPTED),
        on_failure=lambda error: logger.error("long_steps_stopped", reason=error.message),
    )


if __name__ == "__main__":
    sys.exit(main())
