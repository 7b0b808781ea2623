"""Compile conditions to Python source: one expression each, over values that are decoded on first use."""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

from punchcard.filters import functions
from punchcard.filters.functions import FUNCTIONS
from punchcard.filters.syntax import (
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

_OPERATORS: Final = {"<": functions.less, "<=": functions.less_or_equal}
_WHOLE_DIGITS_MAX: Final = 300  # larger numbers are infinite, as in the event
_PLAIN_TEXT_BETWEEN_STARS: Final = re.compile(r"\*?([^*?\[\]\\]*)\*?")


class Source:
    """Writes expressions; constants are bound to names.

    Args:
        read: Returns the expression for the value of a path.
    """

    def __init__(self, read: Callable[[Path], str]) -> None:
        self._read = read
        self.names: dict[str, object] = {
            "equal": functions.equal,
            "is_in": functions.is_in,
            "less": functions.less,
            "less_or_equal": functions.less_or_equal,
        }
        self._temporaries = 0

    def result(self, expression: Condition) -> str:
        """Return an expression that is the value of an FQL expression: True or False for a condition, None for none."""
        if isinstance(expression, Path | Literal | ListOf | Call):
            return self._value(expression)
        return self.condition(expression)

    def condition(self, condition: Condition) -> str:
        """Return an expression that is True or False."""
        match condition:
            case Everything():
                return "True"
            case And(conditions):
                return "(" + " and ".join(map(self._operand, conditions)) + ")"
            case Or(conditions):
                return "(" + " or ".join(map(self._operand, conditions)) + ")"
            case Not(inner):
                return f"(not {self._operand(inner)})"
            case Comparison(operator, left, right):
                return self._comparison(operator, left, right)
            case In(value, among):
                return self._membership(value, among)
            case Call(name) if FUNCTIONS[name].is_boolean:
                return self._value(condition)
            case Literal(value):
                return repr(value is True)
            case _:
                return f"({self._value(condition)} is True)"

    def _operand(self, condition: Condition) -> str:
        """Return the operand of `!`, `and` and `or`: a path counts if its value is true, a function if it is truthy.

        So `!properties.vip` is true unless the value is true; `!lowercase( x )` is true if the result is empty.
        """
        if isinstance(condition, Call) and not FUNCTIONS[condition.name].is_boolean:
            return f"bool({self._value(condition)})"
        return self.condition(condition)

    def _value(self, value: Value) -> str:
        match value:
            case Path():
                return self._read(value)
            case Literal():
                return self._constant(_python(value))
            case ListOf(items):
                return "[" + ", ".join(map(self._value, items)) + "]"
            case Call("match", (text, Literal(str() as glob))):
                return self._match(text, glob)
            case Call(name, arguments):
                return f"{self.bind(FUNCTIONS[name].evaluate, name)}({', '.join(map(self._value, arguments))})"

    def _comparison(self, operator: str, left: Value, right: Value) -> str:
        if operator in (">", ">="):
            if isinstance(right, Literal) and isinstance(right.value, Decimal):
                name = self._temporary()
                number = f"({name}.__class__ is int or {name}.__class__ is float)"
                bound = self._constant(_python(right))
                return f"((({name} := {self._value(left)}) is not None) and {number} and {name} {operator} {bound})"
            left, right, operator = right, left, operator.replace(">", "<")
        if operator in _OPERATORS:
            return f"{_OPERATORS[operator].__name__}({self._value(left)}, {self._value(right)})"
        same = self._equality(left, right)
        return same if operator == "=" else f"(not {same})"

    def _equality(self, left: Value, right: Value) -> str:
        if isinstance(left, Literal):
            if isinstance(right, Literal):
                return repr(functions.equal(_python(left), _python(right)))
            left, right = right, left
        if isinstance(right, Literal):
            if right.value is None or isinstance(right.value, bool):
                return f"({self._value(left)} is {right.value!r})"
            if isinstance(right.value, str):
                # No value of another type is equal to a text.
                return f"({self._value(left)} == {self._constant(right.value)})"
        return f"equal({self._value(left)}, {self._value(right)})"

    def _membership(self, value: Value, among: Value) -> str:
        if isinstance(among, ListOf) and among.items and all(_is_text(item) for item in among.items):
            name = self._temporary()
            texts = self.bind(frozenset(item.value for item in among.items if isinstance(item, Literal)), "texts")
            return f"((({name} := {self._value(value)}).__class__ is str) and {name} in {texts})"
        return f"is_in({self._value(value)}, {self._value(among)})"

    def _match(self, text: Value, glob: str) -> str:
        """Compile a known pattern; one that is only a prefix, suffix or part becomes a plain text test."""
        name = self._temporary()
        is_text = f"(({name} := {self._value(text)}).__class__ is str)"
        plain = _PLAIN_TEXT_BETWEEN_STARS.fullmatch(glob)
        if plain is not None:
            part = self._constant(plain[1])
            starts, ends = glob.startswith("*"), glob.endswith("*")
            if glob in ("*", "**"):
                return is_text
            if starts and ends:
                return f"({is_text} and {part} in {name})"
            if starts or ends:
                return f"({is_text} and {name}.{'endswith' if starts else 'startswith'}({part}))"
            return f"({is_text} and {name} == {part})"
        pattern = functions.compiled_glob(glob)
        if pattern is None:
            return f"({is_text} and False)"
        return f"({is_text} and {self.bind(pattern.fullmatch, 'fullmatch')}({name}) is not None)"

    def _constant(self, value: object) -> str:
        return repr(value) if value is None or value.__class__ in (bool, int, str) else self.bind(value, "number")

    def bind(self, value: object, name: str) -> str:
        """Return a name that is bound to a value."""
        for known, bound in self.names.items():
            if bound is value:
                return known
        key = f"{name}_{len(self.names)}"
        self.names[key] = value
        return key

    def _temporary(self) -> str:
        self._temporaries += 1
        return f"t{self._temporaries}"


def paths_of(conditions: Sequence[Condition]) -> set[tuple[str, ...]]:
    """Return every path of the conditions."""
    paths: set[tuple[str, ...]] = set()
    for condition in conditions:
        match condition:
            case Path(parts):
                paths.add(parts)
            case Comparison(_, left, right):
                paths |= paths_of([left, right])
            case In(value, among):
                paths |= paths_of([value, among])
            case Not(inner):
                paths |= paths_of([inner])
            case And(operands) | Or(operands):
                paths |= paths_of(operands)
            case Call(_, arguments):
                paths |= paths_of(arguments)
            case ListOf(items):
                paths |= paths_of(items)
            case Literal() | Everything():
                pass
    return paths


def _is_text(value: Value) -> bool:
    return isinstance(value, Literal) and isinstance(value.value, str)


def _python(literal: Literal) -> object:
    if not isinstance(literal.value, Decimal):
        return literal.value
    is_whole = literal.value.adjusted() < _WHOLE_DIGITS_MAX and literal.value == literal.value.to_integral_value()
    return int(literal.value) if is_whole else float(literal.value)
