"""Routes partitions of the log, shared with the other workers: each partition has one worker at a time.

A lock in the database says which worker has a partition. What makes it safe is the partition's position: a worker that
was frozen, and lost its lock meanwhile, cannot advance it any more, and everything of a step is written with it.
"""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import structlog

from punchcard.clock import Clock
from punchcard.errors import StorageError
from punchcard.log.partitions import PartitionedLog, PartitionReader
from punchcard.routing.router import PositionMovedError, Router
from punchcard.routing.telemetry import RoutingTelemetry
from punchcard.runtime.partition_shares import share_partitions
from punchcard.store.delivery.recoveries import newest_recovery
from punchcard.store.engine import Store
from punchcard.store.leadership import Leadership
from punchcard.store.routing.partition_workers import AliveWorker, leave, report_worker
from punchcard.store.routing.positions import add_partitions, divide_routing, partition_positions

_BALANCE_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 1.0
_WAIT_SECONDS: Final = 0.25
_POLL_SECONDS: Final = 0.02


def leadership_name(partition: int) -> str:
    """Return the name of the role of routing a partition."""
    return f"routing/{partition}"


def divide_log(log: PartitionedLog, store: Store, count: int) -> bool:
    """Divide log and routing, or see that they are. For the worker that leads routing.

    Returns:
        False if the number of partitions cannot be raised yet, because workers route the current ones.

    Raises:
        StorageError: Log or store is not available. Calling it again goes on where it was.
    """
    with ExitStack() as stack:
        layout = log.partitions()
        with store.reading() as work:
            positions = partition_positions(work)
        if layout.count == count and len(positions) == count:
            return True
        for partition in positions:
            if not stack.enter_context(store.leadership(leadership_name(partition))).held():
                return False
        with store.unit_of_work() as work:
            position = divide_routing(work)  # from now on, no router of the whole log can do anything
            positions = partition_positions(work)
        if layout.count != count:
            if min(positions.values()) < layout.changed_after:
                return False  # what was appended before the change before is still being routed
            layout = log.set_partitions(count)
        with store.unit_of_work() as work:
            # Partitions that are older than the change are missing in a store that was restored, or has another log.
            old, new = range(layout.count_before), range(layout.count_before, count)
            add_partitions(work, dict.fromkeys(old, position) | dict.fromkeys(new, layout.changed_after))
    return True


@dataclass
class _Owned:
    """A partition that this worker routes."""

    leadership: Leadership
    router: Router
    stack: ExitStack


