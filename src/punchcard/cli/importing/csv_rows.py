"""Rows of a CSV file: UTF-8, a heading row, commas (or semicolons or tabs, as the heading has them)."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from punchcard.cli.importing.columns import CellError, Column, put, read_cell, read_headings
from punchcard.cli.importing.rows import BadRow, CountedFile, EventRow
from punchcard.errors import ConfigurationError, PunchcardError

_SEPARATORS = ",;\t"


class CsvRows:
    """Reads a CSV file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = CountedFile(path)
        # Spreadsheets write a byte order mark.
        self._text = io.TextIOWrapper(self._file.content, encoding="utf-8-sig", newline="")

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._file.size

    @property
    def position(self) -> int:
        """Bytes read."""
        return self._file.position

    def rows(self, *, after: int) -> Iterator[EventRow | BadRow]:
        """The rows behind row number `after`; the heading is row 1."""
        number = 1
        try:
            heading = self._text.readline()
            separator = max(_SEPARATORS, key=heading.count)
            columns = read_headings(next(csv.reader([heading], delimiter=separator), []), file=str(self._path))
            if not columns:
                raise ConfigurationError(f"{self._path}: is empty; expected a row of headings and a row for each event")
            # `strict`: a broken quote is a bad row, not a guess that swallows its neighbours.
            reader = csv.reader(self._text, delimiter=separator, strict=True)
            while True:
                try:
                    cells = next(reader, None)
                except csv.Error as error:
                    number += 1
                    if number > after:
                        yield BadRow(number, f"is not CSV: {error}")
                    continue
                if cells is None:
                    return
                number += 1
                if number > after and any(cells):
                    yield _row(number, columns, cells)
        except UnicodeDecodeError as error:
            raise PunchcardError(f"{self._path}: near row {number + 1}: is not UTF-8 text: {error}") from error
        except (OSError, EOFError) as error:
            raise PunchcardError(f"{self._path}: near row {number + 1}: cannot be read on: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._text.close()
        self._file.close()


def _row(number: int, columns: list[Column], cells: list[str]) -> EventRow | BadRow:
    if len(cells) != len(columns):
        return BadRow(number, f"has {len(cells)} cells, but the heading has {len(columns)}")
    members: dict[str, object] = {}
    said = []
    try:
        for column, cell in zip(columns, cells, strict=True):
            if cell:
                put(members, column.path, read_cell(column, cell))
                said.append(f"{column.heading}\x1f{cell}")
    except CellError as error:
        return BadRow(number, str(error))
    # Sorted, so that moving a column does not make other events of the same rows.
    return EventRow(number, members, "\x1e".join(sorted(said)).encode(errors="surrogatepass"))
