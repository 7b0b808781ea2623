"""A destination's filters: the list, and the editor with its builder, its FQL text and its look at real events."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.filter_rows import OPERATORS, parse_rows
from punchcard.app.forms import FormErrors, form_errors_from
from punchcard.app.request_context import REQUIRED_ROLE, ContextDependency, Page, RequestContext
from punchcard.errors import ConfigurationError
from punchcard.events.model import Event
from punchcard.events.parse import BATCH, read_request
from punchcard.filters.destination_filters import DestinationFilters, Explained, FilterDefinition, check_filter
from punchcard.lake.listing import EventQuery
from punchcard.operations.executor import run_in_executor
from punchcard.store.token_store import Role
from punchcard.traces.browse import SeenEvent
from punchcard.workspace.editing import change_destination, change_filter, find_destination, find_filter
from punchcard.workspace.model import Destination, DestinationFilter

_TRIED_ON = 50
_NEW = DestinationFilter(title="", condition="", actions=({"type": "DROP"},))


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What a filter makes of one real event."""

    seen: SeenEvent
    explained: Explained


@get("/destinations/{slug:str}/filters")
@run_in_executor
def list_filters(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Every filter, in the order in which they are asked."""
    return context.page("filters.html", destination=find_destination(context.dependencies.workspace(), slug))


@get("/destinations/{slug:str}/filters/new", opt={REQUIRED_ROLE: Role.EDITOR})
@run_in_executor
def show_new(context: ContextDependency, slug: FromPath[str]) -> Page:
    """The editor, empty."""
    return _editor(context, find_destination(context.dependencies.workspace(), slug), _NEW, FormErrors(), status=200)


@post("/destinations/{slug:str}/filters/new", status_code=200)
@run_in_executor
def create(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Save a new filter; who saves it is told what it would have dropped of last week's awards."""
    return _save(
        context,
        slug,
        lambda fresh: lambda destination: replace(destination, filters=(*destination.filters, fresh)),
        _NEW,
    )


@get("/destinations/{slug:str}/filters/{filter_id:str}")
@run_in_executor
def show_filter(context: ContextDependency, slug: FromPath[str], filter_id: FromPath[str]) -> Page:
    """The editor with a filter."""
    destination = find_destination(context.dependencies.workspace(), slug)
    return _editor(context, destination, find_filter(destination, filter_id), FormErrors(), status=200)


@post("/destinations/{slug:str}/filters/{filter_id:str}", status_code=200)
@run_in_executor
def change(context: ContextDependency, slug: FromPath[str], filter_id: FromPath[str]) -> Page:
    """Save a changed filter."""
    standing = find_filter(find_destination(context.dependencies.workspace(), slug), filter_id)
    return _save(context, slug, lambda fresh: change_filter(filter_id, lambda _: fresh), standing)


@post("/destinations/{slug:str}/filters/{filter_id:str}/remove", status_code=200)
@run_in_executor
def remove(context: ContextDependency, slug: FromPath[str], filter_id: FromPath[str]) -> Page:
    """Events go on as if it had never been."""
    context.edit(change_destination(slug, change_filter(filter_id, lambda _: None)))
    return context.redirect(f"/destinations/{slug}/filters", notices=["The filter was removed."])


@post("/destinations/{slug:str}/filters/new/preview", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY})
@run_in_executor
def try_filter(context: ContextDependency, slug: FromPath[str]) -> Page:
    """What the filter in the form makes of the newest real events of the destination's sources."""
    destination = find_destination(context.dependencies.workspace(), slug)
    errors, fresh = _read(context, _NEW)
    tried: Sequence[Tried] = ()
    if not errors and fresh.condition:
        try:
            tried = _tried(context, destination, fresh)
        except ConfigurationError as error:
            errors.fields["if"] = error.message
    return context.fragment(
        "filter_preview.html",
        is_blank=not fresh.condition,
        errors=errors,
        tried=tried,
        matched=sum(1 for one in tried if one.explained.matched),
        rows=parse_rows(fresh.condition),
    )


