"""The calls about events: one event's story, and the Event Tester."""

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
from punchcard.operations.executor import run_in_executor
from punchcard.operations.tester import try_event
from punchcard.store.ledger import earning_messages
from punchcard.store.token_store import Role
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
    """What became of an event, destination by destination, with every attempt.

    Two sources may use the same message id: then it is the event of `source`, else the one received first.
    """
    # As it was sent: a path that the framework has read has lost doubled slashes.
    message_id = unquote(request.scope["raw_path"].partition(b"/events/")[2])
    trace = dependencies.traces.trace(message_id, source=source)
    if trace is None:
        raise HTTPException(
            f"no event with message id {message_id} was ever received{_from(source)}; one sent a moment ago is found "
            "at once",
            status_code=404,
        )
    return {"data": bodies.event_trace(trace)}


@post("/events/test", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY}, summary="The Event Tester")
async def run_event_tester(
    request: Request[Any, Any, Any],
    dependencies: Dependencies,
    source: FromQuery[str | None] = None,
    *,
    send: FromQuery[bool] = False,
) -> dict[str, bodies.TestedEvent]:
    """Run one event through validation, filters and mapping; with `send=true` really take it in."""
    if send and not dependencies.token.role.may(Role.EDITOR):
        raise PermissionDeniedException(
            f"this token is {dependencies.token.role}; to send needs one that is {Role.EDITOR}"
        )
    body = await request.body()
    if len(body) > _TEST_BYTES_MAX:
        raise bad_request("one event has at most 32 KB")
    snapshot = dependencies.current()
    route = _source_of(snapshot, source, body)
    tested = await asyncio.to_thread(
        try_event, body, route, store=dependencies.store, clock=dependencies.clock, snapshot=snapshot
    )
    if send and tested.message_id is not None:
        await dependencies.append(tested.record(dependencies.clock))
    return {"data": bodies.tested_event(tested, sent=send and tested.message_id is not None)}


class EarnedRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Message ids to ask about, 1,000 at most."""

    message_ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=1_000)]


class EarnedEvents(msgspec.Struct):
    """Those of the message ids that earned."""

    earned: list[str]


@post("/events/earned", status_code=200, opt={REQUIRED_ROLE: Role.READ_ONLY}, summary="Which of many events earned")
@run_in_executor
def list_earned(data: JSONBody[EarnedRequest], dependencies: Dependencies) -> dict[str, EarnedEvents]:
    """Those of the events that have an award in the ledger, whatever its state but `rejected`."""
    with dependencies.store.reading() as work:
        return {"data": EarnedEvents(earned=earning_messages(work, data.message_ids))}


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
        raise bad_request(f"say which source the event is from: ?source= one of {', '.join(sorted(routes))}", "source")
    if slug not in routes:
        raise HTTPException(f"there is no source {slug}", status_code=404)
    return routes[slug][1]


def _write_key(body: bytes) -> str | None:
    class Keyed(msgspec.Struct, rename="camel"):
        write_key: str | None = None

    try:
        return msgspec.json.decode(body, type=Keyed).write_key
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise bad_request("the body is not one event as a JSON object") from error
