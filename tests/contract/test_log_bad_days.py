"""The SQLite log and its group commit when the disk is full, the file is locked, or clients go away."""

import asyncio
import functools
import resource
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from punchcard.errors import StorageError
from punchcard.log import sqlite
from punchcard.log.bodies import decompress
from punchcard.log.group_commit import GroupCommit
from punchcard.log.port import LogRecord, NewRecord
from punchcard.log.sqlite import SqliteEventLog
from punchcard.testing.waiting import PATIENCE_SECONDS

WAITING_BYTES_MAX = 100_000


def on_a_loop(test: Callable[[SqliteEventLog], Coroutine[object, object, None]]) -> Callable[[SqliteEventLog], None]:
    """Run an asynchronous test on an event loop of its own."""

    @functools.wraps(test)
    def run(log: SqliteEventLog) -> None:
        asyncio.run(test(log))

    return run


@contextmanager
def no_room_for_files_above(size: int) -> Iterator[None]:
    """What a full disk does to a file that would grow: the write fails. Python ignores the signal that goes with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def record(number: int, *, padding: int = 0) -> NewRecord:
    return NewRecord(1, "wk", "track", "identity", b'{"n":%d}' % number + b" " * padding, "")


def bodies(log: SqliteEventLog) -> list[bytes]:
    return [decompress(item).strip() for item in everything(log)]


def everything(log: SqliteEventLog) -> Sequence[LogRecord]:
    return log.read(0, records_max=1_000_000, bytes_max=1 << 40)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteEventLog]:
    log = SqliteEventLog(path)
    yield log
    log.close()


def test_a_full_disk_keeps_what_was_there_and_takes_more_once_there_is_room(log: SqliteEventLog) -> None:
    log.append([record(1)])
    taken = 0

    def fill() -> None:
        nonlocal taken
        for number in range(100, 200):
            log.append([record(number, padding=1_000)])
            taken += 1

    with no_room_for_files_above(256 * 1024), pytest.raises(StorageError, match="cannot be written"):
        fill()
    assert taken >= 1
    log.append([record(2)])
    assert bodies(log) == [b'{"n":1}', *(b'{"n":%d}' % number for number in range(100, 100 + taken)), b'{"n":2}']


def test_a_commit_that_fails_leaves_nothing_of_its_group(log: SqliteEventLog) -> None:
    with no_room_for_files_above(64 * 1024), pytest.raises(StorageError):
        log.append([NewRecord(1, "wk", "track", "gzip", bytes(range(256)) * 100, "") for _ in range(20)])
    assert list(everything(log)) == []
    assert log.last_position() == 0


def test_a_locked_file_is_waited_for_and_then_reported(
    log: SqliteEventLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 0.2)
    impatient = SqliteEventLog(path)
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked"):
            impatient.append([record(1)])
        assert list(everything(log)) == []
        other.execute("ROLLBACK")
        impatient.append([record(2)])
        assert bodies(log) == [b'{"n":2}']
    finally:
        other.close()
        impatient.close()


def test_a_file_that_is_no_database_is_reported(path: Path) -> None:
    path.write_bytes(b"these are not the records you are looking for" * 100)
    with pytest.raises(StorageError, match="cannot be opened"):
        SqliteEventLog(path)


def test_the_write_ahead_file_does_not_grow_for_ever(log: SqliteEventLog, path: Path) -> None:
    for _ in range(60):
        log.append([NewRecord(1, "wk", "track", "gzip", bytes(range(256)) * 2_000, "") for _ in range(4)])
    wal = path.with_name(path.name + "-wal")
    until = time.monotonic() + PATIENCE_SECONDS
    while wal.stat().st_size > sqlite._RESTART_FROM_BYTES:
        assert time.monotonic() < until
        log.append([record(1)])
        time.sleep(0.05)
    assert sum(len(item.body) == 512_000 for item in everything(log)) == 60 * 4


class _Counting:
    """The real log, counting commits."""

    def __init__(self, log: SqliteEventLog) -> None:
        self.commits: list[int] = []
        self._log = log

    def append(self, records: Sequence[NewRecord]) -> Sequence[int]:
        self.commits.append(len(records))
        return self._log.append(records)


@contextmanager
def committing(log: object, *, records_max: int = 64, bytes_max: int = 1 << 20) -> Iterator[GroupCommit]:
    commit = GroupCommit(log, records_max=records_max, bytes_max=bytes_max, queue_bytes_max=WAITING_BYTES_MAX)  # type: ignore[arg-type]
    try:
        yield commit
    finally:
        commit.stop()


@on_a_loop
async def test_requests_that_arrive_together_share_commits_and_get_their_own_positions(log: SqliteEventLog) -> None:
    counting = _Counting(log)
    with committing(counting) as commit:
        positions = await asyncio.gather(*(commit.submit(record(number)) for number in range(300)))
    result = {item.position: decompress(item) for item in everything(log)}
    assert [result[position] for position in positions] == [b'{"n":%d}' % number for number in range(300)]
    assert len(counting.commits) < 150
    assert max(counting.commits) <= 64


@on_a_loop
async def test_requests_of_one_turn_of_the_event_loop_share_a_commit(log: SqliteEventLog) -> None:
    counting = _Counting(log)
    with committing(counting) as commit:
        first = commit.submit(record(1))
        threading.Event().wait(0.05)  # the loop goes on with the same turn, and the thread may run
        await asyncio.gather(first, commit.submit(record(2)))
    assert counting.commits == [2]


@on_a_loop
async def test_a_commit_is_limited_by_bytes_but_takes_one_record_of_any_size(log: SqliteEventLog) -> None:
    counting = _Counting(log)
    with committing(counting, bytes_max=10_000) as commit:
        waiting = [commit.submit(record(number, padding=6_000)) for number in range(6)]
        waiting.append(commit.submit(record(9, padding=50_000)))
        await asyncio.gather(*waiting)
    assert max(counting.commits) == 1
    assert len(everything(log)) == 7


@on_a_loop
async def test_all_of_a_group_are_reported_when_it_cannot_be_durable_and_later_ones_are_taken(
    log: SqliteEventLog,
) -> None:
    with committing(log) as commit:
        with no_room_for_files_above(32 * 1024):
            results = await asyncio.gather(*map(commit.submit, map(record, range(40))), return_exceptions=True)
        refused = [result for result in results if isinstance(result, BaseException)]
        assert refused
        assert all(isinstance(result, StorageError) for result in refused)
        await commit.submit(record(99))
    stored = [b'{"n":%d}' % number for number, result in enumerate(results) if isinstance(result, int)]
    assert bodies(log) == [*stored, b'{"n":99}']


@on_a_loop
async def test_more_than_may_wait_is_refused_at_once(log: SqliteEventLog) -> None:
    with committing(log) as commit:
        waiting: list[asyncio.Future[int]] = []

        def submit_a_thousand() -> None:
            for number in range(1_000):
                waiting.append(commit.submit(record(number, padding=WAITING_BYTES_MAX // 3)))

        with pytest.raises(StorageError) as refused:
            submit_a_thousand()
        assert refused.value.code == "overloaded"
        await asyncio.gather(*waiting)
        await commit.submit(record(1_000))


@on_a_loop
async def test_a_client_that_goes_away_takes_nobody_with_it(log: SqliteEventLog) -> None:
    with committing(log) as commit:
        first, dropped, last = (commit.submit(record(number)) for number in range(3))
        dropped.cancel()
        assert await asyncio.gather(first, last)
    assert bodies(log) == [b'{"n":0}', b'{"n":1}', b'{"n":2}']


@on_a_loop
async def test_stopping_makes_durable_what_waits_and_takes_no_more(log: SqliteEventLog) -> None:
    with committing(log) as commit:
        waiting = [commit.submit(record(number)) for number in range(20)]
    assert len(await asyncio.gather(*waiting)) == 20
    with pytest.raises(StorageError) as refused:
        commit.submit(record(21))
    assert refused.value.code == "stopping"
    assert len(everything(log)) == 20
