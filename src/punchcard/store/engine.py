"""The store's connection to SQLite or PostgreSQL: units of work, reads, and the schema brought up to date."""

import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from punchcard.errors import ConfigurationError, StorageError, StorageSettingsError
from punchcard.postgres import (
    LOCK_SECONDS,
    LOCKED_STATE,
    SESSION,
    connection_parameters,
    has_ended,
    is_settings_fault,
    message_of,
    prove_room,
    unreachable_remedy,
)
from punchcard.sqlite import (
    begin_write,
    enable_write_ahead_log,
    has_leftovers,
    rewrite_file,
    truncate_write_ahead_log,
)
from punchcard.sqlite import prove_room as prove_file_room
from punchcard.store.access import schema as _access_schema  # noqa: F401  # its tables are part of the metadata
from punchcard.store.checkpoints import AUTOMATIC_FROM_PAGES, Checkpoints
from punchcard.store.commit_number import CommitNumber
from punchcard.store.delivery import schema as _delivery_schema  # noqa: F401  # its tables are part of the metadata
from punchcard.store.engage import schema as _engage_schema  # noqa: F401  # its tables are part of the metadata
from punchcard.store.file_remedies import file_remedy
from punchcard.store.ingest import schema as _ingest_schema  # noqa: F401  # its tables are part of the metadata
from punchcard.store.leadership import AdvisoryLeadership, AdvisorySession, FileLeadership, Leadership
from punchcard.store.operations import schema as _operations_schema  # noqa: F401  # its tables are part of the metadata
from punchcard.store.privacy import schema as _privacy_schema  # noqa: F401  # its tables are part of the metadata
from punchcard.store.routing import schema as _routing_schema  # noqa: F401  # its tables are part of the metadata
from punchcard.store.schema import metadata
from punchcard.store.source_schema import schema as _source_schema  # noqa: F401  # its tables are part of the metadata
from punchcard.store.tracking_plans import schema as _tracking_plans_schema  # noqa: F401  # likewise
from punchcard.store.vacuum import vacuum
from punchcard.store.values import with_storable_texts
from punchcard.store.workspace import schema as _workspace_schema  # noqa: F401  # its tables are part of the metadata

# The newest migration. A store that stands at it is opened without importing Alembic (a second, 20 MB).
HEAD_MIGRATION = "0060"
_BUSY_SECONDS = 10
_TRUNCATE_SECONDS = 0.05
# A process that is frozen for so long loses its roles and its unit of work: its machine may never go on.
_FROZEN_SECONDS = 30
_MIGRATION_LOCK_KEY = 0x50756E63  # any constant: names the advisory lock of the process that makes the tables
# PostgreSQL's class 54, "program limit exceeded": a value is too large for an index, say. That is the value's fault.
_LIMIT_EXCEEDED = "54"
_IS_NEW = "is_new"  # of a connection that was not used yet
_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


def is_storage_fault(error: BaseException) -> bool:
    """Whether a database that is full, locked, damaged or away has raised this, and not the written values."""
    if isinstance(error, OperationalError):
        return not str(getattr(error.orig, "sqlstate", None) or "").startswith(_LIMIT_EXCEEDED)
    if isinstance(error, (InterfaceError, InternalError, PoolTimeoutError)) or type(error) is DatabaseError:
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated


