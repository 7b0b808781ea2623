"""HTTP Basic credentials as senders of Segment's APIs use them: the key as user name, without a password."""

import base64
import binascii
import functools
from typing import Final

_LENGTH_MAX: Final = 256  # of headers that are remembered
_REMEMBERED: Final = 1_024


def basic_key(authorization: bytes) -> str:
    """Return the key of an `Authorization` header, with or without its colon; "" if there is none."""
    if len(authorization) > _LENGTH_MAX:
        return _read_key(authorization)
    return _read_known_key(authorization)


def _read_key(authorization: bytes) -> str:
    if authorization[:6].lower() != b"basic ":
        return ""
    text = authorization[6:].strip().rstrip(b"=")  # which some senders leave out
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4)).split(b":", 1)[0].decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


# A sender uses the same header in all its requests.
_read_known_key = functools.lru_cache(maxsize=_REMEMBERED)(_read_key)
