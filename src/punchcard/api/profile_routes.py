"""The Profile API's calls: traits, external ids and events of a profile, by any external id, in Segment's format.

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
from punchcard.engage.demand import request_engage
from punchcard.events.times import read_time
from punchcard.lake.person_query import PAGE_VIEWED, SCREEN_VIEWED, PersonQuery
from punchcard.lake.reader import LakeEvent
from punchcard.operations.dependencies import Dependencies
from punchcard.operations.executor import run_in_executor
from punchcard.operations.profile_events import list_profile_events
from punchcard.store.engage import profile_queries
from punchcard.store.engage.profile_queries import StoredExternalId, StoredProfile
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
    """Cursor of a page; `next` is the parameter of the next request."""

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
    """Get traits by name: all, or those in `include`; `class` selects audiences or computed traits."""
    profile = _profile(shared, collection, external_id)
    with shared.store.reading() as work:
        stored_traits = profile_queries.traits_by_name(work, profile.id, _listed(include) or None)
    stored_traits = [
        trait
        for trait in stored_traits
        if trait.name > next and trait.value != "null" and class_ in ("", trait.computation)
    ]
    page_traits = stored_traits[:limit]
    traits = {
        trait.name: {
            "value": msgspec.Raw(trait.value.encode()),
            "source_id": trait.source or "engage",
            "updated_at": to_iso(trait.updated_at),
        }
        if verbose
        else msgspec.Raw(trait.value.encode())
        for trait in page_traits
    }
    following = page_traits[-1].name if len(stored_traits) > limit else None
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
    """Get the profile's external ids, oldest first; `include` selects types."""
    profile = _profile(shared, collection, external_id)
    types, after = _listed(include), _decode_cursor(next, 3)
    with shared.store.reading() as work:
        external_ids = profile_queries.external_ids_of(work, profile.id)
    external_ids = [
        id_ for id_ in external_ids if (not types or id_.type in types) and (not after or _id_position(id_) > after)
    ]
    page_ids = external_ids[:limit]
    data = [
        {
            "source_id": id_.source,
            "collection": "users",
            "id": id_.value,
            "type": id_.type,
            "created_at": to_iso(id_.created_at),
            "encoding": "none",
            "first_message_id": id_.message_id,
        }
        for id_ in page_ids
    ]
    following = _encode_cursor(_id_position(page_ids[-1])) if len(external_ids) > limit else None
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
    """Get the profile's events in order of receipt; `include` and `exclude` are event names."""
    begin, until = _instant(start, "start"), _instant(end, "end")
    if begin is not None and until is not None and begin >= until:
        raise _invalid("end", "must be later than `start`")
    beyond = _event_position(next, sort)
    profile = _profile(shared, collection, external_id)
    with shared.store.reading() as work:
        ids = profile_queries.external_ids_of(work, profile.id)
    query = PersonQuery(
        emails=[identifier.value for identifier in ids if identifier.type == "email"],
        user_ids=[identifier.value for identifier in ids if identifier.type == "user_id"],
        anonymous_ids=[identifier.value for identifier in ids if identifier.type == "anonymous_id"],
        names=_listed(include) or None,
        excluded_names=_listed(exclude),
        begin=begin,
        end=until,
        oldest_first=sort == "asc",
    )
    page = list_profile_events(shared, profile.id, query, limit=limit, beyond=beyond)
    id_views = [
        {"collection": "users", "type": identifier.type, "id": identifier.value, "encoding": "none"}
        for identifier in ids
    ]
    data = [_event(event, id_views, profile.public_id) for event in page.events]
    following = None if page.following is None else _encode_cursor((sort, *map(str, page.following)))
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
    """Get times and events of creation and last update; `verbose` adds the id and merged profiles."""
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
    """Get linked accounts; this version has none."""
    _profile(shared, collection, external_id)
    return {"data": [], "cursor": _cursor(request, None, limit)}


HANDLERS = (get_traits, get_external_ids, get_events, get_metadata, get_links)


def _profile(dependencies: Dependencies, collection: str, external_id: str) -> StoredProfile:
    if collection not in ("users", "accounts"):
        raise _invalid("collection", "must be `users` or `accounts`")
    type_, colon, value = unquote(external_id).partition(":")
    if not colon:
        type_, value = ("profile", type_) if type_.startswith("use_") else ("user_id", type_)
    if collection == "accounts" or "\x00" in type_ + value:
        raise NotFoundException("Profile was not found.")
    with dependencies.store.reading() as work:
        profile = profile_queries.find_profile(work, type_, value)
    if profile is None:
        request_engage(dependencies.store)  # it may not have run yet, because nothing needed profiles
        raise NotFoundException("Profile was not found.")
    return profile


def _event(event: LakeEvent, ids: list[dict[str, str]], public_id: str) -> dict[str, Any]:
    decoded = msgspec.json.decode(event.payload)
    name, properties = event.event, decoded.get("properties") or decoded.get("traits") or {}
    if event.type in _VIEWED:
        name, key = _VIEWED[event.type]
        if decoded.get("name") and isinstance(properties, dict):
            properties = {**properties, key: decoded["name"]}
    return {
        "external_ids": ids,
        "context": decoded.get("context") or {},
        "type": event.type,
        "message_id": event.message_id,
        "source_id": event.source,
        "timestamp": None if event.timestamp is None else to_iso(event.timestamp),
        "properties": properties,
        "event": name,
        "related": {"users": public_id},
    }


def _id_position(external_id: StoredExternalId) -> tuple[str, ...]:
    return f"{to_micros(external_id.created_at):020}", external_id.type, external_id.value


def _event_position(next: str, sort: str) -> EventPosition | None:
    cursor = _decode_cursor(next, 3)
    if not cursor:
        return None
    if cursor[0] != sort or not all(
        digits.isascii() and digits.isdigit() and len(digits) < 19 for digits in cursor[1:]
    ):
        raise _invalid("next", "is not a cursor of this list")
    return int(cursor[1]), int(cursor[2])


def _encode_cursor(position: tuple[str, ...]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def _decode_cursor(text: str, count: int) -> tuple[str, ...]:
    """Return the position in a cursor, empty for the first page."""
    if not text:
        return ()
    try:
        decoded = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=tuple[str, ...])
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise _invalid("next", "is not a cursor of this list") from error
    if len(decoded) != count:
        raise _invalid("next", "is not a cursor of this list")
    return decoded


def _cursor(request: Request[Any, Any, Any], following: str | None, limit: int) -> CursorView:
    return CursorView(url=request.url.path, has_more=following is not None, next=following or "", limit=limit)


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _instant(text: str, name: str) -> datetime | None:
    if not text:
        return None
    instant = read_time(text)
    if instant is None:
        raise _invalid(name, "must be a time in ISO 8601, such as 2026-01-31T18:20:31Z")
    return instant


def _invalid(name: str, problem: str) -> HTTPException:
    return HTTPException(f"The parameter `{name}` {problem}.", status_code=400, extra={"field": name})
