"""The worker process: routing in a thread, the lake in a thread, delivery on the event loop."""

import asyncio
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial

import structlog

from punchcard.clock import SystemClock, to_micros
from punchcard.errors import PunchcardError, StorageError
from punchcard.lake.reader import LakeReader
from punchcard.lake.writer import LakeWriter
from punchcard.log.partitions import PartitionReader
from punchcard.log.port import EventLog
from punchcard.operations.replay_runner import ReplayRunner
from punchcard.operations.violation_forwarding import ViolationForwarder
from punchcard.routing.dedupe import MessageIndex
from punchcard.routing.lake_feed import LakeFeed, RoutedRows
from punchcard.routing.log_guard import LogGuard
from punchcard.routing.recovery import LakeReplay
from punchcard.routing.router import Router
from punchcard.routing.telemetry import RoutingTelemetry
from punchcard.runtime.alerting import AlertLoop
from punchcard.runtime.assembly import open_guarded_log, open_keyring, open_log, open_store
from punchcard.runtime.count_upkeep import CountUpkeep
from punchcard.runtime.deliveries import Deliveries
from punchcard.runtime.descriptors import raise_descriptor_limit
from punchcard.runtime.engage_keeper import EngageKeeper
from punchcard.runtime.guard_thread import run_guard
from punchcard.runtime.heartbeats import WORKER
from punchcard.runtime.history_pruning import drop_old_events, prune_history
from punchcard.runtime.log_routing import route_log
from punchcard.runtime.loop_progress import LoopProgress
from punchcard.runtime.message_ids import fill_index
from punchcard.runtime.partition_thread import PartitionThread, divide, open_feed
from punchcard.runtime.regulating import RegulationThread, open_suppressions
from punchcard.runtime.replaying import run_replays
from punchcard.runtime.settings import Settings
from punchcard.runtime.shared_storage import refuse_lake_of_its_own
from punchcard.runtime.simulating import SimulationProcess
from punchcard.runtime.stop_deadline import end_in_time
from punchcard.runtime.storage_wait import StorageWait
from punchcard.store.leadership import Leadership
from punchcard.workspace.snapshot import SnapshotWatch
from punchcard.workspace.subject_vault import SubjectVault

_RETRY_SECONDS = 1.0
_HOUSEKEEPING_SECONDS = 60.0
_LEADERSHIP_LOOK_SECONDS = 1.0
_FAILED = 1
# Each destination takes one or two, and there may be hundreds.
_DESCRIPTORS = 65_536


