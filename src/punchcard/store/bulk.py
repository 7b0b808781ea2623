"""Runs one statement for many rows, without SQLAlchemy's work for each of them: half of what such a write costs."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Delete, Insert, Update


def execute_many(work: Connection, statement: Insert | Update | Delete, rows: Sequence[Mapping[str, Any]]) -> None:
    """Run the statement once for each row; for no rows, not at all.

    Args:
        rows: Values by the names of columns and `bindparam`s, in each the same names.
    """
    if not rows:
        return
    dialect = work.dialect
    compiled = statement.compile(dialect=dialect, column_keys=list(rows[0]))
    names = compiled.positiontup or list(compiled.binds)
    prepare = {name: compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names}
    columns = [
        [row[name] for row in rows] if (how := prepare[name]) is None else [how(row[name]) for row in rows]
        for name in names
    ]
    tuples = list(zip(*columns, strict=True))
    many: Any = tuples if dialect.positional else [dict(zip(names, values, strict=True)) for values in tuples]
    work.exec_driver_sql(str(compiled), many)
