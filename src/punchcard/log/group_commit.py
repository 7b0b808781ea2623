"""Group commit: requests that arrive while one commit is being synced share the next one."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from punchcard.errors import StorageError
from punchcard.log.port import EventLog, NewRecord


@dataclass(slots=True)
class _Waiting:
    record: NewRecord
    done: "asyncio.Future[int]"
    since: float


class OnCommit(Protocol):
    """Is told on the event loop of each commit: the bytes of its bodies, and how long the first of them has waited."""

    def __call__(self, *, size_bytes: int, seconds: float) -> None:
        """Take note of one commit."""


def _unwatched(*, size_bytes: int, seconds: float) -> None:
    """For who need not be told."""


class GroupCommit:
    """Makes records durable for one event loop: one thread commits all that is pending, then wakes the loop once.

    Args:
        records_max: Records in one commit, at most: bounds how long the first waits for the last.
        bytes_max: Bytes of bodies in one commit, at most.
        queue_bytes_max: Bytes that may wait; more are refused at once, for a slow disk must not fill the memory.

    Attributes:
        on_commit: Is told of each commit.
    """

    on_commit: OnCommit

    def __init__(self, log: EventLog, *, records_max: int, bytes_max: int, queue_bytes_max: int) -> None:
        self.on_commit = _unwatched
        self._log = log
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._queue_bytes_max = queue_bytes_max
        self._changed = threading.Condition()
        self._pending: list[_Waiting] = []
        self._pending_bytes = 0
        self._stopped = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._commit_until_stopped, name="group-commit")
        self._thread.start()

    def submit(self, record: NewRecord) -> "asyncio.Future[int]":
        """Its position, once the record is durable. To be called on the event loop.

        Raises:
            StorageError: here if too much is waiting or the log is stopped; from the future if the commit failed.
        """
        size = len(record.body)
        with self._changed:
            if self._stopped:
                raise StorageError("Punchcard is stopping", code="stopping")
            if self._pending_bytes + size > self._queue_bytes_max and self._pending:
                raise StorageError("the disk does not keep up: too much waits to be written", code="overloaded")
            waiting = _Waiting(record, self._loop.create_future(), self._loop.time())
            self._pending.append(waiting)
            self._pending_bytes += size
            if len(self._pending) == 1:
                self._changed.notify()
        return waiting.done

    def stop(self) -> None:
        """Commit what is pending and end the thread. Not to be called on the event loop."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _commit_until_stopped(self) -> None:
        while batch := self._next_batch():
            outcome: Future[Sequence[int]] = Future()
            try:
                outcome.set_result(self._log.append([one.record for one in batch]))
            except StorageError as error:
                outcome.set_exception(error)
            except Exception as error:  # noqa: BLE001  # the thread's outer loop: whoever waits must be told
                outcome.set_exception(StorageError(f"the log failed: {error!r}"))
            try:
                self._loop.call_soon_threadsafe(self._tell, batch, outcome)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more, and nobody was told 200

    def _next_batch(self) -> list[_Waiting]:
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._stopped)
            count = size = 0
            for one in self._pending[: self._records_max]:
                size += len(one.record.body)
                if count and size > self._bytes_max:
                    break
                count += 1
            batch, self._pending = self._pending[:count], self._pending[count:]
            self._pending_bytes -= sum(len(one.record.body) for one in batch)
            return batch

    def _tell(self, batch: Sequence[_Waiting], outcome: "Future[Sequence[int]]") -> None:
        error = outcome.exception()
        positions = () if error else outcome.result()
        for number, one in enumerate(batch):
            if one.done.done():  # its client has gone; the record is durable all the same
                continue
            if error is not None:
                one.done.set_exception(error)
            else:
                one.done.set_result(positions[number])
        if error is None:
            size = sum(len(one.record.body) for one in batch)
            self.on_commit(size_bytes=size, seconds=self._loop.time() - batch[0].since)
