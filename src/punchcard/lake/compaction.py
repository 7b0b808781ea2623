"""Keeps the number of data files small: which small files become one, and how.

A commit every few seconds at a low rate makes thousands of tiny files a day, and a lookup opens every file, which takes
0.8 ms for each. Files of today are merged sixteen at a time, tiers growing by that factor, until they hold 65,536
events; those of days gone by once more, to 262,144. So each event is rewritten five times at most, and 100 million
events are some 300 files.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from punchcard.errors import InvariantError, LakeError
from punchcard.lake.data_file import DataFile, DataFileWriter
from punchcard.lake.location import LakeLocation
from punchcard.lake.schema import ROW_GROUP_PAYLOAD_BYTES, ROW_GROUP_ROWS, conformed

if TYPE_CHECKING:
    import pyarrow as pa

_FILES_PER_MERGE = 16
_TIERS = (256, 4_096, 65_536)  # rows; a file of today with as many as the last is left alone
_FILES_MAX = 256  # with the next ones, bounds how long one merge keeps appends waiting
_BYTES_MAX = 32 * 1024 * 1024  # compressed
_ROWS_MAX_OF_BEFORE = 262_144  # of days gone by: a file with as many is left alone
_BYTES_MAX_OF_BEFORE = 64 * 1024 * 1024


def merges(files: Sequence[DataFile]) -> list[list[DataFile]]:
    """The groups of small files that are worth merging now, each in log order and of one day.

    Args:
        files: The table's files in any order.
    """
    ordered = sorted(files, key=lambda file: (file.day, file.first_position))
    by_day = {day: list(some) for day, some in itertools.groupby(ordered, key=lambda one: one.day)}
    today = ordered[-1].day if ordered else None
    groups: list[list[DataFile]] = []
    for day, some in by_day.items():
        if day != today:
            groups += _runs(
                some,
                rows_below=_ROWS_MAX_OF_BEFORE,
                files_min=2,
                rows_max=_ROWS_MAX_OF_BEFORE,
                bytes_max=_BYTES_MAX_OF_BEFORE,
            )
            continue
        for tier in _TIERS:
            if runs := list(_runs(some, rows_below=tier, files_min=_FILES_PER_MERGE)):
                groups += runs
                break
    return groups


def merge(files: Sequence[DataFile], location: LakeLocation, *, name: str) -> DataFile:
    """Write the rows of the files, given in log order, into one new file.

    Raises:
        StorageError: it cannot be written, or a file cannot be read.
    """
    import pyarrow as pa

    try:
        with DataFileWriter(location, files[0].day, name=name) as writer:
            for group in _regrouped(files, location):
                writer.write(group)
    except (OSError, pa.ArrowException) as error:
        raise LakeError(f"files of the lake at {location.url} cannot be merged: {error}") from error
    merged = writer.finished()
    rows = sum(file.rows for file in files)
    if merged.rows != rows:
        location.remove(merged.path)
        raise InvariantError(f"{rows} rows of {len(files)} files became {merged.rows}")
    return merged


def _runs(
    files: Sequence[DataFile],
    *,
    rows_below: int,
    files_min: int,
    rows_max: int = _TIERS[-1],
    bytes_max: int = _BYTES_MAX,
) -> Iterator[list[DataFile]]:
    """Neighbours that are all smaller than `rows_below`, cut where the result is large enough."""
    run: list[DataFile] = []
    for file in [*files, None]:
        small = file is not None and file.rows < rows_below and file.bytes < bytes_max
        full = (
            len(run) == _FILES_MAX
            or sum(one.rows for one in run) >= rows_max
            or sum(one.bytes for one in run) >= bytes_max
        )
        if full or not small:
            if len(run) >= (2 if full else files_min):
                yield run
            run = []
        if file is not None and small:
            run.append(file)


def _regrouped(files: Sequence[DataFile], location: LakeLocation) -> Iterator["pa.Table"]:
    """The rows of the files in row groups of the usual size."""
    import pyarrow as pa
    import pyarrow.parquet

    waiting: list[pa.Table] = []
    rows = size = 0
    for file in files:
        with location.open(file.path) as source:
            parquet = pyarrow.parquet.ParquetFile(source)
            for number in range(parquet.num_row_groups):
                group = conformed(parquet.read_row_group(number, use_threads=False))
                group_size = group.nbytes
                if rows + group.num_rows > ROW_GROUP_ROWS or size + group_size > ROW_GROUP_PAYLOAD_BYTES:
                    yield from _one(waiting)
                    waiting, rows, size = [], 0, 0
                waiting.append(group)
                rows += group.num_rows
                size += group_size
    yield from _one(waiting)


def _one(tables: Sequence["pa.Table"]) -> Iterator["pa.Table"]:
    import pyarrow as pa

    if tables:
        yield pa.concat_tables(tables).unify_dictionaries().combine_chunks()
