"""Pages of lists in Segment's way: `pagination[count]` and `pagination[cursor]` in, an opaque cursor out."""

import base64
import binascii
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from litestar.params import QueryParameter

from punchcard.api import bodies
from punchcard.api.errors import bad_request

COUNT_DEFAULT = 100
COUNT_MAX = 1000
T = TypeVar("T")

Count = Annotated[int, QueryParameter(name="pagination[count]", ge=1, le=COUNT_MAX)]
"""The type of a handler's parameter for the rows on a page."""

Cursor = Annotated[str | None, QueryParameter(name="pagination[cursor]")]
"""The type of a handler's parameter for where the page begins."""


def page(
    items: Sequence[T], *, key: Callable[[T], str], count: int, cursor: str | None
) -> tuple[Sequence[T], bodies.Pagination]:
    """The items of one page.

    Args:
        items: All of them, in order of their keys.
        key: What tells an item from all others; a cursor holds it, so that pages stay right while items come and go.
        cursor: What the page before said.

    Raises:
        HTTPException: the cursor is none.
    """
    keys = [key(item) for item in items]
    begin = bisect_left(keys, _read(cursor)) if cursor else 0
    page_items = items[begin : begin + count]
    return page_items, bodies.Pagination(
        current=cursor or (_written(keys[0]) if keys else ""),
        next=_written(keys[begin + count]) if begin + count < len(keys) else None,
        previous=_written(keys[max(begin - count, 0)]) if begin else None,
        total_entries=len(items),
    )


def _written(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _read(cursor: str) -> str:
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise bad_request("the cursor is not one that a page of this list has given", "pagination[cursor]") from error
