"""Protocols: tracking plans, their rules as a table and as JSON, violations, and what a source does with them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath

from punchcard.app.forms import FormErrors, form_errors_from
from punchcard.app.pages.source_protocols import violations_path
from punchcard.app.paths import page_path
from punchcard.app.request_context import ContextDependency, Page, RequestContext
from punchcard.clock import to_iso
from punchcard.errors import ConfigurationError
from punchcard.events.json_problems import describe_json_problem
from punchcard.operations.executor import run_in_executor
from punchcard.operations.plan_inference import infer_rules
from punchcard.operations.plan_views import export_body
from punchcard.operations.sentences import count_noun
from punchcard.store.tracking_plans.violations import count_violations, list_violations
from punchcard.tracking_plans.json_schema import JSON_TYPES
from punchcard.tracking_plans.model import (
    NAMED_TYPES,
    PlanType,
    RuleType,
    TrackingPlan,
    TrackingPlanRule,
)
from punchcard.tracking_plans.plan_documents import PlanFormatError, read_csv, read_rules
from punchcard.tracking_plans.table import DATE_TIME, TableRow, build_schema, to_rows
from punchcard.workspace.editing import NotFoundError, add_with_new_slug, find_source
from punchcard.workspace.tracking_plans import (
    add_plan,
    change_plan,
    find_plan,
    new_plan_slug,
    remove_plan,
    set_rules,
    sort_rules,
)

_DAYS: Final = 7
_PREVIEWED: Final = timedelta(days=_DAYS)
_NEW_ROWS: Final = 3
_CONNECTABLE_SHOWN: Final = 5
_FIELDS: Final = frozenset({"name", "description"})
_INFERRED_DAYS: Final = 30
_NO_EVENTS: Final = f"This source has sent no events in the last {_INFERRED_DAYS} days."
TYPES: Final = ("any", *JSON_TYPES, DATE_TIME)


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
    try:
        rules = _rules_of(context, source, document)
        if source and not document and not rules:
            return _list(context, FormErrors(fields={"source": _NO_EVENTS}), status=422)
        plan = TrackingPlan(slug="", name=name, rules=sort_rules(rules), created_at=to_iso(dependencies.clock.now()))
        slug, _ = add_with_new_slug(
            context.edit,
            lambda workspace: new_plan_slug(workspace, name),
            lambda slug: add_plan(replace(plan, slug=slug)),
        )
    except PlanFormatError as error:
        return _list(context, FormErrors(fields={"document": error.message}), status=422)
    except ConfigurationError as error:
        return _list(context, form_errors_from(error, only=_FIELDS), status=422)
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
                notice = f"{count_noun(len(rules), 'rule was', 'rules were')} saved."
            case _:
                name, description = context.field("name"), context.field("description")
                context.edit(change_plan(slug, lambda plan: replace(plan, name=name, description=description)))
                notice = "Saved."
    except PlanFormatError as error:
        return _show(context, slug, FormErrors(fields={"document": error.message}), status=422)
    except NotFoundError:
        raise
    except ConfigurationError as error:
        return _show(context, slug, form_errors_from(error, only=_FIELDS), status=422)
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
        errors = form_errors_from(error, only=())
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
        "plan_violations.html",
        plan=plan,
        violations=violations,
        days=days,
        events_path=violations_path,
        tab="Violations",
    )


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
    workspace = context.dependencies.workspace()
    plan = find_plan(workspace, slug)
    counts = [(rule, len([row for row in to_rows(rule) if row.path])) for rule in plan.rules]
    connected = {source for known in workspace.tracking_plans for source in known.sources}
    connectable = [source.slug for source in workspace.sources if source.slug not in connected]
    return context.page(
        "plan.html",
        status=status,
        errors=errors,
        plan=plan,
        rules=counts,
        connectable=connectable[:_CONNECTABLE_SHOWN] if plan.type == PlanType.LIVE else [],
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


def _rules_of(context: RequestContext, source: str, document: str) -> list[TrackingPlanRule]:
    """Return the rules of a posted document, or of what a source has sent."""
    if document:
        content = document.encode()
        return read_rules(content) if document.lstrip()[:1] in ("{", "[") else read_csv(content)
    if not source:
        return []
    dependencies = context.dependencies
    find_source(dependencies.workspace(), source)
    since: datetime = dependencies.clock.now() - timedelta(days=_INFERRED_DAYS)
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
    raise NotFoundError(f"The tracking plan {plan.name} has no rule of this name any more. The plan lists its rules.")


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
    text = context.field("schema")
    try:
        return msgspec.json.decode(text.encode(), type=dict[str, object])
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise ConfigurationError(f"This is not the JSON of a schema: {describe_json_problem(text, error)}.") from error


HANDLERS = (
    list_plans,
    create_plan,
    show_plan,
    change_plan_settings,
    export_plan,
    show_rule,
    save_rule,
    show_violations,
)
