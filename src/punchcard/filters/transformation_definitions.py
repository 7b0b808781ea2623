"""One transformation: its definition, checked and read into the changes that it makes.

Source: Segment's Public API, "Transformations", and its documentation of Protocols.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from punchcard.errors import ConfigurationError
from punchcard.events.model import Event
from punchcard.events.notes import Note
from punchcard.events.parse import EVENT_BYTES_MAX
from punchcard.filters.change_sets import WITH_TRAITS
from punchcard.filters.change_writer import MemberEdit, shown_text
from punchcard.filters.generated import paths_of
from punchcard.filters.json_members import JsonMembers
from punchcard.filters.member_changes import (
    NESTED,
    ComputedProperty,
    EventRenaming,
    MemberChange,
    Reduction,
    Removal,
    Renaming,
    Setting,
    absolute,
    compile_changes,
    dotted,
    set_computed,
)
from punchcard.filters.parser import parse, parse_expression
from punchcard.filters.printer import print_condition
from punchcard.filters.syntax import Condition

NOT_COMPUTED: Final = "value_not_computed"
"""The reason of the note of a property that was not set, because its expression has no value."""
RENAMES_MAX: Final = 50
PATHS_MAX: Final = 10  # of one value, as Segment has it
FQL_PROPERTIES_MAX: Final = 10  # Segment has 1
PATH_PARTS_MAX: Final = 16
EVENT_NAME_CHARACTERS_MAX: Final = 200
CHANGEABLE: Final = (
    "properties", "traits", "context", "integrations", "userId", "anonymousId", "groupId", "name", "category",
)  # fmt: skip
"""Members of an event that may change. By the others it is recognized, or they are what happened."""

NAME_CHARACTERS_MAX: Final = 300  # of a property, with the names of what it is in
_IDS: Final = frozenset({"userId", "anonymousId", "groupId"})
_TEXT_MEMBERS: Final = _IDS | {"name", "category"}
_FQL: Final = "fqlDefinedProperties"
_ITEMS_MAX: Final = 100
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
        fql_properties: Properties, each with the FQL text of its value.
        property_drops: Properties to remove.
        allow_properties: The only properties to keep; empty keeps all.
    """

    name: str
    condition: str
    drops: bool = False
    new_event_name: str = ""
    renames: Sequence[tuple[str, str]] = ()
    values: Sequence[tuple[str, Scalar]] = ()
    fql_properties: Sequence[tuple[str, str]] = ()
    property_drops: Sequence[str] = ()
    allow_properties: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Transformation:
    """A transformation as it is applied.

    Attributes:
        name: Name for people.
        label: Begin of the sentences of its notes.
        drops: Why an event is dropped, None if it is not.
        depends_on: The paths of the condition and of the expressions.
        of_properties: The changes of a track, page or screen call.
        of_traits: The changes of an identify or group call.
        apply_to_properties, apply_to_traits: The same, compiled.
        computed: The properties that get the values of expressions, set behind all other changes.
        changed: The paths that may change, of properties and of traits; also what is below them may.
    """

    name: str
    label: str
    condition: Condition
    drops: str | None
    depends_on: frozenset[tuple[str, ...]]
    of_properties: Sequence[MemberChange]
    of_traits: Sequence[MemberChange]
    apply_to_properties: MemberEdit
    apply_to_traits: MemberEdit
    computed: Sequence[ComputedProperty]
    changed: frozenset[tuple[str, ...]]

    def change(self, members: JsonMembers, event: Event) -> list[Note]:
        """Change the members of an event; return what was changed, and which values could not be computed."""
        has_traits = event.type in WITH_TRAITS
        # Expressions see the event as the condition does, whatever else is changed.
        values = [computed.compute(event, members) for computed in self.computed] if self.computed else None
        edit = self.apply_to_traits if has_traits else self.apply_to_properties
        notes = edit.notes_about(edit.change(members.root))
        own = ("traits",) if has_traits else ("properties",)
        return notes if values is None else notes + self._set_computed(members, values, own)

    def _set_computed(
        self, members: JsonMembers, values: Sequence[tuple[bytes | None, str]], own: tuple[str, ...]
    ) -> list[Note]:
        notes: list[Note] = []
        for computed, (text, problem) in zip(self.computed, values, strict=True):
            path = absolute(computed.path, own)
            if text is None:
                detail = f"{self.label}{dotted(path)} is not set: {computed.text} {problem}"
                notes.append(Note(NOT_COMPUTED, detail))
            elif (note := set_computed(members, path, text, self.label)) is not None:
                notes.append(note)
            elif members.get(path) != text:
                detail = f"{self.label}{dotted(path)} is not set: a value on the path is not an object"
                notes.append(Note(NOT_COMPUTED, detail))
        return notes


