"""What the SQLite log asks of the machine: synced before it is acknowledged, no other files, nobody's leave."""

import os
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from punchcard.errors import StorageError
from punchcard.log import sqlite
from punchcard.log.port import NewRecord
from punchcard.log.sqlite import SqliteEventLog
from punchcard.testing.waiting import PATIENCE_SECONDS

APPENDING = """
import os, sys
from pathlib import Path
from punchcard.log.port import NewRecord
from punchcard.log.sqlite import SqliteEventLog

log = SqliteEventLog(Path(sys.argv[1]))
for count in (1, 3, 40, 200, 1):
    log.append([NewRecord(1, "wk", "track", "identity", b"{}", "")] * count)
    os.write(1, b"acknowledged")
log.close()
"""


def random_record(size: int) -> NewRecord:
    return NewRecord(1, "wk", "track", "gzip", os.urandom(size), "")


def numbered(number: int, padding: int = 0) -> NewRecord:
    return NewRecord(1, "wk", "track", "gzip", b"%d " % number + os.urandom(padding), "")


@contextmanager
def no_more_files() -> Iterator[None]:
    """Those that are open can be used; none can be opened."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mounting, check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("a disk can be mounted by root only")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_what_is_acknowledged_has_been_synced(tmp_path: Path) -> None:
    """Promise: when append returns, the operating system was asked to write all of it to disk."""
    traced = tmp_path / "calls"
    tracing = ["strace", "-f", "-y", "-e", "trace=pwrite64,fdatasync,fsync,write", "-o", str(traced)]
    appending = [sys.executable, "-c", APPENDING, str(tmp_path / "log.db")]
    if shutil.which("strace") is None or subprocess.run([*tracing, "true"], check=False).returncode:
        pytest.skip("strace is not installed, or not allowed")
    subprocess.run([*tracing, *appending], check=True, stdout=subprocess.DEVNULL)
    unsynced = commits = 0
    for line in traced.read_text(errors="replace").splitlines():
        if re.search(r"pwrite64\(\d+<[^>]*-wal>", line):
            unsynced += 1
        elif re.search(r"(fdatasync|fsync)\(\d+<[^>]*-wal>", line):
            unsynced = 0
        elif '"acknowledged"' in line:
            commits += 1
            assert unsynced == 0, f"{unsynced} writes were not synced when commit {commits} was acknowledged"
    assert commits == 5


@pytest.mark.parametrize("count", [1, 2, 40, 64, 127, 500])
def test_appending_opens_no_file(tmp_path: Path, count: int) -> None:
    """Promise: a full or forbidden temporary folder is nothing to the log."""
    log = SqliteEventLog(tmp_path / "log.db")
    try:
        log.append([random_record(100)])
        with no_more_files():
            log.append([random_record(300) for _ in range(count)])
            log.append([random_record(200_000) for _ in range(5)])
    finally:
        log.close()


def test_a_disk_without_room_keeps_what_was_acknowledged_and_takes_more_once_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_000_000))
    log = SqliteEventLog(small_disk / "log.db")
    acknowledged: list[int] = []

    def fill(records: int) -> None:
        for first in range(len(acknowledged), 1_000, records):
            log.append([numbered(number, padding=3_000) for number in range(first, first + records)])
            acknowledged.extend(range(first, first + records))

    def stored_numbers() -> list[int]:
        result = log.read(0, records_max=10_000, bytes_max=1 << 40)
        return [int(item.body.split(b" ", 1)[0]) for item in result]

    try:
        for records in (3, 7, 1):
            with pytest.raises(StorageError, match="cannot be written"):
                fill(records)
            assert stored_numbers() == acknowledged
        assert acknowledged
        ballast.unlink()
        fill_from = len(acknowledged)
        log.append([numbered(fill_from)])
        acknowledged.append(fill_from)
        assert stored_numbers() == acknowledged
        log.close()
        log = SqliteEventLog(small_disk / "log.db")
        assert stored_numbers() == acknowledged
    finally:
        log.close()


def test_appending_does_not_wait_for_a_reader_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise: a backup of the running log holds up nobody, though the write-ahead log cannot start over meanwhile."""
    monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 300.0)
    monkeypatch.setattr(sqlite, "_CHECKPOINT_SECONDS", 0.01)
    monkeypatch.setattr(sqlite, "_RESTART_FROM_BYTES", 500_000)
    path = tmp_path / "log.db"
    wal = path.with_name(path.name + "-wal")
    log = SqliteEventLog(path)
    log.append([random_record(10)])
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM records").fetchone()
    taken = threading.Event()

    def append() -> None:
        for _ in range(100):
            log.append([random_record(20_000)])
            threading.Event().wait(0.005)
        taken.set()

    appending = threading.Thread(target=append)
    appending.start()
    try:
        assert taken.wait(PATIENCE_SECONDS)
        assert wal.stat().st_size > 500_000
        reader.close()
        for _ in range(1_000):
            if wal.stat().st_size <= 500_000:
                break
            log.append([random_record(10)])
            threading.Event().wait(0.01)
        assert wal.stat().st_size <= 500_000
    finally:
        reader.close()
        appending.join()
        log.close()
