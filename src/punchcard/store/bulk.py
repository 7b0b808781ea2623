"""Statements for many rows or keys: built once, compiled once per engine, and the same text whatever their number."""

import json
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Delete,
    Dialect,
    Insert,
    Select,
    String,
    Text,
    Update,
    bindparam,
    func,
    select,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine

from punchcard.errors import InvariantError

ManyRows = Insert | Update | Delete


@contextmanager
def pipelined(work: Connection) -> Iterator[None]:
    """Send the statements of the block to PostgreSQL without waiting for each: all results come at its end.

    Only for `request` and `send`. SQLite runs each statement at once.

    Raises:
        DBAPIError: At the end of the block, for the first statement that failed. None behind it was performed.
    """
    if work.dialect.name != "postgresql":
        yield
        return
    driver: Any = work.connection.dbapi_connection
    try:
        with driver.pipeline():
            yield
    except work.dialect.loaded_dbapi.Error as error:
        raise _as_sqlalchemy_error(work, None, "(several statements)", error) from error


def execute_many(work: Connection, statement: ManyRows, rows: Sequence[Mapping[str, Any]]) -> int:
    """Run the statement once for each row; for no rows, not at all. Without SQLAlchemy's work for each of them.

    Args:
        rows: Values by the names of columns and `bindparam`s, in each the same names.

    Returns:
        The number of rows of the table that were affected.
    """
    return int(_Compiled(statement, work.dialect, list(rows[0])).send(work, rows).rowcount) if rows else 0


class BulkStatement:
    """A statement that is run for many rows at a time, again and again.

    Args:
        statement: The statement, or what returns it for an engine: `sqlite` or `postgresql`. An INSERT that updates
            rows on conflict must not be given two rows with the same key.
        names: The columns that each row has a value of, for an INSERT or UPDATE that names no values itself.
    """

    def __init__(self, statement: ManyRows | Callable[[str], ManyRows], names: Sequence[str] = ()) -> None:
        self._statement = statement
        self._names = names
        self._compiled: dict[str, _Compiled | _ArrayInsert] = {}

    def execute(self, work: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Run it once for each row; returns the number of rows of the table that were affected."""
        return int(self._for(work).send(work, rows).rowcount) if rows else 0

    def send(self, work: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run it once for each row, in a block of `pipelined` without waiting for it."""
        if rows:
            self._for(work).send(work, rows)

    def _for(self, work: Connection) -> "_Compiled | _ArrayInsert":
        dialect = work.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = self._compile(dialect)
        return compiled

    def _compile(self, dialect: Dialect) -> "_Compiled | _ArrayInsert":
        statement = self._statement(dialect.name) if callable(self._statement) else self._statement
        if isinstance(statement, Insert) and dialect.name == "postgresql":
            return _ArrayInsert(statement, dialect, self._names)
        return _Compiled(statement, dialect, self._names)


class PreparedStatement:
    """A statement that every cycle of a loop runs once: SQLAlchemy's own work for it costs more than the run.

    Args:
        statement: A SELECT of named columns, or an UPDATE or DELETE; its values are `bindparam`s.
        row: Makes a row of its values, in the order of the columns; by default a named tuple.
    """

    def __init__(
        self, statement: Select[Any] | Update | Delete, *, row: Callable[[Sequence[Any]], Any] | None = None
    ) -> None:
        self._statement = statement
        self._row = row
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, work: Connection, values: Mapping[str, Any]) -> list[Any]:
        """Return the selected rows.

        Args:
            values: By the names of the `bindparam`s.
        """
        return self.request(work, values)()

    def request(self, work: Connection, values: Mapping[str, Any]) -> Callable[[], list[Any]]:
        """Ask for the rows; returns what gives them.

        In a block of `pipelined` this does not wait. Read the rows behind the block.
        """
        compiled = self._for(work)
        cursor = compiled.send(work, [values])
        return lambda: compiled.read(work, cursor)

    def execute(self, work: Connection, values: Mapping[str, Any]) -> int:
        """Change rows; returns how many."""
        return int(self._for(work).send(work, [values]).rowcount)

    def _for(self, work: Connection) -> "_Compiled":
        dialect = work.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _Compiled(self._statement, dialect, (), row=self._row)
        return compiled


