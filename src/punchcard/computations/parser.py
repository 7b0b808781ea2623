"""Parse the text of a definition: `NOT` binds closest, then `AND`, then `OR`."""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from punchcard.computations.checks import comparison_problem
from punchcard.computations.errors import DefinitionError
from punchcard.computations.event_chains import EventReader
from punchcard.computations.keys import KEY, KEY_CHARACTERS_MAX
from punchcard.computations.lexer import DATE, END, NAME, NUMBER, SIGN, TEXT, Token
from punchcard.computations.model import (
    BY_DATE,
    BY_DAYS,
    SIGNS,
    And,
    Comparison,
    Condition,
    Context,
    Definition,
    Events,
    LiteralValue,
    Not,
    Operator,
    Or,
    Property,
    Span,
    StaticList,
    Trait,
)

PRIMARIES_MAX: Final = 50
NESTING_MAX: Final = 20
_METHODS: Final = {operator.value: operator for operator in Operator}
_PRIMARIES: Final = ("event", "trait", "property", "context", "NOT")
_LIST: Final = "list"
_NOT_HERE: Final = {
    "entity": "linked entities are not supported",
    "ANY": "accounts are not supported",
    "ALL": "accounts are not supported",
    _LIST: "list(…) is a whole definition: elsewhere, its members are those with trait('its_key') = true",
    "literal": "a literal is only allowed on the right side of a comparison",
}
_Left = Events | Trait | Property | Context
_Right = LiteralValue | Span | Property | Trait
_Of = TypeVar("_Of", Property, Trait)


def parse_audience(text: str) -> Condition:
    """Parse the condition of an audience.

    Raises:
        DefinitionError: The text is not a condition; the error has the position and what is expected there.
    """
    parser = _Parser(text)
    definition = parser.definition()
    if isinstance(definition, Events):
        raise DefinitionError(
            "an audience is a condition: compare the events with a value, such as `>= 1`", text=text, position=len(text)
        )
    return definition


def parse_trait(text: str) -> Events:
    """Parse the definition of a computed trait.

    Raises:
        DefinitionError: As `parse_audience`.
    """
    definition = _Parser(text).definition()
    if not isinstance(definition, Events):
        raise DefinitionError(
            "a computed trait is events reduced to a value, such as event('Order Completed').count(), not a condition",
            text=text,
            position=0,
        )
    return definition


