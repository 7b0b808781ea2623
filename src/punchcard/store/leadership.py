"""Which process has a role, such as routing or delivering a destination: one at a time, and none that has ended."""

import fcntl
import hashlib
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, Final, Protocol

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from punchcard.errors import StorageError
from punchcard.postgres import END_FROZEN_SESSIONS

_END_FROZEN_SESSIONS: Final = text(END_FROZEN_SESSIONS)


class Leadership(Protocol):
    """The competition for one role among processes."""

    def held(self) -> bool:
        """True if this process has the role now; tries to take it if it is free.

        Raises:
            StorageError: it is not known now; the role may be lost.
        """


class FileLeadership:
    """A lock on a file: the operating system frees it when the process ends, by whatever cause."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: IO[str] | None = None
        self._taken = False

    def held(self) -> bool:
        """Return whether this process has the role; take it if it is free."""
        if self._taken:
            return True
        try:
            if self._handle is None:
                self._handle = self._path.open("a")
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise StorageError(f"{self._path}: the file cannot be locked: {error.strerror}") from error
        self._taken = True
        return True

    def close(self) -> None:
        """Give up the role."""
        if self._handle is not None:
            self._handle.close()


class AdvisoryLeadership:
    """A session lock of PostgreSQL: gone as soon as the session is, so a session that answers proves that it is held.

    The session is the leadership's own, not one of the pool's few: a role is held for as long as a process lives. The
    server ends it when it is idle for long, which happens only if the process is frozen: a thread keeps it busy, and
    ends sessions of other processes that are frozen in the middle of a unit of work.

    Args:
        engine: Makes sessions without transactions, each of which the server ends when it is idle.
        name: Of the role.
        frozen_seconds: How long a process is frozen before it loses its roles and locks.
    """

    def __init__(self, engine: Engine, name: str, *, frozen_seconds: float) -> None:
        self._engine = engine
        self._frozen_seconds = frozen_seconds
        self._using = threading.Lock()
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep_busy, name=f"leadership-{name}", daemon=True)
        self._key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
        self._connection: Connection | None = None
        self._taken = False
        self._lost = ""  # why, until it is reported

    def held(self) -> bool:
        """Return whether this process has the role; take it if it is free."""
        with self._using:
            if self._lost:
                lost, self._lost = self._lost, ""
                raise StorageError(f"the store was away: {lost}")
            try:
                if self._connection is None:
                    self._connection = self._engine.connect()
                if self._taken:
                    self._connection.execute(text("SELECT 1"))
                    return True
                taken = self._connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": self._key})
                self._taken = bool(taken)
            except DBAPIError as error:
                self._taken = False
                self._end_session()
                raise StorageError(f"the store is away: {error.orig}") from error
            if self._keeper.ident is None:
                self._keeper.start()
            return self._taken

    def close(self) -> None:
        """Give up the role and its session."""
        self._closing.set()
        with self._using:
            self._end_session()
        if self._keeper.ident is not None:
            self._keeper.join()

    def _keep_busy(self) -> None:
        while not self._closing.wait(self._frozen_seconds / 4):
            with self._using:
                if self._connection is None:
                    continue
                try:
                    self._connection.execute(_END_FROZEN_SESSIONS, {"seconds": self._frozen_seconds})
                except DBAPIError as error:
                    # Only `held` takes the role again: its caller must first know that another process had it.
                    self._lost = str(error.orig) if self._taken else ""
                    self._taken = False
                    self._end_session()

    def _end_session(self) -> None:
        connection, self._connection = self._connection, None
        was_taken, self._taken = self._taken, False
        if connection is None:
            return
        if was_taken:
            # The server ends a session some time after it is closed here; who waits for the role should have it now.
            with suppress(DBAPIError):
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": self._key})
        connection.invalidate()  # ends the session, and with it the lock, also where it is half dead
        connection.close()