class Store:
    """A database, used from several threads; every write goes through `unit_of_work`.

    Args:
        url: `sqlite:///path/to/file.db` or `postgresql://user@host/name`.

    Raises:
        ConfigurationError: the URL names an engine that is neither.
        StorageError: the database cannot be reached.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError) as error:  # the second for a port that is not a number
            raise ConfigurationError("the store's URL cannot be read: sqlite:///FILE or postgresql://…") from error
        if parsed.get_backend_name() == "sqlite":
            if not parsed.database or parsed.database == ":memory:":
                raise ConfigurationError("the store's SQLite URL names no file")
            try:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(f"the store's folder cannot be made: {error}") from error
        elif parsed.get_backend_name() == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        else:
            raise ConfigurationError(f"the store speaks sqlite:// and postgresql://, not {parsed.drivername}://")
        self._url = parsed
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.sqlite_path = parsed.database if self.is_sqlite else None
        self.commits = CommitNumber(self.sqlite_path)
        self._engine = _sqlite_engine(parsed) if self.is_sqlite else _postgres_engine(parsed)
        self._roles = None if self.is_sqlite else AdvisorySession(_role_engine(parsed), frozen_seconds=_FROZEN_SECONDS)
        # PostgreSQL's own default shows each statement of a unit of work another moment.
        self._view = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        # SQLite lets one writer in at a time and makes the others poll; threads of one process rather queue here.
        self._writing: AbstractContextManager[object] = threading.Lock() if self.is_sqlite else nullcontext()
        self._checkpoints = Checkpoints(parsed.database or "", writing=self._writing)
        try:
            self._migrate()
        except BaseException:
            self._engine.dispose()  # nobody can close a store that was not opened
            raise

    @contextmanager
    def unit_of_work(self) -> Iterator[Connection]:
        """One transaction that writes: all of it is durable when the block ends, or nothing if it raises.

        Raises:
            StorageError: the database is full, locked or away; nothing was written.
        """
        try:
            with self._writing, self._engine.connect() as connection, connection.begin():
                self._begin_write(connection)
                changes = self._changes_of(connection)
                yield connection
                has_changes = self._changes_of(connection) != changes
            if has_changes:  # most cycles of an idle loop change nothing
                self._checkpoints.note_commit()
        except (SQLAlchemyError, sqlite3.DatabaseError) as error:
            if (fault := self._fault(error, "written")) is None:
                raise
            raise fault from error

    @contextmanager
    def trial(self) -> Iterator[Connection]:
        """A unit of work that is undone at its end: what would happen, found out by letting it happen.

        Raises:
            StorageError: the database is full, locked or away.
        """
        try:
            with self.unit_of_work() as work:
                yield work
                raise _UndoError
        except _UndoError:
            return

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One consistent view for reads.

        Raises:
            StorageError: the database is locked or away.
        """
        try:
            with self._engine.connect() as connection:
                if self._view:
                    connection = connection.execution_options(**self._view)
                with connection.begin():
                    if self.is_sqlite:
                        _driver_of(connection).execute("BEGIN").close()
                    yield connection
        except (SQLAlchemyError, sqlite3.DatabaseError) as error:
            if (fault := self._fault(error, "read")) is None:
                raise
            raise fault from error

    def _begin_write(self, connection: Connection) -> None:
        # On the driver: SQLAlchemy takes twenty times as long for two words, and every event has several units of work.
        if self.is_sqlite:
            # A write lock taken at the start waits its turn; taken half-way it would fail as "locked" at once.
            driver = _driver_of(connection)
            driver.execute("PRAGMA busy_timeout = 0").close()
            try:
                begin_write(driver, wait_seconds=_BUSY_SECONDS)
            finally:
                driver.execute(f"PRAGMA busy_timeout = {1_000 * _BUSY_SECONDS}").close()
        else:
            # The rows that a frozen process has locked are those that its successor needs.
            connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{_FROZEN_SECONDS}s'")

    def _changes_of(self, connection: Connection) -> int:
        """Return how many rows this connection has changed since it was opened; 0 where nobody needs to know."""
        return int(_driver_of(connection).total_changes) if self.is_sqlite else 0

    def _fault(self, error: Exception, doing: str) -> StorageError | None:
        """Return the error to raise where the database is at fault, None where the written values are.

        Args:
            doing: `written` or `read`.
        """
        cause = _cause(error)
        words = message_of(cause)
        if getattr(cause, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:  # errors of the driver itself have no code
            return StorageError(
                f"{self._url.database}: the database is damaged ({words}). Stop Punchcard and restore a backup; "
                "docs/how-to/operate.md says how, and what happens to events since then.",
                code="store_damaged",
            )
        if not self.is_sqlite and isinstance(error, DBAPIError) and is_settings_fault(cause):
            return StorageSettingsError(f"The store cannot be {doing}: {words}. Correct PUNCHCARD_DATABASE_URL.")
        if getattr(cause, "sqlstate", None) == LOCKED_STATE:
            return StorageError(
                f"The store cannot be {doing}: Another session has kept a lock for {LOCK_SECONDS} seconds. End the one "
                f"that is `idle in transaction` in pg_stat_activity, with pg_terminate_backend(pid). {words}"
            )
        if is_storage_fault(error) or isinstance(error, sqlite3.OperationalError):
            remedy = file_remedy(cause, self._url.database) or unreachable_remedy(cause, "PUNCHCARD_DATABASE_URL")
            return StorageError(f"the store cannot be {doing}: {words}{remedy}")
        return None

    @contextmanager
    def leadership(self, name: str) -> Iterator[Leadership]:
        """Compete for being the one process that does `name` (routing, delivering one destination).

        Ends by itself when the process dies, by whatever cause.
        """
        leadership: FileLeadership | AdvisoryLeadership
        if self._roles is None:
            slug = "".join(c if c.isalnum() or c == "-" else "_" for c in name)
            leadership = FileLeadership(Path(f"{self._url.database}.{slug}.leader"))
        else:
            leadership = AdvisoryLeadership(self._roles, name)
        with closing(leadership):
            yield leadership

    def ping(self) -> None:
        """Prove that the store takes writes now, and that its disk has room for more.

        Raises:
            StorageError: it does not.
        """
        with self.unit_of_work() as work:
            # A real write: a full disk shows only when a page must be stored.
            work.execute(
                text(
                    "INSERT INTO revisions (name, value) VALUES ('ping', 0)"
                    " ON CONFLICT (name) DO UPDATE SET value = 1 - revisions.value"
                )
            )
            if not self.is_sqlite:
                prove_room(work.exec_driver_sql)
        if self.sqlite_path is not None:
            try:
                prove_file_room(Path(self.sqlite_path).parent)
            except OSError as error:
                raise StorageError(f"the store cannot be written: {error}") from error

    def discard_deleted(self, *, texts: Collection[str] = ()) -> bool:
        """Overwrite what deleted rows have left in the files; False if that must be tried again later.

        In PostgreSQL, the old versions of rows are freed: its own vacuum comes once a fifth of a table has changed.

        Args:
            texts: Lower-cased texts of the deleted rows, which must not be left in the unused parts of a SQLite file.

        Raises:
            StorageError: the database is away.
        """
        if not self.is_sqlite:
            return vacuum(self._engine)
        # While it waits for readers nobody can write: then it is rather tried again.
        with closing(sqlite3.connect(self._url.database or "", timeout=_TRUNCATE_SECONDS)) as connection:
            if not truncate_write_ahead_log(connection):
                return False
            if not has_leftovers(Path(self._url.database or ""), texts):
                return True
            with self._writing:
                return rewrite_file(connection) and truncate_write_ahead_log(connection)

    def keep_checkpointing(self) -> AbstractContextManager[None]:
        """Spare the commits of SQLite from copying its write-ahead log: a thread does it until the block ends."""
        return self._checkpoints.running() if self.is_sqlite else nullcontext()

    def close(self) -> None:
        """Release all connections, and roles."""
        if self._roles is not None:
            self._roles.close()
        self.commits.close()
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
            self._wait_for_others(work)
            upgrade(work)

    def _wait_for_others(self, work: Connection) -> None:
        """Wait for a process that brings the tables up to date, however long that takes."""
        if not self.is_sqlite:
            work.exec_driver_sql("SET LOCAL lock_timeout = 0")

    def _create(self) -> None:
        # What all migrations lead to, at once; a test proves that both ways end alike.
        with self.unit_of_work() as work:
            if not self.is_sqlite:
                self._wait_for_others(work)
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
    def configure(dbapi_connection: sqlite3.Connection, _record: object) -> None:
        dbapi_connection.isolation_level = None  # each unit of work and each view says BEGIN itself
        enable_write_ahead_log(dbapi_connection, wait_seconds=_BUSY_SECONDS)
        dbapi_connection.execute("PRAGMA synchronous = FULL").close()
        dbapi_connection.execute(f"PRAGMA wal_autocheckpoint = {AUTOMATIC_FROM_PAGES}").close()
        dbapi_connection.execute("PRAGMA foreign_keys = ON").close()
        dbapi_connection.execute("PRAGMA secure_delete = ON").close()  # deleted persons leave no bytes in free pages

    return engine


def _postgres_engine(url: URL, *, session: Sequence[str] = (), **options: Any) -> Engine:
    """Return an engine with sessions as `punchcard.postgres` describes them, and further statements for each."""
    engine = create_engine(url, connect_args=connection_parameters(url.query), **options)
    engine.dialect.colspecs = with_storable_texts(engine.dialect.colspecs)

    @event.listens_for(engine, "connect")
    def configure(dbapi_connection: Any, record: Any) -> None:
        try:
            with dbapi_connection.cursor() as cursor:
                for statement in (*SESSION, *session):
                    cursor.execute(statement)
            dbapi_connection.commit()
        except BaseException:
            dbapi_connection.close()  # the pool forgets it
            raise
        record.info[_IS_NEW] = True

    @event.listens_for(engine, "checkout")
    def replace_ended(dbapi_connection: Any, record: Any, _proxy: object) -> None:
        # Not a new one: the pool connects only twice, and then raises another error.
        if not record.info.pop(_IS_NEW, False) and has_ended(dbapi_connection):
            raise DisconnectionError  # the pool connects again

    return engine


def _role_engine(url: URL) -> Engine:
    """Return an engine for the session that holds roles: without transactions, and ended by the server when idle."""
    idle = f"SET idle_session_timeout = '{_FROZEN_SECONDS}s'"
    return _postgres_engine(url, session=[idle], poolclass=NullPool, isolation_level="AUTOCOMMIT")


def _driver_of(connection: Connection) -> Any:
    """Return the driver's connection to SQLite."""
    return connection.connection.dbapi_connection


class _UndoError(Exception):
    """Ends a trial."""


def _cause(error: Exception) -> object:
    return getattr(error, "orig", None) or error
