"""The Profile API: anybody's traits, external ids and events, by any external id, in Segment's shapes.

Source: Segment's "Profile API": HTTP Basic with the token as user name; paths below `/v1/spaces/{space}/collections/`.
"""

import asyncio
import base64
import binascii
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import unquote

import msgspec
from litestar import Litestar, Request, Response, get
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotAuthorizedException, NotFoundException
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, QueryParameter

from punchcard.api.errors import bad_request
from punchcard.clock import to_iso
from punchcard.errors import PunchcardError, StorageError
from punchcard.lake.reader import LakeEvent
from punchcard.operations.parts import Parts as SharedParts
from punchcard.operations.threads import in_thread
from punchcard.store import profile_reading as reading
from punchcard.store.profile_reading import StoredProfile
from punchcard.store.tokens import note_use, verify_token
from punchcard.traces.browse import Person

PATH = "/v1/spaces/"
_LIMIT_DEFAULT = 10
_LIMIT_MAX = 200
_EVENTS_MAX = 1_000
_BASE = "/{space_id:str}/collections/{collection:str}/profiles/{external_id:str}"
_CODES = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found", 429: "rate_limit_error"}

Limit = Annotated[int, QueryParameter(name="limit", ge=1, le=_LIMIT_MAX)]
Include = Annotated[str, QueryParameter(name="include")]
Next = Annotated[str, QueryParameter(name="next")]
Verbose = Annotated[bool, QueryParameter(name="verbose")]


class CursorView(msgspec.Struct):
    """Where a page stands; `next` goes into the next request."""

    url: str
    has_more: bool
    next: str
    limit: int


