"""A destination's filters: the list, and the editor with builder, FQL text and a preview with received events."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.filter_rows import OPERATORS, parse_rows
from punchcard.app.forms import FormErrors, form_errors_from
from punchcard.app.paths import page_path
from punchcard.app.request_context import REQUIRED_ROLE, ContextDependency, Page, RequestContext
from punchcard.errors import ConfigurationError, InvariantError
from punchcard.events.model import Event, EventType
from punchcard.events.parse import BATCH, read_request
from punchcard.filters.destination_filters import DestinationFilters, Explained, FilterDefinition, check_filter
from punchcard.filters.printer import print_condition
from punchcard.filters.syntax import Comparison, Literal, Path
from punchcard.lake.listing import EventQuery
from punchcard.operations.executor import run_in_executor
from punchcard.operations.source_schema import Suggestions, suggest_properties
from punchcard.store.access.token_store import Role
from punchcard.traces.browse import SeenEvent
from punchcard.workspace.editing import change_destination, change_filter, find_destination, find_filter
from punchcard.workspace.model import Destination, DestinationFilter

_PREVIEW_EVENTS = 50
_ENVELOPE_PATHS = ("event", "type", "userId", "context.traits.email", "context.page.url")
_NEW = DestinationFilter(title="", condition="", actions=({"type": "DROP"},))


@dataclass(frozen=True, kw_only=True)
class PreviewedEvent:
    """Effect of a filter on one received event."""

    seen: SeenEvent
    explained: Explained


@get("/destinations/{slug:str}/filters")
@run_in_executor
def list_filters(context: ContextDependency, slug: FromPath[str]) -> Page:
    """List the filters in the order in which they are applied."""
    return context.page("filters.html", destination=find_destination(context.dependencies.workspace(), slug))


@get("/destinations/{slug:str}/filters/new", opt={REQUIRED_ROLE: Role.EDITOR})
@run_in_executor
def show_new(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show the editor for a new filter, of the event in the query if there is one."""
    new_filter = replace(_NEW, condition=_condition_of(context))
    return _editor(
        context, find_destination(context.dependencies.workspace(), slug), new_filter, FormErrors(), status=200
    )


