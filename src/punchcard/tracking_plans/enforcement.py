"""What is done with an event that violates its tracking plan: it goes on, loses properties, or is blocked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from punchcard.events.model import Event, EventType
from punchcard.tracking_plans.model import Action, CallEnforcement, Enforcement
from punchcard.tracking_plans.validation import PlanViolation, ValuePath, ViolationKind, render_field

UNPLANNED: Final = "unplanned"
"""Reason of a blocked event that the plan does not have."""

SCHEMA_VIOLATION: Final = "schema_violation"
"""Reason of a blocked event that violates its rule."""

COMMON_SCHEMA_VIOLATION: Final = "common_schema_violation"
"""Reason of a blocked event that violates the rule of all events."""

_SECTIONS: Final = ("properties", "traits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforced:
    """What is done with an event.

    Attributes:
        reason: Why it goes no further; None if it goes on.
        detail: The same as a sentence.
        raw: The JSON text without omitted properties; None if nothing was omitted.
        omitted: Fields that were omitted.
    """

    reason: str | None = None
    detail: str = ""
    raw: bytes | None = None
    omitted: tuple[str, ...] = ()


def enforce(event: Event, violations: Sequence[PlanViolation], enforcement: Enforcement, *, plan: str) -> Enforced:
    """Return what is done with an event that violates its plan.

    Page, screen and alias calls are never changed or blocked, as at Segment.

    Args:
        violations: At least one.
        plan: Name of the plan for people.
    """
    call = _call_enforcement(event.type, enforcement)
    if call is None:
        return Enforced()
    omitted: list[ValuePath] = []
    for violation in violations:
        action = _action(violation, enforcement, call)
        if action == Action.BLOCK:
            return Enforced(
                reason=UNPLANNED
                if violation.kind is ViolationKind.UNPLANNED_EVENT
                else COMMON_SCHEMA_VIOLATION
                if violation.is_common
                else SCHEMA_VIOLATION,
                detail=f"{violation.description} (tracking plan {plan})",
            )
        if action == Action.OMIT_PROPERTIES and _is_omissible(violation):
            omitted.append(violation.path)
    if not omitted:
        return Enforced()
    raw = omit(event.raw, omitted)
    return Enforced(raw=raw, omitted=tuple(dict.fromkeys(map(render_field, omitted))))


def omit(raw: bytes, paths: Iterable[ValuePath]) -> bytes:
    """Return the JSON text without the values at the paths. Everything else keeps its text.

    A value in a list is removed with the members behind it moving up, so paths are removed from the end.
    """
    tree: dict[str | int, object] = {}
    for path in paths:
        node = tree
        for part in path[:-1]:
            inner = node.get(part)
            if inner is _REMOVED:
                break
            if not isinstance(inner, dict):
                inner = node[part] = {}
            node = inner
        else:
            node[path[-1]] = _REMOVED
    return _pruned(raw, tree)


_REMOVED: Final = object()
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])


def _pruned(raw: bytes, tree: Mapping[str | int, object]) -> bytes:
    if raw.lstrip()[:1] == b"[":
        items = _items.decode(raw)
        pruned = [_pruned_value(item, tree.get(index)) for index, item in enumerate(items)]
        return msgspec.json.encode([item for item in pruned if item is not None])
    members = _members.decode(raw)
    values = {name: _pruned_value(member, tree.get(name)) for name, member in members.items()}
    return msgspec.json.encode({name: value for name, value in values.items() if value is not None})


def _pruned_value(raw: msgspec.Raw, inner: object) -> msgspec.Raw | None:
    if inner is _REMOVED:
        return None
    return msgspec.Raw(_pruned(bytes(raw), inner)) if isinstance(inner, dict) else raw


def _call_enforcement(event_type: EventType, enforcement: Enforcement) -> CallEnforcement | None:
    match event_type:
        case EventType.TRACK:
            return enforcement.track
        case EventType.IDENTIFY:
            return enforcement.identify
        case EventType.GROUP:
            return enforcement.group
        case _:
            return None


def _action(violation: PlanViolation, enforcement: Enforcement, call: CallEnforcement) -> str:
    if violation.kind is ViolationKind.UNPLANNED_EVENT:
        return enforcement.unplanned_events
    if violation.is_common:
        return call.common
    if violation.kind is ViolationKind.UNPLANNED_PROPERTY:
        is_stricter = violation.is_forbidden and call.violations != Action.ALLOW
        return call.violations if is_stricter else call.unplanned
    return call.violations


def _is_omissible(violation: PlanViolation) -> bool:
    """Whether the value can be removed: it is there, and below `properties` or `traits`."""
    return violation.kind is not ViolationKind.REQUIRED and len(violation.path) > 1 and violation.path[0] in _SECTIONS
