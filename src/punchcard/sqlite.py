"""SQLite's write-ahead logging, enabled where several processes start at the same time on a new file."""

import sqlite3
import time
from typing import Any

_PAUSE_SECONDS = 0.01


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


def truncate_write_ahead_log(connection: Any) -> bool:
    """Copy the write-ahead log into the file and empty it; False while another connection reads or writes."""
    try:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:  # it is locked; if the disk fails, the next statement says so
        return False
    return not busy
