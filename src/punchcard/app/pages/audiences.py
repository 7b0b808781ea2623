"""Audiences and computed traits: details with members, and editor with builder and live preview."""

from dataclasses import replace
from typing import Any

from litestar import get, post
from litestar.params import FromPath

from punchcard.app import audience_lines
from punchcard.app.audience_form import read_lines
from punchcard.app.audience_lines import Lines
from punchcard.app.audience_parser import parse_lines
from punchcard.app.audience_printer import print_definition
from punchcard.app.charts import Chart, Series
from punchcard.app.forms import FormErrors, form_errors_from
from punchcard.app.paths import page_path
from punchcard.app.request_context import REQUIRED_ROLE, ContextDependency, Page, RequestContext
from punchcard.computations.keys import key_of
from punchcard.engage.requests import Preview, PreviewRequest
from punchcard.errors import ConfigurationError, StorageError
from punchcard.operations import computation_actions
from punchcard.operations.computation_actions import add_computation, change_computation, remove_computation
from punchcard.operations.computation_pictures import (
    READ_MAX,
    DailyChanges,
    count_daily_changes,
    read_distribution,
)
from punchcard.operations.computation_status import (
    ComputationStatus,
    add_sync_outcomes,
    find_computation_status,
    list_members,
    request_rates,
)
from punchcard.operations.executor import run_in_executor
from punchcard.operations.funnels import funnel_of
from punchcard.operations.list_uploads import is_static_list, list_definition
from punchcard.operations.sentences import count_noun
from punchcard.operations.source_schema import suggest_properties
from punchcard.operations.sync_impact import describe_removal, describe_save
from punchcard.store.access.token_store import Role
from punchcard.store.engage.profile_search import names_of_traits
from punchcard.workspace.model import Computation

_MEMBERS_MAX = 50
_NAMES_MAX = 200
_USUAL_PROPERTIES = ("revenue", "value", "total", "order_id", "currency", "product_id", "category")  # before any event
_SYNC_INTERVALS = ("real-time", "every 15 minutes", "every hour", "every 2 hours", "every 8 hours", "every day")


@get("/audiences/new", opt={REQUIRED_ROLE: Role.EDITOR})
@run_in_executor
def show_new(context: ContextDependency) -> Page:
    """Show the editor for a new audience or computed trait."""
    kind = "computed_trait" if context.query("kind") == "computed_trait" else "audience"
    slugs = tuple(destination.slug for destination in context.dependencies.workspace().destinations)
    computation = Computation(kind=kind, key="", name="", definition="", destinations=slugs if len(slugs) == 1 else ())
    return _editor(context, computation, FormErrors(), is_new=True, is_static=context.query("kind") == "list")


@post("/audiences/new", status_code=200)
@run_in_executor
def create(context: ContextDependency) -> Page:
    """Create an audience or computed trait."""
    kind = "computed_trait" if context.field("kind") == "computed_trait" else "audience"
    computation = _read(context, Computation(kind=kind, key="", name="", definition=""))
    computation = replace(computation, key=context.field("key") or key_of(computation.name))
    is_static = context.field("static") == "on"
    if is_static:
        computation = replace(computation, definition=list_definition(computation.key))
    try:
        context.edit(add_computation(computation))
    except ConfigurationError as error:
        errors = form_errors_from(error)
        return _editor(context, computation, errors, is_new=True, is_static=is_static, status=422)
    if is_static:
        notices = [f"“{computation.name}” was created. Upload a file with its members."]
        return context.redirect(page_path("audiences", computation.key, "list"), notices=notices)
    return context.redirect(
        page_path("audiences", computation.key),
        notices=[f"“{computation.name}” was created and is being computed."],
    )


@get("/audiences/{key:str}")
@run_in_executor
def show_audience(context: ContextDependency, key: FromPath[str]) -> Page:
    """Show status, members, membership changes and syncs of an audience or computed trait."""
    dependencies = context.dependencies
    status = add_sync_outcomes(dependencies.store, _find_status(context, key))
    members = list_members(dependencies.store, key, limit=_MEMBERS_MAX, clock=dependencies.clock)
    chart = None
    if members.sizes and status.state is not None:
        sizes = [*members.sizes, (dependencies.clock.now(), status.state.size)]
        chart = Chart(
            buckets=[at for at, _ in sizes],
            zone=dependencies.workspace().timezone,
            series=[Series(label="People", color="azure", values=[size for _, size in sizes])],
        )
    is_audience, zone = status.computation.kind == "audience", dependencies.current().zone
    with dependencies.store.reading() as work:
        removal = describe_removal(work, status.computation, title=context.destination_name)
        changes = count_daily_changes(work, key, now=dependencies.clock.now(), zone=zone) if is_audience else None
        distribution = None if is_audience else read_distribution(work, key)
    return context.page(
        "audience.html",
        computation_status=status,
        members=members,
        chart=chart,
        changes=changes,
        changes_chart=None if changes is None else _changes_chart(changes, zone.key),
        distribution=distribution,
        read_max=READ_MAX,
        removal=removal,
        is_static=is_static_list(status.computation),
        has_funnel=funnel_of(status.computation) is not None,
        customer=context.query("customer"),
    )


