"""Credentials of HTTP Basic, as senders of Segment's APIs give them: a key as the user's name, and no password."""

import base64
import binascii


def basic_key(authorization: bytes) -> str:
    """The key of an `Authorization` header, with or without its colon; "" if there is none."""
    if authorization[:6].lower() != b"basic ":
        return ""
    try:
        return base64.b64decode(authorization[6:].strip()).split(b":", 1)[0].decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