def read_transformation(definition: TransformationDefinition) -> Transformation:
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
    computed = _read_computed(definition)
    paths = [path for path, _ in values]
    _refuse_conflicts(renames, paths)
    _refuse_computed_conflicts(computed, [name for pair in renames for name in pair] + drops, paths)
    if len(drops) > _ITEMS_MAX or len(definition.allow_properties) > _ITEMS_MAX:
        raise _invalid(f"A list has at most {_ITEMS_MAX} properties.", "propertyDrops")
    expressions = [expression for _, expression in computed]
    label = f'transformation "{definition.name}": '
    of_properties: list[MemberChange] = [*_changes(definition, ("properties",), renames, values, drops, label)]
    if definition.new_event_name:
        of_properties.insert(0, EventRenaming(definition.new_event_name, label))
    of_traits = [*_changes(definition, ("traits",), renames, values, drops, label)]
    return Transformation(
        name=definition.name,
        label=label,
        condition=condition,
        drops=f"{label}drops events with {print_condition(condition)}" if definition.drops else None,
        depends_on=frozenset(paths_of([condition, *expressions])),
        of_properties=of_properties,
        of_traits=of_traits,
        apply_to_properties=compile_changes(of_properties),
        apply_to_traits=compile_changes(of_traits),
        computed=[property_ for property_, _ in computed],
        changed=_changed_members(
            definition,
            [path for pair in renames for path in pair] + drops + [property_.path for property_, _ in computed],
            values,
        ),
    )


def refuse_harmful(definition: TransformationDefinition) -> None:
    """Refuse what can be applied, but loses a value, stops every event that it changes, or never changes any.

    Only what is saved is refused: a stored transformation that does so must not stop the others of its source.

    Raises:
        ConfigurationError: It does so; the context has the path of the key as `path`.
    """
    if definition.new_event_name and not definition.new_event_name.strip():
        raise _invalid("The name of an event must not be blank.", "newEventName")
    for names, key in ((definition.allow_properties, "allowProperties"), (definition.property_drops, "propertyDrops")):
        for name in names:
            _refuse_name(name, key)
            if not name.strip():
                raise _invalid(f'"{name}" is not the name of a property. Use a name such as total.', key)
    for old, new in definition.renames:
        _refuse_name(old, "propertyRenames")
        _refuse_name(new, "propertyRenames")
        parts = split_path(old)
        if split_path(new)[: len(parts)] == parts:
            raise _invalid(f"{old} cannot be moved into itself. Choose a name outside of it.", "propertyRenames")
    for name, _ in definition.fql_properties:
        _refuse_name(name, _FQL)
    paths = {split_path(path): path for path, _ in definition.values}
    for path, value in definition.values:
        _refuse_value(path, value)
        parts = split_path(path)
        for outer in (paths.get(parts[:count]) for count in range(1, len(parts))):
            if outer is not None:
                message = f"{path} is inside of {outer}, which gets a value too. Use one of them."
                raise _invalid(message, "propertyValueTransformations")


def _refuse_value(path: str, value: Scalar) -> None:
    key = "propertyValueTransformations"
    _refuse_name(path, key)
    if path in _TEXT_MEMBERS and value is not None and not isinstance(value, str):
        raise _invalid(f"{path} must be text: an event with another value is not valid.", key)
    if path in _IDS and value == "":
        raise _invalid(f"{path} must not be empty. Use null to remove it.", key)
    if (size := len(_json(value))) > EVENT_BYTES_MAX:
        message = f"The value of {path} has {size:,} bytes. An event has at most {EVENT_BYTES_MAX:,}."
        raise _invalid(message, key)


