"""Tracking plans and violations as Public API and command line write them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from punchcard.clock import to_iso
from punchcard.operations.plan_preview import PlanPreview
from punchcard.store.tracking_plans.violations import ListedViolation
from punchcard.tracking_plans.model import Action, CallEnforcement, Enforcement, TrackingPlan, TrackingPlanRule


class RuleBody(msgspec.Struct, rename="camel"):
    """A rule. `key` is the name of the event; it is empty for identify, group and common rules."""

    type: str
    key: str
    json_schema: dict[str, Any]
    version: int


class TrackingPlanBody(msgspec.Struct, rename="camel", omit_defaults=True):
    """A tracking plan. `createdAt` is absent if a config file has added it."""

    id: str
    name: str
    slug: str
    type: str
    description: str = ""
    created_at: str = ""
    updated_at: str = ""


class PlanExport(msgspec.Struct, rename="camel"):
    """A tracking plan with its rules, as `punchcard plan export` writes it."""

    name: str
    description: str
    type: str
    rules: list[RuleBody]


class ViolationBody(msgspec.Struct, rename="camel"):
    """Violations of one event, field and kind in the period. `blocked` counts those that stopped their event."""

    source_id: str
    tracking_plan_id: str
    event_type: str
    event_name: str
    violation_field: str
    violation_type: str
    violation_description: str
    count: int
    blocked: int
    first_seen_at: str
    last_seen_at: str


class PreviewedViolationBody(msgspec.Struct, rename="camel"):
    """Violations of one event, field and kind, with message ids of some of the events."""

    event_type: str
    event_name: str
    violation_field: str
    violation_type: str
    violation_description: str
    count: int
    examples: list[str]


class AwardsAtStakeBody(msgspec.Struct, rename="camel"):
    """Awards of a destination that would not be made: number and quantity by item."""

    destination_id: str
    item: str
    awards: int
    quantity: str


class PreviewBody(msgspec.Struct, rename="camel"):
    """What would happen to the events of the period. `isPartial` if only the oldest of them were read."""

    events: int
    violating: int
    blocked: dict[str, int]
    changed: int
    violations: list[PreviewedViolationBody]
    awards_at_stake: list[AwardsAtStakeBody]
    is_partial: bool


def plan_body(plan: TrackingPlan, *, updated_at: str = "") -> TrackingPlanBody:
    """Return the body of a plan."""
    return TrackingPlanBody(
        id=plan.slug,
        name=plan.name,
        slug=plan.slug,
        type=plan.type,
        description=plan.description,
        created_at=plan.created_at,
        updated_at=updated_at,
    )


def rule_body(rule: TrackingPlanRule) -> RuleBody:
    """Return the body of a rule."""
    return RuleBody(type=rule.type, key=rule.key, json_schema=dict(rule.json_schema), version=rule.version)


def export_body(plan: TrackingPlan) -> PlanExport:
    """Return a plan as it is exported."""
    return PlanExport(
        name=plan.name, description=plan.description, type=plan.type, rules=[rule_body(rule) for rule in plan.rules]
    )


def violation_body(listed: ListedViolation) -> ViolationBody:
    """Return the body of counted violations."""
    return ViolationBody(
        source_id=listed.key.source,
        tracking_plan_id=listed.plan,
        event_type=listed.key.event_type,
        event_name=listed.key.event_name,
        violation_field=listed.key.field,
        violation_type=listed.key.kind,
        violation_description=listed.description,
        count=listed.count,
        blocked=listed.blocked,
        first_seen_at=to_iso(listed.first_seen),
        last_seen_at=to_iso(listed.last_seen),
    )


def preview_body(preview: PlanPreview) -> PreviewBody:
    """Return the body of a preview."""
    return PreviewBody(
        events=preview.events,
        violating=preview.violating,
        blocked=dict(preview.blocked),
        changed=preview.changed,
        violations=[
            PreviewedViolationBody(
                event_type=known.event_type,
                event_name=known.event_name,
                violation_field=known.field,
                violation_type=known.kind,
                violation_description=known.description,
                count=known.count,
                examples=known.examples,
            )
            for known in preview.violations
        ],
        awards_at_stake=[
            AwardsAtStakeBody(destination_id=stake.destination, item=item, awards=awards, quantity=str(quantity))
            for stake in preview.at_stake
            for item, awards, quantity in stake.items()
        ],
        is_partial=preview.is_partial,
    )


# Segment has two truth values where Punchcard has one action, and another name for omitted traits.
_OMIT_TRAITS = "OMIT_TRAITS"


def to_schema_settings(enforcement: Enforcement) -> dict[str, Any]:
    """Return an enforcement in the names of Segment's schema settings."""
    settings: dict[str, Any] = {
        "track": {
            "allowUnplannedEvents": enforcement.unplanned_events == Action.ALLOW,
            "allowUnplannedEventProperties": enforcement.track.unplanned == Action.ALLOW,
            "allowEventOnViolations": enforcement.track.violations != Action.BLOCK,
            "allowPropertiesOnViolations": enforcement.track.violations == Action.ALLOW,
            "commonEventOnViolations": enforcement.track.common,
        },
        "identify": _traits(enforcement.identify),
        "group": _traits(enforcement.group),
    }
    if enforcement.forward_violations_to:
        settings["forwardingViolationsTo"] = enforcement.forward_violations_to
    return settings


