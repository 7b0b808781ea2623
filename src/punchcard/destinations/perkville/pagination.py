"""Reads Perkville's lists page by page, and says so when they cannot be trusted to be whole."""

from collections.abc import AsyncIterator, Mapping

from punchcard.destinations.perkville.http import Deadline, PerkvilleHttp
from punchcard.destinations.perkville.responses import Response, unreadable
from punchcard.destinations.perkville.settings import PerkvilleSettings
from punchcard.destinations.perkville.wire import id_of, list_page, read_one
from punchcard.errors import RetryableError

_PAGES_MAX = 1000

Item = Mapping[str, object]


async def read_list(
    http: PerkvilleHttp, settings: PerkvilleSettings, path: str, *, email: str | None, deadline: Deadline
) -> AsyncIterator[Item]:
    """Every object of a list that is filtered by the business and a customer's email (None: any), page by page.

    The filter may not be obeyed, so the caller verifies each object.

    Raises:
        RetryableError: the list could not be read to its end, code `read_back_unclear` if the answers make no sense.
    """
    wire = settings.wire
    offset = 0
    total = 0
    seen: set[str] = set()
    for _ in range(_PAGES_MAX):
        request = list_page(wire, path, business_id=settings.business_id, email=email, offset=offset)
        response = await http.send(request, deadline=deadline)
        items, limit, page_total = page_of(response, settings)
        total = max(total, page_total)
        if not items:
            if offset < total:
                raise unclear(f"it ends after {offset} of {total} objects", response)
            return
        if items[0].get(wire.resource_uri_key) is not None:
            uris = {str(item.get(wire.resource_uri_key)) for item in items}
            if uris <= seen:
                # The offset is not obeyed: what was seen is all, if it was not the beginning of more.
                if len(items) < limit:
                    return
                raise unclear("it repeats a full page whatever the offset is", response)
            seen |= uris
        for item in items:
            yield item
        offset += len(items)
    raise RetryableError(f"the list did not end after {_PAGES_MAX} pages", code="read_back_unclear")


async def read_object(
    http: PerkvilleHttp, settings: PerkvilleSettings, path: str, item_id: str, *, deadline: Deadline
) -> Item:
    """The object with an id.

    Raises:
        RejectedError: Perkville says that there is none.
        RetryableError: it could not be read, code `unreadable_response` if the response is not this object.
    """
    response = await http.send(read_one(path, item_id), deadline=deadline)
    item = item_of(response)
    if not item:
        raise unreadable(response, "its body is an empty object")
    uri = item.get(settings.wire.resource_uri_key)
    if uri is not None and id_of(uri) != item_id:
        raise unreadable(response, f"its body is the object {str(id_of(uri))[:100]!r} instead of {item_id!r}")
    return item


def item_of(response: Response) -> Item:
    """The object in a response of success; an empty one if the response is empty."""
    body = response.json
    return body if isinstance(body, dict) else {}


def page_of(response: Response, settings: PerkvilleSettings) -> tuple[list[Item], int, int]:
    """The objects of a page, how many there can be on it, and how many the whole list has (0: not known)."""
    wire = settings.wire
    body = response.json
    items = body.get(wire.objects_key) if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(items, list):
        raise unclear(f'it has no list "{wire.objects_key}"', response)
    if not all(isinstance(item, dict) for item in items):
        raise unclear("its list holds something else than objects", response)
    limit = int(wire.page_limit)
    meta = body.get(wire.meta_key)
    granted = _count(meta, "limit")
    if 0 < granted < limit:
        limit = granted
    return items, limit, _count(meta, "total_count")


def _count(meta: object, key: str) -> int:
    number = meta.get(key) if isinstance(meta, dict) else None
    return number if isinstance(number, int) and not isinstance(number, bool) else 0


def unclear(why: str, response: Response) -> RetryableError:
    """Return the error for a page that cannot be relied on."""
    return RetryableError(
        f"Perkville's answer cannot be relied on: {why}",
        code="read_back_unclear",
        status=response.status,
        request_id=response.request_id,
    )
