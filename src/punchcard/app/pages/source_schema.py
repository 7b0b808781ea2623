"""The schema of a source: its events with counts, and the properties or traits of one of them."""

from typing import Final

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.charts import Chart, Series
from punchcard.app.paths import page_path
from punchcard.app.request_context import REQUIRED_ROLE, SHOWS_AWARDS, ContextDependency, Page
from punchcard.operations.executor import run_in_executor
from punchcard.operations.row_ids import is_row_id
from punchcard.operations.source_schema import SchemaEvent, find_details, list_schema, plain_text
from punchcard.store.access.token_store import Role
from punchcard.store.source_schema.model import SchemaKey
from punchcard.workspace.editing import NotFoundError, change_source, find_source
from punchcard.workspace.schema_switching import (
    has_property_switches,
    is_event_off,
    properties_off,
    switch_event,
    switch_property,
)

_ROWS: Final = 50
_SHOWS: Final = {"": "All events", "mapped": "Mapped", "unmapped": "Not mapped", "filtered": "Filtered"}


@get("/sources/{slug:str}/schema", opt={SHOWS_AWARDS: True})
@run_in_executor
def show_schema(context: ContextDependency, slug: FromPath[str]) -> Page:
    """List the events that a source sends, page by page."""
    dependencies = context.dependencies
    workspace = dependencies.workspace()
    source = find_source(workspace, slug)
    with dependencies.store.reading() as work:
        events = list_schema(work, workspace, slug, now=dependencies.clock.now())
    search, shown = context.query("q"), context.query("show")
    matching = [event for event in events if _matches(event, search.casefold(), shown)]
    begin = int(context.query("from")) if is_row_id(context.query("from")) else 0
    return context.page(
        "source_schema.html",
        source=source,
        events=matching[begin : begin + _ROWS],
        total=len(matching),
        begin=begin,
        rows=_ROWS,
        search=search,
        shown=shown,
        shows=_SHOWS,
        is_off=lambda key: is_event_off(source.switched_off, key.event_type, key.event_name),
        is_empty=not events,
        taking=[destination for destination in workspace.destinations if slug in destination.sources],
    )


@get("/sources/{slug:str}/schema/event", opt={SHOWS_AWARDS: True})
@run_in_executor
def show_event(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show the properties or traits of one event, with types, frequent values and counts by day."""
    dependencies = context.dependencies
    workspace = dependencies.workspace()
    source = find_source(workspace, slug)
    key = SchemaKey(slug, context.query("type") or "track", context.request.query_params.get("name", ""))
    with dependencies.store.reading() as work:
        details = find_details(work, workspace, key, now=dependencies.clock.now())
    if details is None:
        raise NotFoundError(
            f"The source {slug} has not sent this event, or not for a long time. Its schema lists what it sends."
        )
    chart = Chart(
        buckets=[day for day, _ in details.days],
        zone="UTC",
        series=[Series(label="Events", color="azure", values=[count for _, count in details.days])],
    )
    return context.page(
        "source_schema_event.html",
        source=source,
        event=details.event,
        listed=details.event.listed,
        properties=details.properties,
        chart=chart if len(details.days) > 1 else None,
        plain_text=plain_text,
        taking=[destination for destination in workspace.destinations if slug in destination.sources],
        is_off=is_event_off(source.switched_off, key.event_type, key.event_name),
        properties_off=properties_off(source.switched_off, key.event_type, key.event_name),
        has_switches=has_property_switches(key.event_type),
    )


@post("/sources/{slug:str}/schema/event", status_code=200, opt={REQUIRED_ROLE: Role.EDITOR})
@run_in_executor
def switch(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Switch an event, or one of its properties or traits, off or on."""
    event_type, name, path = context.field("type") or "track", context.form.get("name", [""])[-1], context.field("path")
    is_on = context.field("switch") == "on"
    change = (
        switch_property(event_type, name, path, is_on=is_on) if path else switch_event(event_type, name, is_on=is_on)
    )
    context.edit(change_source(slug, change))
    shown = path or name or event_type
    return context.redirect(
        page_path("sources", slug, "schema", "event", type=event_type, name=name),
        notices=[f"{shown} was switched {'on' if is_on else 'off'}."],
    )


def _matches(event: SchemaEvent, search: str, shown: str) -> bool:
    name = event.listed.key.event_name or event.listed.key.event_type
    if search not in name.casefold():
        return False
    match shown:
        case "mapped":
            return bool(event.mapped)
        case "unmapped":
            return event.is_mappable and not event.mapped
        case "filtered":
            return event.listed.filtered > 0
        case _:
            return True


HANDLERS = (show_schema, show_event, switch)