def _refuse_name(name: str, key: str) -> None:
    if len(name) > NAME_CHARACTERS_MAX:
        raise _invalid(f"A name has at most {NAME_CHARACTERS_MAX} characters, this one has {len(name):,}.", key)
    if "[]" in name:  # a name with brackets has backslashes
        message = (
            f"{name} is in a list, which a transformation does not change. A name with brackets is written a\\[\\]."
        )
        raise _invalid(message, key)


def _changed_members(
    definition: TransformationDefinition,
    names: Sequence[tuple[str, ...]],
    values: Sequence[tuple[tuple[str, ...], bytes]],
) -> frozenset[tuple[str, ...]]:
    """Return all paths that may change."""
    changed = {path for path, _ in values}
    changed |= {absolute(name, (own,)) for name in names for own in ("properties", "traits")}
    if definition.allow_properties:
        changed |= {("properties",), ("traits",)}
    return frozenset(changed | {("event",)}) if definition.new_event_name else frozenset(changed)


def _changes(
    definition: TransformationDefinition,
    own: tuple[str, ...],
    renames: Sequence[tuple[tuple[str, ...], tuple[str, ...]]],
    values: Sequence[tuple[tuple[str, ...], bytes]],
    drops: Sequence[tuple[str, ...]],
    label: str,
) -> Iterator[MemberChange]:
    """Yield the changes of a call with its members in `properties` or `traits`."""
    for old, new in renames:
        yield Renaming(absolute(old, own), absolute(new, own), label)
    for path, text in values:
        yield Setting(path, text, label)
    for path in drops:
        yield Removal(absolute(path, own), label)
    if definition.allow_properties:
        yield Reduction(own[0], frozenset(definition.allow_properties), label)


def _has_changes(definition: TransformationDefinition) -> bool:
    lists = (definition.renames, definition.values, definition.fql_properties, definition.property_drops)
    return any(lists) or bool(definition.new_event_name or definition.allow_properties)


def _read_computed(definition: TransformationDefinition) -> list[tuple[ComputedProperty, Condition]]:
    """Return the properties defined in FQL, each with its parsed expression."""
    if len(definition.fql_properties) > FQL_PROPERTIES_MAX:
        raise _invalid(f"At most {FQL_PROPERTIES_MAX} properties can be defined in FQL.", _FQL)
    computed = []
    for number, (name, text) in enumerate(definition.fql_properties):
        path = _name(name, _FQL)
        try:
            expression = parse_expression(text)
            computed.append((ComputedProperty(path, expression, shown_text(print_condition(expression))), expression))
        except ConfigurationError as error:
            message = f"The FQL of {name} is invalid: {error.message}."
            raise ConfigurationError(message, code="invalid_transformation", path=(_FQL, number, "fql")) from error
    return computed


def _refuse_computed_conflicts(
    computed: Sequence[tuple[ComputedProperty, Condition]],
    names: Sequence[tuple[str, ...]],
    paths: Sequence[tuple[str, ...]],
) -> None:
    """Refuse two values for one property, and a computed one that is renamed, set or removed as well."""
    seen: set[tuple[str, ...]] = set()
    for property_, _ in computed:
        places = {absolute(property_.path, (own,)) for own in ("properties", "traits")}
        taken = {absolute(name, (own,)) for name in names for own in ("properties", "traits")}
        if places & (seen | taken | set(paths)):
            message = f"{dotted(property_.path)} is changed twice: computed, and computed, set, renamed or removed."
            raise _invalid(f"{message} Use two transformations.", _FQL)
        seen |= places


def _refuse_conflicts(
    renames: Sequence[tuple[tuple[str, ...], tuple[str, ...]]], paths: Sequence[tuple[str, ...]]
) -> None:
    """Refuse what Segment refuses: two values for one path, or a value for a renamed property."""
    for path in paths:
        if paths.count(path) > 1:
            raise _invalid(f"{dotted(path)} gets two values.", "propertyValueTransformations")
    for old, new in renames:
        if old == new:
            raise _invalid(f"{dotted(old)} is renamed to itself.", "propertyRenames")
        for name in (old, new):
            if any(path in (("properties", *name), ("traits", *name), name) for path in paths):
                message = f"{dotted(name)} is both renamed and set. Use two transformations."
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
    if not is_valid or (len(parts) == 1) is (parts[0] in NESTED):
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
