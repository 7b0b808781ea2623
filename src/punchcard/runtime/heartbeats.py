"""Each process reports now and then that it is alive, and what it sees of its machine."""

import shutil
import socket
import threading
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from punchcard.clock import Clock
from punchcard.errors import StorageError
from punchcard.lake.urls import folder_of
from punchcard.runtime.loop_progress import LoopProgress
from punchcard.runtime.settings import Settings, TlsMode
from punchcard.runtime.tls import self_signed_certificate
from punchcard.store.engine import Store
from punchcard.store.operations.heartbeats import Heartbeat, write_heartbeat

SERVE: Final = "serve"
WORKER: Final = "worker"
ENGAGE: Final = "engage"
_JOIN_SECONDS: Final = 2.0


class HeartbeatThread:
    """Reports that a process works which has no loop of alerts: nothing while one of its loops stands still."""

    def __init__(self, settings: Settings, store: Store, *, clock: Clock, process: str, progress: LoopProgress) -> None:
        self._progress = progress
        self._settings = settings
        self._store = store
        self._clock = clock
        self._process = process
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End at once."""
        self._stopping.set()
        self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        # Not at once: a process that ends again and again within seconds is not alive.
        while not self._stopping.wait(self._settings.alert_poll_seconds):
            try:
                beat(self._settings, self._store, self._process, clock=self._clock, progress=self._progress)
            except StorageError as error:
                structlog.get_logger("punchcard.heartbeat").warning("heartbeat_failed", error=error.message)


def beat(settings: Settings, store: Store, process: str, *, clock: Clock, progress: LoopProgress) -> bool:
    """Report that a process works; False, and nothing is reported, while one of its loops stands still.

    Raises:
        StorageError: the store cannot be written.
    """
    if stalled := progress.stalled():
        structlog.get_logger("punchcard.heartbeat").error("loop_stalled", process=process, loops=stalled)
        return False
    with store.unit_of_work() as work:
        write_heartbeat(work, observe(settings, process, now=clock.now()))
    return True


def observe(settings: Settings, process: str, *, now: datetime) -> Heartbeat:
    """Return what a process reports of itself and its machine."""
    heartbeat = Heartbeat(process=process, host=socket.gethostname(), seen_at=now)
    disks = []
    for folder in filter(None, (settings.data, folder_of(settings.lake_location()))):
        try:
            usage = shutil.disk_usage(folder)
        except OSError:  # the lake's folder may not be made yet
            continue
        disks.append((usage.free / max(usage.total, 1), usage.free, usage.total, str(folder)))
    if disks:
        _, free, total, path = min(disks)
        heartbeat = replace(heartbeat, disk_free_bytes=free, disk_total_bytes=total, disk_path=path)
    if process != SERVE:
        return heartbeat
    return replace(heartbeat, certificate_expires_at=certificate_expiry(settings))


def certificate_expiry(settings: Settings) -> datetime | None:
    """Return when the certificate of connections expires; None without one, or if it cannot be read."""
    if settings.tls is TlsMode.SELF_SIGNED:
        path = self_signed_certificate(settings.data)
    elif settings.tls_cert:
        path = Path(settings.tls_cert)
    else:
        return None
    from cryptography import x509  # not in processes without TLS

    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return None  # the connections say so, each time
    return min((certificate.not_valid_after_utc for certificate in certificates), default=None)
