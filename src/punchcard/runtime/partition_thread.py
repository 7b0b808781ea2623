"""A worker's thread that routes its share of the partitions, and what leading means for a divided log."""

import threading
from collections.abc import Callable

import structlog

from punchcard.clock import Clock
from punchcard.errors import InvariantError
from punchcard.lake.reader import LakeReader
from punchcard.lake.writer import LakeWriter
from punchcard.log.partitions import PartitionedLog, PartitionReader
from punchcard.log.port import EventLog
from punchcard.routing.dedupe import MessageIndex
from punchcard.routing.divided_lake_feed import DividedLakeFeed
from punchcard.routing.lake_feed import LakeFeed
from punchcard.routing.router import Router
from punchcard.runtime.assembly import open_log
from punchcard.runtime.loop_progress import LoopProgress
from punchcard.runtime.message_ids import fill_index
from punchcard.runtime.partition_routing import PartitionRouting, divide_log
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store

_LOOP = "partitions"
_RETRY_SECONDS = 1.0

OpenRouter = Callable[[PartitionReader, MessageIndex], Router]


class PartitionThread:
    """Routes this worker's share of the partitions until stopped.

    Args:
        lake: Has the recent message ids.
        feeds_lake: Return whether this worker feeds the lake.
        open_router: Return the router of a partition, with an index of message ids.
        on_failure: Called when a defect ends the thread: the process must end and be started again.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        lake: LakeReader,
        clock: Clock,
        feeds_lake: Callable[[], bool],
        open_router: OpenRouter,
        progress: LoopProgress,
        stopping: threading.Event,
        on_failure: Callable[[], object],
    ) -> None:
        self._settings = settings
        self._store = store
        self._lake = lake
        self._clock = clock
        self._feeds_lake = feeds_lake
        self._open_router = open_router
        self._progress = progress
        self._stopping = stopping
        self._on_failure = on_failure
        self._thread = threading.Thread(target=self._run, name=_LOOP)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has given back its partitions."""
        self._thread.join()

    def _run(self) -> None:
        try:
            with open_log(self._settings) as log, self._progress.watch(_LOOP):
                self._route(_as_partitioned(log))
        except Exception as error:  # noqa: BLE001  # outer loop of the thread: log, stop, let the parent start the process again
            structlog.get_logger("punchcard.worker").error("partitions_stopped", exc_info=error)
            self._on_failure()

    def _route(self, log: PartitionedLog) -> None:
        settings = self._settings
        lake = LakeWriter(settings.lake_location())
        index = MessageIndex(settings.dedupe_ids_min)
        feed = open_feed(settings, self._store, lake=lake, log=log, clock=self._clock)
        routing = PartitionRouting(
            log=log,
            store=self._store,
            clock=self._clock,
            count=settings.log_partitions,
            worker=self._clock.new_id(),
            lake_last=lake.last_position,
            fill_index=lambda: fill_index(index, self._lake, feed, ids_min=settings.dedupe_ids_min, clock=self._clock),
            open_router=lambda partition: self._open_router(partition, index),
            feeds_lake=self._feeds_lake,
            mark=lambda: self._progress.mark(_LOOP),
        )
        routing.run(self._stopping)


def open_feed(settings: Settings, store: Store, *, lake: LakeWriter, log: EventLog, clock: Clock) -> LakeFeed:
    """Return the feed of the lake for the number of partitions in the settings."""
    feed = DividedLakeFeed if settings.log_partitions > 1 else LakeFeed
    return feed(lake=lake, log=log, store=store, clock=clock, rows_max=settings.lake_rows_max)


def divide(log: EventLog, store: Store, settings: Settings, *, stopping: threading.Event) -> bool:
    """Divide the log as the settings say; return False, a moment later, if that must wait for other workers.

    Raises:
        StorageError: Log or store is not available.
    """
    if divide_log(_as_partitioned(log), store, settings.log_partitions):
        return True
    structlog.get_logger("punchcard.worker").warning("partitions_waited_for", partitions=settings.log_partitions)
    stopping.wait(_RETRY_SECONDS)
    return False


def _as_partitioned(log: EventLog) -> PartitionedLog:
    if not isinstance(log, PartitionedLog):
        raise InvariantError("this log cannot be divided, which is refused at start")
    return log
