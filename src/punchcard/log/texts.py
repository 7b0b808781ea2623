"""Texts of log records: anybody may send a write key with characters that no database stores."""

from typing import Final

_NUL: Final = "\0"  # not in PostgreSQL's texts
_REPLACEMENT: Final = "\ufffd"


def storable_text(text: str) -> str:
    """Return a text in which U+FFFD replaces NUL and single surrogates.

    One write key must not make the commit fail that it shares with others. No write key of a source has such
    characters, so the result does not match one either.
    """
    if text.isascii() and _NUL not in text:
        return text
    encoded = text.replace(_NUL, _REPLACEMENT).encode("utf-16", "surrogatepass")
    return encoded.decode("utf-16", "replace")
