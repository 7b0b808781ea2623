"""Protocols: tracking plans, their rules as a table and as JSON, violations, and what a source does with them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath

from punchcard.app.forms import FormErrors
from punchcard.app.paths import page_path
from punchcard.app.request_context import ContextDependency, Page, RequestContext
from punchcard.clock import to_iso
from punchcard.errors import ConfigurationError, StorageError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.plan_inference import infer_rules
from punchcard.operations.plan_preview import AwardsAtStake, PlanPreview, preview_plan, total_points
from punchcard.operations.plan_views import export_body
from punchcard.operations.sentences import as_sentence
from punchcard.routing.plan_step import violation_note
from punchcard.store.tracking_plans.violations import ListedViolation, count_violations, list_violations
from punchcard.tracking_plans.json_schema import JSON_TYPES
from punchcard.tracking_plans.model import (
    NAMED_TYPES,
    Action,
    CallEnforcement,
    Enforcement,
    RuleType,
    TrackingPlan,
    TrackingPlanRule,
)
from punchcard.tracking_plans.plan_documents import PlanFormatError, read_csv, read_rules
from punchcard.tracking_plans.table import DATE_TIME, TableRow, build_schema, to_rows
from punchcard.tracking_plans.validation import CompiledPlan
from punchcard.workspace.editing import NotFoundError, change_source, find_source, suggest_slug, unique_slug
from punchcard.workspace.tracking_plans import (
    add_plan,
    change_plan,
    connect_source,
    disconnect_source,
    find_plan,
    plan_of_source,
    remove_plan,
    set_rules,
    sort_rules,
)

_DAYS: Final = 7
_PREVIEWED: Final = timedelta(days=_DAYS)
_NEW_ROWS: Final = 3
TYPES: Final = ("any", *JSON_TYPES, DATE_TIME)
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


@get("/protocols")
@run_in_executor
def list_plans(context: ContextDependency) -> Page:
    """List the tracking plans, with the form for a new one."""
    return _list(context, FormErrors(), status=200)


@post("/protocols", status_code=200)
@run_in_executor
def create_plan(context: ContextDependency) -> Page:
    """Create a tracking plan: empty, of a document, or of what a source sends."""
    dependencies = context.dependencies
    name, source, document = context.field("name"), context.field("source"), context.field("document")
    existing = {plan.slug for plan in dependencies.workspace().tracking_plans}
    slug = unique_slug(suggest_slug(name) or "plan", existing)
    try:
        rules = _rules_of(context, source, document)
        plan = TrackingPlan(slug=slug, name=name, rules=sort_rules(rules), created_at=to_iso(dependencies.clock.now()))
        context.edit(add_plan(plan))
    except PlanFormatError as error:
        return _list(context, FormErrors(fields={"document": error.message}), status=422)
    except ConfigurationError as error:
        return _list(context, FormErrors(general=_sentences(error)), status=422)
    return context.redirect(page_path("protocols", slug), notices=[f"The tracking plan {name} was created."])


@get("/protocols/{slug:str}")
@run_in_executor
def show_plan(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show the rules of a plan, a row for each event."""
    return _show(context, slug, FormErrors(), status=200)


