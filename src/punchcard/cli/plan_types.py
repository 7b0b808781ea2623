"""The types of a tracking plan, read from its JSON Schemas, for the generators of code."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

_DEPTH_MAX: Final = 8
_NAMED: Final = frozenset({"string", "integer", "number", "boolean", "null"})


@dataclass(frozen=True, kw_only=True)
class Member:
    """A property of an object."""

    name: str
    type: "PlanType"
    is_required: bool
    description: str


@dataclass(frozen=True, kw_only=True)
class PlanType:
    """A type.

    Attributes:
        names: Simple types (`string`, `number` …) and `array`, `object`; empty for any value.
        values: The only values, if the schema lists them.
        items: Type of the items of an array.
        members: Properties of an object; none if they are not described.
        is_open: True if an object may have other properties too.
    """

    names: tuple[str, ...] = ()
    values: tuple[str | int | float | bool | None, ...] = ()
    items: "PlanType | None" = None
    members: tuple[Member, ...] = ()
    is_open: bool = True


@dataclass(frozen=True, kw_only=True)
class EventCall:
    """A call of the plan.

    Attributes:
        call: `track`, `identify`, `group`, `page` or `screen`.
        name: Name of a track call.
        words: Words of the name of the generated function; those of another call may be the same.
        member: `properties` or `traits`.
    """

    call: str
    name: str
    words: tuple[str, ...]
    member: str
    description: str
    properties: PlanType

    @property
    def summary(self) -> str:
        """The first line of the documentation of the function, without a full stop."""
        text = in_a_line(self.description).rstrip(".")
        return text or (f"Send the event {in_a_line(self.name)}" if self.name else f"Send {self.call}")


class Names:
    """The names of a generated file: none is reserved, and none is given twice.

    Args:
        reserved: Keywords of the language, and names that the file uses itself.
    """

    def __init__(self, reserved: Collection[str]) -> None:
        self._reserved = frozenset(reserved)
        self._taken: set[str] = set()

    def take(self, words: Sequence[str], *spellings: Callable[[Sequence[str]], str]) -> list[str]:
        """Return the spellings of words, with a number where one of them is taken."""
        for number in count(1):
            numbered = words if number == 1 else (*words, str(number))
            names = [self._allowed(spell(numbered)) for spell in spellings]
            if self._taken.isdisjoint(names):
                break
        self._taken.update(names)
        return names

    def _allowed(self, name: str) -> str:
        return f"{name}_" if name in self._reserved else name


def read_type(schema: Mapping[str, Any], *, depth: int = 0) -> PlanType:
    """Return the type that a JSON Schema describes; what it cannot express is any value."""
    if depth > _DEPTH_MAX:
        return PlanType()
    stated = schema.get("type")
    names = tuple(str(name) for name in (stated if isinstance(stated, list) else [stated]) if name)
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    simple = tuple(value for value in values if value is None or isinstance(value, str | int | float | bool))
    items = schema.get("items")
    properties = schema.get("properties")
    required = schema.get("required")
    required_names = set(required) if isinstance(required, list) else set()
    members = tuple(
        Member(
            name=str(name),
            type=read_type(inner if isinstance(inner, dict) else {}, depth=depth + 1),
            is_required=name in required_names,
            description=str(inner.get("description") or "") if isinstance(inner, dict) else "",
        )
        for name, inner in (properties.items() if isinstance(properties, dict) else ())
    )
    return PlanType(
        names=tuple(name for name in names if name in _NAMED | {"array", "object"}) or (("object",) if members else ()),
        values=simple if len(simple) == len(values) else (),
        items=read_type(items, depth=depth + 1) if isinstance(items, dict) else None,
        members=members,
        is_open=schema.get("additionalProperties") is not False,
    )


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a name in lower case: `Order Completed` and `orderCompleted` → `order`, `completed`."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", text)
    return tuple(word.lower() for word in re.findall(r"[A-Za-z0-9]+", spaced))


def pascal(words: Sequence[str]) -> str:
    """Return words as the name of a type."""
    return "".join(word[:1].upper() + word[1:] for word in words)


def in_a_line(text: str) -> str:
    """Return a text for a comment: without line breaks and control characters, and without what would end a comment."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split()).replace("*/", "* /").replace('"""', "'''").replace("\\", "/")
