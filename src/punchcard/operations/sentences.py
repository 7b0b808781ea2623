"""Formats messages as sentences."""

import re
from typing import Final

_MESSAGE_CHARACTERS_MAX: Final = 1_000
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


def shorten(message: str) -> str:
    """Return a message without its middle if it is very long.

    What makes it long is a value that it repeats. Its beginning says what is wrong, its end what to do.
    """
    if len(message) <= _MESSAGE_CHARACTERS_MAX:
        return message
    half = _MESSAGE_CHARACTERS_MAX // 2 - 1
    return f"{message[:half]} … {message[-half:]}"