def _changes_chart(changes: DailyChanges, zone: str) -> Chart:
    return Chart(
        buckets=changes.days,
        zone=zone,
        series=[
            Series(label="Entered", color="green", values=changes.entered),
            Series(label="Left", color="orange", values=changes.left),
        ],
    )


@get("/audiences/{key:str}/edit", opt={REQUIRED_ROLE: Role.EDITOR})
@run_in_executor
def show_edit(context: ContextDependency, key: FromPath[str]) -> Page:
    """Show the editor for an existing audience or computed trait."""
    computation = _find_status(context, key).computation
    return _editor(context, computation, FormErrors(), is_new=False, is_static=is_static_list(computation))


@post("/audiences/{key:str}/edit", status_code=200)
@run_in_executor
def change(context: ContextDependency, key: FromPath[str]) -> Page:
    """Save a changed audience or computed trait. Its key stays."""
    computation = _read(context, _find_status(context, key).computation)
    try:
        context.edit(change_computation(key, lambda _: computation))
    except ConfigurationError as error:
        return _editor(
            context,
            computation,
            form_errors_from(error),
            is_new=False,
            is_static=is_static_list(computation),
            status=422,
        )
    return context.redirect(page_path("audiences", key), notices=[f"“{computation.name}” was saved."])


@post("/audiences/{key:str}/remove", status_code=200)
@run_in_executor
def remove(context: ContextDependency, key: FromPath[str]) -> Page:
    """Delete an audience or computed trait. Its last values stay on profiles as custom traits."""
    name = _find_status(context, key).computation.name
    context.edit(remove_computation(key))
    return context.redirect("/audiences", notices=[f"“{name}” was deleted. Its last values stay on profiles."])


@post("/audiences/{key:str}/resync", status_code=200)
@run_in_executor
def resync(context: ContextDependency, key: FromPath[str]) -> Page:
    """Queue a sync of everybody."""
    dependencies = context.dependencies
    count = computation_actions.resync(
        dependencies.store,
        _find_status(context, key),
        destination=context.field("destination") or None,
        actor=context.actor,
        clock=dependencies.clock,
    )
    return context.redirect(
        page_path("audiences", key),
        notices=[f"{count_noun(count, 'person was', 'people were')} queued for a resync."],
    )


@post("/audiences/{key:str}/pause", status_code=200)
@run_in_executor
def pause(context: ContextDependency, key: FromPath[str]) -> Page:
    """Pause or resume syncing of all audiences and traits to a destination. Awards are delivered meanwhile."""
    destination = context.field("destination")
    name = context.destination_name(destination)
    if context.field("resume"):
        computation_actions.resume(context.dependencies.store, destination)
        return context.redirect(page_path("audiences", key), notices=[f"Syncing to {name} was resumed."])
    computation_actions.pause(
        context.dependencies.store, destination, actor=context.actor, clock=context.dependencies.clock
    )
    return context.redirect(
        page_path("audiences", key), notices=[f"Syncing to {name} is paused until somebody resumes it."]
    )


@post("/audiences/new/builder", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY})
@run_in_executor
def build(context: ContextDependency) -> Page:
    """Render the builder after a change: lines are printed as text, or a changed text is parsed into lines."""
    kind = context.field("kind")
    if context.field("changed") == "text":
        return _builder(context, kind, context.field("definition"), FormErrors())
    lines, focused = read_lines(context)
    errors = FormErrors()
    text = context.field("definition")
    try:
        text = print_definition(lines, kind=kind)
    except ConfigurationError as error:
        errors.general.append(error.message)
    if context.field("changed") == "line":
        # Replace only the text, so that the line in which somebody types keeps its focus.
        return context.fragment("audience_text.html", kind=kind, definition=text, errors=errors)
    return _builder(context, kind, text, errors, lines=lines, focused=focused)


