"""Rows of an imported file, and the readers of file formats."""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from punchcard.cli.importing.mapping import ImportMapping
from punchcard.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event of the file.

    Attributes:
        number: Row number: the line for JSON lines, the row as counted by spreadsheets (the heading is row 1) for CSV,
            the row counted from 1 for Parquet.
        members: Top-level members of the event; values can be encoded as JSON.
        content: Bytes that are the same whenever the row is read, for its message id.
        notes: Sentences about repairs of the row.
    """

    number: int
    members: dict[str, object]
    content: bytes
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is not an event, or that the server refused.

    Attributes:
        reason: Sentence that says why.
    """

    number: int
    reason: str


_NO_MAPPING = ImportMapping()


class RowReader(Protocol):
    """Reads one file format."""

    @property
    def size(self) -> int:
        """Size of the file, in the unit of `position`."""

    @property
    def position(self) -> int:
        """How much of the file was read."""

    @property
    def notices(self) -> Sequence[str]:
        """Notices to print before the import."""

    def rows(self, *, after: int) -> Iterator[EventRow | BadRow]:
        """Yield the rows after row number `after`, in order.

        Raises:
            ConfigurationError: The file as a whole is invalid, for example because of an unknown column.
            PunchcardError: The file cannot be read.
        """

    def close(self) -> None:
        """Close the file."""


class CountedFile:
    """A file read as bytes that counts them; it is decompressed if its name ends with `.gz`."""

    def __init__(self, path: Path) -> None:
        self._raw = path.open("rb")
        self.size = path.stat().st_size
        is_packed = path.suffix.lower() == ".gz"
        self.content: BinaryIO = cast(BinaryIO, gzip.GzipFile(fileobj=self._raw)) if is_packed else self._raw

    @property
    def position(self) -> int:
        """Number of bytes read from the file itself."""
        return self._raw.tell()

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


def open_rows(path: Path, mapping: ImportMapping = _NO_MAPPING) -> RowReader:
    """Open the reader of the file's format, which its name determines.

    Args:
        mapping: Mapping of its columns; not used for JSON.

    Raises:
        ConfigurationError: The name has no known ending.
    """
    name = path.name.lower().removesuffix(".gz")
    for suffixes, open_reader in _FORMATS.items():
        if name.endswith(suffixes):
            return open_reader(path, mapping)
    raise ConfigurationError(f"{path}: The name must end with .csv, .jsonl, .ndjson, .json or .parquet (or .gz).")


def _csv(path: Path, mapping: ImportMapping) -> RowReader:
    from punchcard.cli.importing.csv_rows import CsvRows

    return CsvRows(path, mapping)


def _json(path: Path, mapping: ImportMapping) -> RowReader:
    from punchcard.cli.importing.json_rows import JsonRows

    return JsonRows(path)


def _parquet(path: Path, mapping: ImportMapping) -> RowReader:
    from punchcard.cli.importing.parquet_rows import ParquetRows

    return ParquetRows(path, mapping)


_FORMATS = {(".csv", ".tsv"): _csv, (".jsonl", ".ndjson", ".json"): _json, (".parquet",): _parquet}
