"""Decode the text of a request body: decompressed, in UTF-8, and of limited size in any compression."""

import codecs
import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

_GZIP_MAGIC: Final = b"\x1f\x8b"
# A library compresses, and a proxy before us compresses again.
_LAYERS_MAX: Final = 2
_MEMBERS_MAX: Final = 100
_SAME: Final = frozenset({"", "identity"})
_GZIP: Final = frozenset({"gzip", "x-gzip"})
# The longer mark first: the one of UTF-32 begins with the one of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FIRST_BYTES_OF_MARKS: Final = frozenset({b"\xef", b"\xff", b"\xfe", b"\0"})


class UnsupportedEncodingError(Exception):
    """The body has an unsupported encoding."""


class TooLargeError(Exception):
    """The body exceeds the size limit, compressed or not."""


class UnreadableBodyError(Exception):
    """The body does not match its headers, or is damaged; the message describes the problem."""


class Content(NamedTuple):
    """A body that can be parsed.

    Attributes:
        text: Text in UTF-8, without a byte order mark.
        is_gzip: True if the received bytes are one gzip member with exactly this text.
    """

    text: bytes
    is_gzip: bool


def read_encodings(header: bytes) -> list[str]:
    """Return the names in a `Content-Encoding` header, in lower case."""
    return [name.strip() for name in header.decode("latin-1").lower().split(",")]


def read_content(received: bytes, encodings: Sequence[str], *, bytes_max: int) -> Content:
    """Decompress a body. Its first bytes decide, not the header: proxies change the body without changing the header.

    Args:
        received: The body as received.
        encodings: The names in `Content-Encoding`, in lower case.
        bytes_max: Maximum size of the body, compressed and decompressed.

    Raises:
        UnsupportedEncodingError: A name is neither gzip nor identity, and the body is not gzip either.
        TooLargeError: The decompressed body is too large; it is not decompressed completely.
        UnreadableBodyError: The gzip data is truncated or damaged, or the text is not in the encoding of its mark.
    """
    text = received
    layers = members = 0
    while text.startswith(_GZIP_MAGIC):
        if layers == _LAYERS_MAX:
            raise UnreadableBodyError(f"The body is compressed with gzip more than {_LAYERS_MAX} times.")
        text, members = _unpack(text, bytes_max)
        layers += 1
    if encodings and not layers:
        _expect_plain(text, encodings)
    is_gzip = layers == 1 and members == 1
    if text[:1] in _FIRST_BYTES_OF_MARKS:
        without_mark = _without_mark(text)
        is_gzip = is_gzip and without_mark is text
        text = without_mark
        if len(text) > bytes_max:
            raise TooLargeError
    return Content(text, is_gzip)


def _expect_plain(text: bytes, encodings: Sequence[str]) -> None:
    packed = [name for name in encodings if name not in _SAME]
    if len(packed) > 1 or not _GZIP.issuperset(packed):
        raise UnsupportedEncodingError
    if packed and text.lstrip()[:1] not in (b"{", b"[") and text[:1] not in _FIRST_BYTES_OF_MARKS:
        raise UnreadableBodyError("Content-Encoding says gzip, but the body is not gzip.")


def _unpack(packed: bytes, bytes_max: int) -> tuple[bytes, int]:
    """Return the content of all members of a gzip file, and their number."""
    parts: list[bytes] = []
    size = 0
    while True:
        unpacker = zlib.decompressobj(wbits=31)
        try:
            part = unpacker.decompress(packed, bytes_max - size + 1)
        except zlib.error as error:
            raise UnreadableBodyError("The gzip data is damaged.") from error
        parts.append(part)
        size += len(part)
        if size > bytes_max:
            raise TooLargeError
        if not unpacker.eof:
            raise UnreadableBodyError("The gzip data is incomplete: the body was truncated.")
        packed = unpacker.unused_data
        if not packed:
            return b"".join(parts), len(parts)
        if not packed.startswith(_GZIP_MAGIC):
            if packed.strip(b"\0"):
                raise UnreadableBodyError("The gzip data is followed by data that is not gzip.")
            return b"".join(parts), len(parts) + 1  # zeros as padding, which readers of a single member do not expect
        if len(parts) == _MEMBERS_MAX:
            raise UnreadableBodyError(f"The gzip data has more than {_MEMBERS_MAX} members.")


def _without_mark(text: bytes) -> bytes:
    for mark, encoding in _MARKS:
        if not text.startswith(mark):
            continue
        rest = text[len(mark) :]
        if encoding == "utf-8":
            return rest
        try:
            # Half of a surrogate pair becomes its escape in JSON, as which it is repaired like any other.
            return rest.decode(encoding, "surrogatepass").encode("utf-8", "backslashreplace")
        except UnicodeDecodeError as error:
            raise UnreadableBodyError(
                f"The body has the byte order mark of {encoding}, but a different encoding."
            ) from error
    return text