@post("/audiences/new/preview", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY})
@run_in_executor
def preview(context: ContextDependency) -> Page:
    """Preview the definition in the form: who matches, and what saving it updates at destinations."""
    dependencies, kind = context.dependencies, context.field("kind")
    stored = next((c for c in dependencies.workspace().computations if c.key == context.field("stored_key")), None)
    after = _read(context, stored or Computation(kind=kind, key="", name="", definition=""))
    result, problem = Preview(), ""
    if after.definition:
        request = PreviewRequest(
            kind, after.definition, after.include_anonymous, key=stored.key if stored else "", measures_reach=True
        )
        try:
            result = computation_actions.preview(dependencies.store, request, clock=dependencies.clock)
            problem = result.error
        except (ConfigurationError, StorageError) as error:
            problem = error.message
    return context.fragment(
        "audience_preview.html",
        is_blank=not after.definition,
        problem=problem,
        preview=result,
        kind=kind,
        is_new=stored is None,
        impact=describe_save(result.reach, before=stored, after=after, title=context.destination_name),
        names={computation.key: computation.name for computation in dependencies.workspace().computations},
    )


def _find_status(context: RequestContext, key: str) -> ComputationStatus:
    dependencies = context.dependencies
    rates = request_rates(dependencies.current())
    return find_computation_status(dependencies.store, dependencies.workspace(), key, rates=rates)


def _read(context: RequestContext, computation: Computation) -> Computation:
    """Return the computation in the form."""
    return replace(
        computation,
        name=context.field("name"),
        description=context.field("description"),
        definition=_definition(context, computation.kind),
        enabled=context.field("enabled") == "on",
        destinations=tuple(field for field in context.fields("destinations") if field),
        send=tuple(field for field in context.fields("send") if field),
        sync=context.field("sync") or computation.sync,
        include_anonymous=context.field("include_anonymous") == "on",
        include_history=context.field("history") != "none",
        when_removed=context.field("when_removed") or computation.when_removed,
    )


def _definition(context: RequestContext, kind: str) -> str:
    """Return the definition in the form: the text, or the lines if only they were changed since the last rendering."""
    text, rendered = (context.field(name).replace("\r\n", "\n") for name in ("definition", "rendered"))
    if text != rendered or not context.fields("line"):
        return text
    try:
        return print_definition(read_lines(context)[0], kind=kind) or text
    except ConfigurationError:
        return text  # the error is shown beside the line


def _builder(
    context: RequestContext, kind: str, text: str, errors: FormErrors, *, lines: Lines | None = None, focused: str = ""
) -> Page:
    values = _builder_values(context, kind, text, errors, lines=lines, focused=focused)
    return context.fragment("audience_builder.html", **values)


def _builder_values(
    context: RequestContext, kind: str, text: str, errors: FormErrors, *, lines: Lines | None = None, focused: str = ""
) -> dict[str, Any]:
    workspace = context.dependencies.workspace()
    own = context.field("own_key") or str(context.request.path_params.get("key", ""))
    audiences = {
        computation.key: computation.name
        for computation in workspace.computations
        if computation.kind == "audience" and computation.key != own
    }
    with context.dependencies.store.reading() as work:
        sources = [source.slug for source in workspace.sources]
        suggestions = suggest_properties(work, sources)
        trait_suggestions = suggest_properties(work, sources, traits=True)
        # Escaped as in a definition, where a dot separates nested fields.
        traits = [name.replace(".", "\\.") for name in names_of_traits(work, limit=_NAMES_MAX)]
    return {
        "kind": kind,
        "definition": text,
        "errors": errors,
        "own_key": own,
        "focused": focused,
        "lines": lines if lines is not None else parse_lines(text, kind=kind, audiences=audiences),
        "names": suggestions.names[:_NAMES_MAX],
        "suggestions": replace(suggestions, paths=list(dict.fromkeys([*suggestions.paths, *_USUAL_PROPERTIES]))),
        "trait_suggestions": trait_suggestions,
        "traits": sorted(
            {*traits, *trait_suggestions.paths, *(computation.key for computation in workspace.computations)}
            - {own, *audiences}
        ),
        "audiences": audiences,
        "sources": {source.slug: source.name or source.slug for source in workspace.sources},
        "builder": audience_lines,
    }


def _editor(
    context: RequestContext,
    computation: Computation,
    errors: FormErrors,
    *,
    is_new: bool,
    is_static: bool = False,
    status: int = 200,
) -> Page:
    sync_intervals = _SYNC_INTERVALS if computation.sync in _SYNC_INTERVALS else (*_SYNC_INTERVALS, computation.sync)
    return context.page(
        "audience_edit.html",
        status=status,
        computation=computation,
        is_new=is_new,
        is_static=is_static,
        sync_intervals=sync_intervals,
        destinations=context.dependencies.workspace().destinations,
        **_builder_values(context, computation.kind, computation.definition, errors),
    )


HANDLERS = (
    show_new,
    create,
    show_audience,
    show_edit,
    change,
    remove,
    resync,
    pause,
    build,
    preview,
)
