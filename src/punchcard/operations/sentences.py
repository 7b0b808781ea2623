"""Formats messages as sentences."""

import re
from typing import Final

_PLAIN_WORD: Final = re.compile(r"[a-z][a-z'’-]*(?=[\s,;!?]|\.?$|\.\s)")


def capitalize(text: str) -> str:
    """Return the text with a capital at the start, unless it begins with an identifier such as `settings.apiKey`."""
    return f"{text[0].upper()}{text[1:]}" if _PLAIN_WORD.match(text) else text


def as_sentence(text: str) -> str:
    """Return the text with a capital at the start and a full stop at the end; "" stays empty."""
    text = text.strip()
    if not text:
        return ""
    return f"{capitalize(text)}{'' if text.endswith(('.', '!', '?', '…')) else '.'}"


def count_noun(count: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: `1 award`, `2 awards`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
