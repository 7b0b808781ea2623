"""Audiences and computed traits: the list, one with its members, and the editor with its builder and live count."""

from dataclasses import replace
from typing import Any

from litestar import get, post
from litestar.params import FromPath

from punchcard.app import audience_lines
from punchcard.app.audience_form import read_lines
from punchcard.app.audience_lines import Lines
from punchcard.app.audience_parser import parse_lines
from punchcard.app.audience_printer import print_definition
from punchcard.app.forms import FormErrors, form_errors_from
from punchcard.app.request_context import REQUIRED_ROLE, ContextDependency, Page, RequestContext
from punchcard.app.sparkline import draw_sparkline
from punchcard.computations.keys import key_of
from punchcard.engage.requests import Preview, PreviewRequest
from punchcard.errors import ConfigurationError, StorageError
from punchcard.operations import engagement
from punchcard.operations.executor import run_in_executor
from punchcard.operations.trends import compute_trends
from punchcard.store.counts import seen_names
from punchcard.store.profile_search import names_of_traits
from punchcard.store.token_store import Role
from punchcard.workspace.model import Computation

_SHOWN = 50
_NAMES = 200
_RHYTHMS = ("real-time", "every 15 minutes", "every hour", "every 2 hours", "every 8 hours", "every day")


@get("/audiences")
@run_in_executor
def list_all(context: ContextDependency) -> Page:
    """Every audience and computed trait with its size, how that has changed, and what is still to be told."""
    dependencies = context.dependencies
    found = engagement.list_computation_statuses(
        dependencies.store, dependencies.workspace(), rates=engagement.request_rates(dependencies.current())
    )
    sizes = {one.computation.key: one.state.size for one in found if one.state is not None}
    grown = compute_trends(dependencies.store, sizes, clock=dependencies.clock)
    return context.page(
        "audiences.html",
        trends=grown,
        lines={key: draw_sparkline(one) for key, one in grown.items()},
        audiences=[one for one in found if one.computation.kind == "audience"],
        traits=[one for one in found if one.computation.kind == "computed_trait"],
    )


@get("/audiences/new", opt={REQUIRED_ROLE: Role.EDITOR})
@run_in_executor
def show_new(context: ContextDependency) -> Page:
    """The editor, empty."""
    kind = "computed_trait" if context.query("kind") == "computed_trait" else "audience"
    slugs = tuple(destination.slug for destination in context.dependencies.workspace().destinations)
    computation = Computation(kind=kind, key="", name="", definition="", destinations=slugs if len(slugs) == 1 else ())
    return _editor(context, computation, FormErrors(), is_new=True)


@post("/audiences/new", status_code=200)
@run_in_executor
def create(context: ContextDependency) -> Page:
    """Save a new one; it is live within seconds."""
    kind = "computed_trait" if context.field("kind") == "computed_trait" else "audience"
    fresh = _read(context, Computation(kind=kind, key="", name="", definition=""))
    fresh = replace(fresh, key=context.field("key") or key_of(fresh.name))
    try:
        warnings = context.edit(engagement.add_computation(fresh))
    except ConfigurationError as error:
        return _editor(context, fresh, form_errors_from(error), is_new=True, status=422)
    return context.redirect(
        f"/audiences/{fresh.key}", notices=[f"“{fresh.name}” was saved: it is live in a moment.", *warnings]
    )


@get("/audiences/{key:str}")
@run_in_executor
def show_one(context: ContextDependency, key: FromPath[str]) -> Page:
    """How it stands, who is in it, who came and went, and what destinations were told."""
    dependencies = context.dependencies
    one = engagement.add_sync_outcomes(dependencies.store, _one(context, key))
    members = engagement.list_members(dependencies.store, key, limit=_SHOWN, clock=dependencies.clock)
    chart = None
    if members.sizes and one.state is not None:
        sizes = [*members.sizes, (dependencies.clock.now(), one.state.size)]
        chart = {
            "zone": dependencies.workspace().timezone,
            "times": [int(at.timestamp()) for at, _ in sizes],
            "series": [{"label": "people", "values": [size for _, size in sizes]}],
        }
    return context.page("audience.html", one=one, members=members, chart=chart)


