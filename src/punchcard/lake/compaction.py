"""Merge small data files to keep their number low.

A commit every few seconds at a low rate makes thousands of tiny files a day, and a lookup opens every file, which takes
0.8 ms for each. The files of the current day are merged sixteen at a time, in tiers that grow by that factor, until
they hold 65,536 events. The files of past days are merged once more, to 262,144 events. So each event is rewritten at
most five times, and 100 million events are about 300 files.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from punchcard.errors import InvariantError, LakeError
from punchcard.lake.data_file import DataFile, DataFileWriter
from punchcard.lake.location import LakeLocation
from punchcard.lake.schema import ROW_GROUP_PAYLOAD_BYTES, ROW_GROUP_ROWS, with_current_columns

if TYPE_CHECKING:
    import pyarrow as pa

_FILES_PER_MERGE = 16
_TIERS = (256, 4_096, 65_536)  # rows; a file of the current day with as many as the last tier is complete
_FILES_MAX = 256  # with the next limits, bounds how long a merge delays appends
_BYTES_MAX = 32 * 1024 * 1024  # compressed
_ROWS_MAX_PAST_DAY = 262_144  # a file of a past day with as many rows is complete
_BYTES_MAX_PAST_DAY = 64 * 1024 * 1024


def plan_merges(files: Sequence[DataFile]) -> list[list[DataFile]]:
    """Return the groups of small files that are worth merging now, each in log order and of one day.

    Args:
        files: The table's files in any order.
    """
    ordered = sorted(files, key=lambda file: (file.day, file.first_position))
    by_day = {day: list(group) for day, group in itertools.groupby(ordered, key=lambda file: file.day)}
    today = ordered[-1].day if ordered else None
    groups: list[list[DataFile]] = []
    for day, day_files in by_day.items():
        if day != today:
            groups += _runs(
                day_files,
                rows_below=_ROWS_MAX_PAST_DAY,
                files_min=2,
                rows_max=_ROWS_MAX_PAST_DAY,
                bytes_max=_BYTES_MAX_PAST_DAY,
            )
            continue
        for tier in _TIERS:
            if runs := list(_runs(day_files, rows_below=tier, files_min=_FILES_PER_MERGE)):
                groups += runs
                break
    return groups


def merge_files(files: Sequence[DataFile], location: LakeLocation, *, name: str) -> DataFile:
    """Write the rows of the files, given in log order, into one new file.

    Raises:
        StorageError: The file cannot be written, or a file cannot be read.
    """
    import pyarrow as pa

    try:
        with DataFileWriter(location, files[0].day, name=name) as writer:
            for group in _regrouped(files, location):
                writer.write(group)
    except (OSError, pa.ArrowException) as error:
        raise LakeError(f"Files of the data lake at {location.url} cannot be merged: {error}.") from error
    merged = writer.data_file()
    rows = sum(file.rows for file in files)
    if merged.rows != rows:
        location.remove(merged.path)
        raise InvariantError(f"Merging {len(files)} files with {rows} rows gave {merged.rows} rows.")
    return merged


def _runs(
    files: Sequence[DataFile],
    *,
    rows_below: int,
    files_min: int,
    rows_max: int = _TIERS[-1],
    bytes_max: int = _BYTES_MAX,
) -> Iterator[list[DataFile]]:
    """Yield runs of adjacent files smaller than `rows_below`, cut where the result is large enough."""
    run: list[DataFile] = []
    for file in [*files, None]:
        small = file is not None and file.rows < rows_below and file.bytes < bytes_max
        full = (
            len(run) == _FILES_MAX
            or sum(member.rows for member in run) >= rows_max
            or sum(member.bytes for member in run) >= bytes_max
        )
        if full or not small:
            if len(run) >= (2 if full else files_min):
                yield run
            run = []
        if file is not None and small:
            run.append(file)


def _regrouped(files: Sequence[DataFile], location: LakeLocation) -> Iterator["pa.Table"]:
    """Yield the rows of the files in row groups of the usual size."""
    import pyarrow as pa
    import pyarrow.parquet

    waiting: list[pa.Table] = []
    rows = size = 0
    for file in files:
        with location.open(file.path) as source:
            parquet = pyarrow.parquet.ParquetFile(source)
            for number in range(parquet.num_row_groups):
                group = with_current_columns(parquet.read_row_group(number, use_threads=False))
                group_size = group.nbytes
                if rows + group.num_rows > ROW_GROUP_ROWS or size + group_size > ROW_GROUP_PAYLOAD_BYTES:
                    yield from _concatenated(waiting)
                    waiting, rows, size = [], 0, 0
                waiting.append(group)
                rows += group.num_rows
                size += group_size
    yield from _concatenated(waiting)


def _concatenated(tables: Sequence["pa.Table"]) -> Iterator["pa.Table"]:
    import pyarrow as pa

    if tables:
        yield pa.concat_tables(tables).unify_dictionaries().combine_chunks()
