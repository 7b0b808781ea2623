"""Parse the text of a condition: `!` binds closest, then comparisons and `in`, then `and`, then `or`."""

from collections.abc import Callable
from decimal import Decimal
from difflib import get_close_matches
from typing import Final, TypeVar

from punchcard.filters.fql_lexer import END, NAME, NUMBER, TEXT, ConditionError, Token, tokens_of
from punchcard.filters.functions import FUNCTIONS
from punchcard.filters.syntax import (
    COMPARISONS,
    PATH_PARTS_MAX,
    And,
    Call,
    Comparison,
    Condition,
    Everything,
    In,
    ListOf,
    Literal,
    Not,
    Or,
    Path,
    Value,
)

CONDITION_BYTES_MAX: Final = 5 * 1024
NESTING_MAX: Final = 50
_CONSTANTS: Final = {"true": True, "false": False}
# Words and signs of other languages, with replacements. Segment documents only `and`, `or` and `!`.
_NO_NOT: Final = (
    "there is no `not`: write `!properties.vip` for a path or function, `!( properties.n = 1 )` for a comparison"
)
_FOREIGN_WORDS: Final = {
    "not": "there is no `not in`: write `!( type in ['page', 'screen'] )`",
    "is": "there is no `is`: write `=` or `!=`, such as userId != null",
    "like": "there is no `like`: write match( properties.name, '*text*' )",
    "contains": "`contains` is a function: write contains( properties.name, 'text' )",
    "and": "write `and`, with a blank on both sides",
    "or": "write `or`, with a blank on both sides",
}
_FOREIGN_SIGNS: Final = {"<>": "!=", "===": "=", "=<": "<=", "=>": ">=", "!==": "!=", "><": "!="}
_T = TypeVar("_T")


def parse(text: str) -> Condition:
    """Parse the condition of a filter.

    Raises:
        ConditionError: The text is invalid; the error has the position and what is expected there.
    """
    parser = _begin(text, "a condition", "event = 'Order Completed'")
    if parser.next.kind == NAME and parser.next.value == "all" and parser.after_next.kind == END:
        return Everything()
    condition = parser.disjunction()
    if parser.next.kind != END:
        raise parser.error(parser.foreign_word() or "`and`, `or` or the end is expected")
    parser.must_be_condition(condition, at=parser.first)
    return condition


def parse_expression(text: str) -> Condition:
    """Parse the expression of a value: a value such as `uppercase( properties.code )`, or a condition.

    Raises:
        ConditionError: The text is invalid; the error has the position and what is expected there.
    """
    parser = _begin(text, "an expression", "uppercase( properties.currency )")
    expression = parser.disjunction()
    if parser.next.kind != END:
        raise parser.error(parser.foreign_word() or "an operator or the end is expected")
    return expression