@post("/protocols/{slug:str}", status_code=200)
@run_in_executor
def change_plan_settings(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Save name and description, add rules of a document, or delete the plan."""
    try:
        match context.field("action"):
            case "delete":
                context.edit(remove_plan(slug))
                return context.redirect("/protocols", notices=["The tracking plan was deleted."])
            case "import":
                rules = _rules_of(context, "", context.field("document"))
                context.edit(change_plan(slug, lambda plan: set_rules(plan, rules)))
                notice = f"{len(rules):,} {'rule was' if len(rules) == 1 else 'rules were'} saved."
            case _:
                name, description = context.field("name"), context.field("description")
                context.edit(change_plan(slug, lambda plan: replace(plan, name=name, description=description)))
                notice = "Saved."
    except PlanFormatError as error:
        return _show(context, slug, FormErrors(fields={"document": error.message}), status=422)
    except NotFoundError:
        raise
    except ConfigurationError as error:
        return _show(context, slug, FormErrors(general=_sentences(error)), status=422)
    return context.redirect(page_path("protocols", slug), notices=[notice])


@get("/protocols/{slug:str}/export")
@run_in_executor
def export_plan(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Return a plan as a JSON file."""
    plan = find_plan(context.dependencies.workspace(), slug)
    return Response(
        msgspec.json.format(msgspec.json.encode(export_body(plan)), indent=2).decode(),
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{slug}.json"', "Cache-Control": "no-store"},
    )


@get("/protocols/{slug:str}/rule")
@run_in_executor
def show_rule(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show a rule as a table with its JSON beside it, or the form for a new one."""
    plan = find_plan(context.dependencies.workspace(), slug)
    rule = _rule_in_query(context, plan)
    rows = [] if rule is None else [row for row in to_rows(rule) if row.path]
    new_rule = TrackingPlanRule(type=RuleType.TRACK.value, json_schema={})
    return _rule_page(context, plan, rule or new_rule, rows, FormErrors(), is_new=rule is None, status=200)


@post("/protocols/{slug:str}/rule", status_code=200)
@run_in_executor
def save_rule(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Save a rule, from the table or from the JSON beside it, or delete it."""
    plan = find_plan(context.dependencies.workspace(), slug)
    stored = _rule_in_query(context, plan)
    rows = _posted_rows(context, stored)
    event_type = stored.type if stored is not None else context.field("event_type") or RuleType.TRACK.value
    key = context.field("key") if event_type in NAMED_TYPES else ""
    version = stored.version if stored is not None else _version(context.field("version"))
    current = {} if stored is None else stored.json_schema
    rule = TrackingPlanRule(type=event_type, key=key, version=version, json_schema=current)
    try:
        if context.field("action") == "delete":
            context.edit(change_plan(slug, lambda known: _without(known, stored)))
            return context.redirect(page_path("protocols", slug), notices=["The rule was deleted."])
        if context.field("action") == "json":
            schema = _posted_schema(context)
        else:
            description = TableRow(event_type=event_type, event=key, description=context.field("event_description"))
            schema = build_schema([description, *rows], current)
        rule = replace(rule, json_schema=schema)
        context.edit(change_plan(slug, lambda known: set_rules(_without(known, stored), [rule])))
    except NotFoundError:
        raise
    except ConfigurationError as error:
        errors = FormErrors(general=_sentences(error))
        return _rule_page(context, plan, rule, rows, errors, is_new=stored is None, status=422)
    path = page_path("protocols", slug, "rule", type=rule.type, key=rule.key, version=str(rule.version))
    return context.redirect(path, notices=["The rule was saved. New events are compared with it."])


@get("/protocols/{slug:str}/violations")
@run_in_executor
def show_violations(context: ContextDependency, slug: FromPath[str]) -> Page:
    """List the violations of the sources of a plan, by event, property and kind."""
    dependencies = context.dependencies
    plan = find_plan(dependencies.workspace(), slug)
    days = {"1": 1, "30": 30}.get(context.query("days"), _DAYS)
    with dependencies.store.reading() as work:
        violations = [
            known
            for source in plan.sources
            for known in list_violations(work, source=source, since=dependencies.clock.now() - timedelta(days=days))
        ]
    violations.sort(key=lambda known: -known.count)
    return context.page(
        "plan_violations.html", plan=plan, violations=violations, days=days, events_path=_events_path, tab="Violations"
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
            context.edit(disconnect_source(current.slug, slug))
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
        errors = FormErrors(general=_sentences(error))
        return _enforcement_page(context, slug, enforcement, errors, preview=None, status=422)
    return context.redirect(path, notices=["Saved. It applies to new events."])


def _list(context: RequestContext, errors: FormErrors, *, status: int) -> Page:
    dependencies = context.dependencies
    workspace = dependencies.workspace()
    with dependencies.store.reading() as work:
        counts = count_violations(work, since=dependencies.clock.now() - _PREVIEWED)
    return context.page(
        "protocols.html",
        status=status,
        errors=errors,
        plans=workspace.tracking_plans,
        problems=dependencies.current().invalid_plans,
        counts={plan.slug: sum(counts.get(source, 0) for source in plan.sources) for plan in workspace.tracking_plans},
        sources=workspace.sources,
        values={name: context.field(name) for name in ("name", "source", "document")},
    )


def _show(context: RequestContext, slug: str, errors: FormErrors, *, status: int) -> Page:
    plan = find_plan(context.dependencies.workspace(), slug)
    counts = [(rule, len([row for row in to_rows(rule) if row.path])) for rule in plan.rules]
    return context.page(
        "plan.html",
        status=status,
        errors=errors,
        plan=plan,
        rules=counts,
        problem=context.dependencies.current().invalid_plans.get(slug, ""),
        may_change=context.may_change("tracking_plan", slug),
        document=context.field("document"),
        tab="Rules",
    )


def _rule_page(
    context: RequestContext,
    plan: TrackingPlan,
    rule: TrackingPlanRule,
    rows: Sequence[TableRow],
    errors: FormErrors,
    *,
    is_new: bool,
    status: int,
) -> Page:
    text = context.field("schema") if status != 200 and context.field("action") == "json" else ""
    description = rule.json_schema.get("description")
    return context.page(
        "plan_rule.html",
        status=status,
        errors=errors,
        plan=plan,
        rule=rule,
        rows=[*rows, *(TableRow(event_type=rule.type) for _ in range(_NEW_ROWS))],
        schema=text or msgspec.json.format(msgspec.json.encode(rule.json_schema), indent=2).decode(),
        description=description if isinstance(description, str) else "",
        types=TYPES,
        rule_types=list(RuleType),
        named_types=NAMED_TYPES,
        is_new=is_new,
        may_change=context.may_change("tracking_plan", plan.slug),
    )


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
        events_path=_events_path,
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


def _events_path(violation: ListedViolation) -> str:
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


def _rules_of(context: RequestContext, source: str, document: str) -> list[TrackingPlanRule]:
    """Return the rules of a posted document, or of what a source has sent."""
    if document:
        content = document.encode()
        return read_rules(content) if document.lstrip()[:1] in ("{", "[") else read_csv(content)
    if not source:
        return []
    dependencies = context.dependencies
    find_source(dependencies.workspace(), source)
    since: datetime = dependencies.clock.now() - timedelta(days=30)
    with dependencies.store.reading() as work:
        return infer_rules(work, source, since=since)


def _rule_in_query(context: RequestContext, plan: TrackingPlan) -> TrackingPlanRule | None:
    type_, key = context.query("type"), context.request.query_params.get("key", "")
    version = _version(context.query("version"))
    if not type_:
        return None
    for rule in plan.rules:
        if (rule.type, rule.key, rule.version) == (type_, key, version):
            return rule
    raise NotFoundError(f"{plan.slug} has no such rule.")


def _version(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 1


def _without(plan: TrackingPlan, rule: TrackingPlanRule | None) -> TrackingPlan:
    if rule is None:
        return plan
    name = (rule.type, rule.key, rule.version)
    return replace(plan, rules=tuple(known for known in plan.rules if (known.type, known.key, known.version) != name))


def _posted_rows(context: RequestContext, stored: TrackingPlanRule | None) -> list[TableRow]:
    paths, types = context.fields("path"), context.fields("types")
    allowed, descriptions = context.fields("allowed"), context.fields("row_description")
    required = set(context.fields("required"))
    patterns = {} if stored is None else {row.path: row.pattern for row in to_rows(stored)}
    event_type = stored.type if stored is not None else context.field("event_type") or RuleType.TRACK.value
    rows = []
    for index, (path, type_names, values, description) in enumerate(
        zip(paths, types, allowed, descriptions, strict=False)
    ):
        if not path:
            continue
        rows.append(
            TableRow(
                event_type=event_type,
                event=context.field("key"),
                path=path,
                types=tuple(name for name in type_names.split(", ") if name != "any"),
                required=str(index) in required,
                allowed=tuple(value.strip() for value in values.split("|") if value.strip()),
                pattern=patterns.get(path, ""),
                description=description,
            )
        )
    return rows


def _posted_schema(context: RequestContext) -> Mapping[str, object]:
    try:
        return msgspec.json.decode(context.field("schema").encode(), type=dict[str, object])
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise ConfigurationError(f"This is not the JSON of a schema: {error}.") from error


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


def _sentences(error: ConfigurationError) -> list[str]:
    return [as_sentence(line) for line in error.message.splitlines()]


HANDLERS = (
    list_plans,
    create_plan,
    show_plan,
    change_plan_settings,
    export_plan,
    show_rule,
    save_rule,
    show_violations,
    show_enforcement,
    change_enforcement,
)
