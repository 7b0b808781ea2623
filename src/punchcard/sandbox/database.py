"""The sandbox's state: a SQLite file, its tables, and the business in it.

A commit in WAL mode without an fsync survives the death of the process, which is all that is promised. The last commits
before a power cut may be lost; no real points depend on them.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from punchcard.clock import Clock, to_micros
from punchcard.errors import ConfigurationError, StorageError

FILE_NAME = "sandbox.db"
SCHEMA_VERSION = 2

DEVELOPMENT_TOKEN = "sandbox-token"
"""Always valid, so that config files can be written before the sandbox first runs."""

TIMEZONE = "America/Los_Angeles"

_SCHEMA = """
CREATE TABLE businesses (
    business_id INTEGER PRIMARY KEY, name TEXT NOT NULL, slug TEXT NOT NULL, status TEXT NOT NULL,
    timezone TEXT NOT NULL,
    is_staffed INTEGER NOT NULL  -- whether the owner of the tokens works there
) STRICT;
CREATE TABLE locations (
    location_id INTEGER PRIMARY KEY, business_id INTEGER NOT NULL REFERENCES businesses, name TEXT NOT NULL,
    address TEXT NOT NULL, status TEXT NOT NULL, timezone TEXT NOT NULL
) STRICT;
CREATE TABLE perks (
    perk_id INTEGER PRIMARY KEY, business_id INTEGER NOT NULL REFERENCES businesses, title TEXT NOT NULL,
    description TEXT NOT NULL, classification TEXT NOT NULL, points INTEGER NOT NULL, status TEXT NOT NULL
) STRICT;
CREATE TABLE users (
    user_id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT NOT NULL,
    email_key TEXT NOT NULL UNIQUE,  -- lower-cased: an address is the same person in any case
    first_name TEXT NOT NULL DEFAULT '', last_name TEXT NOT NULL DEFAULT '', last_mod_us INTEGER NOT NULL
) STRICT;
CREATE TABLE connections (
    connection_id INTEGER PRIMARY KEY AUTOINCREMENT, business_id INTEGER NOT NULL REFERENCES businesses,
    user_id INTEGER NOT NULL REFERENCES users, status TEXT NOT NULL,
    point_balance TEXT NOT NULL DEFAULT '0', lifetime_earned_points TEXT NOT NULL DEFAULT '0',  -- exact decimals
    custom_attributes TEXT NOT NULL DEFAULT '{}',  -- a JSON object
    last_transaction_us INTEGER, last_mod_us INTEGER NOT NULL,
    UNIQUE (business_id, user_id)
) STRICT;
CREATE INDEX connections_of_user ON connections (user_id);
CREATE TABLE transactions (
    transaction_id INTEGER PRIMARY KEY AUTOINCREMENT, business_id INTEGER NOT NULL REFERENCES businesses,
    location_id INTEGER NOT NULL REFERENCES locations, perk_id INTEGER NOT NULL REFERENCES perks,
    user_id INTEGER NOT NULL REFERENCES users, title TEXT NOT NULL, classification TEXT NOT NULL,
    points INTEGER NOT NULL,  -- per unit, copied from the perk
    quantity TEXT NOT NULL,  -- an exact decimal
    transaction_us INTEGER NOT NULL, status TEXT NOT NULL, trans_source_id TEXT, send_email INTEGER NOT NULL
) STRICT;
CREATE INDEX transactions_by_source_id ON transactions (business_id, trans_source_id);
CREATE INDEX transactions_of_user ON transactions (user_id);
CREATE INDEX transactions_of_perk ON transactions (perk_id);
CREATE TABLE tokens (
    token TEXT PRIMARY KEY, label TEXT NOT NULL, created_us INTEGER NOT NULL, revoked_us INTEGER
) STRICT;
"""

_BUSINESSES = [
    (41, "Acme Fitness", "acme-fitness", "ACTIVE", TIMEZONE, 1),
    (42, "Globex Gym", "globex-gym", "ACTIVE", TIMEZONE, 0),
    (43, "Closed Club", "closed-club", "INACTIVE", TIMEZONE, 1),
]
_LOCATIONS = [
    (7, 41, "Downtown", "1 Main Street, Los Angeles", "ACTIVE", TIMEZONE),
    (8, 42, "Globex Central", "2 Other Street, Los Angeles", "ACTIVE", TIMEZONE),
    (9, 41, "Old Harbour", "3 Quay Street, Los Angeles", "INACTIVE", TIMEZONE),
    (10, 43, "Closed Club", "4 Shut Lane, Los Angeles", "ACTIVE", TIMEZONE),
]
_PERKS = [
    (123456, 41, "Order Completed", "One point for each dollar spent", "EARN", 1, "ACTIVE"),
    (123457, 41, "Checked In", "Ten points for each visit", "EARN", 10, "ACTIVE"),
    (123458, 41, "Point Adjustment", "Takes points away, one for each unit", "REDEEM", 1, "ACTIVE"),
    (123459, 41, "Early Bird", "A promotion that has ended", "EARN", 5, "INACTIVE"),
    (123460, 41, "Class Attended", "Five points for each class", "EARN", 5, "ACTIVE"),
    (123461, 41, "Friend Referred", "Fifty points when a friend joins", "EARN", 50, "ACTIVE"),
    (123462, 41, "App Opened", "Tracked only: earns no points", "EARN", 0, "ACTIVE"),
    (123463, 41, "Free Smoothie", "A reward for a hundred points", "REDEEM", 100, "ACTIVE"),
    (223456, 42, "Globex Visit", "Belongs to another business", "EARN", 10, "ACTIVE"),
]
ADMIN_EMAIL = "admin@acme-fitness.example"


class Database:
    """The only connection for reads and writes, used by the single thread of the server."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = _connect(path)

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        return self._connection.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: tuple[object, ...] = ()) -> sqlite3.Row | None:
        """Return the first row of a query, None if it has none."""
        row: sqlite3.Row | None = self._connection.execute(sql, parameters).fetchone()
        return row

    def count(self, sql: str, parameters: tuple[object, ...] = ()) -> int:
        """Return the number from a counting query."""
        (number,) = self._connection.execute(sql, parameters).fetchone()
        return int(number)

    def write(self, sql: str, parameters: tuple[object, ...] = ()) -> int:
        """Run a statement inside a unit of work; return the id of an inserted row."""
        return self._connection.execute(sql, parameters).lastrowid or 0

    @contextmanager
    def unit_of_work(self) -> Iterator[None]:
        """Store everything that is written inside together at the end, or nothing.

        Raises:
            StorageError: SQLite cannot store it now (disk full, file locked by another process).
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as exc:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise StorageError(f"The sandbox cannot store data: {exc}. Check disk space and permissions.") from exc

    def close(self) -> None:
        """Fold the write-ahead log into the file, and close the file."""
        self._connection.close()


def open_database(folder: Path, clock: Clock) -> Database:
    """Open the state in `folder`, and create it if it is missing.

    Raises:
        ConfigurationError: The folder cannot be used, or has a sandbox of another version.
    """
    try:
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        database = Database(folder / FILE_NAME)
        with database.unit_of_work():
            version = database.count("PRAGMA user_version")
            if version == 0:
                _create(database, clock)
            elif version == 1:
                _allow_repeated_ids(database)
                version = SCHEMA_VERSION
        ZoneInfo(TIMEZONE)
    except ZoneInfoNotFoundError as exc:
        raise ConfigurationError(f"The time zone {TIMEZONE} is missing on this machine. Install tzdata.") from exc
    except (OSError, sqlite3.Error, StorageError) as exc:
        raise ConfigurationError(
            f"The sandbox cannot store its state in {folder}: {exc}. Use another --data folder."
        ) from exc
    if version not in {0, SCHEMA_VERSION}:
        raise ConfigurationError(
            f"{database.path} was created by another version of the sandbox ({version}; this version is"
            f" {SCHEMA_VERSION}). Use another data folder, or remove this one."
        )
    return database


@contextmanager
def snapshot(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a separate connection for a long read, usable in another thread; it reads a consistent snapshot."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        connection.execute("BEGIN")
        yield connection
    finally:
        connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=1)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    # A checkpoint waits for the disk while requests wait for it: make them rare (about 32 MB of log).
    connection.execute("PRAGMA wal_autocheckpoint = 8000")
    return connection


def _allow_repeated_ids(database: Database) -> None:
    """Migrate version 1, in which a `trans_source_id` could not be stored twice, to version 2."""
    database.write("DROP INDEX transactions_by_source_id")
    database.write("CREATE INDEX transactions_by_source_id ON transactions (business_id, trans_source_id)")
    database.write("PRAGMA user_version = 2")


def _create(database: Database, clock: Clock) -> None:
    for statement in _SCHEMA.split(";\n"):
        if statement.strip():
            database.write(statement)
    now = to_micros(clock.now())
    for table, rows in (("businesses", _BUSINESSES), ("locations", _LOCATIONS), ("perks", _PERKS)):
        for row in rows:
            database.write(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    database.write(
        "INSERT INTO users (email, email_key, first_name, last_name, last_mod_us) VALUES (?, ?, 'Ada', 'Admin', ?)",
        (ADMIN_EMAIL, ADMIN_EMAIL, now),
    )
    database.write("INSERT INTO tokens VALUES (?, 'Development', ?, NULL)", (DEVELOPMENT_TOKEN, now))
    database.write(f"PRAGMA user_version = {SCHEMA_VERSION}")