def _begin(text: str, kind: str, example: str) -> "_Parser":
    """Return the parser of a text that is neither too long nor empty."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ConditionError(f"{kind} is Unicode text; this one has half a surrogate pair", text=text, position=0)
    if size > CONDITION_BYTES_MAX:
        problem = f"{kind} has at most {CONDITION_BYTES_MAX:,} bytes, this one has {size:,}"
        raise ConditionError(problem, text=text, position=0)
    parser = _Parser(text)
    if parser.next.kind == END:
        raise parser.error(f"{kind} is expected, such as: {example}")
    return parser


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens_of(text)
        self._at = 0
        self._depth = 0

    @property
    def next(self) -> Token:
        return self._tokens[self._at]

    @property
    def first(self) -> Token:
        return self._tokens[0]

    @property
    def after_next(self) -> Token:
        return self._tokens[min(self._at + 1, len(self._tokens) - 1)]

    def error(self, expected: str, *, at: Token | None = None) -> ConditionError:
        return ConditionError(expected, text=self._text, position=(at or self.next).position)

    def foreign_word(self) -> str | None:
        """Return the replacement for the next word, if it belongs to another language."""
        return _FOREIGN_WORDS.get(self.next.value.lower()) if self.next.kind == NAME else None

    def disjunction(self) -> Condition:
        return self._chain("or", self._conjunction, Or)

    def _conjunction(self) -> Condition:
        return self._chain("and", self._relation, And)

    def _chain(
        self, word: str, operand: Callable[[], Condition], build: Callable[[tuple[Condition, ...]], Condition]
    ) -> Condition:
        first = self.next
        operands = [operand()]
        while self.next.kind == word:
            if len(operands) == 1:
                self.must_be_condition(operands[0], at=first)
            self._take()
            first = self.next
            operands.append(operand())
            self.must_be_condition(operands[-1], at=first)
        return operands[0] if len(operands) == 1 else build(tuple(operands))

    def must_be_condition(self, condition: Condition, *, at: Token) -> None:
        """Reject a text or list as condition: a path may be true, but those never are."""
        is_value = isinstance(condition, ListOf) or (
            isinstance(condition, Literal) and not (condition.value is None or isinstance(condition.value, bool))
        )
        if is_value:
            raise self.error("a condition is expected here, not a value: compare it with something", at=at)

    def _relation(self) -> Condition:
        if self.next.kind == "!":
            negated = self._negation()
            if self.next.kind in COMPARISONS or (self.next.kind == NAME and self.next.value == "in"):
                # Segment does not document whether `!a = b` means `!( a = b )` or `( !a ) = b`.
                raise self.error("`!` negates a condition: put it in parentheses, such as !( properties.n = 1 )")
            return negated
        if self._is_foreign_not():
            raise self.error(_NO_NOT)
        if self.next.kind == "(":
            return self._group()
        left = self._value()
        sign = self.next
        if sign.kind in COMPARISONS:
            self._take()
            if (following := self.next).kind in COMPARISONS and following.position == sign.end:
                written = self._text[sign.position : following.end]
                hint = f"; write `{_FOREIGN_SIGNS[written]}`" if written in _FOREIGN_SIGNS else ""
                raise self.error(f"there is no operator `{written}`{hint}", at=sign)
            return Comparison(sign.kind, left, self._value())
        if sign.kind == NAME and sign.value == "in":
            self._take()
            among = self._value()
            if isinstance(among, Literal):
                raise self.error("a list is expected after `in`, such as ['a', 'b'], or a path to one", at=sign)
            return In(left, among)
        return left

    def _is_foreign_not(self) -> bool:
        """Return whether `not a`, `not ( a )` or `NOT( a )` follows; a path may begin with a member of that name."""
        following = self.after_next
        begins_value = following.kind in (NAME, TEXT, NUMBER, "null", "(", "[", "!")
        is_path = following.kind == NAME and following.value == "in"
        return self.next.kind == NAME and self.next.value.lower() == "not" and begins_value and not is_path

    def _negation(self) -> Condition:
        self._take()
        return Not(self._deeper(self._negated))

    def _negated(self) -> Condition:
        if self.next.kind == "!":
            return self._negation()
        if self._is_foreign_not():
            raise self.error(_NO_NOT)
        if self.next.kind == "(":
            return self._group()
        first = self.next
        value = self._value()
        self.must_be_condition(value, at=first)
        return value

    def _group(self) -> Condition:
        opening = self._take()
        condition = self._deeper(self.disjunction)
        self.must_be_condition(condition, at=opening)
        self._expect(")", f"the `(` at character {opening.position + 1} needs its `)`")
        return condition

    def _value(self) -> Value:
        token = self.next
        if token.kind == TEXT:
            return Literal(self._take().value)
        if token.kind == NUMBER:
            return Literal(Decimal(self._take().value))
        if token.kind == "null":
            self._take()
            return Literal(None)
        if token.kind == "[":
            return self._deeper(self._list)
        if token.kind == NAME:
            if self.after_next.kind == "(":
                return self._deeper(self._call)
            return self._path()
        raise self.error(
            "a value is expected: a path such as properties.revenue, a 'text', a number, a list or a function"
        )

    def _path(self) -> Path | Literal:
        first = self._take()
        if first.value in _CONSTANTS and self.next.kind != ".":
            return Literal(_CONSTANTS[first.value])
        parts = [first.value]
        while self.next.kind == ".":
            self._take()
            if self.next.kind != NAME:
                raise self.error("a name is expected after the dot")
            parts.append(self._take().value)
        if len(parts) > PATH_PARTS_MAX:
            raise self.error(f"a path has at most {PATH_PARTS_MAX} parts, this one has {len(parts)}", at=first)
        return Path(tuple(parts))

    def _list(self) -> ListOf:
        opening = self._take()
        items: list[Value] = []
        while self.next.kind != "]":
            if items:
                self._expect(",", f"`,` or the `]` of the list at character {opening.position + 1} is expected")
            items.append(self._value())
        self._take()
        return ListOf(tuple(items))

    def _call(self) -> Call:
        name = self._take()
        if name.value not in FUNCTIONS:
            close = get_close_matches(name.value.lower(), FUNCTIONS, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"there are {', '.join(FUNCTIONS)}"
            raise self.error(f"there is no function `{name.value}`; {hint}", at=name)
        self._take()
        arguments: list[Value] = []
        while self.next.kind != ")":
            if arguments:
                self._expect(",", f"`,` or the `)` of `{name.value}` is expected")
            arguments.append(self._value())
        self._take()
        expected_count = FUNCTIONS[name.value].arguments
        if len(arguments) != expected_count:
            values = f"{expected_count} value{'s' if expected_count > 1 else ''}"
            raise self.error(f"`{name.value}` takes {values}, here it has {len(arguments)}", at=name)
        return Call(name.value, tuple(arguments))

    def _deeper(self, read: Callable[[], _T]) -> _T:
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise self.error(f"this is nested more than {NESTING_MAX} levels deep")
        result = read()
        self._depth -= 1
        return result

    def _take(self) -> Token:
        token = self.next
        self._at += 1
        return token

    def _expect(self, kind: str, problem: str) -> None:
        if self.next.kind != kind:
            raise self.error(self.foreign_word() or problem)
        self._take()
