"""The loop of alerts: heartbeats, what is wrong, and notices of it. In a thread of its own, so that awards never wait.

A worker does it. While none is running, a serving process takes over, so that the missing worker is noticed.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Final

from punchcard.clock import Clock
from punchcard.engage.demand import has_engage_work
from punchcard.errors import StorageError
from punchcard.operations.alert_evaluation import AlertEvaluator
from punchcard.operations.alert_notices import NoticeDispatcher
from punchcard.operations.partner_queries import list_mapping_choices
from punchcard.operations.retention import REPORTS, days_of
from punchcard.operations.telemetry import AlertTelemetry
from punchcard.runtime.heartbeats import ENGAGE, SERVE, WORKER, beat
from punchcard.runtime.loop_progress import LoopProgress
from punchcard.runtime.settings import Settings, TlsMode
from punchcard.store.engine import Store
from punchcard.store.operations.alerts import prune_alerts
from punchcard.store.operations.heartbeats import (
    expect_process,
    forget_old_heartbeats,
    read_heartbeats,
)
from punchcard.workspace.snapshot import Snapshot

_MISSED_AFTER: Final = timedelta(seconds=60)  # without a worker's heartbeat a serving process takes over
_STALE_ROUNDS: Final = 2  # a machine that slept wakes up with an old heartbeat: the worker may write the next one first
_POINTS_SECONDS: Final = 600.0
_PARTNER_SECONDS: Final = 10.0
_TIDY_SECONDS: Final = 3_600.0
_FORGOTTEN_AFTER: Final = timedelta(days=1)
_PRUNED_PER_UNIT: Final = 500
_JOIN_SECONDS: Final = 2.0


class AlertLoop:
    """Looks for alerts every few seconds until it is stopped.

    Args:
        process: `worker` or `serve`.
        progress: The loops of the process: it is reported as missing while one of them stands still.
        current: The configuration as stored.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        current: Callable[[], Snapshot],
        clock: Clock,
        process: str,
    ) -> None:
        self.progress = LoopProgress(clock)
        self._settings = settings
        self._store = store
        self._clock = clock
        self._current = current
        self._process = process
        self._telemetry = AlertTelemetry()
        self._points = _ItemPoints(current, clock)
        self._evaluator = AlertEvaluator(
            store,
            clock=clock,
            current=current,
            points_per_unit=self._points.points_per_unit,
            public_url=base_url(settings),
            start_seconds=_MISSED_AFTER.total_seconds(),
        )
        self._dispatcher = NoticeDispatcher(store, clock=clock, current=current)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        self._stale_rounds = 0
        self._expected: set[str] = set()
        self._tidy_at = 0.0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; a notice that is being sent then is sent again by the next process."""
        self._stopping.set()
        self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        self._try(self._expect_others)
        while not self._stopping.is_set():
            if self._is_ours():
                self._try(self._lead)
            self._wait()

    def _lead(self) -> None:
        """Look and send as long as no other process does."""
        with self._store.leadership("alerts") as leadership:
            while not self._stopping.is_set() and self._is_ours():
                if leadership.held():
                    self._try(self._round)
                self._wait()

    def _round(self) -> None:
        self._evaluator.step()
        self._dispatcher.start_due()
        if self._clock.monotonic() >= self._tidy_at:
            self._tidy_at = self._clock.monotonic() + _TIDY_SECONDS
            self._tidy()

    def _wait(self) -> None:
        if not self._stopping.wait(self._settings.alert_poll_seconds):
            self._try(self._beat)
            self._try(self._expect_others)

    def _beat(self) -> None:
        beat(self._settings, self._store, self._process, clock=self._clock, progress=self.progress)

    def _is_ours(self) -> bool:
        if self._process != SERVE:
            return True
        try:
            with self._store.reading() as work:
                seen = [heartbeat.seen_at for heartbeat in read_heartbeats(work) if heartbeat.process == WORKER]
        except StorageError as error:
            self._telemetry.storage_failed(error=error.message)
            return False
        is_stale = bool(seen) and self._clock.now() - max(seen) > _MISSED_AFTER
        self._stale_rounds = self._stale_rounds + 1 if is_stale else 0
        return self._stale_rounds >= _STALE_ROUNDS

    def _expect_others(self) -> None:
        """Wait for the processes that are to run, so that they are missed even if they never start."""
        if self._process == SERVE:
            self._expect(WORKER)
        with self._store.reading() as work:
            is_engage_expected = has_engage_work(work, self._current())
        if is_engage_expected:
            self._expect(ENGAGE)

    def _expect(self, process: str) -> None:
        if process not in self._expected:
            with self._store.unit_of_work() as work:
                expect_process(work, process, host=socket.gethostname(), now=self._clock.now())
            self._expected.add(process)

    def _tidy(self) -> None:
        now = self._clock.now()
        with self._store.unit_of_work() as work:
            forget_old_heartbeats(work, before=now - _FORGOTTEN_AFTER)
        with self._store.reading() as work:
            days = days_of(work, REPORTS, self._settings.retention_days())
        if days:
            pruned = _PRUNED_PER_UNIT
            while pruned == _PRUNED_PER_UNIT and not self._stopping.is_set():
                with self._store.unit_of_work() as work:
                    pruned = prune_alerts(work, before=now - timedelta(days=days), limit=_PRUNED_PER_UNIT)

    def _try(self, act: Callable[[], object]) -> None:
        """Do something; whatever goes wrong with alerts stops nothing else, and the next round tries again."""
        try:
            act()
        except StorageError as error:
            self._telemetry.storage_failed(error=error.message)
        except Exception as error:  # noqa: BLE001  # the thread's outer loop
            self._telemetry.loop_failed(error=error)


def base_url(settings: Settings) -> str:
    """Return where people reach the App: what the settings say, else the address that is listened on."""
    if settings.public_url:
        return settings.public_url
    scheme = "https" if settings.tls_cert or settings.tls is TlsMode.SELF_SIGNED else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{settings.port}"


class _ItemPoints:
    """What one unit of each item gives, asked of the partner at most every ten minutes, and only for an alert."""

    def __init__(self, current: Callable[[], Snapshot], clock: Clock) -> None:
        self._current = current
        self._clock = clock
        self._known: dict[str, tuple[float, dict[str, Decimal]]] = {}

    def points_per_unit(self, slug: str, item: str) -> Decimal | None:
        """Return what one unit gives, None if the partner has not stated it."""
        until, points = self._known.get(slug, (0.0, {}))
        if self._clock.monotonic() >= until:
            points = self._read(slug) or points
            self._known[slug] = (self._clock.monotonic() + _POINTS_SECONDS, points)
        return points.get(item)

    def _read(self, slug: str) -> dict[str, Decimal]:
        destination = self._current().destinations.get(slug)
        if destination is None or not destination.destination.enabled:
            return {}

        async def read() -> dict[str, Decimal]:
            choices, _ = await asyncio.wait_for(list_mapping_choices(destination), _PARTNER_SECONDS)
            return {choice.value: choice.points for choice in choices if choice.points is not None}

        try:
            return asyncio.run(read())
        except TimeoutError:
            return {}
