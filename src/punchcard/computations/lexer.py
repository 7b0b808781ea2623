"""Split the text of a definition into tokens."""

import re
from typing import Final, NamedTuple

from punchcard.computations.errors import DefinitionError

NAME = "name"
TEXT = "text"
NUMBER = "number"
DATE = "date"
SIGN = "sign"
END = "end"

_TOKEN: Final = re.compile(
    r"""(?:
        (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<date>\d{4}-\d{2}-\d{2}(?:[Tt ]\d{2}:\d{2}[\d:.]*(?:[ ]?(?:[Zz]|[+-]\d{2}(?::?\d{2})?))?)?(?![\w:.-]))
      | (?P<number>[+-]?\d+(?:\.\d+)?(?![\w.]))
      | (?P<name>[A-Za-z_]\w*)
      | (?P<sign>>=|<=|!=|==|=|>|<|\(|\)|\{|\}|,|\.|:)
    )""",
    re.VERBOSE | re.DOTALL,
)
_BLANK: Final = re.compile(r"(?:\s|--[^\n]*|/\*.*?\*/)*", re.DOTALL)
"""Between two tokens: white space, and comments as in SQL."""
_INSTEAD: Final = {
    "&": "write `AND`",
    "|": "write `OR`",
    "!": "write `NOT ( … )`, or `!=` for another value",
    "‘": "write straight quotes: 'Order Completed'",
    "’": "write straight quotes: 'Order Completed'",
    "“": "write straight quotes: 'Order Completed'",
    "”": "write straight quotes: 'Order Completed'",
    "`": "write straight quotes: 'Order Completed'",
    "/": "write comments as /* … */ or as -- to the end of the line",
    "$": "`$` is only allowed inside the quotes of a property: property('products.$.sku')",
}
_ESCAPED: Final = re.compile(r"\\([\\'\"])")


class Token(NamedTuple):
    """A token.

    Attributes:
        kind: `name`, `text`, `number`, `date`, `sign` or `end`.
        value: The content of a quoted text; otherwise as written.
        position: Index of its first character, from 0.
    """

    kind: str
    value: str
    position: int


def tokens_of(text: str) -> list[Token]:
    """Split a text into tokens; the last one has the kind `end`.

    Raises:
        DefinitionError: A character is not allowed at its position.
    """
    tokens: list[Token] = []
    position = _blank_end(text, 0)
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise _unreadable(text, position)
        written = match[match.lastgroup]
        value = _ESCAPED.sub(r"\1", written[1:-1]) if match.lastgroup == TEXT else written
        tokens.append(Token(match.lastgroup, value, match.start(match.lastgroup)))
        position = _blank_end(text, match.end())
    tokens.append(Token(END, "", len(text)))
    return tokens


def _blank_end(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return position if match is None else match.end()


def quoted(value: str) -> str:
    """Return a text in quotes, as in a definition."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _unreadable(text: str, at: int) -> DefinitionError:
    if text[at] in "'\"":
        return DefinitionError(f"this text needs its closing {text[at]}", text=text, position=at)
    if text.startswith("/*", at):
        return DefinitionError("this comment needs its closing */", text=text, position=at)
    if text[at].isdigit():
        return DefinitionError("a number is digits, perhaps with a decimal point", text=text, position=at)
    hint = f": {_INSTEAD[text[at]]}" if text[at] in _INSTEAD else ""
    return DefinitionError(f"`{text[at]}` has no meaning here{hint}", text=text, position=at)
