"""Reads data files whole, to see whether they can be read, and what a file holds that no commit names."""

import datetime
from collections.abc import Iterator

from punchcard.lake.data_file import DataFile
from punchcard.lake.location import LakeLocation
from punchcard.lake.schema import PARTITION


def check_data_file(location: LakeLocation, file: DataFile) -> bool:
    """Whether a data file is there and all of it can be read."""
    found = _read(location, file.path, file.day)
    return found is not None and found.rows == file.rows


def find_data_files(location: LakeLocation) -> list[DataFile]:
    """All data files in the lake's folder that can be read, whether or not a commit names them."""
    return [
        found for path, day in _paths(location) if (found := _read(location, path, day)) is not None and found.rows > 0
    ]


def _paths(location: LakeLocation) -> Iterator[tuple[str, datetime.date]]:
    if location.folder is None:
        return
    for path in sorted(location.folder.glob(f"{PARTITION}=*/*.parquet")):
        try:
            day = datetime.date.fromisoformat(path.parent.name.removeprefix(f"{PARTITION}="))
        except ValueError:
            continue
        yield path.relative_to(location.folder).as_posix(), day


def _read(location: LakeLocation, path: str, day: datetime.date) -> DataFile | None:
    """The file as its content tells it, None if it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet

    size = location.size_of(path)
    if size is None:
        return None
    first = last = rows = 0
    try:
        with location.open(path) as source:
            parquet = pyarrow.parquet.ParquetFile(source)
            for number in range(parquet.num_row_groups):
                # All columns: damage in the midst of a file is found by reading it only.
                group = parquet.read_row_group(number, use_threads=False)
                positions = group.column("log_position")
                first = first or positions[0].as_py()
                last = positions[-1].as_py()
                rows += group.num_rows
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return None
    return DataFile(path=path, day=day, bytes=size, rows=rows, first_position=first, last_position=last)
