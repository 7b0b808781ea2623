"""Runs Engage beside a worker, from when it has work."""

import threading

from punchcard.clock import Clock
from punchcard.engage.demand import has_engage_work
from punchcard.errors import PunchcardError
from punchcard.runtime.child_process import ChildProcess
from punchcard.runtime.settings import Settings
from punchcard.store.changes import StoreChanges
from punchcard.store.engine import Store
from punchcard.workspace.snapshot import SnapshotWatch

_LOOK_SECONDS = 1.0  # a preview waits for the start
_SHUTDOWN_SHARE = 0.9  # its steps are atomic: killing it only costs time


class EngageKeeper:
    """The Engage process of a worker: however much it computes, awards do not wait for it, nor end with it."""

    def __init__(self, settings: Settings, *, store: Store, watch: SnapshotWatch, clock: Clock) -> None:
        self._settings = settings
        self._store = store
        self._watch = watch
        self._clock = clock
        self._process = ChildProcess(settings, name="engage", module="punchcard.runtime.engage_process")
        self._thread: threading.Thread | None = None

    def start(self, stopping: threading.Event) -> None:
        """Start Engage once it has work, and again whenever it ends unexpectedly, until `stopping` is set."""
        self._thread = threading.Thread(target=self._run, args=(stopping,), name="engage-keeper")
        self._thread.start()

    def request_stop(self) -> None:
        """Request Engage to finish."""
        self._process.request_stop()

    def stop(self) -> None:
        """Wait for the end of Engage; kill it if that takes too long. `stopping` must be set."""
        self._process.stop(self._settings.shutdown_seconds * _SHUTDOWN_SHARE)
        if self._thread is not None:
            self._thread.join()

    def _run(self, stopping: threading.Event) -> None:
        changes = StoreChanges(self._store, clock=self._clock)
        while not stopping.is_set():
            if changes.have_come() and self._has_work():
                self._process.keep_running(stopping)
            else:
                stopping.wait(_LOOK_SECONDS)

    def _has_work(self) -> bool:
        try:
            with self._store.reading() as work:
                return has_engage_work(work, self._watch.newest())
        except PunchcardError:
            return False  # routing and alerts report it
