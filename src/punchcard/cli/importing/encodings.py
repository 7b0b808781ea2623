"""Detects the encoding of a text file: UTF-8, UTF-16 (PowerShell), or Windows-1252 (old spreadsheets)."""

import codecs
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, Final

_BYTES_AT_ONCE: Final = 1 << 20
_UTF_16_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
WINDOWS: Final = "cp1252"


def detect_utf_16(first: bytes) -> str | None:
    """Return the name of the encoding if the first bytes are UTF-16, else None."""
    if first.startswith(_UTF_16_MARKS):
        return "utf-16"
    if b"\0" not in first[:2]:
        return None
    return "utf-16-be" if first.startswith(b"\0") else "utf-16-le"


def detect_encoding(file: BinaryIO) -> str:
    """Return the name of the file's encoding; `utf-8-sig` if none fits, so that reading it reports the position.

    Args:
        file: File positioned at its start; it is read to its end.
    """
    utf_8, windows = codecs.getincrementaldecoder("utf-8")(), codecs.getincrementaldecoder(WINDOWS)()
    is_utf_8 = is_windows = True
    for number, chunk in enumerate(_chunks(file)):
        if number == 0 and (utf_16 := detect_utf_16(chunk[:2])) is not None:
            return utf_16
        is_utf_8 = is_utf_8 and _decodes(utf_8, chunk)
        is_windows = is_windows and b"\0" not in chunk and _decodes(windows, chunk)
    is_utf_8 = is_utf_8 and _decodes(utf_8, b"", final=True)
    return WINDOWS if is_windows and not is_utf_8 else "utf-8-sig"


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with suppress(OSError, EOFError, zlib.error):  # errors are reported when the rows are read
        while chunk := file.read(_BYTES_AT_ONCE):
            yield chunk


def _decodes(decoder: codecs.IncrementalDecoder, chunk: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        return False
    return True
