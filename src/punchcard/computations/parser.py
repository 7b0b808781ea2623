"""Reads the text of a definition: `NOT` binds closest, then `AND`, then `OR`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

from punchcard.computations.checks import comparison_problem
from punchcard.computations.errors import DefinitionError
from punchcard.computations.model import (
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
    Reducer,
    Trait,
    Window,
    all_events,
)
from punchcard.computations.reading import TokenReader
from punchcard.computations.tokens import END, NAME, NUMBER, TEXT, Token

PRIMARIES_MAX: Final = 50
NESTING_MAX: Final = 20
_REDUCERS: Final = {one.value: one for one in Reducer if one is not Reducer.UNIQUE_COUNT}
_METHODS: Final = {one.value: one for one in Operator}
_FILTERS: Final = ("where", "sources", "within", "between", "expires_after")
_PRIMARIES: Final = ("event", "trait", "property", "context", "NOT")
_NOT_HERE: Final = {
    "entity": "linked entities are not part of this version",
    "ANY": "accounts are not part of this version",
    "ALL": "accounts are not part of this version",
    "literal": "a literal stands only on the right of a comparison",
}
_Left = Events | Trait | Property | Context
_Of = TypeVar("_Of", Property, Context, Property | Context)


def parse_audience(text: str) -> Condition:
    """The condition that a text states.

    Raises:
        DefinitionError: with the character that is wrong, and what was expected there.
    """
    parser = _Parser(text)
    found = parser.definition()
    if isinstance(found, Events):
        raise DefinitionError(
            "an audience is a condition: compare this with something, such as `>= 1`", text=text, position=len(text)
        )
    return found


def parse_trait(text: str) -> Events:
    """What a computed trait's text asks for.

    Raises:
        DefinitionError: as `parse_audience`.
    """
    found = _Parser(text).definition()
    if not isinstance(found, Events):
        raise DefinitionError(
            "a computed trait is events reduced to a value, such as event('Order Completed').count(), not a condition",
            text=text,
            position=0,
        )
    return found


@dataclass
class _Chain:
    """An `event(…)` while its methods are read."""

    name: str
    given: dict[str, Any] = field(default_factory=dict)


class _Parser(TokenReader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._primaries = 0
        self._in_where = 0

    def definition(self) -> Definition:
        """The definition, and nothing behind it."""
        if self.next.kind == END:
            raise self.error("a definition is expected, such as: event('Order Completed').count() >= 1")
        found = self._disjunction()
        if self.next.kind != END:
            raise self.error("`AND`, `OR`, a comparison or the end is expected")
        return found

    def _disjunction(self) -> Definition:
        return self._joined("OR", self._conjunction, Or)

    def _conjunction(self) -> Definition:
        return self._joined("AND", self._unary, And)

    def _joined(
        self, word: str, part: Callable[[], Definition], made: Callable[[tuple[Condition, ...]], Condition]
    ) -> Definition:
        first = self.next
        parts = [part()]
        while self.next.kind == NAME and self.next.value == word:
            self.take()
            parts.append(part())
        if len(parts) == 1:
            return parts[0]
        conditions = []
        for one in parts:
            if isinstance(one, Events):
                raise self.error(f"`{word}` joins conditions: compare each side with something", at=first)
            conditions.append(one)
        return made(tuple(conditions))

    def _unary(self) -> Definition:
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise self.error(f"this is nested more than {NESTING_MAX} levels deep")
        try:
            if self.is_sign("("):
                return self._group()
            if self.next.kind == NAME and self.next.value == "NOT":
                word = self.take()
                if not self.is_sign("("):
                    raise self.error("`NOT` needs its condition in parentheses: NOT ( … )")
                inner = self._group()
                if isinstance(inner, Events):
                    raise self.error("`NOT` turns a condition: compare this with something", at=word)
                return Not(inner)
            return self._comparison()
        finally:
            self._depth -= 1

    def _group(self) -> Definition:
        opening = self.take()
        found = self._disjunction()
        if not self.is_sign(")"):
            raise self.error(f"the `(` at character {opening.position + 1} needs its `)`")
        self.take()
        return found

    def _comparison(self) -> Definition:
        first = self.next
        left = self._primary()
        if self.next.kind == "sign" and self.next.value in SIGNS:
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
        word = self.take()
        if word.kind != NAME or word.value not in _PRIMARIES or word.value == "NOT":
            if word.kind == NAME and word.value in _NOT_HERE:
                raise self.error(_NOT_HERE[word.value], at=word)
            hint = self.hint(word.value, _PRIMARIES) if word.kind == NAME else ""
            raise self.error(f"event(…), trait(…), property(…) or context(…) is expected{hint}", at=word)
        if word.value in ("property", "context") and not self._in_where:
            raise self.error(f"{word.value}(…) is a value of an event: it stands inside `.where( … )`", at=word)
        if word.value in ("event", "trait"):
            self._primaries += 1
            if self._primaries > PRIMARIES_MAX:
                raise self.error(f"a definition has at most {PRIMARIES_MAX} event(…) and trait(…)", at=word)
        if word.value == "event":
            return self._events()
        if word.value == "trait":
            return Trait(self._one_text())
        return self._property(word)

    def _property(self, word: Token) -> Property | Context:
        self.expect("(")
        of_parent = False
        if self.next.kind == NAME and self.next.value == "parent":
            self.take()
            self.expect(":")
            of_parent = True
            if self._in_where < 2 or word.value != "property":  # the parent's where, and its child's
                raise self.error("`parent:` stands in the where of a funnel's second event")
        path = self.path()
        self.expect(")")
        return Context(path) if word.value == "context" else Property(path, of_parent)

    def _no_entry(self, found: _Of, *, at: Token) -> _Of:
        if found.list_path is not None:
            raise self.error("`$`, any entry of a list, stands on the left of a comparison in where( … )", at=at)
        return found

    def _events(self) -> Events:
        self.expect("(")
        at = self.next
        name = self.text_value()
        if not name.strip():
            raise self.error("the name of an event is expected", at=at)
        self.expect(")")
        chain = _Chain(name)
        while True:
            if not self.is_sign("."):
                raise self.error(
                    f"what becomes of the events is missing: .{', .'.join(sorted(_REDUCERS))}(…), with .where(…), "
                    ".within(…) before it as needed"
                )
            self.take()
            method = self.take()
            if method.value in _FILTERS:
                self._filter(chain, method)
                continue
            if method.value not in _REDUCERS:
                raise self.unknown(method, [*_FILTERS, *_REDUCERS], "method of events")
            return self._reduced(chain, _REDUCERS[method.value], at=method)

    def _filter(self, chain: _Chain, method: Token) -> None:
        names = {"expires_after": "session", "between": "window"}
        key = names.get(method.value, method.value)
        self.expect("(")
        match method.value:
            case "where":
                self._in_where += 1
                if self._in_where > 2:
                    raise self.error("a funnel has two steps: an event, and what the person did then", at=method)
                value: object = self._condition_inside(method)
                self._in_where -= 1
            case "sources":
                value = self._sources()
            case "within":
                key, value = self._within()
            case "between":
                begin = self.duration()
                self.expect(",")
                value = Window(end=self.duration(), begin=begin)
                if begin.micros >= value.end.micros:
                    raise self.error("between(7 days, 10 days): the nearer border comes first", at=method)
            case _:
                value = self.duration()
        self.expect(")")
        if key in chain.given:
            raise self.error(f"`.{method.value}` stands here already; join conditions with AND", at=method)
        chain.given[key] = value

    def _condition_inside(self, method: Token) -> Condition:
        found = self._disjunction()
        if isinstance(found, Events):
            raise self.error("where( … ) needs a condition: compare this with something", at=method)
        if any(one.session or one.sources for one in all_events(found)):
            raise self.error("the second event of a funnel takes no sources(…) and no expires_after(…)", at=method)
        return found

    def _within(self) -> tuple[str, object]:
        if self.next.kind == NAME and self.next.value == "parent":
            if not self._in_where:
                raise self.error("`parent:` stands in the where of another event")
            self.take()
            self.expect(":")
            return "within_parent", self.duration()
        return "window", Window(end=self.duration())

    def _sources(self) -> tuple[bool, tuple[str, ...]]:
        left_out = False
        if self.is_sign("{"):
            self.take()
            word = self.take()
            if word.value != "exclude":
                raise self.error("`exclude:` is expected", at=word)
            self.expect(":")
            left_out = True
        found = [self.text_value()]
        while self.is_sign(","):
            self.take()
            found.append(self.text_value())
        if left_out:
            self.expect("}")
        return left_out, tuple(found)

    def _reduced(self, chain: _Chain, reducer: Reducer, *, at: Token) -> Events:
        given = dict(chain.given)
        if "sources" in given:
            given["sources_left_out"], given["sources"] = given["sources"]
        if "session" in given and "window" in given:
            raise self.error("events are taken of a window or of a session, not both", at=at)
        self.expect("(")
        if reducer is not Reducer.COUNT:
            word = self.take()
            if word.kind != NAME or word.value not in ("property", "context"):
                raise self.error(f"`{reducer}` needs property(…): {reducer}(property('revenue'))", at=word)
            self._in_where, outside = max(self._in_where, 1), self._in_where
            given["of"] = self._no_entry(self._property(word), at=word)
            self._in_where = outside
            if reducer is Reducer.MODE and self.is_sign(","):
                self.take()
                given["min_frequency"] = self.whole_number(1)
            if reducer in (Reducer.MIN, Reducer.MAX) and self.next.value == "as":
                self.take()
                if self.take().value not in ("string", "text"):
                    raise self.error("`as string` is expected")
                given["as_text"] = True
        self.expect(")")
        if reducer is Reducer.UNIQUE and self.is_sign(".") and self._tokens[self._at + 1].value == "count":
            self._at += 2
            self.expect("(")
            self.expect(")")
            reducer = Reducer.UNIQUE_COUNT
        return Events(chain.name, reducer, **given)

    def _arguments(self, operator: Operator) -> tuple[LiteralValue | Property | Trait, ...]:
        self.expect("(")
        found: list[LiteralValue | Property | Trait] = []
        if operator in BY_DAYS:
            at = self.next
            days = self.duration()
            if days.unit != "day":
                raise self.error("days are expected here: within_last(7 days)", at=at)
            found.append(LiteralValue(days.amount))
        else:
            while not self.is_sign(")"):
                if found:
                    self.expect(",")
                found.append(self._right())
        self.expect(")")
        return tuple(found)

    def _right(self) -> LiteralValue | Property | Trait:
        token = self.next
        if token.kind == TEXT:
            return LiteralValue(self.take().value)
        if token.kind == NUMBER:
            self.take()
            return LiteralValue(self._number(token))
        if token.kind == NAME and token.value.lower() in ("true", "false"):
            return LiteralValue(self.take().value.lower() == "true")
        if token.kind == NAME and token.value == "literal":
            self.take()
            self.expect("(")
            found = self._right()
            self.expect(")")
            return found
        if token.kind == NAME and token.value in ("property", "trait"):
            found_there = self._primary()
            if isinstance(found_there, Property | Trait):
                return found_there if isinstance(found_there, Trait) else self._no_entry(found_there, at=token)
        raise self.error("a 'text', a number, true, false, property(…) or trait(…) is expected")

    def _number(self, token: Token) -> int | float:
        number = float(token.value) if "." in token.value else int(token.value)
        written = token.value.lstrip("+-").lstrip("0").replace(".", "")
        if len(written) > 15:  # what a binary double holds exactly
            raise self.error("a number has at most 15 digits", at=token)
        return number

    def _compared(
        self, left: _Left, operator: Operator, right: tuple[LiteralValue | Property | Trait, ...], *, at: Token
    ) -> Comparison:
        found = Comparison(left, operator, right)
        problem = comparison_problem(found)
        if problem:
            raise self.error(problem, at=at)
        return found

    def _one_text(self) -> str:
        self.expect("(")
        at = self.next
        found = self.text_value()
        if not found:
            raise self.error("a name is expected", at=at)
        self.expect(")")
        return found


def checked(definition: Definition) -> Definition:
    """A definition that came as JSON, after the same checks as its text.

    Raises:
        DefinitionError: with the place in the definition's text.
    """
    from punchcard.computations.printer import to_text

    try:
        text = to_text(definition)
    except (ValueError, msgspec.ValidationError) as error:
        raise DefinitionError(str(error), text="", position=0) from error
    return parse_trait(text) if isinstance(definition, Events) else parse_audience(text)
