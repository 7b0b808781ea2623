"""The Profile API's calls: anybody's traits, external ids and events, by any external id, in Segment's shapes.

Source: Segment's "Profile API".
"""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote

import msgspec
from litestar import Request, get
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import FromPath, QueryParameter, SkipValidation

from punchcard.clock import to_iso, to_micros
from punchcard.events.times import read_time
from punchcard.lake.person_query import PAGE_VIEWED, SCREEN_VIEWED, PersonQuery
from punchcard.lake.reader import LakeEvent
from punchcard.operations.dependencies import Dependencies
from punchcard.operations.executor import run_in_executor
from punchcard.operations.profile_events import list_profile_events
from punchcard.store import profile_queries
from punchcard.store.profile_queries import StoredExternalId, StoredProfile
from punchcard.traces.browse import EventPosition

_LIMIT_DEFAULT: Final = 10
_LINKS_MAX: Final = 20
_BASE: Final = "/{space_id:str}/collections/{collection:str}/profiles/{external_id:str}"
_VIEWED: Final = {"page": (PAGE_VIEWED, "page_name"), "screen": (SCREEN_VIEWED, "screen_name")}

Shared = NamedDependency[SkipValidation[Dependencies]]
TraitLimit = Annotated[int, QueryParameter(name="limit", ge=1, le=200)]
Limit = Annotated[int, QueryParameter(name="limit", ge=1, le=100)]
LinkLimit = Annotated[int, QueryParameter(name="limit", ge=1, le=_LINKS_MAX)]
Include = Annotated[str, QueryParameter(name="include")]
Next = Annotated[str, QueryParameter(name="next")]
Verbose = Annotated[bool, QueryParameter(name="verbose")]
Class = Annotated[Literal["", "audience", "computed_trait"], QueryParameter(name="class")]


class CursorView(msgspec.Struct):
    """Where a page stands; `next` goes into the next request."""

    url: str
    has_more: bool
    next: str
    limit: int


@get(_BASE + "/traits")
@run_in_executor
def get_traits(
    space_id: FromPath[str],
    collection: FromPath[str],
    external_id: FromPath[str],
    request: Request[Any, Any, Any],
    shared: Shared,
    class_: Class = "",
    limit: TraitLimit = _LIMIT_DEFAULT,
    include: Include = "",
    next: Next = "",
    verbose: Verbose = False,
) -> dict[str, Any]:
    """Traits by name: all, or those in `include`; `class` takes audiences or computed traits alone."""
    profile = _profile(shared, collection, external_id)
    with shared.store.reading() as work:
        found = profile_queries.traits_by_name(work, profile.id, _listed(include) or None)
    found = [one for one in found if one.name > next and one.value != "null" and class_ in ("", one.computation)]
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
    following = shown[-1].name if len(found) > limit else None
    return {"traits": traits, "cursor": _cursor(request, following, limit)}


@get(_BASE + "/external_ids")
@run_in_executor
def get_external_ids(
    space_id: FromPath[str],
    collection: FromPath[str],
    external_id: FromPath[str],
    request: Request[Any, Any, Any],
    shared: Shared,
    limit: Limit = _LIMIT_DEFAULT,
    include: Include = "",
    next: Next = "",
    verbose: Verbose = False,
) -> dict[str, Any]:
    """The profile's external ids, oldest first; `include` takes some types alone."""
    profile = _profile(shared, collection, external_id)
    types, behind = _listed(include), _read_cursor(next, 3)
    with shared.store.reading() as work:
        external_ids = profile_queries.external_ids_of(work, profile.id)
    external_ids = [
        one for one in external_ids if (not types or one.type in types) and (not behind or _id_place(one) > behind)
    ]
    shown = external_ids[:limit]
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
    following = _written_cursor(_id_place(shown[-1])) if len(external_ids) > limit else None
    return {"data": data, "cursor": _cursor(request, following, limit)}


@get(_BASE + "/events")
@run_in_executor
def get_events(
    space_id: FromPath[str],
    collection: FromPath[str],
    external_id: FromPath[str],
    request: Request[Any, Any, Any],
    shared: Shared,
    start: Annotated[str, QueryParameter(name="start")] = "",
    end: Annotated[str, QueryParameter(name="end")] = "",
    sort: Annotated[Literal["asc", "desc"], QueryParameter(name="sort")] = "desc",
    include: Include = "",
    exclude: Annotated[str, QueryParameter(name="exclude")] = "",
    limit: Limit = _LIMIT_DEFAULT,
    next: Next = "",
) -> dict[str, Any]:
    """The person's events in the order of their receipt; `include` and `exclude` are names of events."""
    begin, until = _instant(start, "start"), _instant(end, "end")
    if begin is not None and until is not None and begin >= until:
        raise _invalid("end", "lies behind `start`")
    beyond = _event_place(next, sort)
    profile = _profile(shared, collection, external_id)
    with shared.store.reading() as work:
        ids = profile_queries.external_ids_of(work, profile.id)
    query = PersonQuery(
        emails=[one.value for one in ids if one.type == "email"],
        user_ids=[one.value for one in ids if one.type == "user_id"],
        anonymous_ids=[one.value for one in ids if one.type == "anonymous_id"],
        names=_listed(include) or None,
        names_left_out=_listed(exclude),
        begin=begin,
        end=until,
        oldest_first=sort == "asc",
    )
    page = list_profile_events(shared, profile.id, query, limit=limit, beyond=beyond)
    listed = [{"collection": "users", "type": one.type, "id": one.value, "encoding": "none"} for one in ids]
    data = [_event(event, listed, profile.public_id) for event in page.events]
    following = None if page.following is None else _written_cursor((sort, *map(str, page.following)))
    return {"data": data, "cursor": _cursor(request, following, limit)}


