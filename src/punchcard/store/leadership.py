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


class AdvisorySession:
    """The session of PostgreSQL that holds all roles of one process, by session locks.

    They are gone as soon as it is, so a session that answers proves that they are held. It is one for all of them, as a
    server has few sessions and a workspace may have hundreds of destinations. It is not one of the pool's: a role is
    held for as long as a process lives. The server ends it when it is idle for long, which happens only if the process
    is frozen: a thread keeps it busy, and ends sessions of other processes that are frozen in the middle of a unit of
    work.

    Args:
        engine: Makes sessions without transactions, each of which the server ends when it is idle.
        frozen_seconds: How long a process is frozen before it loses its roles and locks.
    """

    def __init__(self, engine: Engine, *, frozen_seconds: float) -> None:
        self._engine = engine
        self._frozen_seconds = frozen_seconds
        self._using = threading.Lock()
        self._closing = threading.Event()
        self._keeper: threading.Thread | None = None
        self._connection: Connection | None = None
        self._number = 0  # of the session: a lock that was taken in an earlier one is gone
        self._held: set[int] = set()  # keys of the locks: the server would give one twice
        self._lost = ""  # why the last session has ended

    def hold(self, role: "AdvisoryLeadership") -> bool:
        """Return whether a role is this process's; take it if it is free.

        Raises:
            StorageError: it is not known now, or the role was lost since it was last asked for.
        """
        with self._using:
            if role.taken_in not in (None, self._number):
                role.taken_in = None
                raise StorageError(f"the store was away: {self._lost}")
            try:
                if self._connection is None:
                    self._connection = self._engine.connect()
                if role.taken_in is not None:
                    self._connection.execute(text("SELECT 1"))
                    return True
                if role.key in self._held:
                    return False
                taken = self._connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": role.key})
            except DBAPIError as error:
                role.taken_in = None
                self._end(str(error.orig))
                raise StorageError(f"the store is away: {error.orig}") from error
            if taken:
                role.taken_in = self._number
                self._held.add(role.key)
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep_busy, name="leadership", daemon=True)
                self._keeper.start()
            return bool(taken)

    def give_up(self, role: "AdvisoryLeadership") -> None:
        """Free a role at once: another process may wait for it."""
        with self._using:
            if role.taken_in == self._number and self._connection is not None:
                self._held.discard(role.key)
                try:
                    self._connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": role.key})
                except DBAPIError as error:
                    self._end(str(error.orig))
            role.taken_in = None

    def close(self) -> None:
        """End the session, and with it all roles."""
        self._closing.set()
        with self._using:
            if self._connection is not None:
                # The server ends a session some time after it is closed here; who waits should have the roles now.
                with suppress(DBAPIError):
                    self._connection.execute(text("SELECT pg_advisory_unlock_all()"))
            self._end("it was closed")
        if self._keeper is not None:
            self._keeper.join()

    def _keep_busy(self) -> None:
        while not self._closing.wait(self._frozen_seconds / 4):
            with self._using:
                if self._connection is None:
                    continue
                try:
                    self._connection.execute(_END_FROZEN_SESSIONS, {"seconds": self._frozen_seconds})
                except DBAPIError as error:
                    # Only `hold` takes a role again: its caller must first know that another process had it.
                    self._end(str(error.orig))

    def _end(self, cause: str) -> None:
        connection, self._connection = self._connection, None
        self._number += 1
        self._held.clear()
        self._lost = cause
        if connection is not None:
            connection.invalidate()  # ends the session, and with it the locks, also where it is half dead
            connection.close()


class AdvisoryLeadership:
    """A session lock of PostgreSQL."""

    def __init__(self, session: AdvisorySession, name: str) -> None:
        self._session = session
        self.key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
        self.taken_in: int | None = None  # the number of the session that has it; only the session changes this

    def held(self) -> bool:
        """Return whether this process has the role; take it if it is free."""
        return self._session.hold(self)

    def close(self) -> None:
        """Give up the role."""
        self._session.give_up(self)
