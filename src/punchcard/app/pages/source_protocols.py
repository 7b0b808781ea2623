"""What a source does with violations of its tracking plan, with a preview of the last days."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Final

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.forms import FormErrors, form_errors_from
from punchcard.app.paths import page_path
from punchcard.app.request_context import ContextDependency, Page, RequestContext
from punchcard.errors import ConfigurationError, StorageError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.plan_preview import AwardsAtStake, PlanPreview, preview_plan, total_points
from punchcard.routing.plan_step import violation_note
from punchcard.store.routing.event_results import EventStatus
from punchcard.store.tracking_plans.violations import ListedViolation, list_violations
from punchcard.tracking_plans.model import Action, CallEnforcement, Enforcement, TrackingPlan
from punchcard.tracking_plans.validation import CompiledPlan
from punchcard.workspace.editing import NotFoundError, change_source, find_source
from punchcard.workspace.tracking_plans import connect_source, disconnect_source, plan_of_source

_DAYS: Final = 7
_PREVIEWED: Final = timedelta(days=_DAYS)
_CALLS: Final = ("track", "identify", "group")
ACTION_LABELS: Final = {
    Action.ALLOW: "Allow",
    Action.OMIT_PROPERTIES: "Omit the property",
    Action.BLOCK: "Block the event",
}
_SETTINGS: Final = (
    ("unplanned_events", "Unplanned events", "track calls", (Action.ALLOW, Action.BLOCK)),
    ("track.unplanned", "Unplanned properties", "track calls", (Action.ALLOW, Action.OMIT_PROPERTIES)),
    ("track.violations", "Violating values", "track calls", tuple(Action)),
    ("track.common", "Common rule violated", "track calls", tuple(Action)),
    ("identify.unplanned", "Unplanned traits", "identify calls", (Action.ALLOW, Action.OMIT_PROPERTIES)),
    ("identify.violations", "Violating traits", "identify calls", tuple(Action)),
    ("identify.common", "Common rule violated", "identify calls", tuple(Action)),
    ("group.unplanned", "Unplanned traits", "group calls", (Action.ALLOW, Action.OMIT_PROPERTIES)),
    ("group.violations", "Violating traits", "group calls", tuple(Action)),
    ("group.common", "Common rule violated", "group calls", tuple(Action)),
)


@get("/sources/{slug:str}/protocols")
@run_in_executor
def show_enforcement(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show the plan of a source, its violations, and what is done with them."""
    source = find_source(context.dependencies.workspace(), slug)
    return _enforcement_page(context, slug, source.enforcement, FormErrors(), preview=None, status=200)


