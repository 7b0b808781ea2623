"""Exports as CSV and Parquet, in pieces: no piece needs more memory than a page of the list."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from punchcard.clock import to_iso
from punchcard.errors import ConfigurationError
from punchcard.operations.exports import Export, Kind

if TYPE_CHECKING:
    import pyarrow as pa

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d+)?")
_UNSAFE_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_.-]+")


class ExportFormat(StrEnum):
    """The formats of exported files."""

    CSV = "csv"
    PARQUET = "parquet"

    @property
    def media_type(self) -> str:
        """The media type."""
        return "text/csv" if self is ExportFormat.CSV else "application/vnd.apache.parquet"


def parse_export_format(text: str) -> ExportFormat:
    """Return the format with this name.

    Raises:
        ConfigurationError: There is none.
    """
    if text not in tuple(ExportFormat):
        raise ConfigurationError(f"The format is {' or '.join(ExportFormat)}, not {text!r}.", field="format")
    return ExportFormat(text)


def write_export(export: Export, format: ExportFormat) -> Iterator[bytes]:
    """Yield the pieces of a file.

    Raises:
        StorageError: The list cannot be read.
    """
    return _write_csv(export) if format is ExportFormat.CSV else _write_parquet(export)


def file_name(export: Export, format: ExportFormat) -> str:
    """Return the name of the file of an export, such as `transactions-loyalty.csv`."""
    return f"{_UNSAFE_IN_NAMES.sub('-', export.name)}.{format}"


def csv_cell(value: object) -> str:
    """Return a value as a cell of a CSV file that no spreadsheet takes for a formula.

    A text that begins like a formula gets an apostrophe in front, as the OWASP recommends; numbers stay as they are.
    """
    text = "" if value is None else to_iso(value) if isinstance(value, datetime) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def _write_csv(export: Export) -> Iterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(column.name for column in export.columns)
    for page in export.pages:
        for item in page:
            writer.writerow([csv_cell(column.read(item)) for column in export.columns])
        yield buffer.getvalue().encode("utf-8", "replace")
        buffer.seek(0)
        buffer.truncate()


def _write_parquet(export: Export) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {Kind.TEXT: pa.string(), Kind.INTEGER: pa.int64(), Kind.INSTANT: pa.timestamp("us", tz="UTC")}
    schema = pa.schema([(column.name, types[column.kind]) for column in export.columns])
    sink = _Sink()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for page in export.pages:
            if page:
                writer.write_batch(_batch(export, page, schema))
            yield sink.take()
    yield sink.take()  # the footer


def _batch(export: Export, page: Sequence[Any], schema: "pa.Schema") -> "pa.RecordBatch":
    import pyarrow as pa

    arrays = []
    for column, field in zip(export.columns, schema, strict=True):
        cells = [column.read(item) for item in page]
        if column.kind is Kind.TEXT:
            cells = [None if cell is None else str(cell).encode("utf-8", "replace").decode() for cell in cells]
        arrays.append(pa.array(cells, type=field.type))
    return pa.record_batch(arrays, schema=schema)


class _Sink(io.RawIOBase):
    """A file that keeps what was written until it is taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        """Return True: it is written only."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._position

    def write(self, data: Any) -> int:
        """Keep the bytes."""
        piece = bytes(data)
        self._pieces.append(piece)
        self._position += len(piece)
        return len(piece)

    def take(self) -> bytes:
        """Return the bytes that were written since the last call."""
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken
