"""Open the lake at a location: its table and its data files, in a folder or on S3."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from punchcard.clock import Clock
from punchcard.errors import LakeError
from punchcard.lake.data_file import DataFile
from punchcard.lake.location import LakeLocation
from punchcard.lake.object_table import ObjectTable
from punchcard.lake.table import LakeTable

if TYPE_CHECKING:
    import duckdb

    from punchcard.lake.object_files import ObjectFiles

DuckDBConfig = dict[str, str | bool | int | float | list[str]]
"""Settings of DuckDB by their names."""


class FolderFiles:
    """How DuckDB reads the data files of a lake in a folder."""

    def __init__(self, location: LakeLocation) -> None:
        self._location = location

    def connect(self, config: DuckDBConfig) -> "duckdb.DuckDBPyConnection":
        """Return a connection to a database in memory that can open the files."""
        import duckdb

        return duckdb.connect(config=config)

    def register(self, connection: "duckdb.DuckDBPyConnection") -> None:
        """Do nothing: DuckDB opens local files itself."""

    def paths(self, files: Sequence[DataFile]) -> list[str]:
        """Return the names of files in SQL."""
        return [self._location.full(file.path) for file in files]

    def prepare(self, files: Sequence[DataFile]) -> None:
        """Do nothing: local files are opened quickly."""

    def failed_request(self, error: Exception) -> LakeError | None:
        """Return None: there are no requests."""
        return None


def open_table(location: LakeLocation, *, clock: Clock | None = None) -> LakeTable | ObjectTable:
    """Return a view of the table; nothing is read before its first `refresh`."""
    return LakeTable(location) if location.objects is None else ObjectTable(location, clock=clock)


def open_files(location: LakeLocation) -> "FolderFiles | ObjectFiles":
    """Return the data files for DuckDB."""
    if location.objects is None:
        return FolderFiles(location)
    from punchcard.lake.object_files import ObjectFiles

    return ObjectFiles(location.objects)


def read_failure(files: "FolderFiles | ObjectFiles", error: Exception, url: str) -> LakeError:
    """Return the error of the lake for one of DuckDB: the failed request behind it, if there is one.

    Args:
        url: Of the lake.
    """
    return files.failed_request(error) or LakeError(f"The data lake at {url} cannot be read: {error}.")
