"""Rows of JSON lines, or of one JSON array: each an event as the Tracking API takes it."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from punchcard.cli.importing.rows import BadRow, CountedFile, EventRow
from punchcard.errors import PunchcardError

_LINE_BYTES_MAX = 1 << 20  # an event has at most 32 KB; a file without line ends must not fill the memory
_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


class JsonRows:
    """Reads JSON lines (`.jsonl`, `.ndjson`, `.json`), and a JSON array if the file begins with one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = CountedFile(path)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._file.size

    @property
    def position(self) -> int:
        """Bytes read."""
        return self._file.position

    def rows(self, *, after: int) -> Iterator[EventRow | BadRow]:
        """The events behind line (or array item) `after`."""
        number = 0
        try:
            for number, text in self._texts():
                if number > after and text:
                    yield _row(number, text)
        except (OSError, EOFError) as error:
            raise PunchcardError(f"{self._path}: near row {number + 1}: cannot be read on: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _texts(self) -> Iterator[tuple[int, bytes]]:
        first = self._file.content.readline(_LINE_BYTES_MAX).removeprefix(b"\xef\xbb\xbf")
        if first.lstrip().startswith(b"["):
            yield from self._items(first)
            return
        number, line = 1, first
        while line:
            yield number, line.strip()
            if len(line) == _LINE_BYTES_MAX and not line.endswith(b"\n"):
                self._skip_line()
            number, line = number + 1, self._file.content.readline(_LINE_BYTES_MAX)

    def _items(self, first: bytes) -> Iterator[tuple[int, bytes]]:
        try:
            items = msgspec.json.decode(first + self._file.content.read(), type=list[msgspec.Raw])
        except msgspec.DecodeError as error:
            raise PunchcardError(f"{self._path}: is not a JSON array of events: {error}") from error
        for number, item in enumerate(items, start=1):
            yield number, bytes(item)

    def _skip_line(self) -> None:
        while (part := self._file.content.readline(_LINE_BYTES_MAX)) and not part.endswith(b"\n"):
            continue


def _row(number: int, text: bytes) -> EventRow | BadRow:
    try:
        members = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return BadRow(number, f"is not a JSON object: {error}")
    return EventRow(number, dict(members), text)