def build_profile_app(parts: SharedParts) -> Litestar:
    """The app, to be mounted where paths begin with `/v1/spaces`."""

    async def needs_token(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        secret = _secret(connection.headers.get("authorization", ""))
        if not secret or not await asyncio.to_thread(is_known, secret):
            raise NotAuthorizedException(
                "send a token of the Public API as user name of HTTP Basic, without a password"
            )

    def is_known(secret: str) -> bool:
        with parts.store.reading() as work:
            token = verify_token(work, secret)
        if token is not None:
            note_use(parts.store, token, clock=parts.clock)
        return token is not None

    return Litestar(
        path="/v1/spaces",
        route_handlers=[get_traits, get_external_ids, get_events, get_metadata, get_links],
        dependencies={"shared": Provide(lambda: parts, sync_to_thread=False)},
        guards=[needs_token],
        exception_handlers={HTTPException: _http_error, PunchcardError: _our_error},
        openapi_config=None,
        logging_config=None,
    )


@get(_BASE + "/traits")
@in_thread
def get_traits(
    space_id: FromPath[str],
    collection: FromPath[str],
    external_id: FromPath[str],
    request: Request[Any, Any, Any],
    shared: Any,
    limit: Limit = _LIMIT_DEFAULT,
    include: Include = "",
    next: Next = "",
    verbose: Verbose = False,
) -> dict[str, Any]:
    """Traits by name: all, or those in `include`; `class` takes audiences or computed traits alone."""
    profile = _profile(shared, collection, external_id)
    wanted = request.query_params.get("class")
    names = [one for one in include.split(",") if one] or None
    with shared.store.reading() as work:
        found = reading.traits_by_name(work, profile.id, names)
    found = [one for one in found if one.name > next and one.value != "null" and wanted in (None, "", one.computation)]
    shown = found[:limit]
    traits = {
        one.name: {
            "value": msgspec.Raw(one.value.encode()),
            "source_id": one.source or "engage",
            "updated_at": to_iso(one.updated_at),
        }
        if verbose
        else msgspec.Raw(one.value.encode())
        for one in shown
    }
    return {"traits": traits, "cursor": _cursor(request, len(found) > limit, shown[-1].name if shown else "", limit)}


@get(_BASE + "/external_ids")
@in_thread
def get_external_ids(
    space_id: FromPath[str],
    collection: FromPath[str],
    external_id: FromPath[str],
    request: Request[Any, Any, Any],
    shared: Any,
    limit: Limit = _LIMIT_DEFAULT,
    include: Include = "",
    next: Next = "",
) -> dict[str, Any]:
    """The profile's external ids, oldest first; `include` takes some types alone."""
    profile = _profile(shared, collection, external_id)
    types = {one for one in include.split(",") if one}
    with shared.store.reading() as work:
        found = reading.external_ids_of(work, profile.id)
    found = [one for one in found if not types or one.type in types]
    begin = _number(next)
    shown = found[begin : begin + limit]
    data = [
        {
            "source_id": one.source,
            "collection": "users",
            "id": one.value,
            "type": one.type,
            "created_at": to_iso(one.created_at),
            "encoding": "none",
            "first_message_id": one.message_id,
        }
        for one in shown
    ]
    has_more = begin + limit < len(found)
    return {"data": data, "cursor": _cursor(request, has_more, str(begin + limit), limit)}


@get(_BASE + "/events")
@in_thread
def get_events(
    space_id: FromPath[str],
    collection: FromPath[str],
    external_id: FromPath[str],
    request: Request[Any, Any, Any],
    shared: Any,
    limit: Limit = _LIMIT_DEFAULT,
    include: Include = "",
    exclude: Annotated[str, QueryParameter(name="exclude")] = "",
    next: Next = "",
) -> dict[str, Any]:
    """The person's newest events that carry an email or user id; `include` and `exclude` are names of events."""
    profile = _profile(shared, collection, external_id)
    with shared.store.reading() as work:
        ids = reading.external_ids_of(work, profile.id)
    wanted, unwanted = _listed(include), _listed(exclude)
    person = Person(
        emails=[one.value for one in ids if one.type == "email"],
        user_ids=[one.value for one in ids if one.type == "user_id"],
    )
    found = [
        one.event
        for one in shared.browser.events_of(person, limit=_EVENTS_MAX).events
        if (not wanted or one.event.event in wanted) and one.event.event not in unwanted
    ]
    begin = _number(next)
    shown = found[begin : begin + limit]
    listed = [{"collection": "users", "type": one.type, "id": one.value, "encoding": "none"} for one in ids]
    data = [_event(one, listed) for one in shown]
    return {"data": data, "cursor": _cursor(request, begin + limit < len(found), str(begin + limit), limit)}


@get(_BASE + "/metadata")
@in_thread
def get_metadata(
    space_id: FromPath[str], collection: FromPath[str], external_id: FromPath[str], shared: Any
) -> dict[str, Any]:
    """Since when there is a profile, and by which events."""
    one = _profile(shared, collection, external_id)
    return {
        "metadata": {
            "created_at": to_iso(one.created_at),
            "updated_at": to_iso(one.updated_at),
            "expires_at": None,
            "first_message_id": one.first_message_id,
            "first_source_id": one.first_source,
            "last_message_id": one.last_message_id,
            "last_source_id": one.last_source,
        }
    }


@get(_BASE + "/links")
@in_thread
def get_links(
    space_id: FromPath[str],
    collection: FromPath[str],
    external_id: FromPath[str],
    request: Request[Any, Any, Any],
    shared: Any,
) -> dict[str, Any]:
    """Accounts of the person: there are none in this version."""
    _profile(shared, collection, external_id)
    return {"data": [], "cursor": _cursor(request, False, "", 20)}


def _profile(parts: SharedParts, collection: str, external_id: str) -> StoredProfile:
    if collection != "users":
        raise NotFoundException("Profile was not found.")
    type_, colon, value = unquote(external_id).partition(":")
    if not colon:
        type_, value = ("profile", type_) if type_.startswith("use_") else ("user_id", type_)
    with parts.store.reading() as work:
        found = reading.find_profile(work, type_, value)
    if found is None:
        raise NotFoundException("Profile was not found.")
    return found


def _event(one: LakeEvent, ids: list[dict[str, str]]) -> dict[str, Any]:
    said = msgspec.json.decode(one.payload)
    return {
        "external_ids": ids,
        "context": said.get("context") or {},
        "type": one.type,
        "message_id": one.message_id,
        "source_id": one.source,
        "timestamp": to_iso(one.timestamp) if isinstance(one.timestamp, datetime) else None,
        "properties": said.get("properties") or said.get("traits") or {},
        "event": one.event,
        "related": {"users": []},
    }


def _cursor(request: Request[Any, Any, Any], has_more: bool, next: str, limit: int) -> CursorView:  # noqa: FBT001
    return CursorView(url=request.url.path, has_more=has_more, next=next if has_more else "", limit=limit)


def _listed(text: str) -> set[str]:
    return {one.strip() for one in text.split(",") if one.strip()}


def _number(text: str) -> int:
    if text and not text.isdigit():
        raise bad_request("next is not what a page has given", "next")
    return int(text or 0)


def _secret(header: str) -> str:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() == "bearer":
        return encoded.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return ""


def _http_error(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    return _answer(error.status_code, error.detail)


def _our_error(_: Request[Any, Any, Any], error: PunchcardError) -> Response[Any]:
    return _answer(503 if isinstance(error, StorageError) else 400, error.message)


def _answer(status: int, message: str) -> Response[Any]:
    body = {"error": {"code": _CODES.get(status, "invalid_request_error"), "message": message}}
    headers = {"WWW-Authenticate": "Basic"} if status == 401 else {}
    return Response(body, status_code=status, headers=headers, media_type="application/json")
