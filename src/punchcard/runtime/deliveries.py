"""All destinations of a worker: a loop that delivers and one that reconciles for each, and one look for what is due."""

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from typing import Final

import structlog

from punchcard.clock import Clock
from punchcard.delivery.loop import DestinationDelivery
from punchcard.delivery.request_permits import SparePermits
from punchcard.delivery.target import DeliveryTarget
from punchcard.runtime.reconciling import reconciliation_runner, target_of
from punchcard.runtime.settings import Settings
from punchcard.store.delivery.queue import destinations_due
from punchcard.store.engine import Store
from punchcard.store.operations.reconciliations import destinations_with_unfinished
from punchcard.workspace.snapshot import SnapshotWatch

_MARK_SECONDS: Final = 1.0
# How long a loop rests at most when nothing is due. Of hundreds of destinations, few have anything to do.
_REST_SECONDS: Final = 30.0
# How often a destination looks whether its reconciliation of the night is due.
_SCHEDULE_SECONDS: Final = 30.0
# Share of the shutdown time that requests in flight may take; the rest is for recording their outcomes.
_SENDING_SHARE: Final = 0.7


class Deliveries:
    """Delivers all destinations of the configuration, also those that are added later.

    Args:
        mark: Called about once a second while the loops run.
    """

    def __init__(
        self, settings: Settings, store: Store, *, watch: SnapshotWatch, clock: Clock, mark: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._store = store
        self._watch = watch
        self._clock = clock
        self._mark = mark
        self._log = structlog.get_logger("punchcard.worker")
        self._loops: dict[str, DestinationDelivery] = {}
        self._delivering: list[asyncio.Task[None]] = []
        self._reconciling: list[asyncio.Task[None]] = []
        self._reconciled: set[str] = set()
        self._schedule_at: dict[str, float] = {}

    def wake(self, slugs: Collection[str]) -> None:
        """Say that destinations may have work. Safe from any thread."""
        for slug in slugs:
            if slug in self._loops:
                self._loops[slug].wake()

    async def run(self, stopping: asyncio.Event, *, before_sending: Callable[[], None]) -> bool:
        """Deliver until `stopping` is set, which is done here if a loop ends before.

        Args:
            before_sending: See `DestinationDelivery`.

        Returns:
            False if a loop failed.
        """
        poll_seconds = self._settings.delivery_poll_seconds
        stopped = asyncio.create_task(stopping.wait())
        look_at = self._clock.monotonic()
        # Only a defect ends a loop before it is stopped: let the process end and be restarted.
        while not stopping.is_set() and not any(task.done() for task in self._delivering):
            self._mark()
            for slug in await asyncio.to_thread(self._slugs):
                if slug not in self._loops:
                    self._start(slug, stopping, before_sending=before_sending)
            if self._clock.monotonic() >= look_at:
                look_at = self._clock.monotonic() + poll_seconds
                self.wake(await asyncio.to_thread(self._look))
            await asyncio.wait([stopped], timeout=min(_MARK_SECONDS, poll_seconds))
        stopping.set()
        await stopped
        has_failed = False
        for result in await asyncio.gather(*self._delivering, *self._reconciling, return_exceptions=True):
            if isinstance(result, BaseException):
                has_failed = True
                self._log.error("delivery_stopped", exc_info=result)
        return not has_failed

    def _slugs(self) -> list[str]:
        return list(self._watch.current().destinations)

    def _look(self) -> Collection[str]:
        """See which destinations are reconciled; return those of which something is due."""
        try:
            with self._store.reading() as work:
                self._reconciled = destinations_with_unfinished(work)
                return destinations_due(work, list(self._loops), now=self._clock.now())
        except Exception:  # noqa: BLE001  # the store is away, or a row of one destination is damaged: its loop reports it
            return list(self._loops)

    def _may_reconcile(self, slug: str) -> bool:
        """Whether its reconciliation should look for work: one is asked for, or that of the night may be due."""
        now = self._clock.monotonic()
        if slug not in self._reconciled and now < self._schedule_at.get(slug, now):
            return False
        self._schedule_at[slug] = now + _SCHEDULE_SECONDS
        return True

    def _start(self, slug: str, stopping: asyncio.Event, *, before_sending: Callable[[], None]) -> None:
        spare = SparePermits()
        loop = self._loops[slug] = DestinationDelivery(
            slug,
            store=self._store,
            clock=self._clock,
            current=self._target_of(slug),
            poll_seconds=max(_REST_SECONDS, self._settings.delivery_poll_seconds),
            before_sending=before_sending,
            spare=spare,
        )
        runner = reconciliation_runner(
            slug,
            store=self._store,
            watch=self._watch,
            settings=self._settings,
            permits=spare,
            may_have_work=partial(self._may_reconcile, slug),
        )
        grace_seconds = _SENDING_SHARE * self._settings.shutdown_seconds
        self._delivering.append(asyncio.create_task(loop.run(stopping, grace_seconds=grace_seconds)))
        self._reconciling.append(asyncio.create_task(runner.run(stopping)))

    def _target_of(self, slug: str) -> Callable[[], DeliveryTarget | None]:
        return lambda: target_of(self._watch.current(), slug)
