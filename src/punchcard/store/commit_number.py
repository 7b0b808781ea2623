"""The number that every commit changes in a SQLite file."""

import sqlite3
import threading


class CommitNumber:
    """Reads the number, for all loops of a process: one connection, open until `close`.

    Safe to use from several threads.

    Args:
        path: Of the file; None for PostgreSQL, which has no such number.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._using = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def read(self) -> int | None:
        """Return the number, None if there is none, or if the file cannot be read."""
        if self._path is None:
            return None
        with self._using:
            try:
                if self._connection is None:
                    self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
                return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
            except sqlite3.Error:
                return None  # the look itself reports what is wrong with the file

    def close(self) -> None:
        """Close the file."""
        with self._using:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