class PartitionRouting:
    """The partitions that one worker routes, one step of each after the other. For one thread.

    Args:
        count: The number of partitions by the settings: nothing is routed until the log has so many.
        worker: An id that no other worker has.
        lake_last: Return the highest log position that the lake holds.
        fill_index: Read the recent message ids into the index that all routers share.
        open_router: Return a router of a partition.
        feeds_lake: Return whether this worker feeds the lake, too: then it routes less.
        mark: Called on every round.
    """

    def __init__(
        self,
        *,
        log: PartitionedLog,
        store: Store,
        clock: Clock,
        count: int,
        worker: str,
        lake_last: Callable[[], int],
        fill_index: Callable[[], None],
        open_router: Callable[[PartitionReader], Router],
        feeds_lake: Callable[[], bool] = lambda: False,
        mark: Callable[[], None] = lambda: None,
    ) -> None:
        self._log = log
        self._store = store
        self._clock = clock
        self._count = count
        self._worker = worker
        self._lake_last = lake_last
        self._fill_index = fill_index
        self._open_router = open_router
        self._feeds_lake = feeds_lake
        self._mark = mark
        self._telemetry = RoutingTelemetry()
        self._logger = structlog.get_logger("punchcard.partitions")
        self._owned: dict[int, _Owned] = {}
        self._shown: list[int] = []  # the partitions that were logged last
        self._balance_at = 0.0
        self._stepped = -1  # the partition that took the last step
        self._is_sharing = False  # whether the others count on this worker
        self._is_waiting = False  # for the log to be divided as the settings say

    @property
    def partitions(self) -> list[int]:
        """The numbers of the partitions that this worker routes."""
        return sorted(self._owned)

    def run(self, stopping: threading.Event) -> None:
        """Route until stopped; an unavailable log or store is waited for."""
        try:
            while not stopping.is_set():
                self._mark()
                try:
                    routed = self.step()
                except StorageError as error:
                    self._telemetry.storage_failed(error=error.message)
                    stopping.wait(_RETRY_SECONDS)
                    continue
                if not routed and not stopping.is_set():
                    self._wait(stopping)
        finally:
            self.release_all()
            try:
                self._leave()
            except StorageError as error:  # the others forget it within seconds
                self._telemetry.storage_failed(error=error.message)

    def step(self) -> int:
        """Take and give back partitions if it is time to, and take one step of each; return the records routed.

        A partition that fails takes as long as its brokers are waited for. If it is time to balance by then, the others
        are left for the next call: a worker that does not report for some seconds is forgotten by the others.

        Raises:
            StorageError: Log or store is not available; call again. No partition is routed twice meanwhile.
        """
        if self._clock.monotonic() >= self._balance_at:
            self.balance()
        routed = 0
        failed: StorageError | None = None
        for partition in self._in_turn():
            owned = self._owned[partition]
            self._stepped = partition
            try:
                routed += owned.router.step()
            except PositionMovedError:
                self._telemetry.position_lost(position=owned.router.position)
                self._release(partition)
            except StorageError as error:  # two routers that waited for each other, or the store: the others go on
                failed = error
                if self._clock.monotonic() >= self._balance_at:
                    break
        if failed is not None:
            raise failed
        return routed

    def _in_turn(self) -> list[int]:
        """Return the partitions, beginning after the one that took the last step."""
        return sorted(self._owned, key=lambda partition: (partition <= self._stepped, partition))

    def router_of(self, partition: int) -> Router:
        """Return the router of a partition that this worker routes."""
        return self._owned[partition].router

    def end_sessions(self) -> None:
        """End the sessions that hold the partitions, as the server does when this process is frozen for long."""
        for owned in self._owned.values():
            owned.stack.close()

    def release_all(self) -> None:
        """Give back all partitions."""
        for partition in self.partitions:
            self._release(partition)

    def _wait(self, stopping: threading.Event) -> None:
        if not self._owned:
            stopping.wait(_WAIT_SECONDS)
            return
        newest = max(owned.router.position for owned in self._owned.values())
        self._log.wait(newest, seconds=_WAIT_SECONDS, poll_seconds=_POLL_SECONDS)

    def balance(self) -> None:
        """Take and give back partitions, so that each worker that is alive has its share.

        Raises:
            StorageError: Log or store is not available.
        """
        self._balance_at = self._clock.monotonic() + _BALANCE_SECONDS
        for partition, owned in list(self._owned.items()):
            if not self._is_held(owned):
                self._telemetry.leadership_lost()
                self._release(partition)
        # Before the log is asked, which may take long: the others must know that this worker is alive.
        workers = self._report() if self._is_sharing else []
        count = self._log.partitions().count
        with self._store.reading() as work:
            positions = partition_positions(work)
            recovery = newest_recovery(work)
        if count != self._count or len(positions) < count:
            self._wait_for_division()
        else:
            workers = workers or self._report()
            self._is_sharing, self._is_waiting = True, False
            share = share_partitions(count, workers)[self._worker]
            for partition in self.partitions[len(share) :]:
                self._release(partition)
            # What a restored store has lost is planned from the lake first: routed from the log, it would be known.
            is_restored = recovery is not None and recovery.routed_at is None
            planned_from_lake = min(self._lake_last(), recovery.through_position) if is_restored and recovery else 0
            if min(positions.values()) >= planned_from_lake:
                self._take(len(share), count, first=share.start)
        if self.partitions != self._shown:  # a step may have given one back, too
            self._shown = self.partitions
            self._logger.info("partitions_changed", partitions=self.partitions, workers=len(workers))

    def _wait_for_division(self) -> None:
        """Take no partitions: the worker that leads is about to divide the log, once nobody routes the current ones."""
        self.release_all()
        self._leave()  # those that route the current ones must not leave some of them to this worker
        if not self._is_waiting:
            self._logger.warning("partitions_waited_for", partitions=self._count)
        self._is_waiting = True

    def _report(self) -> list[AliveWorker]:
        """Report that this worker is alive; return all that share the partitions."""
        with self._store.unit_of_work() as work:
            return report_worker(work, self._worker, feeds_lake=self._feeds_lake())

    def _leave(self) -> None:
        """Report that this worker takes no partitions any more."""
        if not self._is_sharing:
            return
        with self._store.unit_of_work() as work:
            leave(work, self._worker)
        self._is_sharing = False

    def _take(self, share: int, count: int, *, first: int) -> None:
        """Take free partitions up to this worker's share, beginning where the others do not begin."""
        taken: dict[int, tuple[Leadership, ExitStack]] = {}
        try:
            for partition in ((first + number) % count for number in range(count)):
                if len(self._owned) + len(taken) >= share:
                    break
                if partition in self._owned:
                    continue
                with ExitStack() as stack:
                    leadership = stack.enter_context(self._store.leadership(leadership_name(partition)))
                    if leadership.held():
                        taken[partition] = leadership, stack.pop_all()
            if taken:
                self._open(taken)
        finally:
            for partition, (_, stack) in taken.items():
                if partition not in self._owned:
                    stack.close()

    def _open(self, taken: dict[int, tuple[Leadership, ExitStack]]) -> None:
        with self._store.reading() as work:
            positions = partition_positions(work)
        self._fill_index()
        for partition, (leadership, stack) in taken.items():
            router = self._open_router(PartitionReader(self._log, partition))
            # A frozen worker that had it may have finished a step in between: its message ids are not in the index.
            if router.position == positions[partition]:
                self._owned[partition] = _Owned(leadership, router, stack)

    def _is_held(self, owned: _Owned) -> bool:
        try:
            return owned.leadership.held()
        except StorageError as error:
            self._telemetry.storage_failed(error=error.message)
            return False

    def _release(self, partition: int) -> None:
        owned = self._owned.pop(partition)
        owned.router.write_schema()
        owned.stack.close()
