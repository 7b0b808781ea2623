"""Copies the write-ahead log of a SQLite store into its file, beside the writers.

SQLite itself does it at every commit after the first 1,000 pages, which are those of some 30 awards: the award of that
commit, and all that wait for the lock, wait for two more syncs.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from typing import Final

AUTOMATIC_FROM_PAGES: Final = 16_000
"""From this length of the log on, commits copy it after all, such as those of a process without this thread: 64 MB."""

_SECONDS: Final = 0.25
# Commits that change the same few pages again and again: copied together, each page is written and synced once.
_FEW_COMMITS: Final = 50
_SECONDS_AFTER_FEW: Final = 1.0
_RESTART_FROM_PAGES: Final = 4_000  # 16 MB


class Checkpoints:
    """The thread of one process that copies the log.

    Args:
        path: The store's file.
        writing: The lock that the writers of this process hold.
    """

    def __init__(self, path: str, *, writing: AbstractContextManager[object]) -> None:
        self._path = path
        self._writing = writing
        self._written = threading.Event()
        self._commits = 0  # since the last copy; an increment that is lost to another thread does no harm
        self._closing = threading.Event()

    def note_commit(self) -> None:
        """Note that the log has grown."""
        self._commits += 1
        self._written.set()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Copy the log a moment after each commit, later while there are few, until the block ends."""
        thread = threading.Thread(target=self._run, name="store-checkpoints", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._closing.set()
            self._written.set()
            thread.join()

    def _run(self) -> None:
        with ExitStack() as opened:
            connection: sqlite3.Connection | None = None
            while True:
                self._written.wait()
                self._written.clear()
                if self._closing.wait(_SECONDS):
                    return
                if self._commits < _FEW_COMMITS and self._closing.wait(_SECONDS_AFTER_FEW - _SECONDS):
                    return
                self._commits = 0
                try:
                    if connection is None:
                        connection = opened.enter_context(closing(sqlite3.connect(self._path, isolation_level=None)))
                    copy_log(connection, writing=self._writing)
                except sqlite3.Error:
                    # Writers report what is wrong with file or disk; the next round tries again.
                    opened.close()
                    connection = None


def copy_log(
    connection: sqlite3.Connection,
    *,
    writing: AbstractContextManager[object],
    restart_from_pages: int = _RESTART_FROM_PAGES,
) -> None:
    """Copy the log into the file; restart it if it is long.

    Args:
        writing: Held while the rest of a long log is copied: then all of it is, and the next commit begins a new one.
    """
    # Writers go on meanwhile, so at the end the log has some pages more.
    if _copy(connection) >= restart_from_pages:
        with writing:
            _copy(connection)


def _copy(connection: sqlite3.Connection) -> int:
    """Copy what is committed and read by nobody; return the pages of the log."""
    _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return int(pages)
