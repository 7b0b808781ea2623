"""Values as both engines can store them: texts and amounts."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import String
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

_NUL: Final = "\x00"
# The symbol for U+0000, not the usual U+FFFD: an id with that is another id, which must not be called a repetition.
_REPLACEMENT: Final = "\u2400"


def decimal_text(value: Decimal | None) -> str | None:
    """Return an amount as the ledger stores it: all its digits, never an exponent."""
    return None if value is None else f"{value:f}"


def storable(text: str) -> str:
    """Return the text as both engines can store it: no U+0000 (PostgreSQL), no half of a surrogate pair (both)."""
    text = text.replace(_NUL, _REPLACEMENT)
    try:
        text.encode()
    except UnicodeEncodeError:
        # The bytes of a header that are not UTF-8 arrive as such halves.
        return text.encode("utf-8", "replace").decode()
    return text


def storable_or_none(text: str | None) -> str | None:
    """Return a text that may be missing as `storable` does."""
    return None if text is None else storable(text)


def with_storable_texts(types: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the types of PostgreSQL's dialect with texts in which U+0000 becomes U+2400, as `storable` makes it.

    The server refuses a statement with U+0000, also one that only looks for such a text: what a request names is then
    found as it was stored, or not found.
    """
    base: type[String] = types[String]

    class StorableText(base):  # type: ignore[valid-type, misc]
        cache_ok = True

        def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:
            return _replace_nul

    storable_text: type[TypeEngine[Any]] = StorableText
    return {**types, String: storable_text}


def _replace_nul(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value.value  # the driver takes no arrays of several types
    return value.replace(_NUL, _REPLACEMENT) if isinstance(value, str) and _NUL in value else value
