"""The schema of a source: the events that it sends, and their properties.

Segment's Public API has no such call for sources; these follow its style, and the names of its calls for spaces
(`/events`, `/events/{name}/properties`).
"""

import msgspec
from litestar import get
from litestar.exceptions import HTTPException
from litestar.params import FromPath, FromQuery

from punchcard.api import bodies
from punchcard.api.api_dependencies import Dependencies
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor, page
from punchcard.operations.executor import run_in_executor
from punchcard.operations.source_schema import SchemaEvent, find_details, list_schema
from punchcard.operations.source_schema_views import (
    SchemaEventBody,
    SchemaPropertyBody,
    event_body,
    property_body,
)
from punchcard.store.source_schema.model import SchemaKey
from punchcard.workspace.editing import find_source


class SchemaEventPage(msgspec.Struct):
    """A page of events."""

    events: list[SchemaEventBody]
    pagination: bodies.Pagination


class DayBody(msgspec.Struct):
    """Events received on a UTC day."""

    day: str
    received: int


class SchemaDetails(msgspec.Struct):
    """An event with its properties or traits, most frequent first."""

    event: SchemaEventBody
    properties: list[SchemaPropertyBody]
    days: list[DayBody]


@get("/sources/{source_id:str}/schema/events", summary="List the events of a source's schema")
@run_in_executor
def list_schema_events(
    source_id: FromPath[str], dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, SchemaEventPage]:
    """List the events that the source sends, by type and name."""
    workspace = dependencies.workspace()
    find_source(workspace, source_id)
    with dependencies.store.reading() as work:
        events = list_schema(work, workspace, source_id, now=dependencies.clock.now())
    by_key = sorted(events, key=_cursor_key)
    shown, pagination = page(by_key, key=_cursor_key, count=count, cursor=cursor)
    return {"data": SchemaEventPage(events=[event_body(event) for event in shown], pagination=pagination)}


@get("/sources/{source_id:str}/schema/properties", summary="List the properties of an event")
@run_in_executor
def list_schema_properties(
    source_id: FromPath[str],
    dependencies: Dependencies,
    type: FromQuery[str] = "track",
    event: FromQuery[str] = "",
) -> dict[str, SchemaDetails]:
    """List the properties of a track call with this name, or the properties or traits of another `type` of call."""
    workspace = dependencies.workspace()
    find_source(workspace, source_id)
    with dependencies.store.reading() as work:
        details = find_details(work, workspace, SchemaKey(source_id, type, event), now=dependencies.clock.now())
    if details is None:
        raise HTTPException(f"The source {source_id} has sent no such event: {event or type}.", status_code=404)
    return {
        "data": SchemaDetails(
            event=event_body(details.event),
            properties=[property_body(known) for known in details.properties],
            days=[DayBody(day=day.date().isoformat(), received=received) for day, received in details.days],
        )
    }


def _cursor_key(event: SchemaEvent) -> str:
    return f"{event.listed.key.event_type} {event.listed.key.event_name}"


HANDLERS = (list_schema_events, list_schema_properties)
