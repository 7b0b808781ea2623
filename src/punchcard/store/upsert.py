"""INSERT with ON CONFLICT: both engines have it, and SQLAlchemy has a statement of its own for each of them."""

from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_into(work: Connection, table: Table) -> Any:
    """Return the INSERT of the connection's engine, for `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return insert_in(work.dialect.name, table)


def insert_in(engine: str, table: Table) -> Any:
    """Return the INSERT of an engine, `sqlite` or `postgresql`."""
    return sqlite.insert(table) if engine == "sqlite" else postgresql.insert(table)
