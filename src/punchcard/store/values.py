"""Values as both engines can store them: texts and amounts."""

from decimal import Decimal


def decimal_text(value: Decimal | None) -> str | None:
    """Return an amount as the ledger stores it: all its digits, never an exponent."""
    return None if value is None else f"{value:f}"


def storable(text: str) -> str:
    """Return the text as both engines can store it: no U+0000 (PostgreSQL), no half of a surrogate pair (both)."""
    text = text.replace("\x00", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        # The bytes of a header that are not UTF-8 arrive as such halves.
        return text.encode("utf-8", "replace").decode()
    return text


def storable_or_none(text: str | None) -> str | None:
    """Return a text that may be missing as `storable` does."""
    return None if text is None else storable(text)
