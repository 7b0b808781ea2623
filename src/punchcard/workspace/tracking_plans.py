"""Tracking plans in the configuration: their validation, their compiled form, and edits of them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

import msgspec

from punchcard.errors import ConfigurationError
from punchcard.tracking_plans.json_schema import SchemaProblem, find_schema_problems
from punchcard.tracking_plans.model import (
    NAMED_TYPES,
    Action,
    CallEnforcement,
    PlanType,
    RuleType,
    TrackingPlan,
    TrackingPlanRule,
    rule_key,
    rule_name,
)
from punchcard.tracking_plans.validation import CompiledPlan
from punchcard.workspace.editing import (
    Edit,
    NotFoundError,
    find_by_slug,
    find_source,
    remove_by_slug,
    replace_by_slug,
    suggest_slug,
    unique_slug,
)
from punchcard.workspace.model import Source, Workspace
from punchcard.workspace.part_names import name_sources
from punchcard.workspace.problems import KeyPath, Problem, format_error

RULES_MAX: Final = 2_000
"""Rules of one plan, as at Segment."""

_PLANS_MAX: Final = 100
_NAME_CHARACTERS_MAX: Final = 200
_DESCRIPTION_CHARACTERS_MAX: Final = 2_000
_KEY_CHARACTERS_MAX: Final = 256
_VERSION_MAX: Final = 1_000_000
_UNPLANNED_EVENTS: Final = (Action.ALLOW, Action.BLOCK)
_UNPLANNED_PROPERTIES: Final = (Action.ALLOW, Action.OMIT_PROPERTIES)


def tracking_plan_problems(workspace: Workspace, *, paths: Iterable[KeyPath]) -> Iterator[Problem]:
    """Yield the problems of all tracking plans.

    Args:
        paths: Path of each plan.
    """
    if len(workspace.tracking_plans) > _PLANS_MAX:
        message = f"There are {len(workspace.tracking_plans)} tracking plans. At most {_PLANS_MAX} are allowed."
        yield Problem(path=("tracking_plans",), message=message)
    known_sources = name_sources(workspace.sources)
    plan_counts = Counter(source for plan in workspace.tracking_plans for source in set(plan.sources))
    for path, plan in zip(paths, workspace.tracking_plans, strict=True):
        if len(plan.description) > _DESCRIPTION_CHARACTERS_MAX:
            message = f"Has {len(plan.description)} characters. At most {_DESCRIPTION_CHARACTERS_MAX} are allowed."
            yield Problem(path=(*path, "description"), message=message)
        if plan.type not in set(PlanType):
            yield Problem(path=(*path, "type"), message=f'"{plan.type}" is not a type. Types: {", ".join(PlanType)}.')
        elif plan.sources and plan.type != PlanType.LIVE:
            yield Problem(path=(*path, "sources"), message=f"Only a plan of type {PlanType.LIVE} can have sources.")
        for source, count in Counter(plan.sources).items():
            if source not in known_sources:
                listed = ", ".join(sorted(known_sources)) or "none"
                yield Problem(path=(*path, "sources"), message=f'There is no source "{source}". Sources: {listed}.')
            elif count > 1:
                yield Problem(path=(*path, "sources"), message=f'Source "{known_sources[source]}" is listed twice.')
            elif plan_counts[source] > 1:
                message = (
                    f'Source "{known_sources[source]}" has another tracking plan too. A source has at most one: '
                    "disconnect it first."
                )
                yield Problem(path=(*path, "sources"), message=message)
        yield from rule_problems(path, plan)


def rule_problems(path: KeyPath, plan: TrackingPlan) -> Iterator[Problem]:
    """Yield the problems of the rules of a plan, each with its place in the schema."""
    path = (*path, "rules")
    if len(plan.rules) > RULES_MAX:
        yield Problem(path=path, message=f"Has {len(plan.rules):,} rules. At most {RULES_MAX:,} are allowed.")
        return
    counts = Counter(map(rule_key, plan.rules))
    for rule in plan.rules:
        rule_path = (*path, rule_name(rule))
        if rule.type not in set(RuleType):
            message = f'"{rule.type}" is not a type of rule. Types: {", ".join(RuleType)}.'
            yield Problem(path=(*rule_path, "type"), message=message)
        elif rule.key and rule.type not in NAMED_TYPES:
            message = f"A rule of type {rule.type} has no key: it is about all such calls."
            yield Problem(path=(*rule_path, "key"), message=message)
        elif rule.type == RuleType.TRACK and not rule.key.strip():
            yield Problem(path=(*rule_path, "key"), message="Must be the name of the event.")
        if len(rule.key) > _KEY_CHARACTERS_MAX:
            message = f"Has {len(rule.key)} characters. At most {_KEY_CHARACTERS_MAX} are allowed."
            yield Problem(path=(*rule_path, "key"), message=message)
        if isinstance(rule.version, bool) or not 1 <= rule.version <= _VERSION_MAX:
            yield Problem(path=(*rule_path, "version"), message=f"Must be a whole number from 1 to {_VERSION_MAX:,}.")
        if counts[rule_key(rule)] > 1:
            yield Problem(path=rule_path, message="Two rules have this type, key and version.")
        for problem in schema_problems(rule.json_schema):
            yield Problem(path=(*rule_path, "jsonSchema", *problem.path), message=problem.message)


def schema_problems(schema: object) -> tuple[SchemaProblem, ...]:
    """Return what is wrong with a schema. Schemas that were examined lately are remembered."""
    try:
        return _schema_problems(msgspec.json.encode(schema))
    except (TypeError, ValueError, RecursionError):
        return tuple(find_schema_problems(schema))


@lru_cache(maxsize=4_000)
def _schema_problems(text: bytes) -> tuple[SchemaProblem, ...]:
    return tuple(find_schema_problems(msgspec.json.decode(text)))


def enforcement_problems(path: KeyPath, source: Source, *, sources: set[str]) -> Iterator[Problem]:
    """Yield the problems of what is done with violations of a source."""
    path = (*path, "enforcement")
    enforcement = source.enforcement
    yield from _action_problems((*path, "unplanned_events"), enforcement.unplanned_events, _UNPLANNED_EVENTS)
    calls: Mapping[str, CallEnforcement] = {
        "track": enforcement.track,
        "identify": enforcement.identify,
        "group": enforcement.group,
    }
    for name, call in calls.items():
        yield from _action_problems((*path, name, "unplanned"), call.unplanned, _UNPLANNED_PROPERTIES)
        yield from _action_problems((*path, name, "violations"), call.violations, tuple(Action))
        yield from _action_problems((*path, name, "common"), call.common, tuple(Action))
    target = enforcement.forward_violations_to
    if target and target not in sources:
        message = f'There is no source "{target}". Sources: {", ".join(sorted(sources)) or "none"}.'
        yield Problem(path=(*path, "forward_violations_to"), message=message)
    elif target and target == source.slug:
        message = "A source cannot receive its own violations. Choose another source."
        yield Problem(path=(*path, "forward_violations_to"), message=message)


def _action_problems(path: KeyPath, value: str, actions: Iterable[Action]) -> Iterator[Problem]:
    if value not in set(actions):
        yield Problem(path=path, message=f'"{value}" is not an action. Use one of {", ".join(actions)}.')


def sort_rules(rules: Iterable[TrackingPlanRule]) -> tuple[TrackingPlanRule, ...]:
    """Return the rules in their order."""
    return tuple(sorted(rules, key=rule_key))


def compile_plans(
    plans: Iterable[TrackingPlan], unreadable: Iterable[str]
) -> tuple[dict[str, CompiledPlan], dict[str, str]]:
    """Return the usable plans by slug of their sources, and why each of the others cannot be used, by its own slug.

    Args:
        unreadable: Slugs of plans that could not be read completely.
    """
    compiled: dict[str, CompiledPlan] = {}
    invalid: dict[str, str] = {}
    skipped = set(unreadable)
    for plan in plans:
        if not plan.sources or plan.slug in skipped:
            continue
        try:
            compiled_plan = CompiledPlan(plan)
        except Exception as error:  # noqa: BLE001  # one broken plan must not stop the others, nor any award
            invalid[plan.slug] = format_error(error)
            continue
        compiled.update(dict.fromkeys(plan.sources, compiled_plan))
    return compiled, invalid


def find_plan(workspace: Workspace, slug: str) -> TrackingPlan:
    """Return the tracking plan with this slug.

    Raises:
        NotFoundError: There is no such plan.
    """
    return find_by_slug(workspace.tracking_plans, slug, kind="tracking plan")


def plan_of_source(workspace: Workspace, source: str) -> TrackingPlan | None:
    """Return the plan that a source is connected to, None if it has none."""
    return next((plan for plan in workspace.tracking_plans if source in plan.sources), None)


def new_plan_slug(workspace: Workspace, name: str) -> str:
    """Return a slug of its own for a new tracking plan."""
    return unique_slug(suggest_slug(name) or "plan", {plan.slug for plan in workspace.tracking_plans})


def add_plan(plan: TrackingPlan) -> Edit:
    """Return an edit that adds a tracking plan.

    Raises:
        ConfigurationError: (the edit) Its slug is in use.
    """

    def change(workspace: Workspace) -> Workspace:
        if any(existing.slug == plan.slug for existing in workspace.tracking_plans):
            raise ConfigurationError(
                f"A tracking plan {plan.slug} exists already. Choose another name.", code="plan_exists", field="name"
            )
        return replace(workspace, tracking_plans=(*workspace.tracking_plans, plan))

    return change


def change_plan(slug: str, changed: Callable[[TrackingPlan], TrackingPlan]) -> Edit:
    """Return an edit that replaces a tracking plan. Its rules are sorted.

    Raises:
        NotFoundError: (the edit) There is no such plan.
    """

    def change(workspace: Workspace) -> Workspace:
        new_plan = changed(find_plan(workspace, slug))
        new_plan = replace(new_plan, rules=sort_rules(new_plan.rules))
        return replace(workspace, tracking_plans=replace_by_slug(workspace.tracking_plans, slug, new_plan))

    return change


def remove_plan(slug: str) -> Edit:
    """Return an edit that removes a tracking plan. Events of its sources are no longer compared with it.

    Raises:
        NotFoundError: (the edit) There is no such plan.
    """

    def change(workspace: Workspace) -> Workspace:
        find_plan(workspace, slug)
        return replace(workspace, tracking_plans=remove_by_slug(workspace.tracking_plans, slug))

    return change


def connect_source(slug: str, source: str) -> Edit:
    """Return an edit that connects a source to a tracking plan.

    Raises:
        NotFoundError: (the edit) There is no such plan, or no such source.
        ConfigurationError: (the edit) The source is connected to another plan.
    """

    def change(workspace: Workspace) -> Workspace:
        name = find_source(workspace, source).name or source
        current = plan_of_source(workspace, source)
        if current is not None and current.slug != slug:
            raise ConfigurationError(
                f"{name} is connected to the tracking plan {current.name or current.slug}. Disconnect it there first.",
                code="source_has_plan",
                field="sourceId",
            )

        def connected(plan: TrackingPlan) -> TrackingPlan:
            return replace(plan, sources=tuple(sorted({*plan.sources, source})))

        return change_plan(slug, connected)(workspace)

    return change


def disconnect_source(slug: str, source: str) -> Edit:
    """Return an edit that disconnects a source from a tracking plan.

    Raises:
        NotFoundError: (the edit) There is no such plan, or the source is not connected to it.
    """

    def disconnected(plan: TrackingPlan) -> TrackingPlan:
        if source not in plan.sources:
            raise NotFoundError(f"{source} is not connected to the tracking plan {slug}.")
        return replace(plan, sources=tuple(existing for existing in plan.sources if existing != source))

    return change_plan(slug, disconnected)


def set_rules(plan: TrackingPlan, rules: Iterable[TrackingPlanRule]) -> TrackingPlan:
    """Return the plan with rules added, or put in the place of those with the same type, key and version."""
    merged = {rule_key(rule): rule for rule in plan.rules}
    merged.update({rule_key(rule): rule for rule in rules})
    return replace(plan, rules=tuple(merged.values()))
