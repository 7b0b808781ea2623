"""Statements for many rows or keys: built once, compiled once per engine, and the same text whatever their number."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Delete,
    Dialect,
    Insert,
    Text,
    Update,
    bindparam,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine

ManyRows = Insert | Update | Delete


def execute_many(work: Connection, statement: ManyRows, rows: Sequence[Mapping[str, Any]]) -> int:
    """Run the statement once for each row; for no rows, not at all. Without SQLAlchemy's work for each of them.

    Args:
        rows: Values by the names of columns and `bindparam`s, in each the same names.

    Returns:
        The number of rows of the table that were affected.
    """
    return _Compiled(statement, work.dialect, list(rows[0])).execute(work, rows) if rows else 0


class BulkStatement:
    """A statement that is run for many rows at a time, again and again.

    Args:
        statement: The statement, or what returns it for an engine: `sqlite` or `postgresql`.
        names: The columns that each row has a value of, for an INSERT or UPDATE that names no values itself.
    """

    def __init__(self, statement: ManyRows | Callable[[str], ManyRows], names: Sequence[str] = ()) -> None:
        self._statement = statement
        self._names = names
        self._compiled: dict[str, _Compiled] = {}

    def execute(self, work: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Run it once for each row; returns the number of rows of the table that were affected."""
        if not rows:
            return 0
        dialect = work.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            statement = self._statement(dialect.name) if callable(self._statement) else self._statement
            compiled = self._compiled[dialect.name] = _Compiled(statement, dialect, self._names)
        return compiled.execute(work, rows)


class _Compiled:
    """A statement as the driver of one engine takes it."""

    def __init__(self, statement: ManyRows, dialect: Dialect, names: Sequence[str]) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=list(names) or None)
        self._text = str(compiled)
        self._is_positional = dialect.positional
        self._names = compiled.positiontup or list(compiled.binds)
        self._processors = [
            compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect) for name in self._names
        ]
        # What the statement itself says, such as a state: the same in every row.
        self._constants = {
            name: compiled.binds[name].value if process is None else process(compiled.binds[name].value)
            for name, process in zip(self._names, self._processors, strict=True)
            if not compiled.binds[name].required
        }

    def execute(self, work: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        columns: list[list[Any]] = []
        for name, process in zip(self._names, self._processors, strict=True):
            if name in self._constants:
                columns.append([self._constants[name]] * len(rows))
            elif process is None:
                columns.append([row[name] for row in rows])
            else:
                columns.append([process(row[name]) for row in rows])
        tuples = list(zip(*columns, strict=True))
        many: Any = (
            tuples if self._is_positional else [dict(zip(self._names, values, strict=True)) for values in tuples]
        )
        return work.exec_driver_sql(self._text, many).rowcount


class _Keys(TypeDecorator[Sequence[Any]]):
    """A list of keys as one parameter: an array in PostgreSQL, JSON text in SQLite."""

    impl = Text
    cache_ok = True

    def __init__(self, item: type[TypeEngine[Any]]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else ARRAY(self.item))

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> Any:
        keys = list(value or ())
        return json.dumps(keys) if dialect.name == "sqlite" else keys


class IsListed(FunctionElement[Any]):
    """Whether a column's value is one of a list that is a single parameter, so that its length changes no statement."""

    # Not Boolean: SQLAlchemy would write "= 1" behind it, and SQLite would use no index then.
    type = NullType()
    inherit_cache = True
    name = "is_listed"


def is_listed(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that the column's value is in the list that is passed as the parameter `name`."""
    item = BigInteger if isinstance(column.type, BigInteger) or column.type.python_type is int else Text
    return IsListed(column, bindparam(name, type_=_Keys(item)))


@compiles(IsListed, "sqlite")
def _listed_in_sqlite(element: IsListed, compiler: SQLCompiler, **options: Any) -> str:
    column, keys = element.clauses
    return (
        f"{compiler.process(column, **options)} IN (SELECT value FROM json_each({compiler.process(keys, **options)}))"
    )


@compiles(IsListed, "postgresql")
def _listed_in_postgresql(element: IsListed, compiler: SQLCompiler, **options: Any) -> str:
    column, keys = element.clauses
    return f"{compiler.process(column, **options)} = ANY ({compiler.process(keys, **options)})"
