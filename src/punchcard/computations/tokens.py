"""Cuts a definition's text into tokens."""

import re
from typing import Final, NamedTuple

from punchcard.computations.errors import DefinitionError

NAME = "name"
TEXT = "text"
NUMBER = "number"
SIGN = "sign"
END = "end"

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<number>[+-]?\d+(?:\.\d+)?(?![\w.]))
      | (?P<name>[A-Za-z_]\w*)
      | (?P<sign>>=|<=|!=|=|>|<|\(|\)|\{|\}|,|\.|:)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED: Final = re.compile(r"\\([\\'\"])")


class Token(NamedTuple):
    """One token.

    Attributes:
        kind: `name`, `text`, `number`, `sign` or `end`.
        value: A text without its quotes; else as it is written.
        position: Where it begins, from 0.
    """

    kind: str
    value: str
    position: int


def tokens_of(text: str) -> list[Token]:
    """All tokens, and one that is the end.

    Raises:
        DefinitionError: a character stands where none like it can.
    """
    found: list[Token] = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise _unreadable(text, position)
        written = match[match.lastgroup]
        value = _ESCAPED.sub(r"\1", written[1:-1]) if match.lastgroup == TEXT else written
        found.append(Token(match.lastgroup, value, match.start(match.lastgroup)))
        position = match.end()
    found.append(Token(END, "", len(text)))
    return found


def quoted(value: str) -> str:
    """The text as it is written in a definition."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _unreadable(text: str, position: int) -> DefinitionError:
    at = position + len(text[position:]) - len(text[position:].lstrip())
    if text[at] in "'\"":
        return DefinitionError(f"this text needs its closing {text[at]}", text=text, position=at)
    if text[at].isdigit():
        return DefinitionError("a number is digits, perhaps with a decimal point", text=text, position=at)
    return DefinitionError(f"`{text[at]}` has no meaning here", text=text, position=at)
