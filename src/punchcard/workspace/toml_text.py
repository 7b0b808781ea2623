"""Parses TOML with every fault of the text as one error, numbers of unlimited size included."""

import tomllib
from collections.abc import Iterator
from typing import Any, Final

_INTEGER_BITS: Final = 64
"""TOML's own limit, which the parser does not check: a larger number fits into no setting, and some have no text."""


class TomlError(ValueError):
    """A text is not TOML; the message is the rest of a sentence."""


def parse_toml(text: str) -> dict[str, Any]:
    """Return the document of a TOML text.

    Raises:
        TomlError: The text is not TOML, is nested too deeply, or has an integer beyond 64 bits.
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise TomlError(str(error)) from error
    except ValueError as error:  # Python's limit of digits in a number
        raise TomlError("a number has too many digits") from error
    for key, number in _integers(document):
        if not -(2 ** (_INTEGER_BITS - 1)) <= number < 2 ** (_INTEGER_BITS - 1):
            raise TomlError(f"the number of {key} is not between -2^63 and 2^63 - 1")
    return document


def _integers(value: object, key: str = "a list") -> Iterator[tuple[str, int]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _integers(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _integers(item, key)
    elif isinstance(value, int):
        yield key, value
