"""Reads the text of a definition: `NOT` binds closest, then `AND`, then `OR`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from punchcard.computations.errors import DefinitionError
from punchcard.computations.model import (
    BY_DATE,
    BY_DAYS,
    COUNTING,
    OF_LIST,
    OF_NUMBERS,
    OF_TEXT,
    ORDERING,
    SIGNS,
    And,
    Comparison,
    Condition,
    Context,
    Definition,
    Duration,
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
from punchcard.computations.tokens import END, NAME, NUMBER, TEXT, Token, tokens_of

DEFINITION_BYTES_MAX: Final = 16 * 1024
PRIMARIES_MAX: Final = 50
NESTING_MAX: Final = 20
_UNITS: Final = ("second", "minute", "hour", "day")
_WINDOW_MICROS_MAX: Final = 3 * 366 * 86_400_000_000
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


def parse_audience(text: str) -> Condition:
    """The condition that a text states.

    Raises:
        DefinitionError: with the character that is wrong, and what was expected there.
    """
    parser = _Parser(text)
    found = parser.whole()
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
    found = _Parser(text).whole()
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


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > DEFINITION_BYTES_MAX:
            problem = f"a definition has at most {DEFINITION_BYTES_MAX:,} bytes, this one has {size:,}"
            raise DefinitionError(problem, text=text, position=0)
        self._tokens = tokens_of(text)
        self._at = 0
        self._depth = 0
        self._primaries = 0
        self._in_where = 0

    def whole(self) -> Definition:
        """The definition, and nothing behind it."""
        if self._next.kind == END:
            raise self._error("a definition is expected, such as: event('Order Completed').count() >= 1")
        found = self._disjunction()
        if self._next.kind != END:
            raise self._error("`AND`, `OR`, a comparison or the end is expected")
        return found

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _error(self, problem: str, *, at: Token | None = None) -> DefinitionError:
        return DefinitionError(problem, text=self._text, position=(at or self._next).position)

    def _disjunction(self) -> Definition:
        return self._joined("OR", self._conjunction, Or)

    def _conjunction(self) -> Definition:
        return self._joined("AND", self._unary, And)

    def _joined(
        self, word: str, part: Callable[[], Definition], made: Callable[[tuple[Condition, ...]], Condition]
    ) -> Definition:
        first = self._next
        parts = [part()]
        while self._next.kind == NAME and self._next.value == word:
            self._take()
            parts.append(part())
        if len(parts) == 1:
            return parts[0]
        conditions = []
        for one in parts:
            if isinstance(one, Events):
                raise self._error(f"`{word}` joins conditions: compare each side with something", at=first)
            conditions.append(one)
        return made(tuple(conditions))

    def _unary(self) -> Definition:
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise self._error(f"this is nested more than {NESTING_MAX} levels deep")
        try:
            if self._is_sign("("):
                return self._group()
            if self._next.kind == NAME and self._next.value == "NOT":
                word = self._take()
                if not self._is_sign("("):
                    raise self._error("`NOT` needs its condition in parentheses: NOT ( … )")
                inner = self._group()
                if isinstance(inner, Events):
                    raise self._error("`NOT` turns a condition: compare this with something", at=word)
                return Not(inner)
            return self._comparison()
        finally:
            self._depth -= 1

    def _group(self) -> Definition:
        opening = self._take()
        found = self._disjunction()
        if not self._is_sign(")"):
            raise self._error(f"the `(` at character {opening.position + 1} needs its `)`")
        self._take()
        return found

    def _comparison(self) -> Definition:
        first = self._next
        left = self._primary()
        if self._next.kind == "sign" and self._next.value in SIGNS:
            sign = self._take()
            return self._compared(left, SIGNS[sign.value], (self._right(),), at=sign)
        if self._is_sign("."):
            self._take()
            method = self._take()
            if method.value not in _METHODS:
                raise self._unknown(method, _METHODS, "comparison")
            operator = _METHODS[method.value]
            return self._compared(left, operator, self._arguments(operator), at=method)
        if isinstance(left, Events):
            return left
        raise self._error("a comparison is expected, such as `= 'gold'` or `.exists()`", at=first)

    def _primary(self) -> _Left:
        word = self._take()
        if word.kind != NAME or word.value not in _PRIMARIES or word.value == "NOT":
            if word.kind == NAME and word.value in _NOT_HERE:
                raise self._error(_NOT_HERE[word.value], at=word)
            hint = self._hint(word.value, _PRIMARIES) if word.kind == NAME else ""
            raise self._error(f"event(…), trait(…), property(…) or context(…) is expected{hint}", at=word)
        if word.value in ("property", "context") and not self._in_where:
            raise self._error(f"{word.value}(…) is a value of an event: it stands inside `.where( … )`", at=word)
        if word.value in ("event", "trait"):
            self._primaries += 1
            if self._primaries > PRIMARIES_MAX:
                raise self._error(f"a definition has at most {PRIMARIES_MAX} event(…) and trait(…)", at=word)
        if word.value == "event":
            return self._events()
        if word.value == "trait":
            return Trait(self._one_text())
        return self._property(word)

    def _property(self, word: Token) -> Property | Context:
        self._expect("(")
        of_parent = False
        if self._next.kind == NAME and self._next.value == "parent":
            self._take()
            self._expect(":")
            of_parent = True
            if self._in_where < 2 or word.value != "property":  # the parent's where, and its child's
                raise self._error("`parent:` stands in the where of a funnel's second event")
        path = self._path()
        self._expect(")")
        return Context(path) if word.value == "context" else Property(path, of_parent)

    def _path(self) -> str:
        at = self._next
        path = self._text_value()
        if not path or path.startswith(".") or path.endswith(".") or ".." in path:
            raise self._error("the name of a property is expected, `a.b` for a member inside", at=at)
        return path

    def _events(self) -> Events:
        self._expect("(")
        at = self._next
        name = self._text_value()
        if not name.strip():
            raise self._error("the name of an event is expected", at=at)
        self._expect(")")
        chain = _Chain(name)
        while True:
            if not self._is_sign("."):
                raise self._error(
                    f"what becomes of the events is missing: .{', .'.join(sorted(_REDUCERS))}(…), with .where(…), "
                    ".within(…) before it as needed"
                )
            self._take()
            method = self._take()
            if method.value in _FILTERS:
                self._filter(chain, method)
                continue
            if method.value not in _REDUCERS:
                raise self._unknown(method, [*_FILTERS, *_REDUCERS], "method of events")
            return self._reduced(chain, _REDUCERS[method.value], at=method)

    def _filter(self, chain: _Chain, method: Token) -> None:
        names = {"expires_after": "session", "between": "window"}
        key = names.get(method.value, method.value)
        self._expect("(")
        match method.value:
            case "where":
                self._in_where += 1
                if self._in_where > 2:
                    raise self._error("a funnel has two steps: an event, and what the person did then", at=method)
                value: object = self._condition_inside(method)
                self._in_where -= 1
            case "sources":
                value = self._sources()
            case "within":
                key, value = self._within()
            case "between":
                begin = self._duration()
                self._expect(",")
                value = Window(end=self._duration(), begin=begin)
                if begin.micros >= value.end.micros:
                    raise self._error("between(7 days, 10 days): the nearer border comes first", at=method)
            case _:
                value = self._duration()
        self._expect(")")
        if key in chain.given:
            raise self._error(f"`.{method.value}` stands here already; join conditions with AND", at=method)
        chain.given[key] = value

    def _condition_inside(self, method: Token) -> Condition:
        found = self._disjunction()
        if isinstance(found, Events):
            raise self._error("where( … ) needs a condition: compare this with something", at=method)
        if any(one.session or one.sources for one in all_events(found)):
            raise self._error("the second event of a funnel takes no sources(…) and no expires_after(…)", at=method)
        return found

    def _within(self) -> tuple[str, object]:
        if self._next.kind == NAME and self._next.value == "parent":
            if not self._in_where:
                raise self._error("`parent:` stands in the where of another event")
            self._take()
            self._expect(":")
            return "within_parent", self._duration()
        return "window", Window(end=self._duration())

    def _sources(self) -> tuple[bool, tuple[str, ...]]:
        left_out = False
        if self._is_sign("{"):
            self._take()
            word = self._take()
            if word.value != "exclude":
                raise self._error("`exclude:` is expected", at=word)
            self._expect(":")
            left_out = True
        found = [self._text_value()]
        while self._is_sign(","):
            self._take()
            found.append(self._text_value())
        if left_out:
            self._expect("}")
        return left_out, tuple(found)

    def _reduced(self, chain: _Chain, reducer: Reducer, *, at: Token) -> Events:
        given = dict(chain.given)
        if "sources" in given:
            given["sources_left_out"], given["sources"] = given["sources"]
        if "session" in given and "window" in given:
            raise self._error("events are taken of a window or of a session, not both", at=at)
        self._expect("(")
        if reducer is not Reducer.COUNT:
            word = self._take()
            if word.kind != NAME or word.value not in ("property", "context"):
                raise self._error(f"`{reducer}` needs property(…): {reducer}(property('revenue'))", at=word)
            self._in_where, outside = max(self._in_where, 1), self._in_where
            given["of"] = self._property(word)
            self._in_where = outside
            if reducer is Reducer.MODE and self._is_sign(","):
                self._take()
                given["min_frequency"] = self._whole(1)
            if reducer in (Reducer.MIN, Reducer.MAX) and self._next.value == "as":
                self._take()
                if self._take().value not in ("string", "text"):
                    raise self._error("`as string` is expected")
                given["as_text"] = True
        self._expect(")")
        if reducer is Reducer.UNIQUE and self._is_sign(".") and self._tokens[self._at + 1].value == "count":
            self._at += 2
            self._expect("(")
            self._expect(")")
            reducer = Reducer.UNIQUE_COUNT
        return Events(chain.name, reducer, **given)

    def _arguments(self, operator: Operator) -> tuple[LiteralValue | Property | Trait, ...]:
        self._expect("(")
        found: list[LiteralValue | Property | Trait] = []
        if operator in BY_DAYS:
            at = self._next
            days = self._duration()
            if days.unit != "day":
                raise self._error("days are expected here: within_last(7 days)", at=at)
            found.append(LiteralValue(days.amount))
        else:
            while not self._is_sign(")"):
                if found:
                    self._expect(",")
                found.append(self._right())
        self._expect(")")
        return tuple(found)

    def _right(self) -> LiteralValue | Property | Trait:
        token = self._next
        if token.kind == TEXT:
            return LiteralValue(self._take().value)
        if token.kind == NUMBER:
            self._take()
            return LiteralValue(self._number(token))
        if token.kind == NAME and token.value.lower() in ("true", "false"):
            return LiteralValue(self._take().value.lower() == "true")
        if token.kind == NAME and token.value == "literal":
            self._take()
            self._expect("(")
            found = self._right()
            self._expect(")")
            return found
        if token.kind == NAME and token.value in ("property", "trait"):
            found_there = self._primary()
            if isinstance(found_there, Property | Trait):
                return found_there
        raise self._error("a 'text', a number, true, false, property(…) or trait(…) is expected")

    def _number(self, token: Token) -> int | float:
        number = float(token.value) if "." in token.value else int(token.value)
        written = token.value.lstrip("+-").lstrip("0").replace(".", "")
        if len(written) > 15:  # what a binary double holds exactly
            raise self._error("a number has at most 15 digits", at=token)
        return number

    def _compared(
        self, left: _Left, operator: Operator, right: tuple[LiteralValue | Property | Trait, ...], *, at: Token
    ) -> Comparison:
        found = Comparison(left, operator, right)
        problem = comparison_problem(found)
        if problem:
            raise self._error(problem, at=at)
        return found

    def _duration(self) -> Duration:
        at = self._next
        amount = self._whole(1)
        unit = self._take()
        name = unit.value.removesuffix("s")
        if unit.kind != NAME or name not in _UNITS:
            raise self._error("a time is a number and a unit: 7 days, 12 hours, 30 minutes", at=unit)
        duration = Duration(amount, name)  # type: ignore[arg-type]  # looked up above
        if duration.micros > _WINDOW_MICROS_MAX:
            raise self._error("a time is at most three years (1098 days)", at=at)
        return duration

    def _whole(self, least: int) -> int:
        token = self._take()
        if token.kind != NUMBER or not token.value.isdigit() or int(token.value) < least:
            raise self._error(f"a whole number of at least {least} is expected", at=token)
        return int(token.value)

    def _one_text(self) -> str:
        self._expect("(")
        at = self._next
        found = self._text_value()
        if not found:
            raise self._error("a name is expected", at=at)
        self._expect(")")
        return found

    def _text_value(self) -> str:
        if self._next.kind != TEXT:
            raise self._error("a text in quotes is expected")
        return self._take().value

    def _is_sign(self, sign: str) -> bool:
        return self._next.kind == "sign" and self._next.value == sign

    def _expect(self, sign: str) -> None:
        if not self._is_sign(sign):
            raise self._error(f"`{sign}` is expected")
        self._take()

    def _take(self) -> Token:
        token = self._next
        if token.kind != END:
            self._at += 1
        return token

    def _unknown(self, token: Token, known: Mapping[str, object] | list[str], kind: str) -> DefinitionError:
        hint = self._hint(token.value, list(known)) or f"; there are {', '.join(known)}"
        return self._error(f"there is no {kind} `{token.value}`{hint}", at=token)

    def _hint(self, word: str, known: list[str] | tuple[str, ...]) -> str:
        close = get_close_matches(word.lower(), known, n=1)
        return f"; did you mean `{close[0]}`?" if close else ""


def comparison_problem(one: Comparison) -> str | None:
    """Why a comparison can never be meant, None if it can."""
    operator, right = one.operator, one.right
    if problem := _count_problem(operator, len(right)):
        return problem
    literals = [item for item in right if isinstance(item, LiteralValue)]
    is_number = isinstance(one.left, Events) and one.left.reducer in (COUNTING | OF_NUMBERS)
    if is_number and (operator in OF_TEXT | BY_DATE | BY_DAYS or any(not item.is_number for item in literals)):
        return f"`{one.left.reducer}` is a number: compare it with one"  # type: ignore[union-attr]
    if isinstance(one.left, Events) and one.left.reducer is Reducer.UNIQUE and operator not in OF_TEXT | _PRESENCE:
        return "`unique` is a list: .contains(…), .omits(…), .exists(), or .unique(…).count() for its length"
    if operator in ORDERING and any(not item.is_number for item in literals):
        return "greater and less compare numbers; for dates there are .before_date(…) and .after_date(…)"
    if operator in OF_TEXT and any(not isinstance(item.value, str) for item in literals):
        return f"`{operator}` compares texts: put the value in quotes"
    if operator in BY_DATE and any(not _is_date(item) for item in literals):
        return "a date is expected: '2026-01-31'"
    if operator in BY_DAYS and not all(item.is_number and float(item.value) > 0 for item in literals):
        return "days are expected: within_last(7 days)"
    if len(literals) < len(right) and operator not in ORDERING | _EQUALITY:
        return f"`{operator}` compares with texts or numbers, not with a property or trait"
    return None


_PRESENCE: Final = frozenset({Operator.EXISTS, Operator.ABSENT})
_EQUALITY: Final = frozenset({Operator.EQUALS, Operator.DIFFERS})


def _count_problem(operator: Operator, count: int) -> str | None:
    if operator in _PRESENCE:
        return f"`{operator}` takes no value" if count else None
    if operator in OF_LIST or operator in (Operator.CONTAINS, Operator.OMITS):
        return None if count else f"`{operator}` needs at least one value"
    return None if count == 1 else f"`{operator}` takes one value, here it has {count}"


def _is_date(item: LiteralValue) -> bool:
    try:
        return isinstance(item.value, str) and bool(date.fromisoformat(item.value[:10])) and len(item.value) == 10
    except ValueError:
        return False


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
