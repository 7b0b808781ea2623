"""Reads Perkville's lists page by page, and says so when they cannot be trusted to be whole."""

from collections.abc import AsyncIterator, Mapping

from punchcard.destinations.perkville.http import Deadline, PerkvilleHttp
from punchcard.destinations.perkville.responses import Response
from punchcard.destinations.perkville.settings import PerkvilleSettings
from punchcard.destinations.perkville.wire import list_page
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
    seen: set[str] = set()
    for _ in range(_PAGES_MAX):
        request = list_page(wire, path, business_id=settings.business_id, email=email, offset=offset)
        response = await http.send(request, deadline=deadline)
        items, limit = _page(response, settings)
        if not items:
            return
        if items[0].get(wire.resource_uri_key) is not None:
            uris = {str(item.get(wire.resource_uri_key)) for item in items}
            if uris <= seen:
                # The offset is not obeyed: what was seen is all, if it was not the beginning of more.
                if len(items) < limit:
                    return
                raise _unclear("it repeats a full page whatever the offset is", response)
            seen |= uris
        for item in items:
            yield item
        offset += len(items)
    raise RetryableError(f"the list did not end after {_PAGES_MAX} pages", code="read_back_unclear")


def item_of(response: Response) -> Item | None:
    """The one object in an answer; None if it holds none."""
    body = response.json()
    return body if isinstance(body, dict) else None


def _page(response: Response, settings: PerkvilleSettings) -> tuple[list[Item], int]:
    wire = settings.wire
    body = response.json()
    items = body.get(wire.objects_key) if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(items, list):
        raise _unclear(f'it has no list "{wire.objects_key}"', response)
    if not all(isinstance(item, dict) for item in items):
        raise _unclear("its list holds something else than objects", response)
    limit = int(wire.page_limit)
    meta = body.get(wire.meta_key)
    granted = meta.get("limit") if isinstance(meta, dict) else None
    if isinstance(granted, int) and 0 < granted < limit:
        limit = granted
    return items, limit


def _unclear(why: str, response: Response) -> RetryableError:
    return RetryableError(
        f"Perkville's answer cannot be relied on: {why}",
        code="read_back_unclear",
        status=response.status,
        request_id=response.request_id,
    )
