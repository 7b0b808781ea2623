"""Transformations: events renamed, properties renamed, set and removed, where a condition is true.

Source: Segment's Public API, "Transformations", and its documentation of Protocols.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from punchcard.errors import ConfigurationError
from punchcard.events.model import Event, EventType
from punchcard.events.notes import Note
from punchcard.events.parse import check_rewritten, with_text
from punchcard.filters.destination_filters import compile_conditions
from punchcard.filters.json_members import JsonMembers
from punchcard.filters.parser import parse
from punchcard.filters.printer import print_condition
from punchcard.filters.syntax import Condition

TRANSFORMED: Final = "transformed"
"""The reason of the note of a change by a transformation."""
DROPPED: Final = "dropped_by_transformation"
FAILED: Final = "transformation_failed"
RENAMES_MAX: Final = 50
PATHS_MAX: Final = 10  # of one value, as Segment has it
PATH_PARTS_MAX: Final = 16
EVENT_NAME_CHARACTERS_MAX: Final = 200
CHANGEABLE: Final = (
    "properties", "traits", "context", "integrations", "userId", "anonymousId", "groupId", "name", "category",
)  # fmt: skip
"""Members of an event that may change. By the others it is recognized, or they are what happened."""

_SHOWN_MAX: Final = 60
_ITEMS_MAX: Final = 100
_NESTED: Final = ("properties", "traits", "context", "integrations")
_WITH_TRAITS: Final = (EventType.IDENTIFY, EventType.GROUP)
_UNREADABLE: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError, OverflowError, ValueError)
_encode: Final = msgspec.json.Encoder().encode

Scalar = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class TransformationDefinition:
    """A transformation as configured.

    Attributes:
        name: Name for people.
        condition: FQL text.
        drops: True drops the event; everything else is then ignored.
        new_event_name: New name of a track call, "" for no change.
        renames: Old and new name of each renamed property.
        values: Paths from the event on, each with the value that it gets.
        property_drops: Properties to remove.
        allow_properties: The only properties to keep; empty keeps all.
    """

    name: str
    condition: str
    drops: bool = False
    new_event_name: str = ""
    renames: Sequence[tuple[str, str]] = ()
    values: Sequence[tuple[str, Scalar]] = ()
    property_drops: Sequence[str] = ()
    allow_properties: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Transformed:
    """The result of transformations for an event that at least one of them has changed or dropped.

    Attributes:
        event: The event afterwards, None if it goes no further.
        reason: Why not, else "".
        detail: The same in a sentence.
        notes: What was changed, with values before and after.
    """

    event: Event | None
    reason: str = ""
    detail: str = ""
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Transformation:
    definition: TransformationDefinition
    condition: Condition
    renames: Sequence[tuple[tuple[str, ...], tuple[str, ...]]] = ()
    values: Sequence[tuple[tuple[str, ...], bytes]] = ()
    drops: Sequence[tuple[str, ...]] = ()
    allowed: frozenset[str] = field(default_factory=frozenset)

    def apply(self, event: Event) -> Transformed | None:
        """Apply the transformation to an event that it matches."""
        definition = self.definition
        if definition.drops:
            detail = f'transformation "{definition.name}" drops events with {print_condition(self.condition)}'
            return Transformed(event=None, reason=DROPPED, detail=detail)
        members = JsonMembers(event.raw)
        changes = [*self._rename_event(event, members), *self._change_members(event, members)]
        if not changes:
            return None
        raw = members.encode()
        fault = check_rewritten(event, raw)
        if fault is not None:
            detail = f'what transformation "{definition.name}" makes of the event is not valid: {fault.detail}'
            return Transformed(event=None, reason=FAILED, detail=detail)
        notes = tuple(Note(TRANSFORMED, f'transformation "{definition.name}": {change}') for change in changes)
        return Transformed(event=with_text(event, raw), notes=notes)

    def _rename_event(self, event: Event, members: JsonMembers) -> list[str]:
        name = self.definition.new_event_name
        if not name or event.type is not EventType.TRACK or event.wire.event == name:
            return []
        members.set(("event",), _encode(name))
        return [f"event {_shown_text(event.wire.event or '')} → {_shown_text(name)}"]

    def _change_members(self, event: Event, members: JsonMembers) -> list[str]:
        own = ("traits",) if event.type in _WITH_TRAITS else ("properties",)
        changes: list[str] = []
        for old, new in self.renames:
            source, target = _absolute(old, own), _absolute(new, own)
            value = members.get(source)
            if value is None or not members.set(target, value):
                continue
            members.remove(source)
            changes.append(f"{_dotted(source)} → {_dotted(target)} ({_shown(value)})")
        for path, text in self.values:
            before = members.get(path)
            if before != text and members.set(path, text):
                changes.append(f"{_dotted(path)} {_shown(before)} → {_shown(text)}")
        for path in self.drops:
            removed = members.remove(_absolute(path, own))
            if removed is not None:
                changes.append(f"{_dotted(_absolute(path, own))} removed ({_shown(removed)})")
        if self.allowed:
            names = [name for name in members.names(own) if name not in self.allowed]
            for name in names:
                members.remove((*own, name))
            if names:
                changes.append(f"not allowed in {own[0]} and removed: {_shown_text(', '.join(names))}")
        return changes


class Transformations:
    """Transformations in their order, compiled. Each sees the event as the one before has left it.

    Args:
        definitions: The enabled transformations, in the order in which they are applied.

    Raises:
        ConfigurationError: A transformation is invalid; the message names it.
    """

    def __init__(self, definitions: Sequence[TransformationDefinition]) -> None:
        self._transformations = [read_transformation(definition) for definition in definitions]
        conditions = [transformation.condition for transformation in self._transformations]
        # Most events match nothing: that takes one call.
        self._first_match: Callable[[Event], int | None] = compile_conditions(conditions)
        self._matches = [compile_conditions([condition]) for condition in conditions]

    def __bool__(self) -> bool:
        return bool(self._transformations)

    def apply(self, event: Event) -> Transformed | None:
        """Apply the transformations to an event; None if none of them changes anything. Never raises."""
        try:
            first = self._first_match(event)
            if first is None:
                return None
            return self._apply_from(first, event)
        except _UNREADABLE as error:
            return Transformed(event=None, reason=FAILED, detail=f"transformations cannot read this event: {error}")

    def _apply_from(self, first: int, event: Event) -> Transformed | None:
        current = event
        notes: list[Note] = []
        for number in range(first, len(self._transformations)):
            if number > first and self._matches[number](current) is None:
                continue
            transformed = self._transformations[number].apply(current)
            if transformed is None:
                continue
            notes += transformed.notes
            if transformed.event is None:
                return Transformed(event=None, reason=transformed.reason, detail=transformed.detail, notes=tuple(notes))
            current = transformed.event
        return None if current is event else Transformed(event=current, notes=tuple(notes))


def read_transformation(definition: TransformationDefinition) -> _Transformation:
    """Check and read a transformation.

    Raises:
        ConfigurationError: It is invalid; the context has the path of the key as `path`.
    """
    try:
        condition = parse(definition.condition)
    except ConfigurationError as error:
        raise _invalid(error.message, "if") from error
    if not definition.drops and not _has_changes(definition):
        raise _invalid("A transformation must change something, or drop the event.", "drop")
    if len(definition.new_event_name) > EVENT_NAME_CHARACTERS_MAX:
        raise _invalid(f"A name has at most {EVENT_NAME_CHARACTERS_MAX} characters.", "newEventName")
    if len(definition.renames) > RENAMES_MAX:
        raise _invalid(f"At most {RENAMES_MAX} properties can be renamed.", "propertyRenames")
    renames = [(_name(old, "propertyRenames"), _name(new, "propertyRenames")) for old, new in definition.renames]
    values = [(_value_path(path), _json(value)) for path, value in definition.values]
    drops = [_name(name, "propertyDrops") for name in definition.property_drops]
    _refuse_conflicts(renames, values)
    if len(drops) > _ITEMS_MAX or len(definition.allow_properties) > _ITEMS_MAX:
        raise _invalid(f"A list has at most {_ITEMS_MAX} properties.", "propertyDrops")
    return _Transformation(
        definition=definition,
        condition=condition,
        renames=renames,
        values=values,
        drops=drops,
        allowed=frozenset(definition.allow_properties),
    )


def preview_transformation(definition: TransformationDefinition, event: Event) -> Transformed | None:
    """Return what a transformation would make of an event, None for no change.

    Raises:
        ConfigurationError: The transformation is invalid.
    """
    return Transformations([definition]).apply(event)


def _has_changes(definition: TransformationDefinition) -> bool:
    return bool(
        definition.new_event_name
        or definition.renames
        or definition.values
        or definition.property_drops
        or definition.allow_properties
    )


def _refuse_conflicts(
    renames: Sequence[tuple[tuple[str, ...], tuple[str, ...]]], values: Sequence[tuple[tuple[str, ...], bytes]]
) -> None:
    """Refuse what Segment refuses: two values for one path, or a value for a renamed property."""
    paths = [path for path, _ in values]
    for path in paths:
        if paths.count(path) > 1:
            raise _invalid(f"{_dotted(path)} gets two values.", "propertyValueTransformations")
    for old, new in renames:
        if old == new:
            raise _invalid(f"{_dotted(old)} is renamed to itself.", "propertyRenames")
        for name in (old, new):
            if any(path in (("properties", *name), ("traits", *name), name) for path in paths):
                message = f"{_dotted(name)} is both renamed and set. Use two transformations."
                raise _invalid(message, "propertyValueTransformations")


def _name(text: str, key: str) -> tuple[str, ...]:
    """Return the path of a property; it begins at `properties` or `traits` unless it names another member."""
    parts = split_path(text)
    if not text.strip() or not all(parts) or len(parts) > PATH_PARTS_MAX:
        raise _invalid(f'"{text}" is not the name of a property. Use a name such as total or order.id.', key)
    return parts


def _value_path(text: str) -> tuple[str, ...]:
    parts = split_path(text)
    is_valid = all(parts) and parts[0] in CHANGEABLE and len(parts) <= PATH_PARTS_MAX
    if not is_valid or (len(parts) == 1) is (parts[0] in _NESTED):
        message = f'"{text}" cannot be set. Use a path such as properties.currency; it begins with one of '
        raise _invalid(f"{message}{', '.join(CHANGEABLE)}.", "propertyValueTransformations")
    return parts


def split_path(text: str) -> tuple[str, ...]:
    r"""Return the parts of a path: they are separated by dots, and `\.` is a dot in a name."""
    parts = [""]
    is_escaped = False
    for character in text:
        if is_escaped or character not in ".\\":
            parts[-1] += character
            is_escaped = False
        elif character == "\\":
            is_escaped = True
        else:
            parts.append("")
    return tuple(parts)


def _json(value: object) -> bytes:
    if value is not None and not isinstance(value, str | int | float | bool):
        raise _invalid("A value must be text, a number, true, false or null.", "propertyValueTransformations")
    try:
        return _encode(value)
    except (UnicodeEncodeError, OverflowError, ValueError) as error:
        raise _invalid(f"This value cannot be written as JSON: {error}.", "propertyValueTransformations") from error


def _invalid(message: str, key: str) -> ConfigurationError:
    return ConfigurationError(message, code="invalid_transformation", path=(key,))


def _absolute(path: tuple[str, ...], own: tuple[str, ...]) -> tuple[str, ...]:
    return path if len(path) > 1 and path[0] in _NESTED else (*own, *path)


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(part.replace(".", "\\.") for part in path)


def _shown(value: bytes | None) -> str:
    return "(none)" if value is None else _shown_text(value.decode(errors="replace"))


def _shown_text(text: str) -> str:
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 1]}…"
