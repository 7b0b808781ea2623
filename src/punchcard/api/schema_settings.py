"""Violations of a source's tracking plan: what is done with them, what would have been done, and which there are.

Source: Segment's Public API, "Sources" (schema settings).
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

import msgspec
from litestar import get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from punchcard.api.api_dependencies import REQUIRED_ROLE, Dependencies
from punchcard.api.errors import bad_request, unprocessable
from punchcard.operations.executor import run_in_executor
from punchcard.operations.plan_inference import infer_rules
from punchcard.operations.plan_preview import preview_plan
from punchcard.operations.plan_views import (
    PreviewBody,
    RuleBody,
    ViolationBody,
    from_schema_settings,
    preview_body,
    rule_body,
    to_schema_settings,
    violation_body,
)
from punchcard.store.access.token_store import Role
from punchcard.store.tracking_plans.violations import list_violations
from punchcard.tracking_plans.model import Enforcement
from punchcard.tracking_plans.validation import CompiledPlan
from punchcard.workspace.editing import change_source, find_source
from punchcard.workspace.tracking_plans import find_plan, plan_of_source

_DAYS_MAX = 100


class ViolationPage(msgspec.Struct):
    """Violations, most frequent first, at most 1,000."""

    violations: list[ViolationBody]


class SchemaSettings(msgspec.Struct, rename="camel"):
    """What a source does with violations of its tracking plan."""

    source_id: str
    settings: dict[str, Any]


class InferredRules(msgspec.Struct):
    """Rules that follow from the events of a source. Nothing is saved."""

    rules: list[RuleBody]


@get("/sources/{source_id:str}/settings", summary="Get a source's schema settings")
@run_in_executor
def get_schema_settings(source_id: FromPath[str], dependencies: Dependencies) -> dict[str, SchemaSettings]:
    """Get what the source does with violations of its tracking plan."""
    source = find_source(dependencies.workspace(), source_id)
    return {"data": SchemaSettings(source_id=source_id, settings=to_schema_settings(source.enforcement))}


@patch("/sources/{source_id:str}/settings", summary="Update a source's schema settings")
@run_in_executor
def update_schema_settings(
    source_id: FromPath[str], data: JSONBody[dict[str, Any]], dependencies: Dependencies
) -> dict[str, SchemaSettings]:
    """Update what the source does with violations; absent members stay.

    Blocked events are not forwarded, because they stay in the data lake.
    """
    if data.get("forwardingBlockedEventsTo"):
        message = "Blocked events are not forwarded: they stay in the data lake, and can be replayed."
        raise unprocessable(message, "forwardingBlockedEventsTo")
    source = find_source(dependencies.workspace(), source_id)
    changed = _settings(source.enforcement, data)
    dependencies.edit(change_source(source_id, lambda known: replace(known, enforcement=changed)))
    return {"data": SchemaSettings(source_id=source_id, settings=to_schema_settings(changed))}


@post(
    "/sources/{source_id:str}/settings/preview",
    status_code=200,
    summary="Preview schema settings",
    opt={REQUIRED_ROLE: Role.READ_ONLY},
)
@run_in_executor
def preview_schema_settings(
    source_id: FromPath[str],
    data: JSONBody[dict[str, Any]],
    dependencies: Dependencies,
    tracking_plan_id: Annotated[str, QueryParameter(name="trackingPlanId")] = "",
    days: FromQuery[int] = 7,
) -> dict[str, PreviewBody]:
    """Return what these settings would have done with the events of the last days, and the awards at stake.

    Without `trackingPlanId` the source's own plan is taken. Nothing is changed.
    """
    workspace = dependencies.workspace()
    source = find_source(workspace, source_id)
    plan = find_plan(workspace, tracking_plan_id) if tracking_plan_id else plan_of_source(workspace, source_id)
    if plan is None:
        raise unprocessable(f"{source_id} has no tracking plan. Name one with ?trackingPlanId=.", "trackingPlanId")
    preview = preview_plan(
        dependencies.current(),
        source_id,
        CompiledPlan(plan),
        _settings(source.enforcement, data),
        store=dependencies.store,
        lake=dependencies.lake,
        begin=dependencies.clock.now() - timedelta(days=_days(days)),
    )
    return {"data": preview_body(preview)}


@get("/sources/{source_id:str}/violations", summary="List violations of a source")
@run_in_executor
def list_source_violations(
    source_id: FromPath[str], dependencies: Dependencies, days: FromQuery[int] = 7
) -> dict[str, ViolationPage]:
    """List the violations of the last days by event, field and kind."""
    find_source(dependencies.workspace(), source_id)
    since = dependencies.clock.now() - timedelta(days=_days(days))
    with dependencies.store.reading() as work:
        listed = list_violations(work, since=since, source=source_id)
    return {"data": ViolationPage(violations=[violation_body(known) for known in listed])}


@get("/sources/{source_id:str}/inferred-rules", summary="Infer rules from the events of a source")
@run_in_executor
def list_inferred_rules(
    source_id: FromPath[str], dependencies: Dependencies, days: FromQuery[int] = 7
) -> dict[str, InferredRules]:
    """Return rules that the events of the last days would follow. Nothing is saved."""
    find_source(dependencies.workspace(), source_id)
    since = dependencies.clock.now() - timedelta(days=_days(days))
    with dependencies.store.reading() as work:
        rules = infer_rules(work, source_id, since=since)
    return {"data": InferredRules(rules=[rule_body(rule) for rule in rules])}


def _days(days: int) -> int:
    if not 1 <= days <= _DAYS_MAX:
        raise bad_request(f"Must be between 1 and {_DAYS_MAX}.", "days")
    return days


def _settings(current: Enforcement, data: Mapping[str, Any]) -> Enforcement:
    try:
        return from_schema_settings(current, data)
    except KeyError as error:
        raise unprocessable(f"{error.args[0]} is not a schema setting.", str(error.args[0])) from error
    except TypeError as error:
        raise unprocessable(f"{error.args[0]} has a value of another type.", str(error.args[0])) from error


HANDLERS = (
    get_schema_settings,
    update_schema_settings,
    preview_schema_settings,
    list_source_violations,
    list_inferred_rules,
)
