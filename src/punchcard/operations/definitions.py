"""A definition of an audience or computed trait as it is asked for: as text, as JSON, or both; it is kept as text."""

import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from punchcard.computations.checks import comparison_problem
from punchcard.computations.errors import DefinitionError
from punchcard.computations.model import (
    And,
    Comparison,
    Condition,
    Definition,
    Events,
    LiteralValue,
    Not,
    Operator,
    Or,
    Reducer,
    comparisons,
)
from punchcard.computations.parser import checked, parse_audience, parse_trait
from punchcard.computations.printer import to_text
from punchcard.errors import ConfigurationError

QUERY: Final = "definition.query"
MODEL: Final = "definition.model"
"""The fields in which a request has a definition as text and as JSON."""

_LEVELS_MAX = 100  # of JSON; the language ends at 20 of its own, each of which takes two or three
_WHERE: Final = re.compile(r"(?s)(.*) - at `\$(.*)`")
_Inside = Callable[[Condition], Definition]


def definition_text(kind: str, *, query: str | None, model: object = None) -> str:
    """The text of a definition: a query as it was written, a model as it is printed.

    Args:
        kind: `audience` or `computed_trait`.
        model: `{"kind": "comparison", "left": …}`, the plain values of its JSON.

    Raises:
        ConfigurationError: neither is given, one of them cannot be meant, or they differ. Its context has the `field`
            that is wrong, such as `definition.model.conditions[1]`, and for a query the `position` in it.
    """
    if query is None and model is None:
        raise ConfigurationError(
            "a definition is needed: `query` is its text, `model` the same as JSON",
            code="invalid_request",
            field="definition",
        )
    read = parse_audience if kind == "audience" else parse_trait
    printed = None if model is None else _printed(model, read)
    if query is None:
        assert printed is not None
        return printed
    try:
        text = to_text(read(query))
    except DefinitionError as error:
        raise _refusal(error.message, field=QUERY, position=error.position) from error
    if printed is not None and text != printed:
        raise _refusal(f"`query` and `model` differ: the model is {printed}", field=MODEL)
    return query


def _printed(model: object, read: Callable[[str], Definition]) -> str:
    if _is_deep(model):
        raise _refusal("this is nested too deep", field=MODEL)
    try:
        definition = _unwrapped(msgspec.convert(model, Definition))
    except msgspec.ValidationError as error:
        match = _WHERE.fullmatch(str(error))
        message, place = (match[1], match[2]) if match else (str(error), "")
        raise _refusal(message, field=MODEL + place) from error
    try:
        _check(definition)
        text = to_text(definition)
        read(text)
    except DefinitionError as error:
        place, problem = _deepest(definition, "", lambda one: one) or ("", error.problem)
        raise _refusal(problem, field=MODEL + place) from error
    return text


def _refusal(message: str, **context: object) -> ConfigurationError:
    return ConfigurationError(message, code=DefinitionError.code, **context)


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(_LEVELS_MAX):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True


def _unwrapped(part: Definition) -> Definition:
    """The same without `and` and `or` of a single condition, for which the language has no words."""
    match part:
        case And() | Or():
            if len(part.conditions) == 1:
                return _unwrapped(part.conditions[0])
            return msgspec.structs.replace(
                part, conditions=tuple(_unwrapped(condition) for condition in part.conditions)
            )
        case Not():
            return msgspec.structs.replace(part, condition=_unwrapped(part.condition))
        case Comparison():
            return msgspec.structs.replace(part, left=_unwrapped(part.left)) if isinstance(part.left, Events) else part
        case Events():
            return part if part.where is None else msgspec.structs.replace(part, where=_unwrapped(part.where))


def _check(part: Definition) -> None:
    for comparison in comparisons(part):
        if problem := comparison_problem(comparison):
            raise DefinitionError(problem, text="", position=0)
    if checked(part) != part:
        raise DefinitionError("part of this is not in the language here, and would be lost", text="", position=0)


def _deepest(part: Definition, place: str, inside: _Inside) -> tuple[str, str] | None:
    """Where in a part something is wrong by itself, and what it is.

    Args:
        inside: Puts a condition where this part stands, with nothing else around it.
    """
    for name, child, around in _children(part, inside):
        if found := _deepest(child, place + name, around):
            return found
    try:
        _check(part if isinstance(part, Events) else inside(part))
    except DefinitionError as error:
        return place, error.problem
    return None


def _children(part: Definition, inside: _Inside) -> Iterator[tuple[str, Condition, _Inside]]:
    match part:
        case And() | Or():
            for number, one in enumerate(part.conditions):
                yield f".conditions[{number}]", one, inside
        case Not():
            yield ".condition", part.condition, inside
        case Comparison(left=Events(where=where)) if where is not None:
            yield ".left.where", where, lambda one: inside(Comparison(_where(one), Operator.AT_LEAST, _ONE))
        case Events(where=where) if where is not None:
            yield ".where", where, _where


_ONE: Final = (LiteralValue(1),)


def _where(condition: Condition) -> Events:
    return Events("an event", Reducer.COUNT, where=condition)
