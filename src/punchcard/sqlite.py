"""SQLite's write-ahead logging, switched on where several processes start together on a new file."""

import sqlite3
import time

_PAUSE_SECONDS = 0.01


def write_ahead(connection: sqlite3.Connection, *, wait_seconds: float) -> None:
    """Switch the file to write-ahead logging, if it is not yet.

    Args:
        wait_seconds: How long to wait for another connection that does the same. In this one statement SQLite waits
            for nobody, whatever the connection's own time-out is.

    Raises:
        sqlite3.OperationalError: the file is locked all the time, or cannot be written.
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
