"""Group commit: requests that arrive while one commit is being synced share the next one."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from punchcard.errors import StorageError
from punchcard.log.port import EventLog, NewRecord
from punchcard.log.write_proof import WriteProof


@dataclass(slots=True)
class _PendingRecord:
    record: NewRecord
    done: "asyncio.Future[int]"
    since: float


class OnCommit(Protocol):
    """Callback on the event loop after each commit."""

    def __call__(self, *, size_bytes: int, seconds: float) -> None:
        """Process a commit: the bytes of its bodies, and how long the oldest one has waited."""


def _ignore_commit(*, size_bytes: int, seconds: float) -> None:
    """No-op callback."""


class GroupCommit:
    """Makes records durable for one event loop: one thread commits all pending records, then wakes the loop once.

    Args:
        records_max: Maximum number of records in one commit; bounds how long the first waits for the last.
        bytes_max: Maximum bytes of bodies in one commit.
        queue_bytes_max: Maximum bytes that wait; more are refused at once, because a slow disk must not fill the
            memory.

    Attributes:
        on_commit: Called after each commit.
        proof: Whether the log takes records.
    """

    on_commit: OnCommit
    proof: WriteProof

    def __init__(self, log: EventLog, *, records_max: int, bytes_max: int, queue_bytes_max: int) -> None:
        self.on_commit = _ignore_commit
        self.proof = WriteProof(lambda: log.check_writes())
        self._log = log
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._queue_bytes_max = queue_bytes_max
        self._changed = threading.Condition()
        self._pending: list[_PendingRecord] = []
        self._pending_bytes = 0
        self._stopped = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._commit_until_stopped, name="group-commit")
        self._thread.start()

    def submit(self, record: NewRecord) -> "asyncio.Future[int]":
        """Return the record's position once the record is durable. Must be called on the event loop.

        Raises:
            StorageError: At once if too much is waiting or the log is stopped; from the future if the commit failed.
        """
        size = len(record.body)
        with self._changed:
            if self._stopped:
                raise StorageError("Punchcard is stopping.", code="stopping")
            if self._pending_bytes + size > self._queue_bytes_max and self._pending:
                raise StorageError("The disk is too slow: too many requests wait to be written.", code="overloaded")
            pending = _PendingRecord(record, self._loop.create_future(), self._loop.time())
            self._pending.append(pending)
            self._pending_bytes += size
            if len(self._pending) == 1:
                # Once this turn of the loop is over: the requests that it reads share the commit, and the thread does
                # not compete for the interpreter while they are parsed. It takes what waits anyway after a commit.
                self._loop.call_soon(self._wake)
        return pending.done

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def stop(self) -> None:
        """Commit pending records and end the thread. Must not be called on the event loop."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _commit_until_stopped(self) -> None:
        while batch := self._next_batch():
            outcome: Future[Sequence[int]] = Future()
            try:
                outcome.set_result(self._log.append([pending.record for pending in batch]))
            except StorageError as error:
                outcome.set_exception(error)
            except Exception as error:  # noqa: BLE001  # outer loop of the thread: the waiting requests need a response
                outcome.set_exception(StorageError(f"The event log failed: {error!r}."))
            try:
                self._loop.call_soon_threadsafe(self._resolve, batch, outcome)
            except RuntimeError:
                return  # the loop is closed: no request waits, and none got a 200 response

    def _next_batch(self) -> list[_PendingRecord]:
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._stopped)
            count = size = 0
            for pending in self._pending[: self._records_max]:
                size += len(pending.record.body)
                if count and size > self._bytes_max:
                    break
                count += 1
            batch, self._pending = self._pending[:count], self._pending[count:]
            self._pending_bytes -= sum(len(pending.record.body) for pending in batch)
            return batch

    def _resolve(self, batch: Sequence[_PendingRecord], outcome: "Future[Sequence[int]]") -> None:
        error = outcome.exception()
        self.proof.note(error if isinstance(error, StorageError) else None)
        positions = () if error else outcome.result()
        for number, pending in enumerate(batch):
            if pending.done.done():  # the client has disconnected; the record is durable nevertheless
                continue
            if error is not None:
                pending.done.set_exception(error)
            else:
                pending.done.set_result(positions[number])
        if error is None:
            size = sum(len(pending.record.body) for pending in batch)
            self.on_commit(size_bytes=size, seconds=self._loop.time() - batch[0].since)
