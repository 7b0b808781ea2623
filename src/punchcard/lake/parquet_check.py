"""Read data files completely, to check them and to find those that are in no commit."""

import bisect
import datetime
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from punchcard.errors import LakeError
from punchcard.lake.data_file import DataFile
from punchcard.lake.location import LakeLocation
from punchcard.lake.schema import PARTITION, with_current_columns

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet


def check_data_file(location: LakeLocation, file: DataFile) -> bool:
    """Return whether all of an existing data file of the right size can be read.

    An object store keeps objects as they were uploaded: there it is not read again.
    """
    if location.objects is not None:
        return True
    read_file = _read(location, file.path, file.day, file.bytes)
    return read_file is not None and read_file.rows == file.rows


def find_data_files(location: LakeLocation, *, except_for: Collection[DataFile]) -> list[DataFile]:
    """Return the other readable data files of the lake, whether or not they are in a commit."""
    known = {file.path for file in except_for}
    return [
        file
        for path, size in location.data_file_bytes().items()
        if path not in known
        and (day := _day_of(path)) is not None
        and (file := _read(location, path, day, size)) is not None
        and file.rows > 0
    ]


def count_rows_within(location: LakeLocation, file: DataFile, ranges: Sequence[tuple[int, int]]) -> int:
    """Return the number of rows of a readable file with a log position in one of the ranges, which do not overlap.

    Args:
        ranges: The first and the last position of each.

    Raises:
        LakeError: The file cannot be read any more.
    """
    near = [(first, last) for first, last in ranges if first <= file.last_position and file.first_position <= last]
    if not near or any(first <= file.first_position and file.last_position <= last for first, last in near):
        return file.rows if near else 0
    with _opened(location, file) as parquet:
        positions = parquet.read(columns=["log_position"], use_threads=False).column("log_position").to_pylist()
    return sum(last - first for first, last in (_slice(positions, each) for each in near))


def read_rows_within(location: LakeLocation, file: DataFile, positions: tuple[int, int]) -> Iterator["pa.Table"]:
    """Yield the rows of a readable file from a first to a last log position, a row group at a time.

    Raises:
        LakeError: The file cannot be read any more.
    """
    with _opened(location, file) as parquet:
        for number in range(parquet.num_row_groups):
            group = parquet.read_row_group(number, use_threads=False)
            first, last = _slice(group.column("log_position").to_pylist(), positions)
            if first < last:
                yield with_current_columns(group.slice(first, last - first))


@contextmanager
def _opened(location: LakeLocation, file: DataFile) -> Iterator["pa.parquet.ParquetFile"]:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        with location.open(file.path) as source:
            yield pyarrow.parquet.ParquetFile(source)
    except (OSError, pa.ArrowException) as error:
        raise LakeError(f"The data lake at {location.url} cannot be read: {error}.") from error


def _slice(rising: Sequence[int], positions: tuple[int, int]) -> tuple[int, int]:
    """Return where the rows from a first to a last position begin and end; rows are in log order."""
    first, last = positions
    return bisect.bisect_left(rising, first), bisect.bisect_right(rising, last)


def _day_of(path: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(path.partition("/")[0].removeprefix(f"{PARTITION}="))
    except ValueError:
        return None


def _read(location: LakeLocation, path: str, day: datetime.date, size: int) -> DataFile | None:
    """Return the file as described by its content, None if it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet

    first = last = rows = 0
    try:
        with location.open(path) as source:
            parquet = pyarrow.parquet.ParquetFile(source)
            for number in range(parquet.num_row_groups):
                # All columns: damage inside a file is only found by reading it.
                group = parquet.read_row_group(number, use_threads=False)
                positions = group.column("log_position")
                first = first or positions[0].as_py()
                last = positions[-1].as_py()
                rows += group.num_rows
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return None
    return DataFile(path=path, day=day, bytes=size, rows=rows, first_position=first, last_position=last)
