"""The Public API as one ASGI app: routes, tokens, errors in Segment's shape, OpenAPI."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from litestar import Litestar, Request, Response, get, post
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import Parameter

from punchcard import __version__
from punchcard.api import bodies
from punchcard.api.tester import try_event
from punchcard.clock import Clock
from punchcard.errors import IngestError, PunchcardError, StorageError
from punchcard.log.port import NewRecord
from punchcard.store import ledger
from punchcard.store.engine import Store
from punchcard.store.schema import EffectState
from punchcard.store.tokens import verify_token
from punchcard.traces.story import Stories
from punchcard.workspace.snapshot import Snapshot, SourceRoute

_PAGE_DEFAULT = 50
_PAGE_MAX = 1000
_TEST_BYTES_MAX = 32 * 1024
# What the list's `state` takes, in the words that fates have.
_STATES = {
    "pending": (EffectState.PENDING, EffectState.SENDING),
    "retrying": (EffectState.RETRYING, EffectState.SENDING),
    "unknown": (EffectState.UNKNOWN,),
    "parked": (EffectState.PARKED,),
    "rejected": (EffectState.REJECTED,),
    "delivered": (EffectState.DELIVERED,),
}


@dataclass(frozen=True, kw_only=True)
class ApiParts:
    """What the API reads and writes through.

    Attributes:
        current: The configuration now.
        append: Makes one request durable in the log, as the Tracking API does.
    """

    store: Store
    stories: Stories
    clock: Clock
    current: Callable[[], Snapshot]
    append: Callable[[NewRecord], Awaitable[int]]


def build_api(parts: ApiParts) -> Litestar:
    """The app, to be mounted where paths begin with `/api`."""

    def needs_token(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        if _is_open(connection.url.path):
            return
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            with parts.store.reading() as work:
                if verify_token(work, token.strip()) is not None:
                    return
        raise NotAuthorizedException("send `Authorization: Bearer <token>` with a token of this workspace")

    @get("/events/{message_id:str}", sync_to_thread=True, summary="One event's whole story")
    def event(message_id: str) -> dict[str, bodies.EventTrace]:
        """What became of an event, destination by destination, with every attempt."""
        story = parts.stories.story(message_id)
        if story is None:
            raise HTTPException(
                f"no event with message id {message_id} was ever received; one sent a moment ago is found at once",
                status_code=404,
            )
        return {"data": bodies.event_trace(story)}

    @get("/destinations/{destination_id:str}/transactions", sync_to_thread=True, summary="The ledger, newest first")
    def transactions(
        destination_id: str,
        cursor: str | None = None,
        count: Annotated[int, Parameter(ge=1, le=_PAGE_MAX)] = _PAGE_DEFAULT,
        email: str | None = None,
        standing: Annotated[str | None, Parameter(query="state")] = None,  # `state` is a word of the framework's own
    ) -> dict[str, bodies.LedgerPage]:
        """Every transaction of a destination, by customer and state if asked."""
        if destination_id not in parts.current().destinations:
            raise HTTPException(f"there is no destination {destination_id}", status_code=404)
        if standing is not None and standing not in _STATES:
            raise _bad_request(f"state is one of {', '.join(_STATES)}", "state")
        if cursor is not None and not cursor.isdecimal():
            raise _bad_request("cursor is not one that a page of this list has given", "cursor")
        states = _STATES[standing] if standing else ()
        with parts.store.reading() as work:
            rows = ledger.page(
                work,
                destination_id,
                count=count + 1,
                before_id=int(cursor) if cursor else None,
                customer=email,
                states=states,
            )
            total = ledger.count(work, destination_id, customer=email, states=states)
            shown = rows[:count]
            ids = [row.id for row in shown]
            attempts, conflicts = ledger.attempts_of(work, ids), ledger.conflicts_of(work, ids)
        following = str(shown[-1].id) if len(rows) > count else None
        return {
            "data": bodies.LedgerPage(
                transactions=[bodies.ledger_row(row, attempts[row.id], conflicts[row.id]) for row in shown],
                pagination=bodies.Pagination(current=cursor or "", total_entries=total, next=following),
            )
        }

    @post("/events/test", status_code=200, summary="The Event Tester")
    async def tester(
        request: Request[Any, Any, Any], source: str | None = None, *, send: bool = False
    ) -> dict[str, bodies.TestedEvent]:
        """Run one event through validation, filters and mapping; with `send=true` really take it in."""
        body = await request.body()
        if len(body) > _TEST_BYTES_MAX:
            raise _bad_request("one event has at most 32 KB")
        snapshot = parts.current()
        route = _source_of(snapshot, source, body)
        tested = await asyncio.to_thread(
            try_event, body, route, store=parts.store, clock=parts.clock, snapshot=snapshot
        )
        if send and tested.message_id is not None:
            await parts.append(tested.record(parts.clock))
        return {"data": tested.answer(sent=send and tested.message_id is not None)}

    return Litestar(
        path="/api",
        route_handlers=[event, transactions, tester],
        guards=[needs_token],
        exception_handlers={
            HTTPException: _http_error,
            PunchcardError: _punchcard_error,
            Exception: _defect,
        },
        openapi_config=OpenAPIConfig(
            title="Punchcard",
            version=__version__,
            path="/",
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        ),
        logging_config=None,
    )


def _source_of(snapshot: Snapshot, slug: str | None, body: bytes) -> SourceRoute:
    routes = {route.source.slug: (key, route) for key, route in snapshot.by_write_key.items()}
    if slug is None:
        write_key = _write_key(body)
        if write_key is not None and write_key in snapshot.by_write_key:
            return snapshot.by_write_key[write_key]
        if len(routes) == 1:
            return next(iter(routes.values()))[1]
        raise _bad_request(f"say which source the event is from: ?source= one of {', '.join(sorted(routes))}", "source")
    if slug not in routes:
        raise HTTPException(f"there is no source {slug}", status_code=404)
    return routes[slug][1]


def _write_key(body: bytes) -> str | None:
    class Keyed(msgspec.Struct, rename="camel"):
        write_key: str | None = None

    try:
        return msgspec.json.decode(body, type=Keyed).write_key
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _bad_request("the body is not one event as a JSON object") from error


def _is_open(path: str) -> bool:
    return path == "/api/openapi.json"


def _bad_request(message: str, field: str | None = None) -> HTTPException:
    return HTTPException(message, status_code=400, extra={"field": field} if field else None)


_ERROR_TYPES = {400: "bad-request", 401: "unauthorized", 403: "forbidden", 404: "not-found", 405: "method-not-allowed"}


def _error(status: int, message: str, *, field: object = None, type_: str | None = None) -> Response[Any]:
    error = {"type": type_ or _ERROR_TYPES.get(status, "error"), "message": message, "field": field, "status": status}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return Response({"errors": [error]}, status_code=status, headers=headers, media_type="application/json")


def _http_error(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    extra = error.extra
    if isinstance(extra, list) and extra and isinstance(extra[0], dict):  # Litestar's own validation
        first = extra[0]
        return _error(error.status_code, str(first.get("message", error.detail)), field=first.get("key"))
    field = extra.get("field") if isinstance(extra, dict) else None
    return _error(error.status_code, error.detail, field=field)


def _punchcard_error(_: Request[Any, Any, Any], error: PunchcardError) -> Response[Any]:
    if isinstance(error, StorageError):
        response = _error(503, error.message, type_="unavailable")
        response.headers["Retry-After"] = "1"
        return response
    if isinstance(error, IngestError):
        return _error(400, error.message, type_=error.code)
    return _error(422, error.message, type_=error.code)


def _defect(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    import structlog

    structlog.get_logger("punchcard.api").error("request_failed", path=request.url.path, exc_info=error)
    return _error(500, "Punchcard failed on this request; the log has the details", type_="internal-error")