@post("/sources/{slug:str}/protocols", status_code=200)
@run_in_executor
def change_enforcement(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Connect or disconnect a plan; preview or save what is done with violations."""
    workspace = context.dependencies.workspace()
    current = plan_of_source(workspace, slug)
    path = page_path("sources", slug, "protocols")
    action = context.field("action")
    enforcement = find_source(workspace, slug).enforcement
    try:
        if action == "connect":
            context.edit(connect_source(context.field("plan"), slug))
            return context.redirect(path, notices=["Connected. New events are compared with the plan."])
        if action == "disconnect" and current is not None:
            # The plan that the page has shown: somebody may have connected another one since.
            context.edit(disconnect_source(context.field("plan") or current.slug, slug))
            return context.redirect(path, notices=["Disconnected. Events are no longer compared with the plan."])
        enforcement = _posted_enforcement(context, enforcement)
        if action == "preview" and current is not None:
            return _enforcement_page(
                context,
                slug,
                enforcement,
                FormErrors(),
                preview=_preview(context, slug, current, enforcement),
                status=200,
            )
        context.edit(change_source(slug, lambda source: replace(source, enforcement=enforcement)))
    except (NotFoundError, StorageError):
        raise
    except ConfigurationError as error:
        errors = form_errors_from(error, only=())
        return _enforcement_page(context, slug, enforcement, errors, preview=None, status=422)
    return context.redirect(path, notices=["Saved. It applies to new events."])


def _enforcement_page(
    context: RequestContext,
    slug: str,
    enforcement: Enforcement,
    errors: FormErrors,
    *,
    preview: PlanPreview | None,
    status: int,
) -> Page:
    dependencies = context.dependencies
    workspace = dependencies.workspace()
    source = find_source(workspace, slug)
    since = dependencies.clock.now() - _PREVIEWED
    with dependencies.store.reading() as work:
        violations = list_violations(work, since=since, source=slug, limit=10)
    stakes = [] if preview is None else preview.at_stake
    return context.page(
        "source_protocols.html",
        status=status,
        errors=errors,
        source=source,
        plan=plan_of_source(workspace, slug),
        plans=workspace.tracking_plans,
        enforcement=enforcement,
        settings=[(name, *rest, _value(enforcement, name)) for name, *rest in _SETTINGS],
        action_labels=ACTION_LABELS,
        violations=violations,
        preview=preview,
        stakes=[(stake, total_points(stake, _points(context, stake))) for stake in stakes],
        days=_DAYS,
        targets=[other.slug for other in workspace.sources if other.slug != slug and not other.is_managed],
        events_path=violations_path,
        replay_paths=_replay_paths(context, slug) if any(violation.blocked for violation in violations) else [],
        may_change=context.may_change("source", slug) and not source.is_managed,
    )


def _preview(context: RequestContext, slug: str, plan: TrackingPlan, enforcement: Enforcement) -> PlanPreview:
    dependencies = context.dependencies
    return preview_plan(
        dependencies.current(),
        slug,
        CompiledPlan(plan),
        enforcement,
        store=dependencies.store,
        lake=dependencies.lake,
        begin=dependencies.clock.now() - _PREVIEWED,
    )


def _points(context: RequestContext, stake: AwardsAtStake) -> dict[str, Decimal]:
    """Return the points per unit of the items at stake, as far as the partner has stated them lately."""
    choices = context.mapping_choices
    known = {item: choices.points_per_unit(stake.destination, item) for item, _, _ in stake.items()}
    return {item: points for item, points in known.items() if points is not None}


def violations_path(violation: ListedViolation) -> str:
    """Return the path of the list of all events with these violations."""
    key = violation.key
    begin = f"{key.field} " if key.field else violation.description
    note = violation_note(violation.plan, key.kind, begin)
    is_track = key.event_type == "track"
    return page_path(
        "events",
        time="30d",
        source=key.source,
        type=key.event_type,
        name=key.event_name if is_track else "",
        note=note,
    )


def _replay_paths(context: RequestContext, slug: str) -> list[tuple[str, str]]:
    """Return slug and path of each destination of a source: the form for replays, with the blocked events selected."""
    return [
        (
            destination.slug,
            page_path(
                "destinations",
                destination.slug,
                "replays",
                time=f"{_DAYS}d",
                source=slug,
                status=EventStatus.FILTERED_AT_SOURCE.value,
            ),
        )
        for destination in context.dependencies.workspace().destinations
        if slug in destination.sources
    ]


def _posted_enforcement(context: RequestContext, current: Enforcement) -> Enforcement:
    calls: dict[str, CallEnforcement] = {}
    for name in _CALLS:
        call: CallEnforcement = getattr(current, name)
        calls[name] = replace(
            call,
            unplanned=context.field(f"{name}.unplanned") or call.unplanned,
            violations=context.field(f"{name}.violations") or call.violations,
            common=context.field(f"{name}.common") or call.common,
        )
    return replace(
        current,
        unplanned_events=context.field("unplanned_events") or current.unplanned_events,
        forward_violations_to=context.field("forward_violations_to"),
        track=calls["track"],
        identify=calls["identify"],
        group=calls["group"],
    )


def _value(enforcement: Enforcement, name: str) -> str:
    call, _, member = name.partition(".")
    return str(getattr(getattr(enforcement, call), member) if member else getattr(enforcement, call))


HANDLERS = (show_enforcement, change_enforcement)