@post("/destinations/{slug:str}/filters/new", status_code=200)
@run_in_executor
def create(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Create a filter. A warning says which of last week's awards it would have dropped."""
    return _save(
        context,
        slug,
        lambda new_filter: lambda destination: replace(destination, filters=(*destination.filters, new_filter)),
        _NEW,
    )


@get("/destinations/{slug:str}/filters/{filter_id:str}")
@run_in_executor
def show_filter(context: ContextDependency, slug: FromPath[str], filter_id: FromPath[str]) -> Page:
    """Show the editor for an existing filter."""
    destination = find_destination(context.dependencies.workspace(), slug)
    return _editor(context, destination, find_filter(destination, filter_id), FormErrors(), status=200)


@post("/destinations/{slug:str}/filters/{filter_id:str}", status_code=200)
@run_in_executor
def change(context: ContextDependency, slug: FromPath[str], filter_id: FromPath[str]) -> Page:
    """Save a changed filter."""
    current = find_filter(find_destination(context.dependencies.workspace(), slug), filter_id)
    return _save(context, slug, lambda new_filter: change_filter(filter_id, lambda _: new_filter), current)


@post("/destinations/{slug:str}/filters/{filter_id:str}/remove", status_code=200)
@run_in_executor
def remove(context: ContextDependency, slug: FromPath[str], filter_id: FromPath[str]) -> Page:
    """Delete a filter."""
    context.edit(change_destination(slug, change_filter(filter_id, lambda _: None)))
    return context.redirect(page_path("destinations", slug, "filters", saved="1"), notices=["The filter was deleted."])


@post("/destinations/{slug:str}/filters/new/preview", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY})
@run_in_executor
def try_filter(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Preview the filter in the form with the newest events of the destination's sources."""
    destination = find_destination(context.dependencies.workspace(), slug)
    errors, new_filter = read_form(context, _NEW)
    tried: Sequence[PreviewedEvent] = ()
    if not errors and new_filter.condition:
        try:
            tried = _preview(context, destination, new_filter)
        except ConfigurationError as error:
            errors.fields["if"] = error.message
    return context.fragment(
        "filter_preview.html",
        is_blank=not new_filter.condition,
        errors=errors,
        previewed=tried,
        matched=sum(1 for result in tried if result.explained.matched),
        rows=parse_rows(new_filter.condition),
    )


def _condition_of(context: RequestContext) -> str:
    """Return the condition for the event in the query, "" if it names none or one that no condition can name."""
    query = context.request.query_params
    path, value = ("event", query.get("event")) if query.get("event") else ("type", query.get("type"))
    if not value:
        return ""
    try:
        return print_condition(Comparison(operator="=", left=Path(parts=(path,)), right=Literal(value=value)))
    except InvariantError:  # both kinds of quotes
        return ""


def _suggestions(context: RequestContext, destination: Destination) -> Suggestions:
    """Return the paths and values that the sources of the destination send."""
    with context.dependencies.store.reading() as work:
        properties = suggest_properties(work, destination.sources, prefix="properties.")
        traits = suggest_properties(work, destination.sources, prefix="traits.", traits=True)
    return Suggestions(
        paths=list(dict.fromkeys([*_ENVELOPE_PATHS, *properties.paths, *traits.paths])),
        frequent={
            "event": properties.names,
            "type": [event_type.value for event_type in EventType],
            **properties.frequent,
            **traits.frequent,
        },
    )


def _preview(context: RequestContext, destination: Destination, new_filter: DestinationFilter) -> list[PreviewedEvent]:
    definition = FilterDefinition(
        title=new_filter.title or "this filter", condition=new_filter.condition, actions=new_filter.actions
    )
    check_filter(definition)
    compiled = DestinationFilters([definition])
    newest = [
        seen
        for source in destination.sources
        for seen in context.dependencies.browser.page(EventQuery(source=source), limit=_PREVIEW_EVENTS).events
    ]
    newest.sort(key=lambda seen: seen.place, reverse=True)
    tried = []
    for seen in newest[:_PREVIEW_EVENTS]:
        event = seen.event
        (item,) = read_request(
            b'{"batch":[%s]}' % event.payload,
            call=BATCH,
            received_at=event.received_at,
            position=event.log_position,
        )
        if isinstance(item, Event):
            (explained,) = compiled.explain(item)
            tried.append(PreviewedEvent(seen=seen, explained=explained))
    return tried


def read_form(context: RequestContext, current: DestinationFilter) -> tuple[FormErrors, DestinationFilter]:
    """Return the filter in the form."""
    errors = FormErrors()
    kind = context.field("action") or "DROP"
    action: dict[str, object] = {"type": kind}
    fields: Mapping[str, object] = {}
    if kind == "SAMPLE":
        try:
            action["percent"] = float(context.field("percent")) / 100
        except ValueError:
            errors.fields["percent"] = "Enter a number from 0 to 100."
        if context.field("path"):
            action["path"] = context.field("path")
    elif kind in ("DROP_PROPERTIES", "ALLOW_PROPERTIES"):
        fields = _fields(context.field("fields"))
        action["fields"] = fields
        if not fields:
            errors.fields["fields"] = "Enter at least one property, one per line, such as properties.phone."
    elif kind == "KEEP":
        action = {}
    return errors, DestinationFilter(
        title=context.field("title"),
        condition=context.field("if"),
        description=context.field("description"),
        enabled=context.field("enabled") == "on",
        actions=current.actions if kind == "KEEP" else (action,),
        id=current.id,
    )


def _fields(text: str) -> dict[str, list[str]]:
    """Return lines such as `properties.address.city` in the form of actions: `{"properties.address": ["city"]}`."""
    fields: dict[str, list[str]] = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        prefix, _, key = line.rpartition(".")
        fields.setdefault(prefix or "properties", []).append(key)
    return fields


def _save(context: RequestContext, slug: str, put: object, current: DestinationFilter) -> Page:
    assert callable(put)
    destination = find_destination(context.dependencies.workspace(), slug)
    errors, new_filter = read_form(context, current)
    if not errors:
        try:
            context.edit(change_destination(slug, put(new_filter)))
        except ConfigurationError as error:
            if error.code == "not_found":
                raise
            form_errors = form_errors_from(error)
            errors.fields |= {_name(path): text for path, text in form_errors.fields.items()}
            errors.general += form_errors.general
    if errors:
        return _editor(context, destination, new_filter, errors, status=422)
    return context.redirect(
        page_path("destinations", slug, "filters", saved="1"),
        notices=[f"“{new_filter.title}” was saved and applies immediately."],
    )


def _name(path: str) -> str:
    """Return the form field for a path such as `filters[2].if`."""
    last = path.rpartition(".")[2]
    return last if last in ("title", "if", "description") else "actions"


def _editor(
    context: RequestContext,
    destination: Destination,
    destination_filter: DestinationFilter,
    errors: FormErrors,
    *,
    status: int,
) -> Page:
    action = destination_filter.actions[0] if len(destination_filter.actions) == 1 else {}
    fields = action.get("fields")
    lines = (
        [f"{prefix}.{key}" for prefix, keys in fields.items() for key in keys] if isinstance(fields, Mapping) else []
    )
    percent = action.get("percent")
    return context.page(
        "filter.html",
        status=status,
        destination=destination,
        destination_filter=destination_filter,
        action=action.get("type", "KEEP"),
        actions_text=json.dumps(list(destination_filter.actions), indent=2),
        percent=context.field("percent") or (f"{float(percent) * 100:g}" if isinstance(percent, int | float) else "10"),
        path=action.get("path", ""),
        fields="\n".join(lines) or context.field("fields"),
        rows=parse_rows(destination_filter.condition),
        operators=OPERATORS,
        suggestions=_suggestions(context, destination),
        errors=errors,
    )


HANDLERS = (list_filters, show_new, create, show_filter, change, remove, try_filter)
