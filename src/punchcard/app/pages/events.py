"""Events: the filtered list, and the trace of one event."""

from collections.abc import Mapping
from urllib.parse import unquote

from litestar import get
from litestar.params import FromPath

from punchcard.app.paths import page_path
from punchcard.app.periods import read_period
from punchcard.app.request_context import SHOWS_AWARDS, ContextDependency, Page, RequestContext
from punchcard.engage.demand import request_engage
from punchcard.lake.listing import EventQuery
from punchcard.operations.executor import run_in_executor
from punchcard.operations.row_ids import is_row_id
from punchcard.operations.statuses import LEDGER_STATUSES
from punchcard.store.delivery.counts import RECEIVED, CountQuery, Dimension, read_counts
from punchcard.store.routing.event_results import EventStatus
from punchcard.workspace.editing import NotFoundError

_ROWS = 50
_REPLAYS_OFFERED_MAX = 3
BEFORE_DESTINATIONS = "-"
"""The destination of results before any destination, in addresses: no slug is so."""

_DESTINATIONS = {"": None, BEFORE_DESTINATIONS: ""}
# Events have the result of routing; the later statuses of a pending one are in the ledger.
_LATER_STATUSES = LEDGER_STATUSES[1:]
_FIELDS = ("source", "type", "name", "destination", "status", "reason", "note")


@get("/events", opt={SHOWS_AWARDS: True})
@run_in_executor
def list_events(context: ContextDependency) -> Page:
    """List matching events, newest first, page by page."""
    dependencies, period = context.dependencies, read_period(context)
    if message_id := context.query("id"):
        return context.redirect(page_path("events", message_id))
    query, filters = read_event_query(context)
    status = query.status
    page = dependencies.browser.page(query, limit=_ROWS, before=_place(context.query("before")))
    counted = CountQuery(
        begin=period.begin,
        end=period.end,
        source=query.source,
        destination=query.destination if status else "",
        statuses=[status or RECEIVED],
        event_types=[filters["type"]] if filters["type"] else (),
        event_names=[filters["name"]] if filters["name"] else (),
        reasons=[filters["reason"]] if status and filters["reason"] else (),
    )
    with dependencies.store.reading() as work:
        totals = read_counts(work, counted, by=[Dimension.DESTINATION])
    following = page.following
    return context.page(
        "events.html",
        page=page,
        total=sum(totals.values()) if status not in _LATER_STATUSES else 0,
        # An event counts once at each destination that has the result, and once before any.
        destinations_counted=len(totals.keys() - {("",)}),
        is_unused=not page.events and not dependencies.browser.page(EventQuery(), limit=1).events,
        filters=filters,
        period=period,
        following=f"{following[0]}-{following[1]}" if following else "",
        sources=[source.slug for source in dependencies.workspace().sources],
        destinations=[destination.slug for destination in dependencies.workspace().destinations],
        replay_paths=[(slug, _replay_path(slug, filters, period.key)) for slug in _replayable(context, filters)],
        statuses=[status for status in EventStatus if status not in _LATER_STATUSES],
    )


def read_event_query(context: RequestContext) -> tuple[EventQuery, dict[str, str]]:
    """Return the query in the URL, and its parameters for links except the period."""
    period = read_period(context)
    filters = {name: context.query(name) for name in _FIELDS}
    status = filters["status"] or None
    query = EventQuery(
        source=filters["source"] or None,
        type=filters["type"] or None,
        name=filters["name"] or None,
        destination=None if status is None else _DESTINATIONS.get(filters["destination"], filters["destination"]),
        status=status,
        reason=filters["reason"] or None,
        begin=period.begin,
        end=period.end,
        note=filters["note"] or None,
    )
    return query, filters


@get("/events/{message_id:path}", opt={SHOWS_AWARDS: True})
@run_in_executor
def show_event(context: ContextDependency, message_id: FromPath[str]) -> Page:
    """Show the trace of one event."""
    # Read from the raw path: the framework's parsed path has lost doubled slashes.
    message_id = unquote(context.request.scope["raw_path"].partition(b"/events/")[2])
    trace = context.dependencies.traces.trace(message_id, source=context.query("source") or None)
    if trace is None:
        raise NotFoundError(f"No event with the message id {message_id} was received.")
    if trace.profile is None:
        request_engage(context.dependencies.store)  # it may not have run yet, because nothing needed profiles
    destinations = context.dependencies.workspace().destinations
    replayable = [destination.slug for destination in destinations if trace.source in destination.sources]
    names = {slug: context.destination_name(slug) for slug in replayable[:_REPLAYS_OFFERED_MAX]}
    return context.page("event.html", trace=trace, replayable=names)


def _replayable(context: RequestContext, filters: Mapping[str, str]) -> list[str]:
    """Return the destinations to which the events of a list can be replayed."""
    slugs = [destination.slug for destination in context.dependencies.workspace().destinations]
    return [slug for slug in slugs if filters["destination"] in ("", slug)][:_REPLAYS_OFFERED_MAX]


def _replay_path(slug: str, filters: Mapping[str, str], time: str) -> str:
    """Return the path of the form of a replay with the filter of a list."""
    names = {"name": "event", "source": "source", "type": "type", "status": "status", "reason": "reason"}
    query = {field: filters[name] for name, field in names.items()}
    return page_path("destinations", slug, "replays", time=time, **query)


def _place(text: str) -> tuple[int, int] | None:
    position, dash, index = text.partition("-")
    return (int(position), int(index)) if dash and is_row_id(position) and is_row_id(index) else None


HANDLERS = (list_events, show_event)
