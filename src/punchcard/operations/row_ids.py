"""Ids of stored rows as clients send them: in paths, cursors and forms."""

from typing import Final

_DIGITS_MAX: Final = 18  # every number of so many digits fits into a column of 64 bits


def is_row_id(text: str) -> bool:
    """Return whether the text can be the id of a row, so that `int` and the database accept it."""
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX
