"""A row of an imported file as every format gives it."""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from punchcard.cli.importing.mapping import ImportMapping
from punchcard.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event of the file.

    Attributes:
        number: Where it stands: the line for JSON lines, the row as a spreadsheet counts it (the heading is row 1)
            for CSV, the row from 1 for Parquet.
        members: The event as the Tracking API takes it, top level by key; values can be encoded as JSON.
        content: Bytes that are the same whenever the same row is read, for its message id.
        notes: What had to be repaired to read it, a sentence each.
    """

    number: int
    members: dict[str, object]
    content: bytes
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is no event, or that the server refused.

    Attributes:
        reason: Why, for a person.
    """

    number: int
    reason: str


_NO_MAPPING = ImportMapping()


class RowReader(Protocol):
    """Reads one format."""

    @property
    def size(self) -> int:
        """How much there is to read, in the unit of `position`."""

    @property
    def position(self) -> int:
        """How much of it has been read."""

    @property
    def notices(self) -> Sequence[str]:
        """What a person should know before the import."""

    def rows(self, *, after: int) -> Iterator[EventRow | BadRow]:
        """The rows behind row number `after`, in order.

        Raises:
            ConfigurationError: the file as a whole cannot be understood (a column that nobody knows, say).
            PunchcardError: it cannot be read on.
        """

    def close(self) -> None:
        """Release the file."""


class CountedFile:
    """A file read as bytes, unpacked if its name ends with `.gz`, that knows how much of it was read."""

    def __init__(self, path: Path) -> None:
        self._raw = path.open("rb")
        self.size = path.stat().st_size
        is_packed = path.suffix.lower() == ".gz"
        self.content: BinaryIO = cast(BinaryIO, gzip.GzipFile(fileobj=self._raw)) if is_packed else self._raw

    @property
    def position(self) -> int:
        """Bytes of the file itself that were read."""
        return self._raw.tell()

    def close(self) -> None:
        """Close it."""
        self._raw.close()


def open_rows(path: Path, mapping: ImportMapping = _NO_MAPPING) -> RowReader:
    """The reader of the file's format, told by its name.

    Args:
        mapping: What its columns are; JSON has none.

    Raises:
        ConfigurationError: the name tells no format that can be imported.
    """
    name = path.name.lower().removesuffix(".gz")
    for suffixes, open_reader in _FORMATS.items():
        if name.endswith(suffixes):
            return open_reader(path, mapping)
    raise ConfigurationError(
        f"{path}: expected a name that ends with .csv, .jsonl, .ndjson, .json or .parquet (or .gz)"
    )


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
