"""The thread that does what regulations request, while the worker leads routing."""

import threading
from collections.abc import Callable

import structlog

from punchcard.clock import Clock, SystemClock
from punchcard.errors import StorageError
from punchcard.lake.erasure import LakeEraser
from punchcard.lake.reader import LakeReader
from punchcard.log.port import EventLog
from punchcard.operations.deletion_runner import DeletionRunner
from punchcard.routing.suppression import Suppressions
from punchcard.routing.telemetry import RoutingTelemetry
from punchcard.runtime.assembly import open_keyring
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.workspace.snapshot import Snapshot
from punchcard.workspace.subject_vault import SubjectVault

_POLL_SECONDS = 0.5
_RETRY_SECONDS = 1.0


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
        clock = SystemClock()
        self._over = over
        self._runner = DeletionRunner(
            store=store,
            log=log,
            lake=LakeReader(settings.lake_location()),
            eraser=LakeEraser(settings.lake_location(), clock=clock),
            vault=SubjectVault(open_keyring(settings)),
            clock=clock,
            current=current,
            log_retention_hours=settings.log_retention_hours,
        )

    def run(self) -> None:
        """Take steps until it is over."""
        wait_seconds = 0.0
        while not self._over.wait(wait_seconds):
            wait_seconds = _RETRY_SECONDS
            try:
                wait_seconds = 0.0 if self._runner.step() else _POLL_SECONDS
            except StorageError as error:
                RoutingTelemetry().storage_failed(error=error.message)
            except Exception as error:  # noqa: BLE001  # no defect around regulations may stop awards
                structlog.get_logger("punchcard.worker").error("regulations_failed", exc_info=error)
