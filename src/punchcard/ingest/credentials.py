"""HTTP Basic credentials as senders of Segment's APIs use them: the key as user name, without a password."""

import base64
import binascii


def basic_key(authorization: bytes) -> str:
    """Return the key of an `Authorization` header, with or without its colon; "" if there is none."""
    if authorization[:6].lower() != b"basic ":
        return ""
    try:
        return base64.b64decode(authorization[6:].strip()).split(b":", 1)[0].decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
