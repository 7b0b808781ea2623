"""Compares events with a tracking plan: a plan is compiled once, and an event as planned costs a microsecond."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from punchcard.events.faults import UNREADABLE
from punchcard.events.model import Event, EventType
from punchcard.tracking_plans.json_schema import compile_schema
from punchcard.tracking_plans.model import RuleType, TrackingPlan, TrackingPlanRule
from punchcard.tracking_plans.shapes import Shape, closed_schema, merge_shapes, shape_of
from punchcard.tracking_plans.usual_values import compile_usual

if TYPE_CHECKING:
    from jsonschema_rs import Draft7Validator, ValidationError

VIOLATIONS_MAX: Final = 20
"""Violations reported of one event."""

_VALUE_CHARACTERS_MAX: Final = 60
_WITHOUT_REQUIREMENTS: Final = frozenset(
    {"$schema", "$id", "title", "description", "labels", "definitions", "examples"}
)
_EVENT_TYPES: Final = {
    EventType.TRACK: RuleType.TRACK,
    EventType.IDENTIFY: RuleType.IDENTIFY,
    EventType.GROUP: RuleType.GROUP,
    EventType.PAGE: RuleType.PAGE,
    EventType.SCREEN: RuleType.SCREEN,
}
_TRAITS: Final = (EventType.IDENTIFY, EventType.GROUP)
_decode = msgspec.json.decode


class ViolationKind(StrEnum):
    """Kinds of violations, as Segment's `violationType`."""

    REQUIRED = "Required"  # a required property is missing
    INVALID_TYPE = "Invalid Type"  # the value has another JSON type
    INVALID_VALUE = "Invalid Value"  # the value is not allowed: enumeration, pattern, format, bounds and so on
    UNPLANNED_PROPERTY = "Unplanned Property"  # the rule does not have the property
    UNPLANNED_EVENT = "Unplanned Event"  # the plan does not have the event


ValuePath = tuple[str | int, ...]
"""Path of a value in an event, such as `("properties", "products", 0, "price")`."""


class PlanViolation(NamedTuple):
    """What in an event is not as planned.

    Attributes:
        kind: Its kind.
        path: Path of the value; of a missing property, where it would be; empty for the event itself.
        description: A sentence without the value, so that equal violations have equal texts and hold no personal data.
        is_common: True if the rule of all events is violated.
        is_forbidden: True of an unplanned property that the schema itself forbids.
    """

    kind: ViolationKind
    path: ValuePath
    description: str
    is_common: bool = False
    is_forbidden: bool = False

    @property
    def field(self) -> str:
        """The path as text, with `[]` for items of lists: `properties.products[].price`."""
        return render_field(self.path)


