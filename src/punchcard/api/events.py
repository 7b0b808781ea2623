"""The calls about events: the trace of an event, and the Event Tester."""

import asyncio
from typing import Annotated, Any
from urllib.parse import unquote

import msgspec
from litestar import Request, get, post
from litestar.exceptions import HTTPException, PermissionDeniedException
from litestar.params import FromPath, FromQuery, JSONBody

from punchcard.api import bodies
from punchcard.api.api_dependencies import REQUIRED_ROLE, Dependencies
from punchcard.api.errors import bad_request
from punchcard.events.faults import UNREADABLE
from punchcard.events.json_problems import describe_json_problem
from punchcard.events.repair import decode_repaired
from punchcard.operations.executor import run_in_executor
from punchcard.operations.tester import try_event
from punchcard.store.access.token_store import Role
from punchcard.store.delivery.ledger import earning_messages
from punchcard.workspace.editing import not_found
from punchcard.workspace.snapshot import Snapshot, SourceRoute

_TEST_BYTES_MAX = 32 * 1024


@get("/events/{message_id:path}", summary="Get the trace of one event")
@run_in_executor
def get_event(
    request: Request[Any, Any, Any],
    message_id: FromPath[str],
    dependencies: Dependencies,
    source: FromQuery[str | None] = None,
) -> dict[str, bodies.EventTraceBody]:
    """Get an event with its result at each destination and every attempt.

    If two sources use the same message id, this returns the event of `source`, or the one received first.
    """
    return _trace(request, dependencies, source)


@get(["/events/test", "/events/earned"], include_in_schema=False)
@run_in_executor
def get_event_named_like_a_call(
    request: Request[Any, Any, Any], dependencies: Dependencies, source: FromQuery[str | None] = None
) -> dict[str, bodies.EventTraceBody]:
    """Get the event with the message id `test` or `earned`, which are paths of calls of another method."""
    return _trace(request, dependencies, source)


@post("/events/test", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY}, summary="Test an event")
async def run_event_tester(
    request: Request[Any, Any, Any],
    dependencies: Dependencies,
    source: FromQuery[str | None] = None,
    *,
    send: FromQuery[bool] = False,
) -> dict[str, bodies.TestedEvent]:
    """Run one event through validation, filters and mapping. With `send=true`, also send it."""
    if send and not dependencies.token.role.may(Role.EDITOR):
        raise PermissionDeniedException(
            f"This token has the role {dependencies.token.role}. Sending needs the role {Role.EDITOR}."
        )
    body = await request.body()
    if len(body) > _TEST_BYTES_MAX:
        raise bad_request("An event has at most 32 KB.")
    snapshot = dependencies.current()
    route = _source_of(snapshot, source, body)
    tested = await asyncio.to_thread(
        try_event, body, route, store=dependencies.store, clock=dependencies.clock, snapshot=snapshot
    )
    if send and tested.message_id is not None:
        await dependencies.append(tested.record(dependencies.clock))
    return {"data": bodies.tested_event(tested, sent=send and tested.message_id is not None)}


class EarnedRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Message ids, at most 1,000."""

    message_ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=1_000)]


class EarnedEvents(msgspec.Struct):
    """The message ids of events that earned."""

    earned: list[str]


@post("/events/earned", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY}, summary="List events that earned")
@run_in_executor
def list_earned(data: JSONBody[EarnedRequest], dependencies: Dependencies) -> dict[str, EarnedEvents]:
    """List the message ids with an award in the ledger in any status but `rejected`."""
    with dependencies.store.reading() as work:
        return {"data": EarnedEvents(earned=earning_messages(work, data.message_ids))}


def _trace(
    request: Request[Any, Any, Any], dependencies: Dependencies, source: str | None
) -> dict[str, bodies.EventTraceBody]:
    # Read from the raw path: the framework's parsed path has lost doubled slashes.
    message_id = unquote(request.scope["raw_path"].partition(b"/events/")[2])
    trace = dependencies.traces.trace(message_id, source=source)
    if trace is None:
        raise HTTPException(
            f"No event with the message id {message_id} was received{_from(source)}. Check the id and the write key.",
            status_code=404,
        )
    return {"data": bodies.event_trace(trace)}


def _from(source: str | None) -> str:
    return "" if source is None else f" from source {source}"


def _source_of(snapshot: Snapshot, slug: str | None, body: bytes) -> SourceRoute:
    routes = {route.source.slug: (key, route) for key, route in snapshot.by_write_key.items()}
    if slug is None:
        write_key = _write_key(body)
        if write_key is not None and write_key in snapshot.by_write_key:
            return snapshot.by_write_key[write_key]
        if len(routes) == 1:
            return next(iter(routes.values()))[1]
        raise bad_request(f"Set the parameter source to one of {', '.join(sorted(routes))}.", "source")
    if slug not in routes:
        raise not_found("source", slug, routes)
    return routes[slug][1]


def _write_key(body: bytes) -> str | None:
    class Keyed(msgspec.Struct, rename="camel"):
        write_key: str | None = None

    decoder = msgspec.json.Decoder(Keyed)
    try:
        return decode_repaired(decoder.decode, body, has_batch=False)[0].write_key
    except UNREADABLE as error:
        problem = describe_json_problem(body, error)
        raise bad_request(f"The body is not a JSON object with one event: {problem}.") from error
