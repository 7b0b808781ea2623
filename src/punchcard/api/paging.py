"""Pagination as in Segment's Public API: `pagination[count]` and `pagination[cursor]`, with opaque cursors."""

import base64
import binascii
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from litestar.params import QueryParameter

from punchcard.api import bodies
from punchcard.api.errors import bad_request
from punchcard.operations.row_ids import is_row_id

COUNT_DEFAULT = 100
COUNT_MAX = 1000
T = TypeVar("T")

Count = Annotated[int, QueryParameter(name="pagination[count]", ge=1, le=COUNT_MAX)]
"""Type of the handler parameter for the number of items on a page."""

Cursor = Annotated[str | None, QueryParameter(name="pagination[cursor]")]
"""Type of the handler parameter for the cursor of a page."""


def page(
    items: Sequence[T], *, key: Callable[[T], str], count: int, cursor: str | None
) -> tuple[Sequence[T], bodies.Pagination]:
    """Return the items of one page, and its cursors.

    Args:
        items: All items, sorted by their keys.
        key: Returns the unique key of an item. Cursors contain it, so that pages stay stable while items change.
        cursor: Cursor of another page, None for the first page.

    Raises:
        HTTPException: The cursor is invalid.
    """
    keys = [key(item) for item in items]
    begin = bisect_left(keys, _decode_cursor(cursor)) if cursor else 0
    page_items = items[begin : begin + count]
    return page_items, bodies.Pagination(
        current=cursor or (_encode_cursor(keys[0]) if keys else ""),
        next=_encode_cursor(keys[begin + count]) if begin + count < len(keys) else None,
        previous=_encode_cursor(keys[max(begin - count, 0)]) if begin else None,
        total_entries=len(items),
    )


def read_row_cursor(cursor: str | None, field: str = "cursor") -> int | None:
    """Return the id of the row at which a page of a list of rows begins, None for the first page.

    Raises:
        HTTPException: The cursor is invalid.
    """
    if not cursor:
        return None
    if not is_row_id(cursor):
        raise bad_request("The cursor is invalid. Use the cursor of a page of this list.", field)
    return int(cursor)


def _encode_cursor(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _decode_cursor(cursor: str) -> str:
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise bad_request(
            "The cursor is invalid. Use the cursor of a page of this list.", "pagination[cursor]"
        ) from error