class _Parser(EventReader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._primaries = 0

    def definition(self) -> Definition:
        """Read the complete definition."""
        if self.next.kind == END:
            raise self.error("a definition is expected, such as: event('Order Completed').count() >= 1")
        if self.next.kind == NAME and self.next.value == _LIST:
            return self._static_list()
        disjunction = self._disjunction()
        if self.next.kind != END:
            raise self.error("`AND`, `OR`, a comparison or the end is expected")
        return disjunction

    def _static_list(self) -> StaticList:
        self.take()
        self.expect("(")
        at = self.next
        name = self.text_value()
        if not KEY.fullmatch(name) or len(name) > KEY_CHARACTERS_MAX:
            raise self.error("the key of the audience is expected, such as list('vip')", at=at)
        self.expect(")")
        if self.next.kind != END:
            raise self.error(_NOT_HERE[_LIST])
        return StaticList(name)

    def _disjunction(self) -> Definition:
        return self._joined("OR", self._conjunction, Or)

    def _conjunction(self) -> Definition:
        return self._joined("AND", self._unary, And)

    def _joined(
        self, word: str, operand: Callable[[], Definition], build: Callable[[tuple[Condition, ...]], Condition]
    ) -> Definition:
        first = self.next
        operands = [operand()]
        while self._is_junction(word):
            self.take()
            operands.append(operand())
        if len(operands) == 1:
            return operands[0]
        conditions = []
        for condition in operands:
            if isinstance(condition, Events):
                raise self.error(f"`{word}` joins conditions: compare each side with a value", at=first)
            conditions.append(condition)
        return build(tuple(conditions))

    def _is_junction(self, word: str) -> bool:
        if self.next.kind != NAME or self.next.value.upper() != word:
            return False
        if self.next.value != word:
            raise self.error(f"write `{word}` in capital letters")
        return True

    def _unary(self) -> Definition:
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise self.error(f"this is nested more than {NESTING_MAX} levels deep")
        try:
            if self.is_sign("(") and not self._is_value_in_parentheses():
                return self._group()
            if self._is_junction("NOT"):
                word = self.take()
                inner = self._unary()
                if isinstance(inner, Events):
                    raise self.error("`NOT` negates a condition: compare the events with a value", at=word)
                return Not(inner)
            return self._comparison()
        finally:
            self._depth -= 1

    def _is_value_in_parentheses(self) -> bool:
        """Return whether the next parenthesis holds a value that is compared, not a condition: `( … ) = 1`."""
        depth = 0
        for number, token in enumerate(self._tokens[self._at :], self._at):
            depth += {"(": 1, ")": -1}.get(token.value, 0) if token.kind == SIGN else 0
            if depth == 0:
                behind = self._tokens[number + 1] if token.kind != END else token
                return behind.kind == SIGN and (behind.value in SIGNS or behind.value == ".")
        return False

    def _group(self) -> Definition:
        opening = self.take()
        disjunction = self._disjunction()
        if not self.is_sign(")"):
            raise self.error(f"the `(` at character {opening.position + 1} needs its `)`")
        self.take()
        return disjunction

    def _comparison(self) -> Definition:
        first = self.next
        left = self._primary()
        if self.next.kind == SIGN and self.next.value in SIGNS:
            sign = self.take()
            return self._compared(left, SIGNS[sign.value], (self._right(),), at=sign)
        if self.is_sign("."):
            self.take()
            method = self.take()
            if method.value not in _METHODS:
                raise self.unknown(method, _METHODS, "comparison")
            operator = _METHODS[method.value]
            return self._compared(left, operator, self._arguments(operator), at=method)
        if isinstance(left, Events):
            return left
        raise self.error("a comparison is expected, such as `= 'gold'` or `.exists()`", at=first)

    def _primary(self) -> _Left:
        if self.is_sign("("):
            return self._value_in_parentheses()
        word = self.take()
        if word.kind != NAME or word.value not in _PRIMARIES or word.value == "NOT":
            if word.kind == NAME and word.value in _NOT_HERE:
                raise self.error(_NOT_HERE[word.value], at=word)
            hint = self.hint(word.value, _PRIMARIES) if word.kind == NAME else ""
            raise self.error(f"event(…), trait(…), property(…) or context(…) is expected{hint}", at=word)
        if word.value in ("property", "context") and not self._in_where:
            raise self.error(f"{word.value}(…) belongs to an event: use it inside `.where( … )`", at=word)
        if word.value in ("event", "trait"):
            self._primaries += 1
            if self._primaries > PRIMARIES_MAX:
                raise self.error(f"a definition has at most {PRIMARIES_MAX} event(…) and trait(…)", at=word)
        if word.value == "event":
            return self._events()
        if word.value == "trait":
            return self._trait()
        return self._property(word)

    def _value_in_parentheses(self) -> _Left:
        opening = self.take()
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise self.error(f"this is nested more than {NESTING_MAX} levels deep", at=opening)
        value = self._primary()
        self._depth -= 1
        self.expect(")")
        return value

    def _trait(self) -> Trait:
        self.expect("(")
        path = self.path("trait")
        self.expect(")")
        return Trait(path)

    def _property(self, word: Token) -> Property | Context:
        self.expect("(")
        of_parent = False
        if self.next.kind == NAME and self.next.value == "parent":
            self.take()
            self.expect(":")
            of_parent = True
            if self._in_where < 2 or word.value != "property":  # the parent's where, and its child's
                raise self.error("`parent:` is only allowed inside `where` of a funnel's second event")
        path = self.path()
        self.expect(")")
        return Context(path) if word.value == "context" else Property(path, of_parent)

    def _reject_list_entry(self, value: _Of, *, at: Token) -> _Of:
        if value.list_path is not None:
            raise self.error(
                "`$` (any entry of a list) is only allowed on the left side of a comparison in where( … )", at=at
            )
        return value

    def _arguments(self, operator: Operator) -> tuple[_Right, ...]:
        self.expect("(")
        values: list[_Right] = []
        if operator in BY_DAYS:
            length = self.duration()
            values.append(LiteralValue(length.amount) if length.unit == "day" else Span(length.amount, length.unit))
        else:
            while not self.is_sign(")"):
                if values:
                    self.expect(",")
                if operator in BY_DATE and self.next.kind == DATE:
                    values.append(LiteralValue(self.take().value))
                    continue
                values.append(self._right())
        self.expect(")")
        return tuple(values)

    def _right(self) -> _Right:
        token = self.next
        if token.kind == TEXT:
            return LiteralValue(self.take().value)
        if token.kind == NUMBER:
            self.take()
            return LiteralValue(self._number(token))
        if token.kind == NAME and token.value.lower() in ("true", "false"):
            return LiteralValue(self.take().value.lower() == "true")
        if self.is_sign("("):
            self.take()
            operand = self._right()
            self.expect(")")
            return operand
        if token.kind == DATE:
            raise self.error("compare dates with .before_date(…) and .after_date(…); a text needs quotes")
        if token.kind == NAME and token.value == "literal":
            self.take()
            self.expect("(")
            operand = self._right()
            self.expect(")")
            return operand
        if token.kind == NAME and token.value in ("property", "trait"):
            member = self._primary()
            if isinstance(member, Property):
                return self._reject_list_entry(member, at=token)
            if isinstance(member, Trait):
                return self._reject_list_entry(member, at=token)
        raise self.error("a 'text', a number, true, false, property(…) or trait(…) is expected")

    def _number(self, token: Token) -> int | float:
        self.check_digits(token)
        return float(token.value) if "." in token.value else int(token.value)

    def _compared(self, left: _Left, operator: Operator, right: tuple[_Right, ...], *, at: Token) -> Comparison:
        comparison = Comparison(left, operator, right)
        problem = comparison_problem(comparison)
        if problem:
            raise self.error(problem, at=at)
        return comparison


def checked(definition: Definition) -> Definition:
    """Check a definition that came as JSON, by the same rules as its text.

    Raises:
        DefinitionError: The definition is invalid; the error has the position in its text.
    """
    from punchcard.computations.printer import to_text

    try:
        text = to_text(definition)
    except (ValueError, msgspec.ValidationError) as error:
        raise DefinitionError(str(error), text="", position=0) from error
    return parse_trait(text) if isinstance(definition, Events) else parse_audience(text)
