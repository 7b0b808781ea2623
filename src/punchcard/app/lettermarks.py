"""Lettermarks: one for each type of source and destination, drawn in one style and nobody's trademark."""

import re
import zlib
from typing import Final

from markupsafe import Markup

_COLORS: Final = 8  # `.mark-0` to `.mark-7` of the style sheet, each with 4.5 : 1 at least to white letters


def lettermark(name: str) -> Markup:
    """Return the mark of a type: its letters on a color of its own. Screen readers skip it: the name follows.

    Args:
        name: Of the type, such as `HTTP API`.
    """
    color = zlib.crc32(name.encode("utf-8", "replace")) % _COLORS
    return Markup(
        '<svg class="lettermark lettermark-{}" viewBox="0 0 40 40" aria-hidden="true" focusable="false">'
        '<rect width="40" height="40" rx="9"/>'
        '<text x="20" y="20.5" text-anchor="middle" dominant-baseline="central">{}</text></svg>'
    ).format(color, letters(name))


def letters(name: str) -> str:
    """Return one or two letters of a name: the first of its first two words, else its first two."""
    words: list[str] = re.findall(r"[^\W_]+", re.sub(r"['’]s\b", "", name))
    if not words:
        return "?"
    if len(words) > 1:
        return (words[0][0] + words[1][0]).upper()
    return words[0][0].upper() + words[0][1:2].lower()