class Worker:
    """The worker process.

    Args:
        starts_engage: False leaves audiences and traits to `punchcard engage`, on this machine or another one.
    """

    def __init__(self, settings: Settings, *, starts_engage: bool = True) -> None:
        self._starts_engage = starts_engage
        self._settings = settings
        self._is_divided = settings.log_partitions > 1
        self._clock = SystemClock()
        self._log = structlog.get_logger("punchcard.worker")
        self._opened = ExitStack()
        self._wait = StorageWait(settings, process="worker")
        self._store = self._wait.open(lambda: open_store(settings))
        self._watch = SnapshotWatch(
            self._store, open_keyring(settings), clock=self._clock, interval_seconds=settings.config_poll_seconds
        )
        self._stopping = threading.Event()
        self._progress = LoopProgress(self._clock)
        self._counts = CountUpkeep(self._store, self._clock, is_stopping=self._stopping.is_set)
        self._failed = False
        self._deliveries = Deliveries(
            settings,
            self._store,
            watch=self._watch,
            clock=self._clock,
            mark=partial(self._progress.mark, "delivery"),
        )
        self._feed: LakeFeed | None = None
        self._feeds_lake = threading.Event()
        self._engage = EngageKeeper(settings, store=self._store, watch=self._watch, clock=self._clock)

    def open(self) -> None:
        """Open the event log, once it is available: before `run`, so that a signal ends a process that waits.

        Raises:
            PunchcardError: A setting is wrong, the log does not belong to the store, or storage cannot be opened.
        """
        self._wait.open(lambda: refuse_lake_of_its_own(self._settings, self._store))
        opened, settings, current = self._opened, self._settings, self._watch.current
        self._lake = lake = LakeReader(settings.lake_location())
        _, self._guard = self._wait.open(
            lambda: opened.enter_context(open_guarded_log(settings, self._store, current=current, lake=lake))
        )

    async def run(self) -> int:
        """Route and deliver until SIGTERM or SIGINT; return the exit status."""
        raise_descriptor_limit(_DESCRIPTORS)
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()

        def stop() -> None:
            self._stopping.set()
            stopping.set()
            end_in_time(self._settings.shutdown_seconds, process="worker", status=_FAILED if self._failed else 0)
            self._engage.request_stop()
            if self._feed is not None:
                self._feed.close()  # routing may wait for the lake

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)

        def fail(_: PunchcardError) -> None:
            self._failed = True
            loop.call_soon_threadsafe(stop)

        guard = self._guard
        with self._opened, self._store.keep_checkpointing(), run_guard(guard, on_failure=fail):
            await self._work(guard, stopping, stop)
            with suppress(PunchcardError):  # it was reported before, and nothing is sent any more
                guard.advance(at_once=True)
        self._store.close()
        return _FAILED if self._failed else 0

    async def _work(self, guard: LogGuard, stopping: asyncio.Event, stop: Callable[[], None]) -> None:
        """Route and deliver until stopped."""
        loop = asyncio.get_running_loop()

        def fail() -> None:
            self._failed = True
            stop()

        routing = threading.Thread(
            target=self._route, args=(guard, lambda: loop.call_soon_threadsafe(stop)), name="routing"
        )
        routing.start()
        partitions = PartitionThread(
            self._settings,
            self._store,
            lake=self._lake,
            clock=self._clock,
            feeds_lake=self._feeds_lake.is_set,
            open_router=self._open_router,
            progress=self._progress,
            stopping=self._stopping,
            on_failure=lambda: loop.call_soon_threadsafe(fail),
        )
        if self._is_divided:
            partitions.start()
        if self._starts_engage:
            self._engage.start(self._stopping)
        alerts = AlertLoop(self._settings, self._store, current=self._watch.current, clock=self._clock, process=WORKER)
        alerts.progress = self._progress
        alerts.start()
        simulating = threading.Thread(
            target=SimulationProcess(self._settings, self._store).keep_running,
            args=(self._stopping,),
            name="simulation-keeper",
        )
        simulating.start()
        try:
            with self._progress.watch("delivery"):
                if not await self._deliveries.run(stopping, before_sending=guard.allow_sending):
                    self._failed = True
        finally:
            stop()
            await asyncio.to_thread(alerts.stop)
            await asyncio.to_thread(routing.join)
            if self._is_divided:
                await asyncio.to_thread(partitions.join)
            await asyncio.to_thread(self._engage.stop)
            await asyncio.to_thread(simulating.join)

    def _route(self, guard: LogGuard, stop: Callable[[], None]) -> None:
        try:
            with self._store.leadership("routing") as leadership:
                while not self._stopping.is_set():
                    try:
                        if leadership.held():
                            self._lead(guard, leadership, stop)
                        else:
                            self._stopping.wait(_RETRY_SECONDS)
                    except StorageError as error:
                        RoutingTelemetry().storage_failed(error=error.message)
                        self._stopping.wait(_RETRY_SECONDS)
        except Exception as error:  # noqa: BLE001  # outer loop of the thread: log, stop, let the parent start the process again
            self._log.error("routing_stopped", exc_info=error)
            self._failed = True
            stop()

    def _lead(self, guard: LogGuard, leadership: Leadership, stop: Callable[[], None]) -> None:
        """Route until stopped, until another process leads, or until storage fails."""
        settings = self._settings
        guard.reopen()  # the lake may have been unreadable before
        with open_log(settings) as log:
            lake = LakeWriter(settings.lake_location())
            if self._is_divided and not divide(log, self._store, settings, stopping=self._stopping):
                return
            feed = open_feed(settings, self._store, lake=lake, log=log, clock=self._clock)
            self._feed = feed
            reader = self._lake
            replay = LakeReplay(
                store=self._store,
                log=log,
                lake=reader,
                clock=self._clock,
                current=self._watch.newest,
                vault=SubjectVault(open_keyring(settings)),
            )
            if not replay.run(stopping=self._stopping.is_set):
                return
            router = None
            if not self._is_divided:
                index = MessageIndex(settings.dedupe_ids_min)
                fill_index(index, reader, feed, ids_min=settings.dedupe_ids_min, clock=self._clock)
                router = self._open_router(log, index, feed)
            flushing = threading.Thread(target=self._feed_lake, args=(feed, stop), name="lake")
            flushing.start()
            over = threading.Event()
            regulating = RegulationThread(settings, self._store, log=log, current=self._watch.newest, over=over)
            regulating.start()
            replaying = self._start_replays(log, reader, guard, over)
            try:
                self._feeds_lake.set()
                with self._progress.watch("routing"):
                    if router is None:
                        self._wait_while_leading(leadership)
                    else:
                        mark = partial(self._progress.mark, "routing")
                        route_log(router, log, leadership, clock=self._clock, stopping=self._stopping, mark=mark)
            finally:
                if router is not None:
                    router.write_schema()
                over.set()
                self._feeds_lake.clear()
                feed.close()
                replaying.join()
                regulating.join()
                flushing.join()

    def _start_replays(
        self, log: EventLog, reader: LakeReader, guard: LogGuard, over: threading.Event
    ) -> threading.Thread:
        """Start the thread that brings replays and forwarded violations to the log."""
        runner = ReplayRunner(
            store=self._store,
            log=log,
            lake=reader,
            clock=self._clock,
            current=self._watch.newest,  # it was planned with what was saved a moment ago
            before_append=guard.check,
        )
        forwarder = ViolationForwarder(
            store=self._store, log=log, clock=self._clock, current=self._watch.newest, before_append=guard.check
        )
        steps = (runner.step, forwarder.step)
        replaying = threading.Thread(target=run_replays, args=(steps, self._store, self._clock, over), name="replays")
        replaying.start()
        return replaying

    def _open_router(
        self, log: EventLog | PartitionReader, index: MessageIndex, feed: RoutedRows | None = None
    ) -> Router:
        return Router(
            log=log,
            store=self._store,
            clock=self._clock,
            current=self._watch.newest,
            index=index,
            feed=feed,
            on_effects=self._deliveries.wake,
            batch_bytes=self._settings.routing_batch_bytes,
            suppressions=open_suppressions(self._settings, self._store, clock=self._clock),
        )

    def _wait_while_leading(self, leadership: Leadership) -> None:
        """Lead until stopped, or until another process leads; the partitions are routed in another thread."""
        while not self._stopping.wait(_LEADERSHIP_LOOK_SECONDS):
            self._progress.mark("routing")
            if not leadership.held():
                RoutingTelemetry().leadership_lost()
                return

    def _feed_lake(self, feed: LakeFeed, stop: Callable[[], None]) -> None:
        try:
            housekeeping_at = self._clock.monotonic()
            closing = False
            while not closing:
                closing = feed.wait(0.0 if feed.is_behind else self._settings.lake_write_interval_seconds())
                has_succeeded = self._try_lake(feed.flush)
                if not closing and self._clock.monotonic() >= housekeeping_at:
                    housekeeping_at = self._clock.monotonic() + _HOUSEKEEPING_SECONDS
                    self._run_housekeeping(feed)
                if not has_succeeded:
                    self._stopping.wait(_RETRY_SECONDS)
        except Exception as error:  # noqa: BLE001  # outer loop of the thread, as in `_route`
            self._log.error("lake_stopped", exc_info=error)
            self._failed = True
            stop()

    def _run_housekeeping(self, feed: LakeFeed) -> None:
        """Run the tasks of every minute; each separately, so that a damaged lake does not stop the others."""
        self._try_lake(feed.check)
        self._try_lake(feed.tidy)
        self._try_lake(lambda: drop_old_events(feed, self._store, self._settings, clock=self._clock))
        self._try_lake(self._counts.run)
        self._try_lake(
            lambda: prune_history(self._store, self._settings, clock=self._clock, is_stopping=self._stopping.is_set)
        )
        self._try_lake(lambda: self._trim_log(feed))

    def _try_lake(self, action: Callable[[], object]) -> bool:
        """Run an action on the lake; False if it failed, which is logged and does not stop routing."""
        try:
            action()
        except StorageError as error:
            RoutingTelemetry().lake_failed(error)
        except Exception as error:  # noqa: BLE001  # a defect of the lake must not stop awards
            self._log.error("lake_failed", exc_info=error)
        else:
            return True
        return False

    def _trim_log(self, feed: LakeFeed) -> None:
        old = self._clock.now() - timedelta(hours=self._settings.log_retention_hours)
        while feed.trim_log(older_than_micros=to_micros(old)) and not self._stopping.is_set():
            continue
