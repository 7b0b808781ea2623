"""Tracking plans: their rules and sources.

Source: Segment's Public API, "Tracking Plans".
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, patch, post, put
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from punchcard.api import bodies
from punchcard.api.api_dependencies import Dependencies
from punchcard.api.errors import bad_request, unprocessable
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor, page
from punchcard.api.sources import SourceView, source_view
from punchcard.clock import to_iso
from punchcard.operations.executor import run_in_executor
from punchcard.operations.plan_views import (
    RuleBody,
    TrackingPlanBody,
    plan_body,
    rule_body,
)
from punchcard.store.workspace import configuration
from punchcard.tracking_plans.model import PlanType, TrackingPlan, TrackingPlanRule, rule_key, rule_name
from punchcard.workspace.editing import NotFoundError, add_with_new_slug
from punchcard.workspace.tracking_plans import (
    add_plan,
    change_plan,
    connect_source,
    disconnect_source,
    find_plan,
    new_plan_slug,
    remove_plan,
    set_rules,
)

_SUCCESS = {"data": {"status": "SUCCESS"}}


class NewTrackingPlan(msgspec.Struct):
    """A tracking plan to create."""

    name: str
    type: str = PlanType.LIVE.value
    description: str = ""


class TrackingPlanUpdate(msgspec.Struct):
    """Members to change; absent members stay."""

    name: str | None = None
    description: str | None = None


class TrackingPlanPage(msgspec.Struct, rename="camel"):
    """A page of tracking plans."""

    tracking_plans: list[TrackingPlanBody]
    pagination: bodies.Pagination


class RulePage(msgspec.Struct):
    """A page of rules."""

    rules: list[RuleBody]
    pagination: bodies.Pagination


class RuleInput(msgspec.Struct, rename="camel"):
    """A rule to save. `newKey` renames the event of an existing rule; the times are ignored."""

    type: str
    json_schema: dict[str, Any]
    version: float = 1
    key: str = ""
    new_key: str = ""
    created_at: str | None = None
    updated_at: str | None = None
    deprecated_at: str | None = None


class RuleList(msgspec.Struct):
    """Rules to save."""

    rules: list[RuleInput]


class PlanSource(msgspec.Struct, rename="camel"):
    """A source to connect."""

    source_id: str


class PlanSourcePage(msgspec.Struct):
    """A page of connected sources."""

    sources: list[SourceView]
    pagination: bodies.Pagination


@get("/tracking-plans", summary="List tracking plans")
@run_in_executor
def list_tracking_plans(
    dependencies: Dependencies, type: FromQuery[str] = "", count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, TrackingPlanPage]:
    """List tracking plans by slug; `type` limits them to a type."""
    plans = [plan for plan in dependencies.workspace().tracking_plans if type in ("", plan.type)]
    shown, pagination = page(plans, key=lambda plan: plan.slug, count=count, cursor=cursor)
    return {
        "data": TrackingPlanPage(tracking_plans=[_body(dependencies, plan) for plan in shown], pagination=pagination)
    }


@post("/tracking-plans", status_code=200, summary="Create a tracking plan")
@run_in_executor
def create_tracking_plan(
    data: JSONBody[NewTrackingPlan], dependencies: Dependencies
) -> dict[str, dict[str, TrackingPlanBody]]:
    """Create a tracking plan without rules. Its slug is made of its name."""
    plan = TrackingPlan(
        slug="",
        name=data.name,
        description=data.description,
        type=data.type,
        created_at=to_iso(dependencies.clock.now()),
    )
    slug, _ = add_with_new_slug(
        dependencies.edit,
        lambda workspace: new_plan_slug(workspace, data.name),
        lambda slug: add_plan(replace(plan, slug=slug)),
    )
    return _response(dependencies, slug)


@get("/tracking-plans/{plan_id:str}", summary="Get a tracking plan")
@run_in_executor
def get_tracking_plan(plan_id: FromPath[str], dependencies: Dependencies) -> dict[str, dict[str, TrackingPlanBody]]:
    """Get a tracking plan; its rules have a call of their own."""
    return _response(dependencies, plan_id)


@patch("/tracking-plans/{plan_id:str}", summary="Update a tracking plan")
@run_in_executor
def update_tracking_plan(
    plan_id: FromPath[str], data: JSONBody[TrackingPlanUpdate], dependencies: Dependencies
) -> dict[str, dict[str, str]]:
    """Update name and description."""

    def changed(plan: TrackingPlan) -> TrackingPlan:
        return replace(
            plan,
            name=plan.name if data.name is None else data.name,
            description=plan.description if data.description is None else data.description,
        )

    dependencies.edit(change_plan(plan_id, changed))
    return _SUCCESS


@delete("/tracking-plans/{plan_id:str}", status_code=200, summary="Delete a tracking plan")
@run_in_executor
def delete_tracking_plan(plan_id: FromPath[str], dependencies: Dependencies) -> dict[str, dict[str, str]]:
    """Delete a tracking plan. Events of its sources are no longer compared with it, and nothing of them is blocked."""
    dependencies.edit(remove_plan(plan_id))
    return _SUCCESS


@get("/tracking-plans/{plan_id:str}/rules", summary="List the rules of a tracking plan")
@run_in_executor
def list_rules(
    plan_id: FromPath[str], dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, RulePage]:
    """List the rules by type, key and version."""
    plan = find_plan(dependencies.workspace(), plan_id)
    rules = sorted(plan.rules, key=_cursor_key)
    shown, pagination = page(rules, key=_cursor_key, count=count, cursor=cursor)
    return {"data": RulePage(rules=[rule_body(rule) for rule in shown], pagination=pagination)}


@put("/tracking-plans/{plan_id:str}/rules", summary="Replace the rules of a tracking plan")
@run_in_executor
def replace_rules(
    plan_id: FromPath[str], data: JSONBody[RuleList], dependencies: Dependencies
) -> dict[str, dict[str, str]]:
    """Replace all rules."""
    rules = tuple(map(_rule, data.rules))
    dependencies.edit(change_plan(plan_id, lambda plan: replace(plan, rules=rules)))
    return _SUCCESS


@patch("/tracking-plans/{plan_id:str}/rules", summary="Update rules of a tracking plan")
@run_in_executor
def update_rules(
    plan_id: FromPath[str], data: JSONBody[RuleList], dependencies: Dependencies
) -> dict[str, dict[str, str]]:
    """Add rules, or replace those with the same type, key and version. Other rules stay."""

    def changed(plan: TrackingPlan) -> TrackingPlan:
        for given in data.rules:
            rule = _rule(given)
            if given.new_key:
                others = tuple(known for known in plan.rules if rule_key(known) != rule_key(rule))
                plan, rule = replace(plan, rules=others), replace(rule, key=given.new_key)
                if rule_key(rule) in map(rule_key, others):
                    raise unprocessable(f"There is a rule {rule_name(rule)}. Remove it first.", "rules.newKey")
            plan = set_rules(plan, [rule])
        return plan

    dependencies.edit(change_plan(plan_id, changed))
    return _SUCCESS


@delete("/tracking-plans/{plan_id:str}/rules", status_code=200, summary="Remove rules from a tracking plan")
@run_in_executor
def remove_rules(
    request: Request[Any, Any, Any], plan_id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, str]]:
    """Remove rules: `?rules[0][type]=TRACK&rules[0][key]=Signed Up&rules[0][version]=1`, or `?rules=` with JSON."""
    named = {rule_key(rule): rule_name(rule) for rule in _rules_of_query(request.query_params.multi_items())}
    if not named:
        raise bad_request("Name at least one rule, such as rules[0][type]=TRACK&rules[0][key]=Signed Up.", "rules")

    def changed(plan: TrackingPlan) -> TrackingPlan:
        missing = named.keys() - set(map(rule_key, plan.rules))
        if missing:
            raise NotFoundError(f"{plan_id} has no rule {', '.join(sorted(named[key] for key in missing))}.")
        return replace(plan, rules=tuple(rule for rule in plan.rules if rule_key(rule) not in named))

    dependencies.edit(change_plan(plan_id, changed))
    return _SUCCESS


@get("/tracking-plans/{plan_id:str}/sources", summary="List the sources of a tracking plan")
@run_in_executor
def list_plan_sources(
    plan_id: FromPath[str], dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, PlanSourcePage]:
    """List the connected sources."""
    workspace = dependencies.workspace()
    plan = find_plan(workspace, plan_id)
    connected = [source for source in workspace.sources if source.slug in plan.sources]
    shown, pagination = page(connected, key=lambda source: source.slug, count=count, cursor=cursor)
    return {"data": PlanSourcePage(sources=[source_view(source) for source in shown], pagination=pagination)}


@post("/tracking-plans/{plan_id:str}/sources", status_code=200, summary="Connect a source to a tracking plan")
@run_in_executor
def add_plan_source(
    plan_id: FromPath[str], data: JSONBody[PlanSource], dependencies: Dependencies
) -> dict[str, dict[str, str]]:
    """Connect a source. Its next events are compared with the plan; nothing is blocked unless its settings say so."""
    dependencies.edit(connect_source(plan_id, data.source_id))
    return _SUCCESS


@delete("/tracking-plans/{plan_id:str}/sources", status_code=200, summary="Disconnect a source from a tracking plan")
@run_in_executor
def remove_plan_source(
    plan_id: FromPath[str],
    dependencies: Dependencies,
    source_id: Annotated[str, QueryParameter(name="sourceId")],
) -> dict[str, dict[str, str]]:
    """Disconnect a source."""
    dependencies.edit(disconnect_source(plan_id, source_id))
    return _SUCCESS


def _cursor_key(rule: TrackingPlanRule) -> str:
    return f"{rule.type}\n{rule.key}\n{rule.version:07}"  # the version has at most 7 digits


def _rule(given: RuleInput) -> TrackingPlanRule:
    if given.version != int(given.version):
        raise unprocessable(f"{given.version} is not a whole number.", "rules.version")
    return TrackingPlanRule(type=given.type, key=given.key, version=int(given.version), json_schema=given.json_schema)


def _rules_of_query(parameters: Iterable[tuple[str, Any]]) -> list[TrackingPlanRule]:
    """Return the rules that a query names, as clients write lists of objects."""
    entries: dict[str, dict[str, Any]] = {}
    for name, value in parameters:
        if not name.startswith("rules"):
            continue
        parts = name.removeprefix("rules").strip("[]").split("][")
        if parts[-1] in ("type", "key", "version"):
            entries.setdefault("][".join(parts[:-1]), {})[parts[-1]] = value
            continue
        try:
            decoded = msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise bad_request('Must be a rule as JSON, such as {"type":"TRACK","key":"A"}.', "rules") from error
        for number, item in enumerate(decoded if isinstance(decoded, list) else [decoded]):
            if not isinstance(item, dict):
                raise bad_request("Must be a rule, with type, key and version.", "rules")
            entries[f"{name} {len(entries)} {number}"] = item
    rules = []
    for entry in entries.values():
        try:
            version = int(float(entry.get("version", 1)))
        except (TypeError, ValueError, OverflowError) as error:
            raise bad_request("The version must be a whole number.", "rules") from error
        rules.append(TrackingPlanRule(type=str(entry.get("type", "")), key=str(entry.get("key", "")), version=version))
    return rules


def _body(dependencies: Dependencies, plan: TrackingPlan) -> TrackingPlanBody:
    with dependencies.store.reading() as work:
        updated_at = configuration.changed_at(work, "tracking_plan", plan.slug)
    return plan_body(plan, updated_at="" if updated_at is None else to_iso(updated_at))


def _response(dependencies: Dependencies, slug: str) -> dict[str, dict[str, TrackingPlanBody]]:
    return {"data": {"trackingPlan": _body(dependencies, find_plan(dependencies.workspace(), slug))}}


HANDLERS = (
    list_tracking_plans,
    create_tracking_plan,
    get_tracking_plan,
    update_tracking_plan,
    delete_tracking_plan,
    list_rules,
    replace_rules,
    update_rules,
    remove_rules,
    list_plan_sources,
    add_plan_source,
    remove_plan_source,
)
