"""The promise of a SQLite store's checkpoints: no commit copies the write-ahead log, and it does not grow for ever."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from threading import Lock

import pytest
from sqlalchemy import text

from punchcard.store.checkpoints import copy_log
from punchcard.store.engine import Store
from punchcard.testing.waiting import wait_until

PAGES = 1_500  # more than SQLite leaves in the log by itself


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path / 'punchcard.db'}")
    yield opened
    opened.close()


def write(store: Store, *, pages: int) -> None:
    with store.unit_of_work() as work:
        work.execute(text("CREATE TABLE IF NOT EXISTS filling (body BLOB)"))
        work.execute(text("INSERT INTO filling VALUES (zeroblob(:size))"), {"size": pages * 4_096})


@contextmanager
def ending(reading: ExitStack) -> Iterator[None]:
    """A lock that is had once a reader has ended."""
    reading.close()
    yield


def test_a_commit_leaves_its_pages_in_the_log(store: Store, tmp_path: Path) -> None:
    before = (tmp_path / "punchcard.db").stat().st_size
    write(store, pages=PAGES)
    assert (tmp_path / "punchcard.db").stat().st_size == before


def test_what_is_committed_is_copied_into_the_file_soon(store: Store, tmp_path: Path) -> None:
    with store.keep_checkpointing():
        for number in range(1, 3):
            write(store, pages=PAGES)
            wait_until(lambda: (tmp_path / "punchcard.db").stat().st_size > number * PAGES * 4_096)  # noqa: B023


def test_a_unit_of_work_that_changes_nothing_leaves_the_log_alone(store: Store, tmp_path: Path) -> None:
    """The loops of an idle process have one every second."""
    other = Store(f"sqlite:///{tmp_path / 'punchcard.db'}")
    file = tmp_path / "punchcard.db"
    with closing(other), store.keep_checkpointing():
        write(store, pages=PAGES)
        wait_until(lambda: file.stat().st_size > PAGES * 4_096)
        time.sleep(1.5)  # after few commits, a copy comes a second later
        write(other, pages=PAGES)
        size = file.stat().st_size
        with store.unit_of_work() as work:
            work.execute(text("SELECT count(*) FROM filling"))
        time.sleep(1.5)
        assert file.stat().st_size == size
        write(store, pages=1)
        wait_until(lambda: file.stat().st_size > size)


def test_a_long_log_restarts_though_it_was_read_during_the_first_copy(store: Store, tmp_path: Path) -> None:
    log = tmp_path / "punchcard.db-wal"
    write(store, pages=100)
    size = log.stat().st_size
    for _ in range(8):
        with ExitStack() as reading:
            reading.enter_context(store.reading()).scalar(text("SELECT count(*) FROM filling"))
            write(store, pages=100)
            with closing(sqlite3.connect(tmp_path / "punchcard.db", isolation_level=None)) as connection:
                copy_log(connection, writing=ending(reading), restart_from_pages=50)
    assert log.stat().st_size < size + 4 * 100 * 4_096


def test_a_log_that_somebody_reads_is_not_waited_for(store: Store, tmp_path: Path) -> None:
    write(store, pages=10)
    with (
        store.reading() as reader,
        closing(sqlite3.connect(tmp_path / "punchcard.db", isolation_level=None)) as connection,
    ):
        rows = reader.scalar(text("SELECT count(*) FROM filling"))
        write(store, pages=100)
        copy_log(connection, writing=Lock(), restart_from_pages=1)
        write(store, pages=100)
        assert (rows, reader.scalar(text("SELECT count(*) FROM filling"))) == (1, 1)
    with store.reading() as reader:
        assert reader.scalar(text("SELECT count(*) FROM filling")) == 3