def _tried(context: RequestContext, destination: Destination, fresh: DestinationFilter) -> list[Tried]:
    definition = FilterDefinition(title=fresh.title or "this filter", condition=fresh.condition, actions=fresh.actions)
    check_filter(definition)
    compiled = DestinationFilters([definition])
    newest = [
        seen
        for source in destination.sources
        for seen in context.dependencies.browser.page(EventQuery(source=source), limit=_TRIED_ON).events
    ]
    newest.sort(key=lambda one: one.place, reverse=True)
    tried = []
    for seen in newest[:_TRIED_ON]:
        event = seen.event
        (item,) = read_request(
            b'{"batch":[%s]}' % event.payload,
            call=BATCH,
            received_at=event.received_at,
            position=event.log_position,
        )
        if isinstance(item, Event):
            (explained,) = compiled.explain(item)
            tried.append(Tried(seen=seen, explained=explained))
    return tried


def _read(context: RequestContext, standing: DestinationFilter) -> tuple[FormErrors, DestinationFilter]:
    """The filter of the form."""
    errors = FormErrors()
    kind = context.field("action") or "DROP"
    action: dict[str, object] = {"type": kind}
    fields: Mapping[str, object] = {}
    if kind == "SAMPLE":
        try:
            action["percent"] = float(context.field("percent")) / 100
        except ValueError:
            errors.fields["percent"] = "a number from 0 to 100"
        if context.field("path"):
            action["path"] = context.field("path")
    elif kind in ("DROP_PROPERTIES", "ALLOW_PROPERTIES"):
        fields = _fields(context.field("fields"))
        action["fields"] = fields
        if not fields:
            errors.fields["fields"] = "name at least one property, one a line: properties.phone"
    elif kind == "KEEP":
        action = {}
    return errors, DestinationFilter(
        title=context.field("title"),
        condition=context.field("if"),
        description=context.field("description"),
        enabled=context.field("enabled") == "on",
        actions=standing.actions if kind == "KEEP" else (action,),
        id=standing.id,
    )


def _fields(text: str) -> dict[str, list[str]]:
    """Lines such as `properties.address.city` as actions state them: `{"properties.address": ["city"]}`."""
    found: dict[str, list[str]] = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        place, _, key = line.rpartition(".")
        found.setdefault(place or "properties", []).append(key)
    return found


def _save(context: RequestContext, slug: str, put: object, standing: DestinationFilter) -> Page:
    assert callable(put)
    destination = find_destination(context.dependencies.workspace(), slug)
    errors, fresh = _read(context, standing)
    warnings: Sequence[str] = ()
    if not errors:
        try:
            warnings = context.edit(change_destination(slug, put(fresh)))
        except ConfigurationError as error:
            if error.code == "not_found":
                raise
            form_errors = form_errors_from(error)
            errors.fields |= {_name(path): text for path, text in form_errors.fields.items()}
            errors.general += form_errors.general
    if errors:
        return _editor(context, destination, fresh, errors, status=422)
    return context.redirect(
        f"/destinations/{slug}/filters", notices=[f"“{fresh.title}” was saved, and is in force.", *warnings]
    )


def _name(path: str) -> str:
    """The field of the form for a path such as `filters[2].if`."""
    last = path.rpartition(".")[2]
    return last if last in ("title", "if", "description") else "actions"


def _editor(
    context: RequestContext, destination: Destination, shown: DestinationFilter, errors: FormErrors, *, status: int
) -> Page:
    action = shown.actions[0] if len(shown.actions) == 1 else {}
    fields = action.get("fields")
    lines = [f"{place}.{key}" for place, keys in fields.items() for key in keys] if isinstance(fields, Mapping) else []
    percent = action.get("percent")
    return context.page(
        "filter.html",
        status=status,
        destination=destination,
        shown=shown,
        action=action.get("type", "KEEP"),
        actions_text=json.dumps(list(shown.actions), indent=2),
        percent=context.field("percent") or (f"{float(percent) * 100:g}" if isinstance(percent, int | float) else "10"),
        path=action.get("path", ""),
        fields="\n".join(lines) or context.field("fields"),
        rows=parse_rows(shown.condition),
        operators=OPERATORS,
        errors=errors,
    )


HANDLERS = (list_filters, show_new, create, show_filter, change, remove, try_filter)
