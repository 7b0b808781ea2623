"""The properties or traits of one event: by path, with type, form and a value that may be kept. Pure.

Values are for suggestions and examples only. Nothing that looks like personal data is among them, no long text, and no
number so long that it is rather an identifier.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from punchcard.events.faults import UNREADABLE
from punchcard.events.model import Event, EventType
from punchcard.events.personal_data import PersonalData, personal_name, personal_value

PATHS_MAX: Final = 100
"""Paths read of one event; those behind it are left out."""
PATH_CHARACTERS_MAX: Final = 160
"""Longer paths are left out."""
VALUE_CHARACTERS_MAX: Final = 60
"""Longer texts are not kept as values."""

_DEPTH_MAX: Final = 5
_INTEGER_DIGITS_MAX: Final = 8
_DAY_CHARACTERS: Final = 10
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# As JSON Schema requires it: with the seconds and the offset. An inferred plan must accept what it was inferred from.
_TIME: Final = re.compile(
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_UUID: Final = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_URL: Final = re.compile(r"(?i)https?://\S+")
_TRAITS: Final = (EventType.IDENTIFY, EventType.GROUP)
_NAMED: Final = (EventType.PAGE, EventType.SCREEN)


class ValueType(StrEnum):
    """The type of a value in JSON, with whole numbers apart, as JSON Schema names them."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    NULL = "null"
    OBJECT = "object"
    ARRAY = "array"


class TextFormat(StrEnum):
    """The form of a text, as JSON Schema names them."""

    DATE = "date"
    DATE_TIME = "date-time"
    UUID = "uuid"
    URI = "uri"


OTHER_ITEMS: Final = "values"
"""The form of a list in which an item is not an object."""


class Observation(NamedTuple):
    """A value of an event.

    Attributes:
        path: Path below `properties` or `traits`, such as `address.city`; items of a list are `products[].price`.
            A character of a name that FQL does not read as part of it follows a backslash.
        type: Its type.
        format: Its form if it is a text of a known one, or `OTHER_ITEMS`, else "".
        personal: What it or an item of it looks like if that is personal data, else None.
        value: JSON text that may be kept and shown, None if there is none.
        is_first: False if the event has the path before, in another item of a list and of another type or form.
    """

    path: str
    type: ValueType
    format: str
    personal: PersonalData | None
    value: str | None
    is_first: bool = True


def observe_properties(event: Event) -> list[Observation]:
    """Return the event's properties (traits of identify and group calls), at most `PATHS_MAX` paths."""
    wire = event.wire
    raw = wire.traits if event.type in _TRAITS else wire.properties
    observations: list[Observation] = []
    try:
        members = msgspec.json.decode(raw) if raw else {}
    except UNREADABLE:
        return observations
    if not isinstance(members, dict):
        return observations
    if event.type in _NAMED:
        members = {**{key: text for key, text in (("name", wire.name), ("category", wire.category)) if text}, **members}
    # A person's trait `name` is the name of that person.
    context = ("user",) if event.type is EventType.IDENTIFY else ()
    seen: dict[
        str, dict[tuple[ValueType, str], int]
    ] = {}  # by path: types and forms, with the number of the observation
    for path, names, value in _walk(members, context, "", 1):
        kind = _type_of(value), _format_of(value)
        kinds = seen.get(path)
        if kinds is None:
            if len(seen) >= PATHS_MAX:
                continue
            kinds = seen[path] = {}
        if kind not in kinds:
            kinds[kind] = len(observations)
            observations.append(_observe(path, names, value, kind, is_first=len(kinds) == 1))
        elif (known := observations[kinds[kind]]).personal is None and (personal := _personal_of(names, value)):
            observations[kinds[kind]] = known._replace(personal=personal, value=None)
    return observations


def _walk(
    members: Mapping[str, object], names: tuple[str, ...], prefix: str, depth: int
) -> Iterator[tuple[str, tuple[str, ...], object]]:
    """Yield all values with their paths and the names of what they are in; a path for each item of a list."""
    for name, value in members.items():
        escaped = _escape(name) if len(name) <= PATH_CHARACTERS_MAX else ""
        path = prefix + escaped
        if not escaped or len(path) > PATH_CHARACTERS_MAX:
            continue
        inner = (*names, name)
        yield path, inner, value
        if depth >= _DEPTH_MAX:
            continue
        if isinstance(value, dict):
            yield from _walk(value, inner, f"{path}.", depth + 1)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    yield from _walk(item, inner, f"{path}[].", depth + 1)


def _observe(
    path: str, names: tuple[str, ...], value: object, kind: tuple[ValueType, str], *, is_first: bool
) -> Observation:
    type_, format_ = kind
    personal = _personal_of(names, value)
    stored_value = None
    if personal is None and format_ != TextFormat.UUID and _may_be_stored(value):
        stored_value = msgspec.json.encode(value).decode()
    return Observation(path, type_, format_, personal, stored_value, is_first)


def _personal_of(names: tuple[str, ...], value: object) -> PersonalData | None:
    """Return what a value looks like, or the first such item of a list; None for nothing about a person."""
    if (personal := personal_name(names)) is not None:
        return personal
    for item in value if isinstance(value, list) else (value,):
        if (
            isinstance(item, str | int)
            and not isinstance(item, bool)
            and (personal := personal_value(item)) is not None
        ):
            return personal
    return None


def _type_of(value: object) -> ValueType:
    match value:
        case bool():
            return ValueType.BOOLEAN
        case str():
            return ValueType.STRING
        case int():
            return ValueType.INTEGER
        case float():
            return ValueType.NUMBER
        case dict():
            return ValueType.OBJECT
        case list():
            return ValueType.ARRAY
        case _:
            return ValueType.NULL


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _format_of(value: object) -> str:
    if isinstance(value, list):
        return "" if all(isinstance(item, dict) for item in value) else OTHER_ITEMS
    return _text_format(value) if isinstance(value, str) else ""


def _text_format(text: str) -> str:
    if _DATE.match(text) and _is_day(text[:_DAY_CHARACTERS]):
        if len(text) == _DAY_CHARACTERS:
            return TextFormat.DATE
        if _TIME.fullmatch(text, _DAY_CHARACTERS):
            return TextFormat.DATE_TIME
    if _UUID.fullmatch(text):
        return TextFormat.UUID
    return TextFormat.URI if _URL.fullmatch(text) else ""


def _may_be_stored(value: object) -> bool:
    match value:
        case bool() | float():
            return True
        case int():
            return abs(value) < 10**_INTEGER_DIGITS_MAX
        case str():
            # A link may carry ids and tokens of a person in its query.
            return 0 < len(value) <= VALUE_CHARACTERS_MAX and value.isprintable() and "?" not in value
        case _:
            return False


@lru_cache(maxsize=1_000)
def _escape(name: str) -> str:
    """Return a name as a part of a path, "" for one that is left out."""
    if _PLAIN_NAME.fullmatch(name):
        return name
    if _CONTROL.search(name):
        return ""
    return "".join(letter if _PLAIN_NAME.fullmatch(letter) else f"\\{letter}" for letter in name)
