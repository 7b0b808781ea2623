"""SQLite where several processes use one file: its write-ahead log, and who writes next."""

import sqlite3
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

ROOM_BYTES: Final = 256 * 1024
"""What a disk must have room for: one with less is full, as the next commits may show."""

_PAUSE_SECONDS = 0.01
_CHUNK_BYTES: Final = 1 << 20
# A file of this size is written again in about a second, in which others wait to write, and fits into memory.
_REWRITTEN_BYTES_MAX: Final = 128 << 20
# More texts take longer to search for than the file to write.
_TEXTS_SEARCHED_MAX: Final = 300
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


def has_leftovers(path: Path, texts: Collection[str]) -> bool:
    """Return whether a file may have texts of deleted rows in unused parts, and is small enough to be written again.

    `secure_delete` overwrites deleted rows, but not the copies that stay behind when SQLite moves rows between pages.

    Args:
        texts: Lower-cased.
    """
    if not texts or path.stat().st_size > _REWRITTEN_BYTES_MAX:
        return False
    if len(texts) > _TEXTS_SEARCHED_MAX:
        return True
    needles = [text.encode("utf-8", "replace") for text in texts]
    overlap = max(map(len, needles))
    with path.open("rb") as file:
        before = b""
        while chunk := file.read(_CHUNK_BYTES):
            part = before + chunk.lower()
            if any(needle in part for needle in needles):
                return True
            before = part[-overlap:]
    return False


def rewrite_file(connection: Any) -> bool:
    """Write a file again without its unused parts; False if another connection writes, or the disk has no room."""
    try:
        connection.execute("PRAGMA temp_store = MEMORY")  # there may be no other folder to write to
        connection.execute("VACUUM")
    except sqlite3.OperationalError:
        return False
    return True
