"""The properties or traits of one event: by path, with type, form and a value that may be kept. Pure.

Values are for suggestions and examples only. Nothing that looks like personal data is among them, no long text, and no
number so long that it is rather an identifier.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from enum import StrEnum
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
_ITEMS_MAX: Final = 3  # of a list: the others are like them
_INTEGER_DIGITS_MAX: Final = 8
_DAY_CHARACTERS: Final = 10
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
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


class Observation(NamedTuple):
    """One value of an event.

    Attributes:
        path: Path below `properties` or `traits`, such as `address.city`; items of a list are `products[].price`.
            A character of a name that FQL does not read as part of it follows a backslash.
        type: Its type.
        format: Its form if it is a text of a known one, else "".
        personal: What it looks like if that is personal data, else None.
        value: JSON text that may be kept and shown, None if there is none.
    """

    path: str
    type: ValueType
    format: str
    personal: PersonalData | None
    value: str | None


def observe_properties(event: Event) -> list[Observation]:
    """Return the event's properties (traits of identify and group calls), at most `PATHS_MAX`."""
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
    for observation in _walk(members, context, "", 1):
        observations.append(observation)
        if len(observations) >= PATHS_MAX:
            break
    return observations


def _walk(members: Mapping[str, object], names: tuple[str, ...], prefix: str, depth: int) -> Iterator[Observation]:
    for name, value in members.items():
        path = prefix + (name if _PLAIN_NAME.fullmatch(name) else _escape(name))
        if not name or len(path) > PATH_CHARACTERS_MAX:
            continue
        inner = (*names, name)
        yield _observe(path, inner, value)
        if depth >= _DEPTH_MAX:
            continue
        if isinstance(value, dict):
            yield from _walk(value, inner, f"{path}.", depth + 1)
        elif isinstance(value, list):
            seen: set[str] = set()  # an event counts once for a path, however many items have it
            for item in value[:_ITEMS_MAX]:
                if isinstance(item, dict):
                    for observation in _walk(item, inner, f"{path}[].", depth + 1):
                        if observation.path not in seen:
                            seen.add(observation.path)
                            yield observation


def _observe(path: str, names: tuple[str, ...], value: object) -> Observation:
    type_ = _type_of(value)
    personal = personal_name(names)
    if personal is None and isinstance(value, str | int) and not isinstance(value, bool):
        personal = personal_value(value)
    format_ = _format_of(value) if isinstance(value, str) else ""
    stored_value = None
    if personal is None and format_ != TextFormat.UUID and _may_be_stored(value):
        stored_value = msgspec.json.encode(value).decode()
    return Observation(path, type_, format_, personal, stored_value)


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


def _format_of(text: str) -> str:
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


def _escape(name: str) -> str:
    return "".join(
        letter if _PLAIN_NAME.fullmatch(letter) else f"\\{letter}" for letter in name if letter.isprintable()
    )
