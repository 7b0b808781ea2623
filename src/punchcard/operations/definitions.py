"""Definitions of audiences and computed traits in requests: as text, as JSON, or both. They are stored as text."""

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
    StaticList,
    comparisons,
)
from punchcard.computations.parser import checked, parse_audience, parse_trait
from punchcard.computations.printer import to_text
from punchcard.errors import ConfigurationError

QUERY_FIELD: Final = "definition.query"
MODEL_FIELD: Final = "definition.model"
"""Paths of the definition's text and JSON in a request, for errors."""

# The language allows 20 nested conditions, and each takes two or three levels of JSON.
_LEVELS_MAX = 100
_ERROR_PATH: Final = re.compile(r"(?s)(.*) - at `\$(.*)`")
_Wrapper = Callable[[Condition], Definition]


def resolve_definition(kind: str, *, query: str | None, model: object = None) -> str:
    """Return the text of a definition: the query unchanged, or the model printed as text.

    Args:
        kind: `audience` or `computed_trait`.
        model: Decoded JSON of the definition, such as `{"kind": "comparison", "left": …}`.

    Raises:
        ConfigurationError: Neither is given, one is invalid, or they differ. Its context has the invalid `field`,
            such as `definition.model.conditions[1]`, and for a query the `position` in the text.
    """
    if query is None and model is None:
        raise ConfigurationError(
            "A definition is missing. Send `query` (text) or `model` (JSON).",
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
        raise _refusal(
            f"`query` and `model` differ. As text, the model is {printed}. Send only one of them.", field=MODEL_FIELD
        )
    return query


def _print_model(model: object, read: Callable[[str], Definition]) -> str:
    if _is_deep(model):
        raise _refusal("The model is nested too deeply.", field=MODEL_FIELD)
    try:
        definition = _unwrap(msgspec.convert(model, Definition))
    except msgspec.ValidationError as error:
        match = _ERROR_PATH.fullmatch(str(error))
        message, path = (match[1], match[2]) if match else (str(error), "")
        raise _refusal(message, field=MODEL_FIELD + path) from error
    try:
        _check(definition)
        text = to_text(definition)
        read(text)
    except DefinitionError as error:
        path, problem = _find_innermost_problem(definition, "", lambda condition: condition) or ("", error.problem)
        raise _refusal(problem, field=MODEL_FIELD + path) from error
    return text


def _refusal(message: str, **context: object) -> ConfigurationError:
    return ConfigurationError(message, code=DefinitionError.code, **context)


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(_LEVELS_MAX):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True


def _unwrap(definition: Definition) -> Definition:
    """Return the definition without `and` and `or` of a single condition, which the language cannot express."""
    match definition:
        case And() | Or():
            if len(definition.conditions) == 1:
                return _unwrap(definition.conditions[0])
            return msgspec.structs.replace(
                definition, conditions=tuple(_unwrap(condition) for condition in definition.conditions)
            )
        case Not():
            return msgspec.structs.replace(definition, condition=_unwrap(definition.condition))
        case Comparison():
            return (
                msgspec.structs.replace(definition, left=_unwrap(definition.left))
                if isinstance(definition.left, Events)
                else definition
            )
        case StaticList():
            return definition
        case Events():
            return (
                definition
                if definition.where is None
                else msgspec.structs.replace(definition, where=_unwrap(definition.where))
            )


def _check(definition: Definition) -> None:
    for comparison in comparisons(definition):
        if problem := comparison_problem(comparison):
            raise DefinitionError(problem, text="", position=0)
    if checked(definition) != definition:
        raise DefinitionError("This cannot be expressed in the query language here.", text="", position=0)


def _find_innermost_problem(definition: Definition, path: str, wrap: _Wrapper) -> tuple[str, str] | None:
    """Return the path and the problem of the innermost invalid part, None if every part is valid.

    Args:
        wrap: Returns a definition that holds only a condition at the place of this part.
    """
    for name, child, wrap_child in _children(definition, wrap):
        if problem := _find_innermost_problem(child, path + name, wrap_child):
            return problem
    try:
        _check(definition if isinstance(definition, Events) else wrap(definition))
    except DefinitionError as error:
        return path, error.problem
    return None


def _children(definition: Definition, wrap: _Wrapper) -> Iterator[tuple[str, Condition, _Wrapper]]:
    match definition:
        case And() | Or():
            for number, condition in enumerate(definition.conditions):
                yield f".conditions[{number}]", condition, wrap
        case Not():
            yield ".condition", definition.condition, wrap
        case Comparison(left=Events(where=where)) if where is not None:
            yield (
                ".left.where",
                where,
                lambda condition: wrap(Comparison(_events_where(condition), Operator.AT_LEAST, _ONCE)),
            )
        case Events(where=where) if where is not None:
            yield ".where", where, _events_where


_ONCE: Final = (LiteralValue(1),)


def _events_where(condition: Condition) -> Events:
    return Events("an event", Reducer.COUNT, where=condition)
