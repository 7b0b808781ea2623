"""SQLite where several processes use one file: its write-ahead log, and who writes next."""

import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any, Final

ROOM_BYTES: Final = 256 * 1024
"""What a disk must have room for: one with less is full, as the next commits may show."""

_PAUSE_SECONDS = 0.01
_LOCK_LOOK_SECONDS = 0.0005


def enable_write_ahead_log(connection: sqlite3.Connection, *, wait_seconds: float) -> None:
    """Enable write-ahead logging for the file, if it is not enabled yet.

    Args:
        wait_seconds: How long to wait for another connection that does the same. For this statement SQLite itself does
            not wait, whatever the connection's time-out is.

    Raises:
        sqlite3.OperationalError: The file stays locked, or cannot be written.
    """
    until = time.monotonic() + wait_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def begin_write(connection: Any, *, wait_seconds: float) -> None:
    """Begin a transaction that writes, as soon as that of another process is over.

    SQLite's own waits grow to 100 ms, while a commit takes 2: beside a process that writes all the time, an award would
    wait for several of its transactions.

    Args:
        connection: The driver's; its `busy_timeout` is 0.

    Raises:
        sqlite3.OperationalError: The file stays locked.
    """
    until = time.monotonic() + wait_seconds
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_LOCK_LOOK_SECONDS)
        else:
            return


def prove_room(folder: Path) -> None:
    """Write a file without a name, which is gone at once. A commit may need no room: SQLite uses parts of files again.

    Raises:
        OSError: The disk is full, or cannot be written.
    """
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.write(bytes(ROOM_BYTES))


def truncate_write_ahead_log(connection: Any) -> bool:
    """Copy the write-ahead log into the file and empty it; False while another connection reads or writes."""
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()  # as much as possible while others write
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:  # it is locked; if the disk fails, the next statement says so
        return False
    return not busy
