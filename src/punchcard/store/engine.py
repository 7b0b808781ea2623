"""The store's connection to SQLite or PostgreSQL: units of work, reads, and the schema brought up to date."""

import fcntl
import hashlib
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Protocol

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError

from punchcard.errors import ConfigurationError, StorageError
from punchcard.store.schema import metadata

# The newest migration. A store that stands at it is opened without importing Alembic (a second, 20 MB).
HEAD_MIGRATION = "0001"
_BUSY_SECONDS = 10
_MIGRATION_LOCK_KEY = 0x50756E63  # any constant: names the advisory lock of the process that makes the tables


class Store:
    """One database, used from several threads; every write goes through `unit_of_work`.

    Args:
        url: `sqlite:///path/to/file.db` or `postgresql://user@host/name`.

    Raises:
        ConfigurationError: the URL names an engine that is neither.
        StorageError: the database cannot be reached.
    """

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            if not parsed.database:
                raise ConfigurationError("the store's SQLite URL names no file")
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        elif parsed.get_backend_name() == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        else:
            raise ConfigurationError(f"the store speaks sqlite:// and postgresql://, not {parsed.drivername}://")
        self._url = parsed
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self._engine = _sqlite_engine(parsed) if self.is_sqlite else create_engine(parsed, pool_pre_ping=True)
        # SQLite lets one writer in at a time and makes the others poll; threads of one process rather queue here.
        self._writing: AbstractContextManager[object] = threading.Lock() if self.is_sqlite else nullcontext()
        self._migrate()

    @contextmanager
    def unit_of_work(self) -> Iterator[Connection]:
        """One transaction that writes: all of it is durable when the block ends, or nothing if it raises.

        Raises:
            StorageError: the database is full, locked or away; nothing was written.
        """
        try:
            with (
                self._writing,
                self._engine.connect().execution_options(writes=True) as connection,
                connection.begin(),
            ):
                yield connection
        except OperationalError as error:
            raise StorageError(f"the store cannot be written: {error.orig}") from error

    @contextmanager
    def trial(self) -> Iterator[Connection]:
        """A unit of work that is undone at its end: what would happen, found out by letting it happen.

        Raises:
            StorageError: the database is full, locked or away.
        """
        try:
            with self.unit_of_work() as work:
                yield work
                raise _Undo
        except _Undo:
            return

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view for reads.

        Raises:
            StorageError: the database is locked or away.
        """
        try:
            with self._engine.connect() as connection, connection.begin():
                yield connection
        except OperationalError as error:
            raise StorageError(f"the store cannot be read: {error.orig}") from error

    @contextmanager
    def leadership(self, name: str) -> Iterator["Leadership"]:
        """Compete for being the one process that does `name` (routing, delivering one destination).

        Ends by itself when the process dies, by whatever cause.
        """
        if self.is_sqlite:
            slug = "".join(c if c.isalnum() or c == "-" else "_" for c in name)
            with Path(f"{self._url.database}.{slug}.leader").open("a") as handle:
                yield _FileLeadership(handle)
            return
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            leadership = _AdvisoryLeadership(connection, name)
            try:
                yield leadership
            finally:
                leadership.release()

    def ping(self) -> None:
        """Prove that the store takes writes now.

        Raises:
            StorageError: it does not.
        """
        with self.unit_of_work() as work:
            work.execute(text("DELETE FROM revisions WHERE name = ''"))

    def close(self) -> None:
        """Release all connections."""
        self._engine.dispose()

    def _migrate(self) -> None:
        with self.reading() as connection:
            tables = set(inspect(connection).get_table_names())
            current = (
                connection.scalar(text("SELECT version_num FROM alembic_version"))
                if "alembic_version" in tables
                else None
            )
        if current == HEAD_MIGRATION:
            return
        if current is None and "effects" not in tables:
            self._create()
            return
        from punchcard.store.migrations.upgrade import upgrade  # Alembic is slow to import and seldom needed

        with self.unit_of_work() as work:
            upgrade(work)

    def _create(self) -> None:
        # What all migrations lead to, at once; a test proves that both ways end alike.
        with self.unit_of_work() as work:
            if not self.is_sqlite:
                # Two processes may start on an empty database together: the second waits here and finds it done.
                work.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK_KEY})
            metadata.create_all(work)
            work.execute(text("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL)"))
            if work.scalar(text("SELECT count(*) FROM alembic_version")) == 0:
                work.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": HEAD_MIGRATION})


def _sqlite_engine(url: URL) -> Engine:
    engine = create_engine(
        url, connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False}, pool_size=8, max_overflow=16
    )

    @event.listens_for(engine, "connect")
    def configure(dbapi_connection: object, _record: object) -> None:
        dbapi_connection.isolation_level = None  # type: ignore[attr-defined]  # we say BEGIN ourselves, below
        cursor = dbapi_connection.cursor()  # type: ignore[attr-defined]
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A write lock taken at the start waits its turn; taken half-way it would fail as "locked" at once.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


class _Undo(Exception):
    """Ends a trial."""


class Leadership(Protocol):
    """The competition for one role among processes."""

    def held(self) -> bool:
        """True if this process has the role now; tries to take it if it is free."""


class _FileLeadership:
    def __init__(self, handle: IO[str]) -> None:
        self._handle = handle
        self._taken = False

    def held(self) -> bool:
        if not self._taken:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._taken = True
        return True


class _AdvisoryLeadership:
    """A session lock of PostgreSQL: gone as soon as the session is, so asking for it again proves that it is held."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
        self._times_taken = 0

    def held(self) -> bool:
        try:
            if self._times_taken:
                self._connection.execute(text("SELECT 1"))
                return True
            taken = bool(self._connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": self._key}))
        except DBAPIError as error:
            self._times_taken = 0
            self._connection.invalidate()
            raise StorageError(f"the store is away: {error.orig}") from error
        self._times_taken += taken
        return taken

    def release(self) -> None:
        if self._times_taken and not self._connection.invalidated:
            self._connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": self._key})