@get(_BASE + "/metadata")
@run_in_executor
def get_metadata(
    space_id: FromPath[str],
    collection: FromPath[str],
    external_id: FromPath[str],
    shared: Shared,
    verbose: Verbose = False,
) -> dict[str, Any]:
    """Since when there is a profile, and by which events; `verbose` adds its id and whom it has taken in."""
    profile = _profile(shared, collection, external_id)
    metadata: dict[str, Any] = {
        "created_at": to_iso(profile.created_at),
        "updated_at": to_iso(profile.updated_at),
        "expires_at": None,
        "first_message_id": profile.first_message_id,
        "first_source_id": profile.first_source,
        "last_message_id": profile.last_message_id,
        "last_source_id": profile.last_source,
    }
    if verbose:
        with shared.store.reading() as work:
            merges = profile_queries.merges_into(work, profile.id)
        metadata["profile_id"] = profile.public_id
        metadata["merged"] = [
            {"profile_id": merged, "merged_at": to_iso(at), "message_id": message_id}
            for merged, at, message_id in merges
        ]
    return {"metadata": metadata}


@get(_BASE + "/links")
@run_in_executor
def get_links(
    space_id: FromPath[str],
    collection: FromPath[str],
    external_id: FromPath[str],
    request: Request[Any, Any, Any],
    shared: Shared,
    limit: LinkLimit = _LINKS_MAX,
) -> dict[str, Any]:
    """Accounts of the person: there are none in this version."""
    _profile(shared, collection, external_id)
    return {"data": [], "cursor": _cursor(request, None, limit)}


HANDLERS = (get_traits, get_external_ids, get_events, get_metadata, get_links)


def _profile(dependencies: Dependencies, collection: str, external_id: str) -> StoredProfile:
    if collection not in ("users", "accounts"):
        raise _invalid("collection", "is `users` or `accounts`")
    type_, colon, value = unquote(external_id).partition(":")
    if not colon:
        type_, value = ("profile", type_) if type_.startswith("use_") else ("user_id", type_)
    if collection == "accounts" or "\x00" in type_ + value:
        raise NotFoundException("Profile was not found.")
    with dependencies.store.reading() as work:
        profile = profile_queries.find_profile(work, type_, value)
    if profile is None:
        raise NotFoundException("Profile was not found.")
    return profile


def _event(one: LakeEvent, ids: list[dict[str, str]], public_id: str) -> dict[str, Any]:
    decoded = msgspec.json.decode(one.payload)
    name, properties = one.event, decoded.get("properties") or decoded.get("traits") or {}
    if one.type in _VIEWED:
        name, key = _VIEWED[one.type]
        if decoded.get("name") and isinstance(properties, dict):
            properties = {**properties, key: decoded["name"]}
    return {
        "external_ids": ids,
        "context": decoded.get("context") or {},
        "type": one.type,
        "message_id": one.message_id,
        "source_id": one.source,
        "timestamp": None if one.timestamp is None else to_iso(one.timestamp),
        "properties": properties,
        "event": name,
        "related": {"users": public_id},
    }


def _id_place(one: StoredExternalId) -> tuple[str, ...]:
    return f"{to_micros(one.created_at):020}", one.type, one.value


def _event_place(next: str, sort: str) -> EventPosition | None:
    cursor = _read_cursor(next, 3)
    if not cursor:
        return None
    if cursor[0] != sort or not all(one.isascii() and one.isdigit() and len(one) < 19 for one in cursor[1:]):
        raise _invalid("next", "is not what a page of this list has given")
    return int(cursor[1]), int(cursor[2])


def _written_cursor(place: tuple[str, ...]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _read_cursor(text: str, count: int) -> tuple[str, ...]:
    """The place that a cursor holds, empty for the first page."""
    if not text:
        return ()
    try:
        decoded = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=tuple[str, ...])
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise _invalid("next", "is not what a page of this list has given") from error
    if len(decoded) != count:
        raise _invalid("next", "is not what a page of this list has given")
    return decoded


def _cursor(request: Request[Any, Any, Any], following: str | None, limit: int) -> CursorView:
    return CursorView(url=request.url.path, has_more=following is not None, next=following or "", limit=limit)


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _instant(text: str, name: str) -> datetime | None:
    if not text:
        return None
    instant = read_time(text)
    if instant is None:
        raise _invalid(name, "is a time in ISO 8601, such as 2026-01-31T18:20:31Z")
    return instant


def _invalid(name: str, problem: str) -> HTTPException:
    return HTTPException(f"The parameter `{name}` {problem}", status_code=400, extra={"field": name})
