"""Run SQL queries over all events: a view `events` in a DuckDB that can read the lake and nothing else."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from punchcard.errors import ConfigurationError, LakeError
from punchcard.lake.location import LakeLocation
from punchcard.lake.opening import open_files, open_table, read_failure
from punchcard.lake.schema import COLUMNS, OLD_RESULTS, PARTITION, RESULTS, SCHEMA_VERSION, results_sql, table_schema

if TYPE_CHECKING:
    import duckdb

_ROWS_PER_PART = 1_000
_DUCKDB: dict[str, str | bool | int | float | list[str]] = {
    "threads": 2,
    "autoinstall_known_extensions": False,
    "parquet_metadata_cache": True,  # the files are opened for the view and for the query
    "TimeZone": "UTC",  # like all other output
}


def run_query(url: str, sql: str, *, limit: int) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
    """Return the names of the columns, and at most `limit` rows.

    Raises:
        ConfigurationError: The SQL is invalid, or is not a query of `events`.
        StorageError: There is no lake yet, or it cannot be read.
    """
    import duckdb

    location = LakeLocation(url)
    table = open_table(location)
    if not table.refresh():
        raise LakeError(f"There is no data lake at {location.url} yet. It is created with the first event.")
    lake_files = open_files(location)
    paths = lake_files.paths(table.files())
    lake_files.prepare(table.files())
    with closing(duckdb.connect(config=_DUCKDB)) as connection:
        try:
            lake_files.register(connection)
            connection.execute(f"CREATE VIEW events AS {_view(connection, paths)}")
            # Only the files of the table: not even a new file in the lake's folder can be written.
            connection.execute(f"SET allowed_paths = [{', '.join(map(_text, paths))}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
        except duckdb.Error as error:
            raise read_failure(lake_files, error, location.url) from error
        try:
            rows = connection.execute(_select_statement(connection, sql))
            names = [column[0] for column in rows.description or ()]
            return names, list(_rows(rows, limit))
        except duckdb.IOException as error:
            raise read_failure(lake_files, error, location.url) from error
        except duckdb.Error as error:
            if (failure := lake_files.failed_request(error)) is not None:
                raise failure from error
            raise ConfigurationError(str(error).strip(), code="invalid_query") from error


def _select_statement(connection: "duckdb.DuckDBPyConnection", sql: str) -> "duckdb.Statement":
    """Return the only SELECT statement of the text, as DuckDB's own parser reads it.

    DuckDB's restrictions alone would let `COPY … TO` overwrite a file that the view reads.

    Raises:
        ConfigurationError: The text is not a single SELECT.
        duckdb.Error: The text is not valid SQL.
    """
    import duckdb

    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(statement.type.name for statement in statements) or "nothing"
        raise ConfigurationError(
            f"The data lake is read-only. Write one SELECT statement (this is {kinds}).", code="invalid_query"
        )
    return statements[0]


def _rows(result: Any, limit: int) -> Iterator[tuple[Any, ...]]:
    while limit > 0 and (rows := result.fetchmany(min(limit, _ROWS_PER_PART))):
        yield from rows
        limit -= len(rows)


def _view(connection: "duckdb.DuckDBPyConnection", paths: Sequence[str]) -> str:
    """Return the select of all current columns, whichever of them the files have."""
    import pyarrow as pa

    types = {name: _duckdb_type(table_schema().field(name).type, pa) for name in (*COLUMNS, PARTITION)}
    if not paths:
        return (
            "SELECT " + ", ".join(f"CAST(NULL AS {type_}) AS {name}" for name, type_ in types.items()) + " WHERE false"
        )
    listed = ", ".join(map(_text, paths))
    files = f"read_parquet([{listed}], hive_partitioning = true, union_by_name = true)"
    # No union with an empty table that has all columns: DuckDB would then read a column to count rows.
    present = {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {files}").fetchall()}
    columns = (_view_column(name, type_, present) for name, type_ in types.items())
    return f"SELECT {', '.join(columns)} FROM {files}"


def _view_column(name: str, type_: str, present: set[str]) -> str:
    if name == RESULTS and OLD_RESULTS in present:
        return f"{results_sql({1, SCHEMA_VERSION} if RESULTS in present else {1})} AS {RESULTS}"
    return name if name in present else f"CAST(NULL AS {type_}) AS {name}"


def _duckdb_type(type_: Any, pa: Any) -> str:
    if pa.types.is_decimal(type_):
        return f"DECIMAL({type_.precision}, {type_.scale})"
    if pa.types.is_list(type_):
        return "VARCHAR[]"
    if pa.types.is_timestamp(type_):
        return "TIMESTAMPTZ"
    if pa.types.is_date(type_):
        return "DATE"
    return {"int64": "BIGINT", "int32": "INTEGER"}.get(str(type_), "VARCHAR")


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
