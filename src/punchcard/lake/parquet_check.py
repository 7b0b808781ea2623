"""Read data files completely, to check them and to find those that are in no commit."""

import bisect
import datetime
from collections.abc import Collection, Sequence

from punchcard.errors import LakeError
from punchcard.lake.data_file import DataFile
from punchcard.lake.location import LakeLocation
from punchcard.lake.schema import PARTITION


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
    import pyarrow as pa
    import pyarrow.parquet

    near = [(first, last) for first, last in ranges if first <= file.last_position and file.first_position <= last]
    if not near or any(first <= file.first_position and file.last_position <= last for first, last in near):
        return file.rows if near else 0
    try:
        with location.open(file.path) as source:
            table = pyarrow.parquet.ParquetFile(source).read(columns=["log_position"], use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise LakeError(f"The data lake at {location.url} cannot be read: {error}.") from error
    positions = table.column("log_position").to_pylist()  # rising: rows are in log order
    return sum(bisect.bisect_right(positions, last) - bisect.bisect_left(positions, first) for first, last in near)


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
