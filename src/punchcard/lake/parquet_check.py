"""Read data files completely, to check them and to find those that are in no commit."""

import datetime
from collections.abc import Iterator

from punchcard.lake.data_file import DataFile
from punchcard.lake.location import LakeLocation
from punchcard.lake.schema import PARTITION


def check_data_file(location: LakeLocation, file: DataFile) -> bool:
    """Return whether a data file exists and all of it can be read."""
    read_file = _read(location, file.path, file.day)
    return read_file is not None and read_file.rows == file.rows


def find_data_files(location: LakeLocation) -> list[DataFile]:
    """Return all readable data files in the lake's folder, whether or not they are in a commit."""
    return [
        file for path, day in _paths(location) if (file := _read(location, path, day)) is not None and file.rows > 0
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
    """Return the file as described by its content, None if it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet

    size = location.file_bytes(path)
    if size is None:
        return None
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
