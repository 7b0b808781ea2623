"""Rows of a CSV file: a heading row, commas (or semicolons or tabs, as the heading has them), any usual encoding."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from punchcard.cli.importing.amounts import AmbiguousAmountsError, AmountFormat, detect_format
from punchcard.cli.importing.columns import CellError, CellType, Column, read_cell, read_headings, set_member
from punchcard.cli.importing.encodings import WINDOWS, detect_encoding
from punchcard.cli.importing.mapping import ImportMapping
from punchcard.cli.importing.rows import BadRow, CountedFile, EventRow
from punchcard.errors import ConfigurationError, PunchcardError

_SEPARATORS = ",;\t"
_SAMPLED_ROWS = 10_000
_NO_MAPPING = ImportMapping()


class CsvRows:
    """Reads a CSV file.

    Args:
        mapping: Mapping of its columns.
    """

    def __init__(self, path: Path, mapping: ImportMapping = _NO_MAPPING) -> None:
        self._path = path
        self._mapping = mapping
        self._decimals: Mapping[str, str] = {}
        sample = CountedFile(path)
        try:
            self.encoding = detect_encoding(sample.content)
        finally:
            sample.close()
        self._file = CountedFile(path)
        self._text = io.TextIOWrapper(self._file.content, encoding=self.encoding, newline="")

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return self._file.size

    @property
    def position(self) -> int:
        """Number of bytes read."""
        return self._file.position

    @property
    def notices(self) -> list[str]:
        """Notices to print before the import."""
        return [f"{self._path}: The file is not UTF-8. It is read as Windows-1252."] if self.encoding == WINDOWS else []

    def detect_amount_formats(self) -> dict[str, AmountFormat]:
        """Return the number formats of columns with amounts that are not JSON numbers, from the first 10,000 rows.

        Raises:
            ConfigurationError: The decimal sign of a column is ambiguous.
        """
        other = CsvRows(self._path, self._mapping)
        try:
            cells = other._amount_cells()
        finally:
            other.close()
        readings: dict[str, AmountFormat] = {}
        for column, cell in cells.items():
            try:
                reading = detect_format(cell)
            except AmbiguousAmountsError as error:
                raise ConfigurationError(
                    f"{self._path}: column {column!r}: {error}. Set --decimal comma or --decimal point."
                ) from error
            if reading is not None:
                readings[column] = reading
        return readings

    def set_decimals(self, decimals: Mapping[str, str]) -> None:
        """Set the decimal signs of columns."""
        self._decimals = decimals

    def columns(self) -> list[Column]:
        """Return the columns without reading rows.

        Raises:
            ConfigurationError: The headings are invalid.
        """
        other = CsvRows(self._path, self._mapping)
        try:
            return other._heading()[1]
        finally:
            other.close()

    def rows(self, *, after: int) -> Iterator[EventRow | BadRow]:
        """Yield the rows after row number `after`. Rows are counted from the first line, including blank lines."""
        number = 1
        try:
            separator, columns, number = self._heading()
            # `strict`: a broken quote is a bad row, not a guess that swallows its neighbours.
            reader = csv.reader(self._text, delimiter=separator, strict=True)
            while True:
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    number += 1
                    if number > after:
                        yield BadRow(number, f"Is not CSV: {error}.")
                    continue
                if cells is None:
                    return
                number += 1
                if number > after and any(cells):
                    yield _row(number, columns, cells)
        except UnicodeDecodeError as error:
            raise PunchcardError(
                f"{self._path}: near row {number + 1}: The file is not UTF-8 text: {error}."
            ) from error
        except (OSError, EOFError) as error:
            raise PunchcardError(f"{self._path}: near row {number + 1}: The file cannot be read: {error}.") from error

    def close(self) -> None:
        """Close the file."""
        self._text.close()
        self._file.close()

    def _heading(self) -> tuple[str, list[Column], int]:
        """The separator, the columns, and the number of the row that holds the headings."""
        number = 1
        try:
            heading = self._text.readline().removeprefix("\ufeff")
            while heading and not heading.strip():
                number += 1
                heading = self._text.readline()
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{self._path}: The file is not text: {error}.") from error
        separator = max(_SEPARATORS, key=heading.count)
        headings = next(csv.reader([heading], delimiter=separator), [])
        columns = read_headings(headings, file=str(self._path), mapping=self._mapping)
        if not columns:
            raise ConfigurationError(
                f"{self._path}: The file is empty. It needs a row of headings and a row for each event."
            )
        return separator, [replace(column, decimal=self._decimals.get(column.heading)) for column in columns], number

    def _amount_cells(self) -> dict[str, list[str]]:
        separator, columns, _ = self._heading()
        places = {index: column.heading for index, column in enumerate(columns) if column.type is CellType.AMOUNT}
        cells_by_heading: dict[str, list[str]] = {heading: [] for heading in places.values()}
        if not places:
            return cells_by_heading
        reader = csv.reader(self._text, delimiter=separator, strict=True)
        for _ in range(_SAMPLED_ROWS):
            try:
                cells = next(reader, None)
            except csv.Error:
                continue
            except (UnicodeDecodeError, OSError, EOFError):
                break  # reported when the rows are read
            if cells is None:
                break
            for index, heading in places.items():
                if index < len(cells) and cells[index].strip():
                    cells_by_heading[heading].append(cells[index])
        return cells_by_heading


def _row(number: int, columns: list[Column], cells: list[str]) -> EventRow | BadRow:
    if len(cells) != len(columns):
        return BadRow(number, f"Has {len(cells)} cells, but the heading has {len(columns)}.")
    members: dict[str, object] = {}
    filled_cells = []
    try:
        for column, cell in zip(columns, cells, strict=True):
            if cell and column.type is not CellType.IGNORED:
                set_member(members, column.path, read_cell(column, cell))
                filled_cells.append(f"{column.heading}\x1f{cell}")
    except CellError as error:
        return BadRow(number, str(error))
    # Sorted, so that moving a column does not change message ids.
    return EventRow(number, members, "\x1e".join(sorted(filled_cells)).encode(errors="surrogatepass"))