@get("/audiences/{key:str}/edit", opt={REQUIRED_ROLE: Role.EDITOR})
@run_in_executor
def show_edit(context: ContextDependency, key: FromPath[str]) -> Page:
    """The editor with one."""
    return _editor(context, _one(context, key).computation, FormErrors(), is_new=False)


@post("/audiences/{key:str}/edit", status_code=200)
@run_in_executor
def change(context: ContextDependency, key: FromPath[str]) -> Page:
    """Save a changed one; its key stays."""
    fresh = _read(context, _one(context, key).computation)
    try:
        warnings = context.edit(engagement.change_computation(key, lambda _: fresh))
    except ConfigurationError as error:
        return _editor(context, fresh, form_errors_from(error), is_new=False, status=422)
    return context.redirect(f"/audiences/{key}", notices=[f"“{fresh.name}” was saved.", *warnings])


@post("/audiences/{key:str}/remove", status_code=200)
@run_in_executor
def remove(context: ContextDependency, key: FromPath[str]) -> Page:
    """Its last values stay on profiles as custom traits."""
    name = _one(context, key).computation.name
    context.edit(engagement.remove_computation(key))
    return context.redirect("/audiences", notices=[f"“{name}” was deleted; its last values stay on profiles."])


@post("/audiences/{key:str}/resync", status_code=200)
@run_in_executor
def resync(context: ContextDependency, key: FromPath[str]) -> Page:
    """Tell destinations of everybody again."""
    dependencies = context.dependencies
    count = engagement.resync(
        dependencies.store,
        _one(context, key),
        destination=context.field("destination") or None,
        actor=context.actor,
        clock=dependencies.clock,
    )
    return context.redirect(f"/audiences/{key}", notices=[f"{count:,} people wait to be told of again."])


@post("/audiences/{key:str}/pause", status_code=200)
@run_in_executor
def pause(context: ContextDependency, key: FromPath[str]) -> Page:
    """Tell a destination nothing, or go on; for all audiences and traits at once. Its awards go on."""
    destination = context.field("destination")
    if context.field("resume"):
        engagement.resume(context.dependencies.store, destination)
        return context.redirect(f"/audiences/{key}", notices=[f"{destination} is told again."])
    engagement.pause(context.dependencies.store, destination, actor=context.actor, clock=context.dependencies.clock)
    return context.redirect(f"/audiences/{key}", notices=[f"{destination} is told nothing until somebody resumes it."])


@post("/audiences/new/builder", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY})
@run_in_executor
def build(context: ContextDependency) -> Page:
    """The builder after a change: lines say the text, or the text says lines."""
    kind = context.field("kind")
    if context.field("said") == "text":
        return _builder(context, kind, context.field("definition"), FormErrors())
    lines, fresh = read_lines(context)
    errors = FormErrors()
    text = context.field("definition")
    try:
        text = print_definition(lines, kind=kind)
    except ConfigurationError as error:
        errors.general.append(error.message)
    if context.field("said") == "line":
        # Only the text: a line in which somebody types is not taken from under their hands.
        return context.fragment("audience_text.html", kind=kind, definition=text, errors=errors)
    return _builder(context, kind, text, errors, lines=lines, fresh=fresh)


@post("/audiences/new/preview", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY})
@run_in_executor
def preview(context: ContextDependency) -> Page:
    """How many people the definition in the form would hold now, and some of them."""
    text = context.field("definition")
    found, problem = Preview(), ""
    if text:
        request = PreviewRequest(context.field("kind"), text, context.field("include_anonymous") == "on")
        try:
            found = engagement.preview(context.dependencies.store, request, clock=context.dependencies.clock)
            problem = found.error
        except (ConfigurationError, StorageError) as error:
            problem = error.message
    return context.fragment(
        "audience_preview.html", is_blank=not text, problem=problem, found=found, kind=context.field("kind")
    )


