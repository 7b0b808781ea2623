"""What a database is like, found out without creating or migrating anything."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from punchcard.clock import SystemClock
from punchcard.errors import StorageError
from punchcard.postgres import message_of
from punchcard.runtime.diagnosis import Diagnosis, ok, problem, warning
from punchcard.runtime.settings import Settings
from punchcard.runtime.shared_storage import refuse_wrong_combination
from punchcard.store.engine import HEAD_MIGRATION

if TYPE_CHECKING:
    import psycopg  # slow to import, and seldom needed

_POSTGRESQL_MIN: Final = 14
_CONNECT_SECONDS: Final = 5
_CLOCK_WARNING: Final = timedelta(seconds=5)
# Of a serving process and a worker with one destination: at rest, and at most. docs/how-to/operate.md has the parts.
_CONNECTIONS_PROBLEM: Final = 16
_CONNECTIONS_WARNING: Final = 44
_CONNECTIONS_MAX: Final = """
    SELECT least(
        CASE WHEN rolconnlimit >= 0 THEN rolconnlimit END,
        CASE WHEN datconnlimit >= 0 THEN datconnlimit END,
        current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true), '0')::int
    )
    FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()
"""


@dataclass(frozen=True, kw_only=True)
class StoreState:
    """What a database is like.

    Attributes:
        revision: Its newest migration, None if it has no tables.
    """

    revision: str | None
    diagnoses: Sequence[Diagnosis] = ()


def diagnose_store(state: StoreState) -> Iterator[Diagnosis]:
    """Yield whether this version can use the database."""
    yield from state.diagnoses
    if state.revision is None:
        yield ok("store", "has no tables yet; the first start creates them")
    elif state.revision > HEAD_MIGRATION:
        remedy = "Install that version; an older one cannot use this database."
        yield problem("store", f"was written by a newer Punchcard (revision {state.revision})", remedy)
    elif state.revision < HEAD_MIGRATION:
        remedy = "Back it up, then start Punchcard: docs/how-to/upgrade.md."
        yield warning("store", f"is of an older version; the next start upgrades it to {HEAD_MIGRATION}", remedy)


def inspect_store(settings: Settings) -> StoreState:
    """Look at the database without creating or migrating anything.

    Raises:
        StorageError: It cannot be read.
    """
    refuse_wrong_combination(settings)
    url = settings.store_url()
    return _inspect_sqlite(Path(url.removeprefix("sqlite:///"))) if url.startswith("sqlite:") else _inspect_server(url)


def _inspect_sqlite(file: Path) -> StoreState:
    if not os.path.exists(file):
        return StoreState(revision=None)
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
                return StoreState(revision=None)
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error as error:
        raise StorageError(f"{file}: {error}") from error
    return StoreState(revision=None if row is None else str(row[0]))


def _inspect_server(url: str) -> StoreState:
    import psycopg

    diagnoses = []
    try:
        with psycopg.connect(url, connect_timeout=_CONNECT_SECONDS) as connection:
            version = connection.info.server_version // 10_000
            if version < _POSTGRESQL_MIN:
                diagnoses.append(problem("PostgreSQL", f"{version} is too old", f"Use {_POSTGRESQL_MIN} or later."))
            else:
                diagnoses.append(ok("PostgreSQL", f"{version} at {connection.info.host}"))
            row = connection.execute("SELECT clock_timestamp(), to_regclass('alembic_version')").fetchone()
            assert row is not None
            difference = abs(row[0] - SystemClock().now())
            if difference > _CLOCK_WARNING:
                message = f"differs from that of the database by {difference.total_seconds():,.0f} s"
                diagnoses.append(warning("clock", message, "Synchronize both (NTP)."))
            diagnoses += _diagnose_connections(connection)
            if row[1] is not None:
                row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
                return StoreState(revision=None if row is None else str(row[0]), diagnoses=diagnoses)
    except psycopg.Error as error:
        raise StorageError(f"the database does not respond: {message_of(error)}") from error
    return StoreState(revision=None, diagnoses=diagnoses)


def _diagnose_connections(connection: "psycopg.Connection[Any]") -> Iterator[Diagnosis]:
    """Yield whether the database allows this user too few connections: some processes would take all of them."""
    row = connection.execute(_CONNECTIONS_MAX).fetchone()
    assert row is not None
    message = f"{connection.info.user} may have {row[0]} at {connection.info.host}"
    remedy = "Raise the limit of the user, the database or the server: docs/how-to/operate.md says what processes need."
    if row[0] < _CONNECTIONS_PROBLEM:
        yield problem("connections", f"{message}: awards stop when serving processes have taken them", remedy)
    elif row[0] < _CONNECTIONS_WARNING:
        yield warning("connections", f"{message}: a serving process and a worker may need more", remedy)
