"""Read the ids in an uploaded CSV file, row by row, in the memory of one row. Pure.

The columns are recognized by the header; a file without one has its ids where its first row has an email.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from punchcard.errors import ConfigurationError
from punchcard.events.emails import trimmed_email
from punchcard.profiles.external_ids import VALUE_CHARACTERS_MAX
from punchcard.profiles.rules import EMAIL, USER_ID

LIST_ROWS_MAX: Final = 1_000_000
LINE_BYTES_MAX: Final = 1 << 20

_DELIMITERS: Final = (",", ";", "\t", "|")
_EMAIL_HEADERS: Final = frozenset({"email", "e_mail", "mail", "email_address", "e_mail_address", "emailaddress"})
_USER_ID_HEADERS: Final = frozenset({"user_id", "userid", "customer_id", "customerid", "external_id", "id"})
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_FORMULA: Final = ("'=", "'+", "'-", "'@")  # as exports defuse cells that begin like a formula
_UTF_8_MARK: Final = b"\xef\xbb\xbf"
_UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_NAMES_SHOWN: Final = 20


@dataclass(frozen=True, kw_only=True)
class ListColumn:
    """The column of a file that has the ids.

    Attributes:
        name: As in the header; "column 1" without one.
        id_type: `email` or `user_id`.
    """

    index: int
    name: str
    id_type: str
    has_header: bool


@dataclass(frozen=True, kw_only=True)
class ListRow:
    """A row below the header.

    Attributes:
        line: Line of the file that it begins at, from 1.
        value: The id, "" if there is none.
        problem: Why there is none.
    """

    line: int
    value: str = ""
    problem: str = ""


class ListFile:
    """The rows of a file. The header is read when the object is created.

    Args:
        pieces: The bytes of the file, in pieces of any size.
        column: Name of the column with the ids, "" to recognize it.
        id_type: `email` or `user_id`, "" to recognize it.

    Raises:
        ConfigurationError: The file is empty, is not text in UTF-8, or has no column with ids; from the iteration too:
            a line is too long, or there are too many rows.
    """

    def __init__(self, pieces: Iterable[bytes], *, column: str = "", id_type: str = "") -> None:
        self._lines = _Lines(pieces)
        first = self._lines.peek()
        if not first.strip():
            raise _invalid("The file is empty. It needs a column with emails or user ids.")
        self._delimiter = max(_DELIMITERS, key=first.count)
        self._reader = csv.reader(self._lines, delimiter=self._delimiter, strict=True)
        try:
            cells = [cell.strip() for cell in next(self._reader)]
        except csv.Error as error:
            raise _invalid(f"The first line cannot be read: {error}. Save the file as CSV.") from error
        self.column = _find_column(cells, column, id_type)
        self._first = None if self.column.has_header else cells

    def __iter__(self) -> Iterator[ListRow]:
        """Yield the rows that are not empty."""
        for count, row in enumerate(self._rows(), 1):
            if count > LIST_ROWS_MAX:
                raise _invalid(
                    f"The file has more than {LIST_ROWS_MAX:,} rows. Split it, and add the parts one by one."
                )
            yield row

    def _rows(self) -> Iterator[ListRow]:
        if self._first is not None:
            yield self._read(self._first, line=1)
        while True:
            line = self._reader.line_num + 1
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._lines.take_undecodable()
                last = self._reader.line_num
                place = f"Lines {line} to {last} cannot" if last > line else "The line cannot"
                yield ListRow(line=line, problem=f"{place} be read as CSV: {error}.")
                continue
            if self._lines.take_undecodable():
                yield ListRow(line=line, problem="The line is not UTF-8 text.")
            elif any(cell.strip() for cell in cells):
                yield self._read(cells, line=line)

    def _read(self, cells: Sequence[str], *, line: int) -> ListRow:
        column = self.column
        if column.index >= len(cells):
            return ListRow(line=line, problem=f"The row has no column {column.index + 1}.")
        text = cells[column.index].strip()
        value, problem = read_list_value(text[1:] if text.startswith(_FORMULA) else text, column.id_type)
        return ListRow(line=line, value=value, problem=problem)


def read_list_value(text: str, id_type: str) -> tuple[str, str]:
    """Return the id in a cell, or why there is none."""
    if not text:
        return "", "The cell is empty."
    if len(text) > VALUE_CHARACTERS_MAX or "\x00" in text:
        return "", f"The id is too long or not printable: at most {VALUE_CHARACTERS_MAX} characters are allowed."
    if id_type != EMAIL:
        return text, ""
    email = trimmed_email(text) or ""
    return (email, "") if _EMAIL.fullmatch(email) else ("", "This is not an email address.")


def _find_column(cells: Sequence[str], name: str, id_type: str) -> ListColumn:
    normalized = [re.sub(r"[^a-z0-9]+", "_", cell.lower()).strip("_") for cell in cells]
    if name:
        matches = [index for index, cell in enumerate(cells) if cell.lower() == name.strip().lower()]
        if not matches:
            raise _invalid(f'There is no column "{name}". The file has: {_listed(cells)}.', field="column")
        index = matches[0]
        guessed = EMAIL if "mail" in normalized[index] else USER_ID
        return ListColumn(index=index, name=cells[index], id_type=id_type or guessed, has_header=True)
    for known_type, headers in ((EMAIL, _EMAIL_HEADERS), (USER_ID, _USER_ID_HEADERS)):
        if id_type in ("", known_type):
            for index, header in enumerate(normalized):
                if header in headers:
                    return ListColumn(index=index, name=cells[index], id_type=known_type, has_header=True)
    if id_type in ("", EMAIL):
        for index, cell in enumerate(cells):
            if _EMAIL.fullmatch(cell):
                return ListColumn(index=index, name=f"column {index + 1}", id_type=EMAIL, has_header=False)
    raise _invalid(
        f"No column of emails or user ids was recognized. Name the column; the file has: {_listed(cells)}.",
        field="column",
    )


def _listed(cells: Sequence[str]) -> str:
    shown = [f'"{cell[:50]}"' for cell in cells[:_NAMES_SHOWN]]
    return ", ".join(shown) + (" and more" if len(cells) > _NAMES_SHOWN else "")


def _invalid(message: str, *, field: str = "file") -> ConfigurationError:
    return ConfigurationError(message, code="invalid_list_file", field=field)


class _Lines:
    """The lines of a file as texts, each with its end."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._lines = _split(pieces)
        self._undecodable = False
        self._peeked: str | None = None

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if self._peeked is not None:
            line, self._peeked = self._peeked, None
            return line
        return self._decode(next(self._lines))

    def peek(self) -> str:
        """Return the first line without taking it, "" if there is none."""
        line = next(self._lines, b"")
        if line.startswith(_UTF_16_MARKS):
            raise _invalid("The file is UTF-16 text. Save it as CSV in UTF-8.")
        text = self._decode(line.removeprefix(_UTF_8_MARK))
        if self._undecodable:
            raise _invalid("The first line is not UTF-8 text. Save the file as CSV in UTF-8.")
        self._peeked = text
        return text

    def take_undecodable(self) -> bool:
        """Return whether a line since the last call was not UTF-8."""
        undecodable, self._undecodable = self._undecodable, False
        return undecodable

    def _decode(self, line: bytes) -> str:
        try:
            return line.decode()
        except UnicodeDecodeError:
            self._undecodable = True
            return line.decode(errors="replace")


def _split(pieces: Iterable[bytes]) -> Iterator[bytes]:
    buffer = b""
    number = 1
    for piece in pieces:
        *lines, buffer = (buffer + piece).split(b"\n")
        for line in lines:
            yield line + b"\n"
        number += len(lines)
        if len(buffer) > LINE_BYTES_MAX:
            raise _invalid(f"Line {number} is longer than {LINE_BYTES_MAX:,} bytes. Save the file as CSV.")
    if buffer:
        yield buffer
