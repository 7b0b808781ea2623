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

QUERY_FIELD: Final = "definition.query"
MODEL_FIELD: Final = "definition.model"
"""The fields in which a request has a definition as text and as JSON."""

_LEVELS_MAX = 100  # of JSON; the language ends at 20 of its own, each of which takes two or three
_ERROR_PATH: Final = re.compile(r"(?s)(.*) - at `\$(.*)`")
_Wrapper = Callable[[Condition], Definition]


def resolve_definition(kind: str, *, query: str | None, model: object = None) -> str:
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
    printed = None if model is None else _print_model(model, read)
    if query is None:
        assert printed is not None
        return printed
    try:
        text = to_text(read(query))
    except DefinitionError as error:
        raise _refusal(error.message, field=QUERY_FIELD, position=error.position) from error
    if printed is not None and text != printed:
        raise _refusal(f"`query` and `model` differ: the model is {printed}", field=MODEL_FIELD)
    return query


def _print_model(model: object, read: Callable[[str], Definition]) -> str:
    if _is_deep(model):
        raise _refusal("this is nested too deep", field=MODEL_FIELD)
    try:
        definition = _unwrap(msgspec.convert(model, Definition))
    except msgspec.ValidationError as error:
        match = _ERROR_PATH.fullmatch(str(error))
        message, place = (match[1], match[2]) if match else (str(error), "")
        raise _refusal(message, field=MODEL_FIELD + place) from error
    try:
        _check(definition)
        text = to_text(definition)
        read(text)
    except DefinitionError as error:
        place, problem = _find_innermost_problem(definition, "", lambda one: one) or ("", error.problem)
        raise _refusal(problem, field=MODEL_FIELD + place) from error
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


def _unwrap(part: Definition) -> Definition:
    """The same without `and` and `or` of a single condition, for which the language has no words."""
    match part:
        case And() | Or():
            if len(part.conditions) == 1:
                return _unwrap(part.conditions[0])
            return msgspec.structs.replace(part, conditions=tuple(_unwrap(condition) for condition in part.conditions))
        case Not():
            return msgspec.structs.replace(part, condition=_unwrap(part.condition))
        case Comparison():
            return msgspec.structs.replace(part, left=_unwrap(part.left)) if isinstance(part.left, Events) else part
        case Events():
            return part if part.where is None else msgspec.structs.replace(part, where=_unwrap(part.where))


def _check(part: Definition) -> None:
    for comparison in comparisons(part):
        if problem := comparison_problem(comparison):
            raise DefinitionError(problem, text="", position=0)
    if checked(part) != part:
        raise DefinitionError("part of this is not in the language here, and would be lost", text="", position=0)


def _find_innermost_problem(part: Definition, place: str, inside: _Wrapper) -> tuple[str, str] | None:
    """Where in a part something is wrong by itself, and what it is.

    Args:
        inside: Puts a condition where this part stands, with nothing else around it.
    """
    for name, child, around in _children(part, inside):
        if found := _find_innermost_problem(child, place + name, around):
            return found
    try:
        _check(part if isinstance(part, Events) else inside(part))
    except DefinitionError as error:
        return place, error.problem
    return None


def _children(part: Definition, inside: _Wrapper) -> Iterator[tuple[str, Condition, _Wrapper]]:
    match part:
        case And() | Or():
            for number, one in enumerate(part.conditions):
                yield f".conditions[{number}]", one, inside
        case Not():
            yield ".condition", part.condition, inside
        case Comparison(left=Events(where=where)) if where is not None:
            yield ".left.where", where, lambda one: inside(Comparison(_events_where(one), Operator.AT_LEAST, _ONCE))
        case Events(where=where) if where is not None:
            yield ".where", where, _events_where


_ONCE: Final = (LiteralValue(1),)


def _events_where(condition: Condition) -> Events:
    return Events("an event", Reducer.COUNT, where=condition)
