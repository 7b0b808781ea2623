"""A tracking plan as configured: one rule for each event, and what is done with events that violate it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class RuleType(StrEnum):
    """What a rule is about, by Segment's names."""

    TRACK = "TRACK"  # track calls with the rule's key as their name
    IDENTIFY = "IDENTIFY"  # all identify calls
    GROUP = "GROUP"  # all group calls
    PAGE = "PAGE"  # page calls with this name, or all without a rule of their own
    SCREEN = "SCREEN"  # screen calls, likewise
    COMMON = "COMMON"  # all calls, in addition to their own rule

    # The hash of an enumeration is computed in Python; this one is needed for every event.
    __hash__ = str.__hash__


class PlanType(StrEnum):
    """Types of tracking plans of Segment's Public API. Only a live plan can be connected to a source."""

    LIVE = "LIVE"
    PROPERTY_LIBRARY = "PROPERTY_LIBRARY"
    RULE_LIBRARY = "RULE_LIBRARY"
    TEMPLATE = "TEMPLATE"


class Action(StrEnum):
    """What is done with a violation."""

    ALLOW = "ALLOW"  # it is recorded, and the event goes on
    OMIT_PROPERTIES = "OMIT_PROPERTIES"  # the property is removed, and the event goes on
    BLOCK = "BLOCK"  # the event goes no further


NAMED_TYPES: Final = frozenset({RuleType.TRACK, RuleType.PAGE, RuleType.SCREEN})
"""Types of rules that have the name of an event as their key."""


_VERSIONED: Final = re.compile(r" version -?[0-9]+\Z")


@dataclass(frozen=True, kw_only=True)
class TrackingPlanRule:
    """What an event must look like.

    Attributes:
        type: A `RuleType`.
        key: Name of the event; "" for types that have none, and for page and screen calls of any name.
        version: Version of the event, from 1: events state it as `context.protocols.event_version`.
        json_schema: JSON Schema, draft 7, of the whole event.
    """

    type: str
    key: str = ""
    version: int = 1
    json_schema: Mapping[str, object] = field(default_factory=dict)


def rule_key(rule: TrackingPlanRule) -> tuple[str, str, int]:
    """Return what identifies a rule within its plan: its type, key and version."""
    return rule.type, rule.key, rule.version


def rule_name(rule: TrackingPlanRule) -> str:
    """Return the name of a rule, as `TRACK Order Completed`: no other rule of its plan has the same.

    The version is part of it unless it is the first, and the key does not end as a name with a version does.
    """
    name = f"{rule.type} {rule.key}" if rule.key else rule.type
    return name if rule.version == 1 and not _VERSIONED.search(rule.key) else f"{name} version {rule.version}"


@dataclass(frozen=True, kw_only=True)
class TrackingPlan:
    """A tracking plan.

    Attributes:
        slug: Its identifier in files, pages and the API; never changed.
        name: Display name.
        description: Description for people.
        type: A `PlanType`.
        sources: Slugs of the connected sources. A source has at most one plan.
        rules: Its rules, sorted by type, key and version.
        created_at: ISO text of when the App or the Public API added it; "" if a config file did.
    """

    slug: str
    name: str
    description: str = ""
    type: str = PlanType.LIVE.value
    sources: tuple[str, ...] = ()
    rules: tuple[TrackingPlanRule, ...] = ()
    created_at: str = ""


@dataclass(frozen=True, kw_only=True)
class CallEnforcement:
    """What is done with violations in calls of one kind; each is an `Action`.

    Attributes:
        unplanned: Properties or traits that the rule of the event does not have: `ALLOW` or `OMIT_PROPERTIES`.
        violations: Values that violate the rule of the event.
        common: Values that violate the rule of all events.
    """

    unplanned: str = Action.ALLOW.value
    violations: str = Action.ALLOW.value
    common: str = Action.ALLOW.value


@dataclass(frozen=True, kw_only=True)
class Enforcement:
    """What is done with events of a source that violate its tracking plan. By default they are all allowed.

    Attributes:
        unplanned_events: Track calls without a rule: `ALLOW` or `BLOCK`.
        forward_violations_to: Slug of the source that receives `Violation Generated` events; "" for none.
    """

    unplanned_events: str = Action.ALLOW.value
    track: CallEnforcement = field(default_factory=CallEnforcement)
    identify: CallEnforcement = field(default_factory=CallEnforcement)
    group: CallEnforcement = field(default_factory=CallEnforcement)
    forward_violations_to: str = ""