def _traits(call: CallEnforcement) -> dict[str, Any]:
    # Segment's settings of traits cannot state that violations block an event; ours can, so it is added.
    common = _OMIT_TRAITS if call.common == Action.OMIT_PROPERTIES else call.common
    return {
        "allowUnplannedTraits": call.unplanned == Action.ALLOW,
        "allowTraitsOnViolations": call.violations == Action.ALLOW,
        "commonEventOnViolations": common,
    }


def from_schema_settings(current: Enforcement, settings: Mapping[str, Any]) -> Enforcement:
    """Return the enforcement with the members that Segment's schema settings state; others stay.

    Raises:
        KeyError: A member is unknown; its path is the argument.
        TypeError: A value has another type; its path is the argument.
    """
    known = to_schema_settings(current)
    for section, values in settings.items():
        if section in ("forwardingViolationsTo", "forwardingBlockedEventsTo"):
            if not isinstance(values, str | None):
                raise TypeError(section)
            continue
        if section not in known:
            raise KeyError(section)
        if not isinstance(values, Mapping):
            raise TypeError(section)
        for key, value in values.items():
            if key not in known[section]:
                raise KeyError(f"{section}.{key}")
            expected = str if key == "commonEventOnViolations" else bool
            if not isinstance(value, expected):
                raise TypeError(f"{section}.{key}")
    track: Mapping[str, Any] = settings.get("track", {})
    unplanned_events = current.unplanned_events
    if "allowUnplannedEvents" in track:
        unplanned_events = Action.ALLOW if track["allowUnplannedEvents"] else Action.BLOCK
    return replace(
        current,
        unplanned_events=str(unplanned_events),
        track=_call(
            current.track,
            track,
            "allowUnplannedEventProperties",
            "allowPropertiesOnViolations",
            "allowEventOnViolations",
        ),
        identify=_call(
            current.identify, settings.get("identify", {}), "allowUnplannedTraits", "allowTraitsOnViolations", ""
        ),
        group=_call(current.group, settings.get("group", {}), "allowUnplannedTraits", "allowTraitsOnViolations", ""),
        forward_violations_to=settings.get("forwardingViolationsTo", current.forward_violations_to) or "",
    )


def _call(
    current: CallEnforcement, values: Mapping[str, Any], unplanned_key: str, properties_key: str, event_key: str
) -> CallEnforcement:
    unplanned, violations, common = current.unplanned, current.violations, current.common
    if unplanned_key in values:
        unplanned = Action.ALLOW.value if values[unplanned_key] else Action.OMIT_PROPERTIES.value
    blocks = violations == Action.BLOCK
    omits = violations == Action.OMIT_PROPERTIES
    if event_key and event_key in values:
        blocks = not values[event_key]
    if properties_key in values:
        omits = not values[properties_key]
        blocks = blocks if event_key else False
    if blocks:
        violations = Action.BLOCK.value
    elif omits:
        violations = Action.OMIT_PROPERTIES.value
    else:
        violations = Action.ALLOW.value
    if "commonEventOnViolations" in values:
        common = str(values["commonEventOnViolations"]).upper().replace(_OMIT_TRAITS, Action.OMIT_PROPERTIES.value)
    return CallEnforcement(unplanned=unplanned, violations=violations, common=common)
