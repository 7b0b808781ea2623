"""The audit log: every change of the configuration and of tokens.

Source: Segment's Public API, "Audit Trail"; the member `changes` is Punchcard's own.
"""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.params import QueryParameter

from punchcard.api import bodies
from punchcard.api.api_dependencies import Dependencies
from punchcard.api.errors import bad_request
from punchcard.api.files import read_format
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor, read_row_cursor
from punchcard.clock import to_iso
from punchcard.events.times import read_time
from punchcard.operations.downloads import download
from punchcard.operations.executor import run_in_executor
from punchcard.operations.exports import export_audit
from punchcard.store.access.audit import AuditEvent, AuditQuery, count_events, list_events

Text = str | None


class AuditEventView(msgspec.Struct, rename="camel"):
    """One change; `changes` has `path`, `before` and `after` of each value, with masked secrets."""

    id: str
    timestamp: str
    type: str
    actor: str
    resource_id: str
    resource_type: str
    resource_name: str
    changes: list[dict[str, Any]]


class AuditPage(msgspec.Struct):
    """A page of changes, newest first."""

    events: list[AuditEventView]
    pagination: bodies.Pagination


@get("/audit-events", summary="List audit events")
@run_in_executor
def list_audit_events(
    request: Request[Any, Any, Any],
    dependencies: Dependencies,
    count: Count = COUNT_DEFAULT,
    cursor: Cursor = None,
    begin: Annotated[Text, QueryParameter(name="startTime")] = None,
    end: Annotated[Text, QueryParameter(name="endTime")] = None,
    resource_type: Annotated[Text, QueryParameter(name="resourceType")] = None,
    resource_id: Annotated[Text, QueryParameter(name="resourceId")] = None,
    format_: Annotated[Text, QueryParameter(name="format")] = None,
) -> dict[str, AuditPage] | Response[Any]:
    """List changes, newest first, with actor, time, and the values before and after.

    `format` returns the whole list as a file.
    """
    times = {}
    for name, text in (("startTime", begin), ("endTime", end)):
        times[name] = None if text is None else read_time(text)
        if text is not None and times[name] is None:
            raise bad_request(f"{name} must be a time such as 2026-01-31T18:20:31Z.", name)
    query = AuditQuery(
        resource_type=resource_type, resource_id=resource_id, begin=times["startTime"], end=times["endTime"]
    )
    if (format := read_format(request, format_)) is not None:
        return download(export_audit(dependencies.store, query), format)
    with dependencies.store.reading() as work:
        rows = list_events(work, query, count=count + 1, before_id=read_row_cursor(cursor, "pagination[cursor]"))
        total = count_events(work, query)
    events = rows[:count]
    following = str(events[-1].id) if len(rows) > count else None
    pagination = bodies.Pagination(current=cursor or "", total_entries=total, next=following)
    return {"data": AuditPage(events=[audit_view(event) for event in events], pagination=pagination)}


def audit_view(event: AuditEvent) -> AuditEventView:
    """Return the body of a change."""
    return AuditEventView(
        id=str(event.id),
        timestamp=to_iso(event.at),
        type=f"{event.resource_type}.{event.kind}",
        actor=event.actor,
        resource_id=event.resource_id,
        resource_type=event.resource_type,
        resource_name=event.resource_id,
        changes=msgspec.json.decode(event.changes, type=list[dict[str, Any]]),
    )
