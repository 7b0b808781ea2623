"""The thread that does what regulations request, while the worker leads routing."""

import threading
from collections.abc import Callable

import structlog

from punchcard.clock import Clock, SystemClock
from punchcard.errors import StorageError
from punchcard.lake.erasure import LakeEraser
from punchcard.lake.reader import LakeReader
from punchcard.log.port import EventLog
from punchcard.operations.deletion_records import SuppressedRecords
from punchcard.operations.deletion_runner import DeletionRunner
from punchcard.operations.missing_checksums import MissingChecksums
from punchcard.routing.suppression import Suppressions
from punchcard.routing.telemetry import RoutingTelemetry
from punchcard.runtime.assembly import open_keyring
from punchcard.runtime.settings import Settings
from punchcard.store.changes import StoreChanges
from punchcard.store.engine import Store
from punchcard.store.privacy.regulations import unfinished_regulations
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
        self._store = store
        self._clock = clock
        self._over = over
        vault = SubjectVault(open_keyring(settings))
        self._missing_checksums = MissingChecksums(store, vault)
        self._suppressed_records = SuppressedRecords(store, log, clock=clock)
        self._runner = DeletionRunner(
            store=store,
            log=log,
            lake=LakeReader(settings.lake_location()),
            eraser=LakeEraser(settings.lake_location(), clock=clock),
            vault=vault,
            clock=clock,
            current=current,
            log_retention_hours=settings.log_retention_hours,
        )

    def run(self) -> None:
        """Take steps until it is over."""
        wait_seconds = 0.0
        has_work = False
        changes = StoreChanges(self._store, clock=self._clock)
        while not self._over.wait(wait_seconds):
            wait_seconds = _POLL_SECONDS
            # Without a regulation, only a commit can make one; one that waits may wait for time or for readers.
            if not has_work and not changes.have_come():
                continue
            try:
                is_busy = self._missing_checksums.step()
                is_busy = self._suppressed_records.step() or is_busy
                is_busy = self._runner.step() or is_busy
                wait_seconds = 0.0 if is_busy else _POLL_SECONDS
                has_work = is_busy or self._suppressed_records.is_waiting or self._has_unfinished()
            except StorageError as error:
                RoutingTelemetry().storage_failed(error=error.message)
                wait_seconds, has_work = _RETRY_SECONDS, True
            except Exception as error:  # noqa: BLE001  # no defect around regulations may stop awards
                structlog.get_logger("punchcard.worker").error("regulations_failed", exc_info=error)
                wait_seconds, has_work = _RETRY_SECONDS, True

    def _has_unfinished(self) -> bool:
        with self._store.reading() as work:
            return bool(unfinished_regulations(work))
