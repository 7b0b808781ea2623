"""Decides about most JSON texts without validating their values: a decoder that accepts only what a schema allows.

Schemas of tracking plans are simple: types, required names, enumerations, bounds. Such a schema is also a type of
msgspec, which checks while it decodes: that takes a third of the time of decoding and validating. What the decoder
accepts is valid; of what it refuses nothing is known, and the validator decides.

Source: JSON Schema, draft 7, "Validation".
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, Union

import msgspec

from punchcard.events.faults import UNREADABLE

_ANNOTATIONS: Final = frozenset(
    {"$schema", "$id", "$comment", "title", "description", "labels", "default", "examples", "definitions"}
)
_KEYWORDS: Final[Mapping[str, frozenset[str]]] = {
    "string": frozenset({"minLength", "maxLength"}),
    "integer": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "boolean": frozenset(),
    "null": frozenset(),
    "array": frozenset({"items", "minItems", "maxItems"}),
    "object": frozenset({"properties", "required", "additionalProperties"}),
}
_BOUNDS: Final = {
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
}
_BOUND_MAX: Final = 2**52  # numbers are decoded as floats, which are exact up to twice this one
_NAMES_MAX: Final = 200  # the decoder compares names one by one
_DEPTH_MAX: Final = 20


class _TooInvolvedError(Exception):
    """A schema has something that the decoder cannot check."""


def compile_usual(schema: Mapping[str, object]) -> Callable[[bytes | msgspec.Raw], bool] | None:
    """Return a function that is false for every JSON text that is not valid under a schema, and for some that are.

    Args:
        schema: A valid schema without references.

    Returns:
        None if the schema is too involved.
    """
    try:
        decode = msgspec.json.Decoder(_type_of(schema, 0)).decode
    except (_TooInvolvedError, TypeError, ValueError):
        # msgspec refuses unions that it could not tell apart, and names that it could not compare.
        return None

    def is_accepted(text: bytes | msgspec.Raw) -> bool:
        try:
            decode(text)
        except UNREADABLE:
            return False
        return True

    return is_accepted


def _type_of(schema: object, depth: int) -> Any:
    if schema is True:
        return msgspec.Raw
    if not isinstance(schema, Mapping) or depth > _DEPTH_MAX:
        raise _TooInvolvedError
    keywords = schema.keys() - _ANNOTATIONS
    if not keywords:
        return msgspec.Raw
    if "enum" in keywords or "const" in keywords:
        return _enumeration(schema, keywords)
    stated = schema.get("type", "object" if "properties" in keywords else None)
    types = stated if isinstance(stated, list | tuple) else [stated]
    allowed = {"type"}.union(*(_KEYWORDS.get(str(name), ()) for name in types))
    if not keywords <= allowed:
        raise _TooInvolvedError
    return Union[tuple(_simple_type(str(name), schema, depth) for name in types)]  # noqa: UP007  # made at run time


def _enumeration(schema: Mapping[str, object], keywords: set[str]) -> Any:
    options = schema.get("enum", [schema.get("const")])
    is_of_text = isinstance(options, list | tuple) and all(isinstance(option, str) for option in options)
    if not is_of_text or len(keywords - {"type"}) > 1 or schema.get("type", "string") != "string":
        raise _TooInvolvedError
    return Literal[tuple(options)]  # type: ignore[arg-type]


def _simple_type(name: str, schema: Mapping[str, object], depth: int) -> Any:
    match name:
        case "string":
            return _bounded(str, name, schema)
        case "integer":
            return _bounded(int, name, schema)
        case "number":
            return _bounded(float, name, schema)
        case "boolean":
            return bool
        case "null":
            return None
        case "array":
            return _bounded(list[_type_of(schema.get("items", True), depth + 1)], name, schema)  # type: ignore[misc]
        case "object":
            return _object(schema, depth)
        case _:
            raise _TooInvolvedError


def _bounded(type_: Any, name: str, schema: Mapping[str, object]) -> Any:
    bounds: dict[str, Any] = {}
    for keyword in sorted(_KEYWORDS[name] & schema.keys() & _BOUNDS.keys()):
        bound = schema[keyword]
        if isinstance(bound, bool) or not isinstance(bound, int | float) or abs(bound) > _BOUND_MAX:
            raise _TooInvolvedError
        if name != "number" and not isinstance(bound, int):
            raise _TooInvolvedError
        bounds[_BOUNDS[keyword]] = bound
    return Annotated[type_, msgspec.Meta(**bounds)] if bounds else type_


def _object(schema: Mapping[str, object], depth: int) -> Any:
    properties, required = schema.get("properties", {}), schema.get("required", ())
    others = schema.get("additionalProperties", True)
    if not isinstance(properties, Mapping) or not isinstance(required, list | tuple) or not isinstance(others, bool):
        raise _TooInvolvedError
    names = [*required, *sorted(properties.keys() - set(required))]
    if len(names) > _NAMES_MAX or not all(map(_can_be_compared, names)):
        raise _TooInvolvedError
    fields: list[Any] = []
    for number, name in enumerate(names):
        type_ = _type_of(properties.get(name, True), depth + 1)
        fields.append((f"member_{number}", type_) if name in required else (f"member_{number}", type_, None))
    return msgspec.defstruct(
        "Members",
        fields,
        rename={f"member_{number}": name for number, name in enumerate(names)},
        forbid_unknown_fields=not others,
        gc=False,
    )


def _can_be_compared(name: str) -> bool:
    return name.isprintable() and '"' not in name and "\\" not in name
