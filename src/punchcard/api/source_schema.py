"""The schema of a source: the events that it sends, and their properties.

Segment's Public API has no such call for sources; these follow its style, and the names of its calls for spaces
(`/events`, `/events/{name}/properties`).
"""

import msgspec
from litestar import get, patch
from litestar.exceptions import HTTPException
from litestar.params import FromPath, FromQuery, JSONBody

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
from punchcard.workspace.editing import change_source, find_source
from punchcard.workspace.schema_switching import switch_event, switch_property


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


class SwitchRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to switch: an event, all calls of another `type`, or one `property` (or trait) of it."""

    enabled: bool
    type: str = "track"
    event: str = ""
    property: str = ""


class Switches(msgspec.Struct):
    """What of the schema is switched off: names of track calls, types of other calls, properties and traits."""

    events: list[str]
    calls: list[str]
    properties: dict[str, list[str]]
    traits: dict[str, list[str]]


@patch("/sources/{source_id:str}/schema/events", summary="Switch an event or property off or on")
@run_in_executor
def switch_schema_event(
    source_id: FromPath[str], data: JSONBody[SwitchRequest], dependencies: Dependencies
) -> dict[str, dict[str, Switches]]:
    """Switch an event, all calls of another type, or one property or trait off or on."""
    if data.property:
        change = switch_property(data.type, data.event, data.property, is_on=data.enabled)
    else:
        change = switch_event(data.type, data.event, is_on=data.enabled)
    dependencies.edit(change_source(source_id, change))
    switches = find_source(dependencies.workspace(), source_id).switched_off
    return {"data": {"switchedOff": msgspec.convert(msgspec.to_builtins(switches), Switches)}}


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


HANDLERS = (list_schema_events, switch_schema_event, list_schema_properties)
