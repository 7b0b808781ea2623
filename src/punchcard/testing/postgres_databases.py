"""PostgreSQL databases with all tables of the store: emptied after a test and used by the next one.

Copying a template and dropping the copy costs the server 30 ms of CPU, and its first connections as much again, because
each of them reads the catalog of a new database.
"""

import uuid
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from punchcard.store.engine import Store
from punchcard.testing.waiting import PATIENCE_SECONDS

_TEMPLATE = "with_tables"
# Every change of the schema writes a row of one of these, and ANALYZE of `pg_statistic`.
_CATALOGS: tuple[LiteralString, ...] = (
    "pg_attrdef",
    "pg_attribute",
    "pg_class",
    "pg_constraint",
    "pg_db_role_setting",
    "pg_extension",
    "pg_index",
    "pg_namespace",
    "pg_proc",
    "pg_rewrite",
    "pg_statistic",
    "pg_trigger",
    "pg_type",
)
_STATE: LiteralString = " UNION ALL ".join(
    f"SELECT '{catalog}', count(*), max(xmin::text::bigint) FROM {catalog}" for catalog in _CATALOGS
)
# Also of a table with deleted rows only: what it is on disk decides how it is read.
_WRITTEN: LiteralString = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND pg_relation_size(oid) > 0 ORDER BY relname
"""
_SEQUENCES: LiteralString = "SELECT sequencename, last_value FROM pg_sequences ORDER BY sequencename"
_END_OTHERS: LiteralString = """
    SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

State = list[tuple[Any, ...]]


def database_url(server_url: str, name: str) -> str:
    """Return the URL of a database of a server."""
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


class PostgresDatabases:
    """Databases of one server, each for one test at a time.

    Args:
        server_url: URL of any database of the server, by which others are created.
    """

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._free: dict[str, State] = {}
        self._lent: dict[str, State] = {}
        self._run_on_server(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
        Store(database_url(server_url, _TEMPLATE)).close()
        with self._connected(_TEMPLATE) as connection:
            self._rows = {table: _rows_of(connection, table) for table in _written_tables(connection)}
            self._sequences = connection.execute(_SEQUENCES).fetchall()

    def lend(self) -> str:
        """Return the URL of a database with all tables of the store and no row of a test."""
        if self._free:
            name, state = self._free.popitem()
        else:
            name = f"test_{uuid.uuid4().hex}"
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")  # half the time of the default
            self._run_on_server(create.format(sql.Identifier(name), sql.Identifier(_TEMPLATE)))
            with self._connected(name) as connection:
                state = connection.execute(_STATE).fetchall()
        self._lent[name] = state
        return database_url(self._server_url, name)

    def take_back(self, url: str) -> None:
        """End all connections to a database and empty it; drop it if more than its rows has changed."""
        name = str(make_url(url).database)
        before = self._lent.pop(name)
        try:
            with self._connected(name) as connection:
                state = self._emptied(connection, before)
        except psycopg.Error:  # the test has dropped it, or left it as nobody can use it
            state = None
        if state is None:
            self._run_on_server(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        else:
            self._free[name] = state

    def _emptied(self, connection: psycopg.Connection, before: State) -> State | None:
        """Return the state of the emptied database, None if its schema or statistics have changed."""
        connection.execute(_END_OTHERS, [int(PATIENCE_SECONDS * 1000)])
        if connection.execute(_STATE).fetchall() != before:
            return None
        changed = [table for table in _written_tables(connection) if not self._is_as_created(connection, table)]
        if changed:
            tables = sql.SQL(", ").join(map(sql.Identifier, changed))
            connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(tables))
        for table in self._rows.keys() & set(changed):
            with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))) as copy:
                copy.write(self._rows[table])
        if _written_tables(connection) != list(self._rows):
            return None
        if connection.execute(_SEQUENCES).fetchall() != self._sequences:
            return None
        connection.execute("SELECT pg_stat_reset()")  # which tables were vacuumed, and how often they were read
        return connection.execute(_STATE).fetchall()

    def _is_as_created(self, connection: psycopg.Connection, table: str) -> bool:
        return table in self._rows and _rows_of(connection, table) == self._rows[table]

    def _connected(self, name: str) -> psycopg.Connection:
        return psycopg.connect(database_url(self._server_url, name))

    def _run_on_server(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(statement)


def _written_tables(connection: psycopg.Connection) -> list[str]:
    return [table for (table,) in connection.execute(_WRITTEN)]


def _rows_of(connection: psycopg.Connection, table: str) -> bytes:
    with connection.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))) as copy:
        return b"".join(bytes(block) for block in copy)
