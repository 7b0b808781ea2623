"""Parse an `event(…)` with its methods: the selected events and their reducer."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Final

from punchcard.computations.lexer import NAME, Token
from punchcard.computations.model import (
    Condition,
    Context,
    Definition,
    Events,
    Property,
    Reducer,
    Window,
    all_events,
)
from punchcard.computations.token_reader import TokenReader

_REDUCERS: Final = {reducer.value: reducer for reducer in Reducer if reducer is not Reducer.UNIQUE_COUNT}
_FILTERS: Final = ("where", "sources", "within", "between", "expires_after")
_TYPES: Final = {
    Reducer.SUM: ("number",),
    Reducer.AVG: ("number",),
    Reducer.MIN: ("number", "string", "text"),
    Reducer.MAX: ("number", "string", "text"),
    Reducer.MODE: ("string", "text", "number", "array"),
}


@dataclass
class _Chain:
    """An `event(…)` while its methods are read."""

    name: str
    given: dict[str, Any] = field(default_factory=dict)


class EventReader(TokenReader, ABC):
    """Parses `event('Name')` up to its reducer; the subclass reads conditions inside `where`."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._in_where = 0

    @abstractmethod
    def _disjunction(self) -> Definition:
        """Read a condition."""

    @abstractmethod
    def _property(self, word: Token) -> Property | Context:
        """Read what follows `property` or `context`."""

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
                    f"a reducer is missing: .{', .'.join(sorted(_REDUCERS))}(…), with .where(…), "
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
                    raise self.error("a funnel has at most two steps: an event, and an event that followed", at=method)
                value: object = self._condition_inside(method)
                self._in_where -= 1
            case "sources":
                value = self._sources()
            case "within":
                key, value = self._within()
            case "between":
                key, value = self._between(chain, method)
            case _:
                value = self.duration()
        self.expect(")")
        if key in chain.given:
            raise self.error(f"`.{method.value}` is used twice; join conditions with AND", at=method)
        chain.given[key] = value

    def _between(self, chain: _Chain, method: Token) -> tuple[str, object]:
        is_of_parent = self._reads_parent()
        begin = self.duration()
        self.expect(",")
        end = self.duration()
        if begin.micros >= end.micros:
            raise self.error("between(7 days, 10 days): the shorter duration comes first", at=method)
        if not is_of_parent:
            return "window", Window(end=end, begin=begin)
        if "within_parent" not in chain.given:
            chain.given["after_parent"] = begin
        return "within_parent", end

    def _reads_parent(self) -> bool:
        """Read `parent:` if it comes next."""
        if self.next.kind != NAME or self.next.value != "parent":
            return False
        if not self._in_where:
            raise self.error("`parent:` is only allowed inside `where` of another event")
        self.take()
        self.expect(":")
        return True

    def _condition_inside(self, method: Token) -> Condition:
        is_in_braces = self.is_sign("{")  # as in Segment's reference
        if is_in_braces:
            self.take()
        disjunction = self._disjunction()
        if is_in_braces:
            self.expect("}")
        if isinstance(disjunction, Events):
            raise self.error("where( … ) needs a condition: compare the events with a value", at=method)
        if any(event.session or event.sources for event in all_events(disjunction)):
            raise self.error("the second event of a funnel takes no sources(…) and no expires_after(…)", at=method)
        if any(event.reducer is Reducer.MODE for event in all_events(disjunction)):
            raise self.error("the second event of a funnel takes no mode(…)", at=method)
        return disjunction

    def _within(self) -> tuple[str, object]:
        if self._reads_parent():
            return "within_parent", self.duration()
        return "window", Window(end=self.duration())

    def _sources(self) -> tuple[bool, tuple[str, ...]]:
        is_excluding = False
        if self.is_sign("{"):
            self.take()
            word = self.take()
            if word.value != "exclude":
                raise self.error("`exclude:` is expected", at=word)
            self.expect(":")
            is_excluding = True
        slugs = [self.text_value()]
        while self.is_sign(","):
            self.take()
            slugs.append(self.text_value())
        if is_excluding:
            self.expect("}")
        return is_excluding, tuple(slugs)

    def _reduced(self, chain: _Chain, reducer: Reducer, *, at: Token) -> Events:
        given = dict(chain.given)
        if "sources" in given:
            given["sources_left_out"], given["sources"] = given["sources"]
        if "session" in given and "window" in given:
            raise self.error("events are selected by a window or by a session, not by both", at=at)
        self.expect("(")
        if reducer is not Reducer.COUNT:
            word = self.take()
            if word.kind != NAME or word.value not in ("property", "context"):
                raise self.error(f"`{reducer}` needs property(…): {reducer}(property('revenue'))", at=word)
            self._in_where, outside = max(self._in_where, 1), self._in_where
            given["of"] = self._property(word)
            self._in_where = outside
            if self.next.kind == NAME and self.next.value == "as":
                self._read_type(given, reducer)
            if reducer is Reducer.MODE and self.is_sign(","):
                self.take()
                given["min_frequency"] = self.whole_number(1)
        self.expect(")")
        if reducer is Reducer.UNIQUE and self.is_sign(".") and self._tokens[self._at + 1].value == "count":
            self._at += 2
            self.expect("(")
            self.expect(")")
            reducer = Reducer.UNIQUE_COUNT
        return Events(chain.name, reducer, **given)

    def _read_type(self, given: dict[str, Any], reducer: Reducer) -> None:
        """Read `as string`, `as number` or `as array`; a type that the reducer uses anyway has no effect."""
        word = self.take()
        if reducer not in _TYPES:
            raise self.error(f"`as` needs sum(…), avg(…), min(…), max(…) or mode(…), not {reducer}(…)", at=word)
        type_ = self.take()
        known = _TYPES[reducer]
        if type_.value not in known:
            raise self.error(f"{' or '.join(f'`as {name}`' for name in known if name != 'text')} is expected", at=type_)
        if reducer is Reducer.MODE:
            # For a value that is not an entry of a list, the array is the value itself.
            given["as_array"] = type_.value == "array" and given["of"].list_path is not None
        else:
            given["as_text"] = type_.value != "number"
