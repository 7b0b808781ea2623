"""Rows of a JSON file: JSON lines, objects over several lines, an array, or `{"batch": […]}`."""

import codecs
import itertools
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, cast

import msgspec

from punchcard.cli.importing.encodings import detect_utf_16
from punchcard.cli.importing.rows import BadRow, CountedFile, EventRow
from punchcard.errors import PunchcardError
from punchcard.events.batch_context import shared_members, with_shared
from punchcard.events.faults import UNREADABLE
from punchcard.events.notes import Note
from punchcard.events.repair import decode_repaired

_LINE_BYTES_MAX: Final = 1 << 20  # an event has at most 32 KB; bounds the memory for files without line ends
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_MARK: Final = codecs.BOM_UTF8


class _Batch(msgspec.Struct):
    batch: list[msgspec.Raw]
    context: msgspec.Raw = msgspec.Raw()
    integrations: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_batch = msgspec.json.Decoder(_Batch)
_items = msgspec.json.Decoder(list[msgspec.Raw])


class JsonRows:
    """Reads JSON (`.jsonl`, `.ndjson`, `.json`)."""

    notices: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self._path = path
        sample = CountedFile(path)
        encoding = None
        with suppress(OSError, EOFError, zlib.error):  # reported when the rows are read
            encoding = detect_utf_16(sample.content.read(2))
        sample.close()
        self._file = CountedFile(path)
        self._content: BinaryIO = self._file.content
        if encoding is not None:
            # PowerShell's `>` writes UTF-16.
            self._content = cast(BinaryIO, codecs.EncodedFile(self._file.content, "utf-8", encoding))

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return self._file.size

    @property
    def position(self) -> int:
        """Number of bytes read."""
        return self._file.position

    def rows(self, *, after: int) -> Iterator[EventRow | BadRow]:
        """Yield the events after row `after`. Rows are lines; if a line has several events, later rows are shifted."""
        number = 0
        try:
            for line, text in self._texts():
                if number == 0 and text.startswith(b"["):
                    self._check_array(text)
                for event in _split_events(text):
                    number = max(line, number + 1)
                    if number > after:
                        yield _row(number, event)
        except (OSError, EOFError) as error:
            raise PunchcardError(f"{self._path}: near row {number + 1}: The file cannot be read: {error}.") from error
        except UnicodeDecodeError as error:
            raise PunchcardError(f"{self._path}: near row {number + 1}: The file is not text: {error}.") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _check_array(self, text: bytes) -> None:
        try:
            decode_repaired(_items.decode, text, has_batch=False)
        except UNREADABLE as error:
            raise PunchcardError(f"{self._path}: The file is not a JSON array of events: {error}.") from error

    def _texts(self) -> Iterator[tuple[int, bytes]]:
        """Yield each JSON text with the number of its first line."""
        lines = self._lines()
        waiting: list[tuple[int, bytes]] = []
        while waiting or (first := next(lines, None)) is not None:
            if not waiting:
                waiting.append(cast(tuple[int, bytes], first))
            number, line = waiting[0]
            if not line.strip():
                waiting.pop(0)
                continue
            if _open_brackets(line) <= 0:
                yield number, line.strip()
                waiting.pop(0)
                continue
            count = self._complete(waiting, lines)
            # If a text does not end, only its first line is broken: the following lines are read separately.
            yield number, b"".join(text for _, text in waiting[:count]).strip()
            del waiting[:count]

    def _complete(self, waiting: list[tuple[int, bytes]], lines: Iterator[tuple[int, bytes]]) -> int:
        """Return how many of the waiting lines form one text, reading more lines as needed; 1 if it does not end."""
        is_array = waiting[0][1].lstrip().startswith(b"[")
        level = size = 0
        for count in itertools.count(1):
            if len(waiting) < count:
                line = next(lines, None)
                if line is None:
                    return count - 1 if is_array else 1
                waiting.append(line)
            text = waiting[count - 1][1]
            level += _open_brackets(text)
            size += len(text)
            if level <= 0:
                return count
            # An array is one text of any length; its items are small.
            if size > _LINE_BYTES_MAX and not is_array:
                return 1
        raise AssertionError("unreachable")

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        number = 1
        line = self._content.readline(_LINE_BYTES_MAX).removeprefix(_MARK)
        is_array = line.lstrip().startswith(b"[")
        while line:
            if len(line) >= _LINE_BYTES_MAX and not line.endswith(b"\n"):
                line += self._rest_of_line(keep_content=is_array)
            yield number, line
            number, line = number + 1, self._content.readline(_LINE_BYTES_MAX)

    def _rest_of_line(self, *, keep_content: bool) -> bytes:
        chunks = []
        while (chunk := self._content.readline(_LINE_BYTES_MAX)) and not chunk.endswith(b"\n"):
            chunks.append(chunk if keep_content else b"")
        return b"".join([*chunks, chunk if keep_content else b"\n"])


def _open_brackets(text: bytes) -> int:
    """Return the number of opened minus closed brackets, ignoring those in strings."""
    level = 0
    for token in _TOKEN.finditer(text):
        if token[0] in (b"{", b"["):
            level += 1
        elif token[0] in (b"}", b"]"):
            level -= 1
    return level


def _split_events(text: bytes) -> Iterator[bytes]:
    """Yield the events of a JSON text: the text itself, the items of an array, or those of a batch."""
    if text.startswith(b"["):
        try:
            items, _ = decode_repaired(_items.decode, text, has_batch=False)
        except UNREADABLE:
            yield text
            return
        for item in items:
            yield from _split_events(bytes(item))
        return
    if b'"batch"' in text[:_LINE_BYTES_MAX]:
        try:
            batch, _ = decode_repaired(_batch.decode, text, has_batch=True)
        except UNREADABLE:
            yield text
            return
        notes: list[Note] = []
        shared = shared_members(batch.context, batch.integrations, "", notes)
        for item in batch.batch:
            yield with_shared(bytes(item), shared, notes) if shared else bytes(item)
        return
    yield text


def _row(number: int, text: bytes) -> EventRow | BadRow:
    try:
        members, repaired = decode_repaired(_decoder.decode, text, has_batch=False)
    except UNREADABLE as error:
        return BadRow(number, f"Is not a JSON object: {error}.")
    return EventRow(number, dict(members), text, tuple(note.detail for note in repaired.notes.get(None, ())))
