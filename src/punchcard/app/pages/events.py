"""Events: those behind a number, and one event's trace."""

from collections.abc import Mapping
from urllib.parse import quote, unquote, urlencode

from litestar import get
from litestar.params import FromPath

from punchcard.app.periods import read_period
from punchcard.app.request_context import ContextDependency, Page
from punchcard.lake.listing import EventQuery
from punchcard.operations.executor import run_in_executor
from punchcard.store.counts import RECEIVED, CountQuery, read_counts
from punchcard.store.event_results import EventStatus
from punchcard.workspace.editing import NotFoundError

_ROWS = 50
_FIELDS = ("source", "type", "name", "destination", "status", "reason")


@get("/events")
@run_in_executor
def list_events(context: ContextDependency) -> Page:
    """The newest events that match; all of them, page by page."""
    dependencies, period = context.dependencies, read_period(context)
    asked = {name: context.query(name) for name in _FIELDS}
    if message_id := context.query("id"):
        return context.redirect("/events/" + quote(message_id, safe=""))
    status = asked["status"] or None
    query = EventQuery(
        source=asked["source"] or None,
        type=asked["type"] or None,
        name=asked["name"] or None,
        destination=None if status is None else asked["destination"],
        status=status,
        reason=asked["reason"] or None,
        begin=period.begin,
        end=period.end,
    )
    found = dependencies.browser.page(query, limit=_ROWS, before=_place(context.query("before")))
    counted = CountQuery(
        begin=period.begin,
        end=period.end,
        source=query.source,
        destination=asked["destination"] if status else "",
        statuses=[status or RECEIVED],
        event_types=[asked["type"]] if asked["type"] else (),
        event_names=[asked["name"]] if asked["name"] else (),
        reasons=[asked["reason"]] if status and asked["reason"] else (),
    )
    with dependencies.store.reading() as work:
        total = sum(read_counts(work, counted, by=()).values())
    following = found.following
    params = {**{name: value for name, value in asked.items() if value}, "time": period.key}
    return context.page(
        "events.html",
        found=found,
        total=total,
        asked=asked,
        time=period.key,
        others=_others(asked),
        query=urlencode(params),
        following=f"{following[0]}-{following[1]}" if following else "",
        sources=[source.slug for source in dependencies.workspace().sources],
        destinations=[destination.slug for destination in dependencies.workspace().destinations],
        statuses=[one.value for one in EventStatus if one not in _OF_THE_LEDGER],
    )


@get("/events/{message_id:path}")
@run_in_executor
def show_event(context: ContextDependency, message_id: FromPath[str]) -> Page:
    """One event's trace."""
    # As it was sent: a path that the framework has read has lost doubled slashes.
    message_id = unquote(context.request.scope["raw_path"].partition(b"/events/")[2])
    trace = context.dependencies.traces.trace(message_id, source=context.query("source") or None)
    if trace is None:
        raise NotFoundError(f"no event with the message id {message_id} was ever received")
    return context.page("event.html", trace=trace)


# These are told by the ledger, as they change after routing.
_OF_THE_LEDGER = frozenset(
    {EventStatus.DELIVERED, EventStatus.PARKED, EventStatus.REJECTED, EventStatus.RETRYING, EventStatus.UNKNOWN}
)


def _others(asked: Mapping[str, str]) -> str:
    query = urlencode({name: value for name, value in asked.items() if value})
    return f"&{query}" if query else ""


def _place(text: str) -> tuple[int, int] | None:
    position, found, index = text.partition("-")
    return (int(position), int(index)) if found and position.isdecimal() and index.isdecimal() else None


HANDLERS = (list_events, show_event)
