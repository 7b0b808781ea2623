"""Split the text of a condition into tokens.

The details are those of Segment's own lexer: `and`, `or` and `null` are words of the language only before certain
characters (`andrew` is a name), a backslash makes any character part of a name, and texts have no escapes. But a
carriage return is a blank here, because lines may end with it.
"""

from typing import Final, NamedTuple

from punchcard.errors import ConfigurationError

_SPACE: Final = " \t\r\n"
NAME_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_DIGITS: Final = frozenset("0123456789")
_AFTER_WORD: Final = frozenset(" \t\r\n,])")
_SIGNS: Final = ("==", "!=", ">=", "<=", "=", ">", "<", "(", ")", "[", "]", ",", ".")
WORDS: Final = {"and": "and", "AND": "and", "or": "or", "OR": "or", "NOT": "!", "null": "null"}
_WORDS_OF_SIGNS: Final = {"&&": "and", "||": "or"}
_SNIPPET: Final = 20

NAME = "name"
TEXT = "text"
NUMBER = "number"
END = "end"


class ConditionError(ConfigurationError):
    """A filter's condition cannot be read.

    Args:
        problem: Description of the problem.
        text: The condition.
        position: Index of the wrong character, from 0.
    """

    code = "invalid_filter"

    def __init__(self, problem: str, *, text: str, position: int) -> None:
        self.position = position
        rest = "".join(map(_printable, text[position : position + _SNIPPET]))
        place = f'at character {position + 1}, "{rest}"' if rest.strip() else "at the end"
        super().__init__(f"{place}: {problem}", position=position)


def _printable(character: str) -> str:
    """Return the character or its escape: a message is one line of text that any response can hold."""
    return character if character.isprintable() else repr(character)[1:-1]


class Token(NamedTuple):
    """A token.

    Attributes:
        kind: `name`, `text`, `number`, `end`, or the sign or word itself (`and`, `or`, `!`, `null`, `=` …).
        value: A name without its backslashes, a text without its quotes; otherwise as written.
        position: Index of its first character, from 0.
        end: Index after its last character.
    """

    kind: str
    value: str
    position: int
    end: int


def tokens_of(text: str) -> list[Token]:
    """Split a text into tokens; the last one has the kind `end`.

    Raises:
        ConditionError: A character is not allowed at its position.
    """
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        if text[position] in _SPACE:
            position += 1
            continue
        in_path = bool(tokens) and tokens[-1].kind == "."
        token = _token(text, position, in_path=in_path)
        tokens.append(token)
        position = token.end
    tokens.append(Token(END, "", len(text), len(text)))
    return tokens


def _token(text: str, position: int, *, in_path: bool) -> Token:
    first = text[position]
    if first in "\"'":
        return _text(text, position)
    if not in_path and (first in _DIGITS or first in "+-"):
        return _number(text, position)
    if first in NAME_CHARACTERS or first == "\\":
        return _name(text, position, in_path=in_path)
    for sign in _SIGNS:
        if text.startswith(sign, position):
            return Token("=" if sign == "==" else sign, sign, position, position + len(sign))
    if first == "!":
        following = text[position + 1 : position + 2]
        if following not in NAME_CHARACTERS and following not in ("(", "\\", "!"):
            raise ConditionError("`!` must stand directly before a name or `(`", text=text, position=position)
        return Token("!", "!", position, position + 1)
    if word := _WORDS_OF_SIGNS.get(text[position : position + 2]):
        raise ConditionError(f"write `{word}`", text=text, position=position)
    problem = f"`{_printable(first)}` has no meaning here; put a backslash before it if it belongs to a name"
    raise ConditionError(problem, text=text, position=position)


def _text(text: str, position: int) -> Token:
    end = text.find(text[position], position + 1)
    if end < 0:
        raise ConditionError(f"this text needs its closing {text[position]}", text=text, position=position)
    return Token(TEXT, text[position + 1 : end], position, end + 1)


def _number(text: str, position: int) -> Token:
    end = position + 1 if text[position] in "+-" else position
    whole = end
    while end < len(text) and text[end] in _DIGITS:
        end += 1
    if end == whole:
        raise ConditionError(f"a number must follow `{text[position]}`", text=text, position=position)
    if end < len(text) and text[end] == ".":
        point = end
        end += 1
        while end < len(text) and text[end] in _DIGITS:
            end += 1
        if end == point + 1:
            raise ConditionError("a digit must follow the decimal point", text=text, position=point)
        if end < len(text) and text[end] == ".":
            raise ConditionError("a number has one decimal point", text=text, position=end)
    return Token(NUMBER, text[position:end], position, end)


def _name(text: str, position: int, *, in_path: bool) -> Token:
    end = position
    parts = []
    while end < len(text):
        if text[end] == "\\":
            if end + 1 == len(text):
                raise ConditionError("a character must follow the backslash", text=text, position=end)
            parts.append(text[end + 1])
            end += 2
        elif text[end] in NAME_CHARACTERS:
            parts.append(text[end])
            end += 1
        else:
            break
    name, written = "".join(parts), text[position:end]
    if not in_path and written in WORDS and (end == len(text) or text[end] in _AFTER_WORD):
        return Token(WORDS[written], written, position, end)
    return Token(NAME, name, position, end)
