"""Lists of events and customers, as pages or whole files."""

from typing import Annotated, Any, cast

import msgspec
from litestar import Request, get
from litestar.params import FromQuery, QueryParameter

from punchcard.api.api_dependencies import Dependencies
from punchcard.api.errors import bad_request
from punchcard.api.files import read_format
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor, read_row_cursor
from punchcard.clock import to_iso
from punchcard.events.times import read_time
from punchcard.lake.listing import EventQuery
from punchcard.operations.downloads import download
from punchcard.operations.executor import run_in_executor
from punchcard.operations.exports import export_customers, export_events, external_ids, result_bodies
from punchcard.operations.row_ids import is_row_id
from punchcard.operations.statuses import parse_event_type, parse_routing_status
from punchcard.store.engage import profile_search
from punchcard.store.engage.profile_search import FoundPerson
from punchcard.traces.browse import EventPosition, SeenEvent

_CURSOR = "pagination[cursor]"


class ListPagination(msgspec.Struct, omit_defaults=True):
    """The cursors of a page of a list that is too long to be counted; `next` is absent on the last page."""

    current: str
    next: str | None = None


class ListedEvent(msgspec.Struct, kw_only=True, rename="camel"):
    """An event of a list, with its status at each destination. `GET /api/events/{messageId}` has the rest."""

    message_id: str
    type: str
    event: str | None
    email: str | None
    user_id: str | None
    anonymous_id: str | None
    source: str | None
    received_at: str
    timestamp: str | None
    results: list[dict[str, str | None]]


class EventList(msgspec.Struct):
    """A page of events, newest first."""

    events: list[ListedEvent]
    pagination: ListPagination


class ListedCustomer(msgspec.Struct, kw_only=True, rename="camel"):
    """A profile of a list.

    `since` is when it was created or, in a list of those with a trait, when the trait got its `value`.
    """

    id: str
    external_ids: list[dict[str, str]]
    since: str
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class CustomerList(msgspec.Struct):
    """A page of profiles, newest first."""

    customers: list[ListedCustomer]
    pagination: ListPagination


@get("/events", summary="List events")
@run_in_executor
def list_events_call(
    request: Request[Any, Any, Any],
    dependencies: Dependencies,
    count: Count = COUNT_DEFAULT,
    cursor: Cursor = None,
    source: FromQuery[str | None] = None,
    type_: Annotated[str | None, QueryParameter(name="type")] = None,
    name: FromQuery[str | None] = None,
    destination: FromQuery[str | None] = None,
    status: FromQuery[str | None] = None,
    reason: FromQuery[str | None] = None,
    begin: Annotated[str | None, QueryParameter(name="startTime")] = None,
    end: Annotated[str | None, QueryParameter(name="endTime")] = None,
    format_: Annotated[str | None, QueryParameter(name="format")] = None,
) -> dict[str, EventList]:
    """List events, newest first, by the result of their routing. `format` returns the whole list as a file."""
    times = {}
    for parameter, text in (("startTime", begin), ("endTime", end)):
        times[parameter] = None if text is None else read_time(text)
        if text is not None and times[parameter] is None:
            raise bad_request(f"{parameter} must be a time such as 2026-01-31T18:20:31Z.", parameter)
    query = EventQuery(
        source=source,
        type=parse_event_type(type_),
        name=name,
        destination=destination,
        status=parse_routing_status(status, destination=destination, reason=reason),
        reason=reason,
        begin=times["startTime"],
        end=times["endTime"],
    )
    if (format := read_format(request, format_)) is not None:
        return cast("dict[str, EventList]", download(export_events(dependencies.browser, query), format))
    page = dependencies.browser.page(query, limit=count, before=_read_place(cursor))
    following = None if page.following is None else f"{page.following[0]}-{page.following[1]}"
    return {
        "data": EventList(
            events=[listed_event(seen) for seen in page.events],
            pagination=ListPagination(current=cursor or "", next=following),
        )
    }


@get("/customers", summary="List customers")
@run_in_executor
def list_customers(
    request: Request[Any, Any, Any],
    dependencies: Dependencies,
    count: Count = COUNT_DEFAULT,
    cursor: Cursor = None,
    trait: FromQuery[str] = "",
    format_: Annotated[str | None, QueryParameter(name="format")] = None,
) -> dict[str, CustomerList]:
    """List profiles, newest first; with `trait` the members of the audience with this key, or all with a trait."""
    trait = trait.replace("\x00", "")
    if (format := read_format(request, format_)) is not None:
        return cast("dict[str, CustomerList]", download(export_customers(dependencies.store, trait=trait), format))
    before = read_row_cursor(cursor, _CURSOR)
    with dependencies.store.reading() as work:
        if trait:
            people = profile_search.with_trait(work, trait, limit=count + 1, before=before)
        else:
            people = profile_search.newest(work, limit=count + 1, before=before)
    following = str(people[count - 1].profile_id) if len(people) > count else None
    return {
        "data": CustomerList(
            customers=[listed_customer(person) for person in people[:count]],
            pagination=ListPagination(current=cursor or "", next=following),
        )
    }


def listed_event(seen: SeenEvent) -> ListedEvent:
    """Return the body of an event of a list."""
    event = seen.event
    return ListedEvent(
        message_id=event.message_id,
        type=event.type,
        event=event.event,
        email=event.email,
        user_id=event.user_id,
        anonymous_id=event.anonymous_id,
        source=event.source,
        received_at=to_iso(event.received_at),
        timestamp=None if event.timestamp is None else to_iso(event.timestamp),
        results=result_bodies(seen),
    )


def listed_customer(person: FoundPerson) -> ListedCustomer:
    """Return the body of a profile of a list."""
    return ListedCustomer(
        id=person.public_id,
        external_ids=external_ids(person),
        since=to_iso(person.since),
        value=msgspec.Raw(person.value.encode()) if person.value else msgspec.UNSET,
    )


def _read_place(cursor: str | None) -> EventPosition | None:
    if cursor is None:
        return None
    position, _, index = cursor.partition("-")
    if not (is_row_id(position) and is_row_id(index)):
        raise bad_request("The cursor is invalid. Use the cursor of a page of this list.", _CURSOR)
    return int(position), int(index)


HANDLERS = (list_events_call, list_customers)
