"""The text of a request body: unpacked, in UTF-8, and of limited size whatever it is packed with."""

import codecs
import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

_GZIP_MAGIC: Final = b"\x1f\x8b"
# A library packs, and a proxy before us packs again.
_LAYERS_MAX: Final = 2
_MEMBERS_MAX: Final = 100
_SAME: Final = frozenset({"", "identity"})
_GZIP: Final = frozenset({"gzip", "x-gzip"})
# The longer mark first: that of UTF-32 begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FIRST_BYTES_OF_MARKS: Final = frozenset({b"\xef", b"\xff", b"\xfe", b"\0"})


class UnsupportedEncodingError(Exception):
    """The body is packed in a way that is not read here."""


class TooLargeError(Exception):
    """The body has more bytes than are allowed, packed or not."""


class UnreadableBodyError(Exception):
    """The body is not what its headers say, or is damaged; the message says what is wrong."""


class Content(NamedTuple):
    """A body that can be parsed.

    Attributes:
        text: In UTF-8, without a byte order mark.
        is_gzip: True if the received bytes are one gzip member that holds exactly this text.
    """

    text: bytes
    is_gzip: bool


def read_content(received: bytes, encodings: Sequence[str], *, bytes_max: int) -> Content:
    """Unpack a body. The body's first bytes count, not the header: proxies pack and unpack without changing it.

    Args:
        received: The body as it came.
        encodings: The names in `Content-Encoding`, in lower case.
        bytes_max: Of the body, packed and unpacked.

    Raises:
        UnsupportedEncodingError: a name is neither gzip nor identity, and the body is not gzip either.
        TooLargeError: it unpacks to more, without being unpacked whole.
        UnreadableBodyError: the gzip data is cut off or damaged, or the text is not in the encoding of its mark.
    """
    text = received
    layers = members = 0
    while text.startswith(_GZIP_MAGIC):
        if layers == _LAYERS_MAX:
            raise UnreadableBodyError(f"The body is packed with gzip more than {_LAYERS_MAX} times.")
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
    """The content of all members of a gzip file, and how many there are."""
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
            raise UnreadableBodyError("The gzip data ends too soon: the body was cut off.")
        packed = unpacker.unused_data
        if not packed:
            return b"".join(parts), len(parts)
        if not packed.startswith(_GZIP_MAGIC):
            if packed.strip(b"\0"):
                raise UnreadableBodyError("Something that is not gzip follows the gzip data.")
            return b"".join(parts), len(parts) + 1  # zeros for padding, which readers of one member do not expect
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
            return rest.decode(encoding, "surrogatepass").encode("utf-8", "replace")
        except UnicodeDecodeError as error:
            raise UnreadableBodyError(f"The body has the byte order mark of {encoding}, but is not that.") from error
    return text