def _one(context: RequestContext, key: str) -> engagement.ComputationStatus:
    dependencies = context.dependencies
    found = engagement.list_computation_statuses(
        dependencies.store, dependencies.workspace(), rates=engagement.request_rates(dependencies.current())
    )
    for one in found:
        if one.computation.key == key:
            return one
    return engagement.find_computation_status(
        dependencies.store, dependencies.workspace(), key
    )  # says that there is none


def _read(context: RequestContext, standing: Computation) -> Computation:
    """The computation of the form."""
    return replace(
        standing,
        name=context.field("name"),
        description=context.field("description"),
        definition=_definition(context, standing.kind),
        enabled=context.field("enabled") == "on",
        destinations=tuple(field for field in context.fields("destinations") if field),
        send=tuple(field for field in context.fields("send") if field),
        sync=context.field("sync") or standing.sync,
        include_anonymous=context.field("include_anonymous") == "on",
        include_history=context.field("history") != "none",
        when_removed=context.field("when_removed") or standing.when_removed,
    )


def _definition(context: RequestContext, kind: str) -> str:
    """The definition of the form: its text, unless only the lines were changed since the text was written for them."""
    text, rendered = (context.field(name).replace("\r\n", "\n") for name in ("definition", "rendered"))
    if text != rendered or not context.fields("line"):
        return text
    try:
        return print_definition(read_lines(context)[0], kind=kind) or text
    except ConfigurationError:
        return text  # what is wrong with a line is said beside it


def _builder(
    context: RequestContext, kind: str, text: str, errors: FormErrors, *, lines: Lines | None = None, fresh: str = ""
) -> Page:
    values = _builder_values(context, kind, text, errors, lines=lines, fresh=fresh)
    return context.fragment("audience_builder.html", **values)


def _builder_values(
    context: RequestContext, kind: str, text: str, errors: FormErrors, *, lines: Lines | None = None, fresh: str = ""
) -> dict[str, Any]:
    workspace = context.dependencies.workspace()
    own = context.field("own_key") or str(context.request.path_params.get("key", ""))
    audiences = {
        computation.key: computation.name
        for computation in workspace.computations
        if computation.kind == "audience" and computation.key != own
    }
    with context.dependencies.store.reading() as work:
        names = seen_names(
            work,
            sources=[source.slug for source in workspace.sources],
            since=context.dependencies.clock.now().replace(year=context.dependencies.clock.now().year - 1, day=1),
        )
        # As a definition writes them: a dot would lead inside.
        traits = [name.replace(".", "\\.") for name in names_of_traits(work, limit=_NAMES)]
    return {
        "kind": kind,
        "definition": text,
        "errors": errors,
        "own_key": own,
        "fresh": fresh,
        "lines": lines if lines is not None else parse_lines(text, kind=kind, audiences=audiences),
        "names": sorted(names, key=lambda name: -names[name])[:_NAMES],
        "traits": sorted({*traits, *(computation.key for computation in workspace.computations)} - {own, *audiences}),
        "audiences": audiences,
        "sources": {source.slug: source.name or source.slug for source in workspace.sources},
        "builder": audience_lines,
    }


def _editor(
    context: RequestContext, shown: Computation, errors: FormErrors, *, is_new: bool, status: int = 200
) -> Page:
    rhythms = _RHYTHMS if shown.sync in _RHYTHMS else (*_RHYTHMS, shown.sync)
    return context.page(
        "audience_edit.html",
        status=status,
        shown=shown,
        is_new=is_new,
        rhythms=rhythms,
        destinations=context.dependencies.workspace().destinations,
        **_builder_values(context, shown.kind, shown.definition, errors),
    )


HANDLERS = (list_all, show_new, create, show_one, show_edit, change, remove, resync, pause, build, preview)
