"""Rows of a Parquet file. Columns are named as in CSV; structs, maps and lists become objects and arrays."""

import math
import struct
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from punchcard.cli.importing.columns import (
    TEXT_MEMBERS,
    CellError,
    CellType,
    Column,
    read_cell,
    read_headings,
    set_member,
)
from punchcard.cli.importing.mapping import ImportMapping
from punchcard.cli.importing.rows import BadRow, EventRow
from punchcard.errors import ConfigurationError, PunchcardError

_BATCH_ROWS = 2_000
_encoder = msgspec.json.Encoder(decimal_format="number")


class ParquetRows:
    """Reads a Parquet file.

    Args:
        mapping: Mapping of its columns.
    """

    notices: tuple[str, ...] = ()

    def __init__(self, path: Path, mapping: ImportMapping) -> None:
        self._path = path
        self._mapping = mapping
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ConfigurationError(f"{path}: This is not a Parquet file: {error}.") from error
        self.size: int = self._file.metadata.num_rows
        self.position = 0

    def rows(self, *, after: int) -> Iterator[EventRow | BadRow]:
        """Yield the rows after row number `after`, counted from 1."""
        schema = self._file.schema_arrow
        columns = read_headings(schema.names, file=str(self._path), mapping=self._mapping)
        singles = [pa.types.is_float32(field.type) for field in schema]
        try:
            for batch in self._file.iter_batches(batch_size=_BATCH_ROWS):
                begin, self.position = self.position, self.position + batch.num_rows
                if self.position <= after:
                    continue
                cells = [_cells(column) for column in batch.columns]
                for index in range(max(0, after - begin), batch.num_rows):
                    yield _row(begin + index + 1, columns, [column[index] for column in cells], singles)
        except (pa.ArrowException, OSError) as error:
            raise PunchcardError(
                f"{self._path}: near row {self.position + 1}: The file cannot be read: {error}."
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _cells(column: pa.Array) -> list[object]:
    # Python's datetime has no nanoseconds; events have milliseconds.
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    cells: list[object] = column.to_pylist(maps_as_pydicts="strict")
    return cells


def _row(number: int, columns: list[Column], cells: list[object], singles: list[bool]) -> EventRow | BadRow:
    members: dict[str, object] = {}
    try:
        for column, cell, is_single in zip(columns, cells, singles, strict=True):
            if cell is None or cell == "" or column.type is CellType.IGNORED:
                continue
            if isinstance(cell, str):
                set_member(members, column.path, read_cell(column, cell))
                continue
            value = _single(cell) if is_single and isinstance(cell, float) else _plain(column.heading, cell)
            set_member(members, column.path, _as_text(value) if column.path[0] in TEXT_MEMBERS else value)
        # Sorted by key, so that moving a column does not change message ids.
        content = _encoder.encode(dict(sorted(members.items())))
    except (CellError, ValueError, TypeError) as error:
        return BadRow(number, str(error))
    return EventRow(number, members, content)


def _plain(heading: str, value: object) -> object:
    """Return a cell as a JSON value; nulls in objects are removed."""
    match value:
        case bool() | int() | str():
            return value
        case float():
            if not math.isfinite(value):
                raise CellError(f"{heading}: {value} is not a JSON number.")
            return value
        case Decimal():
            return msgspec.Raw(f"{value:f}".encode())
        case datetime():
            # Local times in Parquet have no zone and are read as UTC.
            moment = value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
            return moment.isoformat().replace("+00:00", "Z")
        case date() | time():
            return value.isoformat()
        case dict():
            return {str(key): _plain(heading, item) for key, item in value.items() if item is not None}
        case list():
            return [None if item is None else _plain(heading, item) for item in value]
        case _:
            raise CellError(f"{heading}: A {type(value).__name__} cannot be written as JSON.")


def _single(value: float) -> object:
    # A 32-bit 9.99 must not become 9.989999771118164: use the shortest digits with the same 32 bits.
    if not math.isfinite(value):
        raise CellError(f"{value} is not a JSON number.")
    for digits in range(6, 10):
        text = f"{value:.{digits}g}"
        if struct.unpack("f", struct.pack("f", float(text)))[0] == value:
            return float(text)
    return value


def _as_text(value: object) -> str:
    # Members of the envelope are text on the wire, for example a user id that is a number in the file.
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise CellError(f"{value!r} is not text.")
    return str(value)
