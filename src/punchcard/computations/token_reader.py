"""Read the tokens of a definition one by one, with errors that say what is expected."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from punchcard.computations.errors import DefinitionError
from punchcard.computations.lexer import END, NAME, NUMBER, SIGN, TEXT, Token, tokens_of
from punchcard.computations.model import Duration, dependencies_of

DEFINITION_BYTES_MAX: Final = 16 * 1024
_UNITS: Final = ("second", "minute", "hour", "day")
_DAYS_PER_WEEK: Final = 7
DIGITS_MAX: Final = 15
"""Digits of a number of which a binary double holds all."""

_NUMBER_CHARACTERS_MAX: Final = 40  # with sign, point and zeros; Python converts no text of unlimited length
# Months and years have no fixed length; the error suggests a duration in days.
_UNFIXED_UNITS: Final = {"month": "30 days", "quarter": "90 days", "year": "365 days"}
_WINDOW_MICROS_MAX: Final = 3 * 366 * 86_400_000_000


class TokenReader:
    """Reads the tokens of a text from left to right.

    Raises:
        DefinitionError: The text is too long, or has a character that is not allowed.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > DEFINITION_BYTES_MAX:
            problem = f"a definition has at most {DEFINITION_BYTES_MAX:,} bytes, this one has {size:,}"
            raise DefinitionError(problem, text=text, position=0)
        if "\x00" in text:
            raise DefinitionError(
                "this character is not allowed in a definition", text=text, position=text.index("\x00")
            )
        self._tokens = tokens_of(text)
        self._at = 0

    @property
    def next(self) -> Token:
        """The next token."""
        return self._tokens[self._at]

    def error(self, problem: str, *, at: Token | None = None) -> DefinitionError:
        """Return the error to raise at a token."""
        return DefinitionError(problem, text=self._text, position=(at or self.next).position)

    def duration(self) -> Duration:
        """Read a duration: `7 days`."""
        at = self.next
        amount = self.whole_number(1)
        unit = self.take()
        name = unit.value.lower().removesuffix("s")
        if name in _UNFIXED_UNITS:
            raise self.error(f"a {name} has no fixed length: write days, such as {_UNFIXED_UNITS[name]}", at=unit)
        if name == "week":
            amount, name = amount * _DAYS_PER_WEEK, "day"
        if unit.kind != NAME or name not in _UNITS:
            raise self.error("a time is a number and a unit: 2 weeks, 7 days, 12 hours, 30 minutes", at=unit)
        duration = Duration(amount, name)  # type: ignore[arg-type]  # looked up above
        if duration.micros > _WINDOW_MICROS_MAX:
            raise self.error("a time is at most three years (1098 days)", at=at)
        return duration

    def whole_number(self, least: int) -> int:
        """Read a whole number."""
        token = self.take()
        if token.kind == NUMBER:
            self.check_digits(token)
        if token.kind != NUMBER or not token.value.isdigit() or int(token.value) < least:
            raise self.error(f"a whole number of at least {least} is expected", at=token)
        return int(token.value)

    def check_digits(self, token: Token) -> None:
        """Refuse a number with more digits than are compared exactly, before it is converted."""
        written = token.value.lstrip("+-").lstrip("0").replace(".", "")
        if len(written) > DIGITS_MAX or len(token.value) > _NUMBER_CHARACTERS_MAX:
            raise self.error(f"a number has at most {DIGITS_MAX} digits", at=token)

    def text_value(self) -> str:
        """Read a text in quotes."""
        if self.next.kind != TEXT:
            raise self.error("a text in quotes is expected")
        return self.take().value

    def path(self, kind: str = "property") -> str:
        """Read the path of a property or trait, in quotes."""
        at = self.next
        path = self.text_value()
        names = dependencies_of(path)
        if not all(names) or not names:
            raise self.error(f"the name of a {kind} is expected, `a.b` for a member inside", at=at)
        if "*" in names:
            raise self.error(f"the name of a {kind} is expected; any entry of a list is `$`: products.$.sku", at=at)
        if names[0] == "$" or names.count("$") > 1:
            raise self.error("`$` is any entry of one list and follows the list's name: products.$.sku", at=at)
        return path

    def is_sign(self, sign: str) -> bool:
        """Return whether this sign comes next."""
        return self.next.kind == SIGN and self.next.value == sign

    def expect(self, sign: str) -> None:
        """Read a sign that is required here."""
        if not self.is_sign(sign):
            raise self.error(f"`{sign}` is expected")
        self.take()

    def take(self) -> Token:
        """Read the next token."""
        token = self.next
        if token.kind != END:
            self._at += 1
        return token

    def unknown(self, token: Token, known: Iterable[str], kind: str) -> DefinitionError:
        """Return the error to raise for an unknown word."""
        hint = self.hint(token.value, list(known)) or f"; there are {', '.join(known)}"
        return self.error(f"there is no {kind} `{token.value}`{hint}", at=token)

    def hint(self, word: str, known: Iterable[str]) -> str:
        """Return a suggestion for a misspelt word."""
        close = get_close_matches(word.lower(), known, n=1)
        return f"; did you mean `{close[0]}`?" if close else ""
