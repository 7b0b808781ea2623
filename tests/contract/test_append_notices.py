"""A reader of a log file is woken by the kernel, and looks by itself where no notice can come."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from punchcard.log.append_notices import AppendNotices
from punchcard.log.sqlite import SqliteEventLog
from punchcard.testing.log_installation import record
from punchcard.testing.waiting import PATIENCE_SECONDS

EVERYTHING = {"records_max": 1_000, "bytes_max": 1 << 40}
SOON = PATIENCE_SECONDS / 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def reading(path: Path) -> Iterator[SqliteEventLog]:
    """A log with a reader that has begun to wait for notices."""
    with closing(SqliteEventLog(path)) as log:
        log.wait(0, seconds=0.001, poll_seconds=0.001)
        yield log


def wait_in_thread(log: SqliteEventLog, *, poll_seconds: float = PATIENCE_SECONDS) -> threading.Thread:
    """Wait for a record for as long as the test has patience."""
    waiting = threading.Thread(
        target=lambda: log.wait(0, seconds=PATIENCE_SECONDS, poll_seconds=poll_seconds), daemon=True
    )
    waiting.start()
    return waiting


def has_ended(waiting: threading.Thread) -> bool:
    waiting.join(SOON)
    return not waiting.is_alive()


def test_a_commit_of_another_process_wakes_the_reader(reading: SqliteEventLog, path: Path) -> None:
    waiting = wait_in_thread(reading)
    with closing(SqliteEventLog(path)) as writing:
        writing.append([record()])
        assert has_ended(waiting)


def test_a_commit_before_the_wait_is_not_missed(reading: SqliteEventLog, path: Path) -> None:
    with closing(SqliteEventLog(path)) as writing:
        writing.append([record()])
    assert has_ended(wait_in_thread(reading))


def test_a_commit_before_the_first_wait_is_not_missed(path: Path) -> None:
    with closing(SqliteEventLog(path)) as log:
        log.append([record()])
        assert has_ended(wait_in_thread(log))


def test_closing_ends_the_wait(path: Path) -> None:
    for _ in range(50):  # at whatever moment of the wait it is closed
        log = SqliteEventLog(path)
        log.wait(0, seconds=0.001, poll_seconds=0.001)
        waiting = wait_in_thread(log)
        log.close()
        assert has_ended(waiting)


def test_more_notices_than_the_kernel_keeps_disturb_nobody(reading: SqliteEventLog, path: Path) -> None:
    with closing(SqliteEventLog(path)) as writing:
        for _ in range(300):
            writing.append([record()])
    assert len(reading.read(0, **EVERYTHING)) == 300
    assert has_ended(wait_in_thread(reading))


def test_a_second_reader_of_the_file_looks_by_itself(reading: SqliteEventLog, path: Path) -> None:
    with closing(SqliteEventLog(path)) as second:
        for _ in range(3):
            assert has_ended(wait_in_thread(second, poll_seconds=0.001))


def test_a_reader_looks_by_itself_once_it_has_missed_a_notice(reading: SqliteEventLog, path: Path) -> None:
    with closing(SqliteEventLog(path)) as writing:
        writing._notices.close()  # as from another network namespace: its notices reach nobody
        writing.append([record()])
        reading.wait(0, seconds=0.001, poll_seconds=PATIENCE_SECONDS)
        assert reading.read(0, **EVERYTHING)
        assert has_ended(wait_in_thread(reading, poll_seconds=0.001))


def test_a_reader_trusts_notices_again_once_one_has_come(reading: SqliteEventLog, path: Path) -> None:
    test_a_reader_looks_by_itself_once_it_has_missed_a_notice(reading, path)
    with closing(SqliteEventLog(path)) as writing:
        writing.append([record()])
        reading.wait(0, seconds=PATIENCE_SECONDS, poll_seconds=PATIENCE_SECONDS)
        waiting = wait_in_thread(reading, poll_seconds=0.001)
        waiting.join(0.2)
        assert waiting.is_alive()  # it does not look every millisecond any more
        writing.append([record()])
        assert has_ended(waiting)


def test_a_log_without_a_file_has_no_notices() -> None:
    notices = AppendNotices(None)
    notices.send()
    notices.wait(seconds=PATIENCE_SECONDS, poll_seconds=0.001, closing=threading.Event())
    notices.close()
