"""The encoding of a text file: UTF-8, UTF-16 as PowerShell writes it, or the Windows code page of old spreadsheets."""

import codecs
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, Final

_BYTES_AT_ONCE: Final = 1 << 20
_UTF_16_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
WINDOWS: Final = "cp1252"


def detect_utf_16(first: bytes) -> str | None:
    """The name of the encoding if the first bytes are of UTF-16, else None."""
    if first.startswith(_UTF_16_MARKS):
        return "utf-16"
    if b"\0" not in first[:2]:
        return None
    return "utf-16-be" if first.startswith(b"\0") else "utf-16-le"


def detect_encoding(file: BinaryIO) -> str:
    """The name of the file's encoding; `utf-8-sig` also if nothing fits, so that reading it names the place.

    Args:
        file: At its beginning; it is read to its end.
    """
    utf_8, windows = codecs.getincrementaldecoder("utf-8")(), codecs.getincrementaldecoder(WINDOWS)()
    is_utf_8 = is_windows = True
    for number, part in enumerate(_chunks(file)):
        if number == 0 and (utf_16 := detect_utf_16(part[:2])) is not None:
            return utf_16
        is_utf_8 = is_utf_8 and _decodes(utf_8, part)
        is_windows = is_windows and b"\0" not in part and _decodes(windows, part)
    is_utf_8 = is_utf_8 and _decodes(utf_8, b"", final=True)
    return WINDOWS if is_windows and not is_utf_8 else "utf-8-sig"


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with suppress(OSError, EOFError, zlib.error):  # a file that cannot be read on says so when its rows are read
        while part := file.read(_BYTES_AT_ONCE):
            yield part


def _decodes(decoder: codecs.IncrementalDecoder, part: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(part, final)
    except UnicodeDecodeError:
        return False
    return True
