"""What the framework says about an invalid parameter or member, in words for people and with the name that was sent."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.handlers import BaseRouteHandler

from punchcard.operations.sentences import count_noun

_BODY: Final = "data"  # the parameter of a handler that takes the body
_TYPES: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}
_MISSING_PARAMETER: Final = re.compile(r"Missing required (?:query )?parameter '([^']+)'")
_MISSING_MEMBER: Final = re.compile(r"Object missing required field `([^`]+)`")
_UNKNOWN_MEMBER: Final = re.compile(r"Object contains unknown field `([^`]*)`")
_NOT_LISTED: Final = re.compile(r"Invalid enum value '?(.*?)'?$", re.DOTALL)
_TOO_LARGE_NUMBER: Final = re.compile(r"(?:Number|Integer value) out of range")
_STEP: Final = re.compile(r"[^.\[\]]+|\[\d*\.*\]")  # of the path of a member: `rules[0].key`, `settings[...]`
_WRONG_TYPE: Final = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_LENGTH: Final = re.compile(r"Expected `(\w+)` of length (>=|<=) (\d+)")
_LIMITS: Final = {">=": "at least", "<=": "at most"}
_OUT_OF_RANGE: Final = re.compile(r"Expected `\w+` (>=|<=) ([\d.-]+)")


def handler_of(request: Request[Any, Any, Any]) -> BaseRouteHandler | None:
    """Return the handler of the call, None if none was chosen yet."""
    handler: BaseRouteHandler | None = request.scope.get("route_handler")
    return handler


def explain(message: str, key: str | None, handler: BaseRouteHandler | None) -> tuple[str, str | None]:
    """Return the message and the field of an error.

    Args:
        message: The framework's, such as "Expected `int`, got `str`".
        key: The parameter of the handler, or the path of the member in the body.
        handler: Of the call, if it is known.
    """
    field = _sent_name(key, handler)
    subject = "The body" if field is None else f"The {_kind(key, handler)} {field}"
    if match := _MISSING_PARAMETER.match(message):
        return f"The parameter {match[1]} is missing.", match[1]
    if match := _MISSING_MEMBER.match(message):
        return f"The member {match[1]} is missing.", _below(field, match[1])
    if match := _UNKNOWN_MEMBER.match(message):
        return f"There is no member {_shown(match[1])} here.", _below(field, match[1])
    if match := _NOT_LISTED.match(message):
        values = _values(key or "", handler)
        return f"{subject} must be {_one_of(values)}, not {_shown(match[1])}.", field
    if _TOO_LARGE_NUMBER.match(message):
        return f"{'A number of the body' if field is None else subject} is too large.", field
    if match := _WRONG_TYPE.match(message):
        return f"{subject} must be {_type(match[1])}, not {_type(match[2])}.", field
    if match := _OUT_OF_RANGE.match(message):
        return f"{subject} must be {_LIMITS[match[1]]} {match[2]}.", field
    if match := _LENGTH.match(message):
        units = ("character", "") if match[1] == "str" else ("entry", "entries")
        return f"{subject} must have {_LIMITS[match[2]]} {count_noun(int(match[3]), *units)}.", field
    return message, field


def _sent_name(key: str | None, handler: BaseRouteHandler | None) -> str | None:
    """Return the name in the request of a handler's parameter; members of the body have their own."""
    if key is None or key == _BODY:
        return None
    parameter = None if handler is None else handler.parsed_fn_signature.parameters.get(key)
    name = getattr(parameter.kwarg_definition, "name", None) if parameter is not None else None
    return key if name is None else str(name)


def _kind(key: str | None, handler: BaseRouteHandler | None) -> str:
    return "parameter" if handler is not None and key in handler.parsed_fn_signature.parameters else "member"


def _shown(text: str) -> str:
    return text or '""'


def _one_of(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"one of {', '.join(values)}"


def _values(key: str, handler: BaseRouteHandler | None) -> Sequence[str]:
    """Return the values that a parameter or a member of the body may have."""
    parameters = {} if handler is None else handler.parsed_fn_signature.parameters
    name, steps = (key, []) if key in parameters else (_BODY, _STEP.findall(key))
    if name not in parameters:
        return ("another value",)
    types = [msgspec.inspect.type_info(parameters[name].annotation)]
    for step in steps:
        types = [inner for type_ in types for inner in _inner_types(type_, step)]
    return [value for type_ in types for value in _listed_values(type_)] or ("another value",)


def _inner_types(type_: msgspec.inspect.Type, step: str) -> Iterator[msgspec.inspect.Type]:
    match type_:
        case msgspec.inspect.UnionType(types=types):
            for member in types:
                yield from _inner_types(member, step)
        case msgspec.inspect.Metadata(type=inner):
            yield from _inner_types(inner, step)
        case msgspec.inspect.StructType(fields=fields):
            yield from (field.type for field in fields if field.encode_name == step)
        case msgspec.inspect.ListType(item_type=inner) | msgspec.inspect.DictType(value_type=inner):
            yield inner


def _listed_values(type_: msgspec.inspect.Type) -> Iterator[str]:
    match type_:
        case msgspec.inspect.UnionType(types=types):
            for member in types:
                yield from _listed_values(member)
        case msgspec.inspect.Metadata(type=inner):
            yield from _listed_values(inner)
        case msgspec.inspect.LiteralType(values=values):
            yield from (str(value) for value in values if value != "")  # an empty one means none
        case msgspec.inspect.EnumType(cls=members):
            yield from (str(member.value) for member in members)


def _below(field: str | None, member: str) -> str:
    return member if field is None else f"{field}.{member}"


def _type(names: str) -> str:
    return " or ".join(_TYPES.get(name, name) for name in names.split(" | "))