class _Compiled:
    """A statement as the driver of one engine takes it, and its rows as the driver returns them."""

    def __init__(
        self,
        statement: ManyRows | Select[Any],
        dialect: Dialect,
        names: Sequence[str],
        *,
        row: Callable[[Sequence[Any]], Any] | None = None,
    ) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=list(names) or None)
        self._text = str(compiled)
        self._is_positional = dialect.positional
        self._names = compiled.positiontup or list(compiled.binds)
        self._processors = [
            compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect) for name in self._names
        ]
        # What the statement itself says, such as a state: the same in every row.
        self._constants = {
            name: _plain(compiled.binds[name].value) if process is None else process(compiled.binds[name].value)
            for name, process in zip(self._names, self._processors, strict=True)
            if not compiled.binds[name].required
        }
        columns = list(statement.selected_columns) if isinstance(statement, Select) else []
        named_row: Any = namedtuple("Row", [column.name for column in columns])  # type: ignore[misc]
        self._make_row = row or named_row._make
        readers = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        self._readers = [(index, read) for index, read in enumerate(readers) if read is not None]

    def send(self, work: Connection, rows: Sequence[Mapping[str, Any]]) -> Any:
        """Run the statement for each row; returns the driver's cursor."""
        many = self._parameters(rows)
        is_many = len(rows) > 1
        return _run(work, self._text, many if is_many else many[0], is_many=is_many)

    def read(self, work: Connection, cursor: Any) -> list[Any]:
        """Return the selected rows of a cursor."""
        make, readers = self._make_row, self._readers
        try:
            fetched = cursor.fetchall()
        except work.dialect.loaded_dbapi.Error as error:
            raise _as_sqlalchemy_error(work, cursor, self._text, error) from error
        if not readers:
            return [make(raw) for raw in fetched]
        rows = []
        for raw in fetched:
            row = list(raw)
            for index, read in readers:
                row[index] = read(row[index])
            rows.append(make(row))
        return rows

    def _parameters(self, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        if len(rows) == 1:  # as for each event that comes alone
            return [self._parameters_of(rows[0])]
        columns: list[list[Any]] = []
        for name, process in zip(self._names, self._processors, strict=True):
            if name in self._constants:
                columns.append([self._constants[name]] * len(rows))
            elif process is None:
                columns.append([row[name] for row in rows])
            else:
                columns.append([process(row[name]) for row in rows])
        tuples = list(zip(*columns, strict=True)) if columns else [()] * len(rows)
        if self._is_positional:
            return tuples
        return [dict(zip(self._names, values, strict=True)) for values in tuples]

    def _parameters_of(self, row: Mapping[str, Any]) -> Any:
        constants = self._constants
        values = [
            constants[name] if name in constants else row[name] if process is None else process(row[name])
            for name, process in zip(self._names, self._processors, strict=True)
        ]
        return tuple(values) if self._is_positional else dict(zip(self._names, values, strict=True))


class _ArrayInsert:
    """An INSERT in PostgreSQL with one array for each column, whatever the number of rows.

    A server takes a third of the time that it needs for an INSERT of each row, and the driver a fifth.
    """

    def __init__(self, statement: Insert, dialect: Dialect, names: Sequence[str]) -> None:
        columns = [statement.table.c[name] for name in names]
        # Without the length of a column: a cast to it would cut longer texts off, which are refused otherwise.
        arrays = [
            bindparam(column.name, type_=ARRAY(Text() if isinstance(column.type, String) else column.type))
            for column in columns
        ]
        rows = func.unnest(*arrays).table_valued(*names).render_derived(name="rows")
        inserting = statement.from_select(list(names), select(*(rows.c[name] for name in names)))
        self._text = str(inserting.compile(dialect=dialect))
        self._processors = [
            (column.name, column.type.dialect_impl(dialect).bind_processor(dialect)) for column in columns
        ]

    def send(self, work: Connection, rows: Sequence[Mapping[str, Any]]) -> Any:
        """Run the statement for all rows; returns the driver's cursor."""
        arrays = {
            name: [_plain(row[name]) for row in rows] if process is None else [process(row[name]) for row in rows]
            for name, process in self._processors
        }
        return _run(work, self._text, arrays, is_many=False)


def _plain(value: Any) -> Any:
    """Return the text of a member of an enumeration.

    SQLite's driver would look for an adapter each time, and that of PostgreSQL takes no arrays of several types.
    """
    return value.value if isinstance(value, StrEnum) else value


def _run(work: Connection, statement: str, parameters: Any, *, is_many: bool) -> Any:
    """Run a statement on the driver's own cursor, which is returned.

    SQLAlchemy takes 30 microseconds for what the driver does in 2. Who listens to its statements hears of this one too.
    """
    if not work.in_transaction():
        raise InvariantError("a statement would run outside of a unit of work")
    cursor: Any = work.connection.cursor()
    for listener in work.dispatch.before_cursor_execute:
        listener(work, cursor, statement, parameters, None, is_many)
    try:
        if is_many:
            cursor.executemany(statement, parameters)
        else:
            cursor.execute(statement, parameters)
    except work.dialect.loaded_dbapi.Error as error:
        raise _as_sqlalchemy_error(work, cursor, statement, error) from error
    return cursor


def _as_sqlalchemy_error(work: Connection, cursor: Any, statement: str, error: Any) -> BaseException:
    """Return SQLAlchemy's error for one of the driver; a connection that is lost is not used again."""
    dialect = work.dialect
    is_lost = dialect.is_disconnect(error, work.connection.dbapi_connection, cursor)
    if is_lost:
        work.invalidate(error)
    raised: BaseException = DBAPIError.instance(
        statement, None, error, dialect.loaded_dbapi.Error, connection_invalidated=is_lost, dialect=dialect
    )
    return raised


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