def render_field(path: ValuePath) -> str:
    """Return a path as text, the same for all items of a list."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += "[]"
        else:
            text += f".{part}" if text else part
    return text


class CompiledPlanError(Exception):
    """A rule cannot be compiled.

    Args:
        rule: The rule.
        reason: Why.
    """

    def __init__(self, rule: TrackingPlanRule, reason: str) -> None:
        self.rule = rule
        self.reason = reason
        super().__init__(f"Rule {rule.type} {rule.key}: {reason}.")


@dataclass(slots=True)
class _CompiledRule:
    """A rule, with what decides the usual case in a single step: None if the rule is too involved for that.

    Attributes:
        closed: Valid events are valid under the rule, and have no unplanned properties.
        section: The same of `properties` or `traits` alone, for rules that require nothing else of the event.
        usual: False for every JSON text that is not valid under `section`, and for some that are.
    """

    validator: "Draft7Validator"
    shape: Shape | None = None
    closed: "Draft7Validator | None" = None
    section: "Draft7Validator | None" = None
    usual: Callable[[bytes | msgspec.Raw], bool] | None = None


@dataclass(slots=True)
class _Versions:
    """The rules of one event by version; the oldest one is for events that state none, or an unknown one."""

    oldest: _CompiledRule
    by_version: dict[int, _CompiledRule] = field(default_factory=dict)


class CompiledPlan:
    """A tracking plan, compiled.

    Args:
        plan: A plan with valid schemas.

    Raises:
        CompiledPlanError: A rule cannot be compiled.
    """

    def __init__(self, plan: TrackingPlan) -> None:
        self.plan = plan
        commons = [rule for rule in plan.rules if rule.type == RuleType.COMMON]
        self._common = [_compile(rule) for rule in commons]
        self._common_shapes = {
            section: _merged(_section_shape(rule, section) for rule in commons) for section in ("properties", "traits")
        }
        self._rules: dict[tuple[str, str], _Versions] = {}
        for rule in sorted(plan.rules, key=lambda rule: rule.version):
            if rule.type == RuleType.COMMON:
                continue
            compiled = _compile(rule)
            section = "traits" if rule.type in (RuleType.IDENTIFY, RuleType.GROUP) else "properties"
            planned = _section_shape(rule, section)
            compiled.shape = planned and merge_shapes(planned, self._common_shapes[section])
            closed = rule.json_schema if planned is None else _closed_rule(rule, section, planned)
            if closed is not None:
                compiled.closed = compile_schema(closed)
                inner = _only_requirement(closed, section)
                if inner is not None:
                    compiled.section = compile_schema(inner)
                    compiled.usual = compile_usual(inner)
            versions = self._rules.setdefault((rule.type, rule.key), _Versions(compiled))
            versions.by_version[rule.version] = compiled

    def find_violations(self, event: Event) -> tuple[PlanViolation, ...]:
        """Return what in the event is not as planned; nothing for most events. Never raises for a valid event."""
        rule_type = _EVENT_TYPES.get(event.type)
        versions = None if rule_type is None else self._find_rule(rule_type, event)
        if versions is None and event.type is EventType.TRACK and not self._common:
            return (_unplanned_event(event),)
        if versions is None and not self._common:
            return ()
        try:
            if versions is not None and self._is_usual(versions, event):
                return ()
            members = _decode(event.raw)
        except UNREADABLE as error:
            return (_unreadable(error),)
        rule = None if versions is None else _rule_of_version(versions, members)
        try:
            if rule is not None and rule.closed is not None and not self._common and rule.closed.is_valid(members):
                return ()
            if (rule is None or _is_planned(rule, event, members)) and all(
                common.validator.is_valid(members) for common in self._common
            ):
                return (_unplanned_event(event),) if rule is None and event.type is EventType.TRACK else ()
            violations = list(self._describe(rule, event, members))
        except (ValueError, RecursionError) as error:
            return (_unreadable(error),)
        distinct: dict[tuple[ViolationKind, ValuePath, bool], PlanViolation] = {}
        for violation in violations:
            distinct.setdefault((violation.kind, violation.path, violation.is_common), violation)
        return tuple(distinct.values())[:VIOLATIONS_MAX]

    def _is_usual(self, versions: _Versions, event: Event) -> bool:
        """Return whether an event is as planned, as most are, by a look at nothing but its properties or traits."""
        section, usual = versions.oldest.section, versions.oldest.usual
        if section is None or self._common or len(versions.by_version) != 1:
            return False
        text = event.wire.traits if event.type in _TRAITS else event.wire.properties
        if not text:
            return False
        if usual is not None and usual(text):
            return True
        try:
            return section.is_valid(_decode(text))
        except (ValueError, RecursionError):
            return False

    def _find_rule(self, rule_type: RuleType, event: Event) -> _Versions | None:
        if rule_type is RuleType.TRACK:
            return self._rules.get((rule_type, event.wire.event or ""))
        if rule_type in (RuleType.PAGE, RuleType.SCREEN):
            return self._rules.get((rule_type, event.wire.name or "")) or self._rules.get((rule_type, ""))
        return self._rules.get((rule_type, ""))

    def _describe(
        self, rule: _CompiledRule | None, event: Event, members: Mapping[str, object]
    ) -> Iterator[PlanViolation]:
        if rule is None and event.type is EventType.TRACK:
            yield _unplanned_event(event)
        if rule is not None:
            for error in rule.validator.iter_errors(members):
                yield from _violations_of(error, is_common=False)
            section = _section_of(event)
            values = members.get(section)
            if rule.shape is not None and isinstance(values, dict):
                for path in rule.shape.unplanned(values):
                    yield _unplanned_property((section, *path))
        for common in self._common:
            for error in common.validator.iter_errors(members):
                yield from _violations_of(error, is_common=True)


def _compile(rule: TrackingPlanRule) -> _CompiledRule:
    from jsonschema_rs import ValidationError

    try:
        return _CompiledRule(compile_schema(rule.json_schema))
    except (ValidationError, ValueError, TypeError, RecursionError) as error:
        raise CompiledPlanError(rule, str(error).splitlines()[0]) from error


def _closed_rule(rule: TrackingPlanRule, section: str, shape: Shape) -> Mapping[str, object] | None:
    properties = rule.json_schema.get("properties")
    inner = properties.get(section) if isinstance(properties, Mapping) else None
    closed = closed_schema(inner, shape) if isinstance(inner, Mapping) else None
    # A reference into what is closed may be below `not`, where a stricter schema allows more.
    has_inner_reference = b'"#/properties' in msgspec.json.encode(rule.json_schema)
    if closed is None or has_inner_reference or not isinstance(properties, Mapping):
        return None
    return {**rule.json_schema, "properties": {**properties, section: closed}}


def _only_requirement(closed: Mapping[str, object], section: str) -> Mapping[str, object] | None:
    """Return the schema of a section that alone decides about an event with it, None if more of it is required."""
    properties, required = closed.get("properties"), closed.get("required", [section])
    inner = properties.get(section) if isinstance(properties, Mapping) else None
    if (
        not closed.keys() <= _WITHOUT_REQUIREMENTS | {"properties", "required", "type"}
        or closed.get("type", "object") != "object"
        or required not in ([section], (section,), [], ())
        or not isinstance(properties, Mapping)
        or not isinstance(inner, Mapping)
        or any(properties[name] not in ({}, True) for name in properties if name != section)
        or b'"$ref"' in msgspec.json.encode(inner)
    ):
        return None
    return inner


def _section_shape(rule: TrackingPlanRule, section: str) -> Shape | None:
    """Return what a rule plans below `properties` or `traits`."""
    properties = rule.json_schema.get("properties")
    return shape_of(properties.get(section), rule.json_schema) if isinstance(properties, Mapping) else None


def _merged(shapes: Iterator[Shape | None]) -> Shape | None:
    merged: Shape | None = None
    for shape in shapes:
        merged = merge_shapes(merged, shape)
    return merged


def _section_of(event: Event) -> str:
    return "traits" if event.type in _TRAITS else "properties"


def _is_planned(rule: _CompiledRule, event: Event, members: Mapping[str, object]) -> bool:
    if not rule.validator.is_valid(members):
        return False
    if rule.shape is None:
        return True
    values = members.get(_section_of(event))
    return not isinstance(values, dict) or next(rule.shape.unplanned(values), None) is None


def _rule_of_version(versions: _Versions, members: Mapping[str, object]) -> _CompiledRule:
    if len(versions.by_version) == 1:
        return versions.oldest
    value: object = members
    for name in ("context", "protocols", "event_version"):
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return versions.by_version.get(value, versions.oldest)
    return versions.oldest


def _unplanned_event(event: Event) -> PlanViolation:
    name = (event.wire.event or "")[:_VALUE_CHARACTERS_MAX]
    return PlanViolation(ViolationKind.UNPLANNED_EVENT, (), f'The plan has no event "{name}"')


def _unplanned_property(path: ValuePath, *, is_common: bool = False, is_forbidden: bool = False) -> PlanViolation:
    description = f"{render_field(path)} is not in the plan"
    return PlanViolation(ViolationKind.UNPLANNED_PROPERTY, path, description, is_common, is_forbidden)


def _unreadable(error: Exception) -> PlanViolation:
    description = f"The event cannot be compared with the plan: {type(error).__name__}"
    return PlanViolation(ViolationKind.INVALID_VALUE, (), description)


def _violations_of(error: "ValidationError", *, is_common: bool) -> Iterator[PlanViolation]:
    """Yield what a schema error means: one violation, or one for each property that must not be there."""
    path: ValuePath = tuple(error.instance_path)
    keyword = error.kind.name
    details = error.kind.as_dict()
    field_name = render_field(path) or "The event"
    match keyword:
        case "required":
            missing = (*path, str(details["property"]))
            description = f"{render_field(missing)} is required"
            yield PlanViolation(ViolationKind.REQUIRED, missing, description, is_common)
        case "additionalProperties":
            for name in details["unexpected"]:
                yield _unplanned_property((*path, str(name)), is_common=is_common, is_forbidden=True)
        case "type":
            types = " or ".join(map(str, details["types"]))
            yield PlanViolation(ViolationKind.INVALID_TYPE, path, f"{field_name} must be {types}", is_common)
        case _:
            description = f"{field_name} {_requirement(keyword, details)}"
            yield PlanViolation(ViolationKind.INVALID_VALUE, path, description, is_common)


def _requirement(keyword: str, details: Mapping[str, object]) -> str:
    """Return what a keyword requires of a value, as the end of a sentence."""
    match keyword:
        case "enum":
            options = details.get("options")
            listed = ", ".join(map(_shown, options)) if isinstance(options, list) else ""
            return f"must be one of {listed}"[:300]
        case "const":
            return f"must be {_shown(details.get('expected_value'))}"
        case "pattern":
            return f"does not match the pattern {_shown(details.get('pattern'))}"
        case "format":
            return f"is not a valid {details.get('format')}"
        case "minimum":
            return f"must be at least {details.get('limit')}"
        case "maximum":
            return f"must be at most {details.get('limit')}"
        case "exclusiveMinimum":
            return f"must be greater than {details.get('limit')}"
        case "exclusiveMaximum":
            return f"must be less than {details.get('limit')}"
        case "minLength" | "minItems" | "minProperties":
            return f"must have at least {details.get('limit')} {_UNITS[keyword[3:]]}"
        case "maxLength" | "maxItems" | "maxProperties":
            return f"must have at most {details.get('limit')} {_UNITS[keyword[3:]]}"
        case "multipleOf":
            return f"must be a multiple of {details.get('multiple_of')}"
        case _:
            return f"violates the schema's {keyword}"


_UNITS: Final = {"Length": "characters", "Items": "items", "Properties": "properties"}


def _shown(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _VALUE_CHARACTERS_MAX else text[: _VALUE_CHARACTERS_MAX - 1] + "…"
