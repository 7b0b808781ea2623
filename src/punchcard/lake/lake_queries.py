"""Run queries over data files of the lake in one DuckDB, whichever columns the files have."""

import re
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from punchcard.lake.conditions import Value
from punchcard.lake.data_file import DataFile
from punchcard.lake.location import LakeLocation
from punchcard.lake.opening import open_files, read_failure
from punchcard.lake.schema import RESULTS, results_sql

if TYPE_CHECKING:
    import duckdb

# Queries take milliseconds: more threads or memory would only slow the other loops of the process.
_DUCKDB: dict[str, str | bool | int | float | list[str]] = {
    "threads": 2,
    "memory_limit": "512MB",
    "autoinstall_known_extensions": False,
    "parquet_metadata_cache": True,  # data files never change
}
_RESULTS_COLUMN = re.compile(rf"\b{RESULTS}\b")


class LakeQueries:
    """Queries of data files at a location. Thread-safe; nothing is opened before the first query."""

    def __init__(self, location: LakeLocation) -> None:
        self._url = location.url
        self._files = open_files(location)
        self._lock = threading.Lock()
        self._duckdb: duckdb.DuckDBPyConnection | None = None

    def rows(self, sql: str, files: Sequence[DataFile], *values: Value) -> list[tuple[Any, ...]]:
        """Return the rows of a query with the list of files as its first parameter; none without files.

        Raises:
            LakeError: A file cannot be read.
        """
        return self.run(sql, files, [self.paths(files), *values]) if files else []

    def paths(self, files: Sequence[DataFile]) -> list[str]:
        """Return the names of files in SQL."""
        return self._files.paths(files)

    def run(self, sql: str, files: Sequence[DataFile], values: Sequence[Value]) -> list[tuple[Any, ...]]:
        """Return the rows of a query of some files; their `paths` are among the values.

        Raises:
            LakeError: A file cannot be read.
        """
        import duckdb

        sql = _RESULTS_COLUMN.sub(results_sql({file.schema_version for file in files}), sql)
        self._files.prepare(files)
        try:
            with self._cursor() as cursor:
                for variant in (sql, _without_notes(sql)):
                    try:
                        return cursor.execute(variant, values).fetchall()
                    except duckdb.BinderException:
                        continue  # none of these files has the columns that were added later
                return cursor.execute(_without_email(_without_notes(sql)), values).fetchall()
        except duckdb.Error as error:
            raise read_failure(self._files, error, self._url) from error

    def _cursor(self) -> "duckdb.DuckDBPyConnection":
        with self._lock:
            if self._duckdb is None:
                self._duckdb = self._files.connect(_DUCKDB)
            return self._duckdb.cursor()


def _without_notes(sql: str) -> str:
    return sql.replace(", notes\n", ", NULL::VARCHAR AS notes\n").replace(
        "contains(notes, ?)", "contains(NULL::VARCHAR, ?)"
    )


def _without_email(sql: str) -> str:
    return sql.replace(" email, ", " NULL::VARCHAR AS email, ").replace(" email = ?", " NULL::VARCHAR = ?")
