"""Requests to delete users' data.

Source: Segment's Public API, "Deletion and Suppression".
"""

from typing import Annotated

import msgspec
from litestar import get
from litestar.params import FromQuery, QueryParameter

from punchcard.api import bodies
from punchcard.api.api_dependencies import Dependencies
from punchcard.api.paging import read_row_cursor
from punchcard.clock import to_iso
from punchcard.operations.executor import run_in_executor
from punchcard.store.ingest.deletions import count_deletions, list_deletions

_PAGE_DEFAULT = 50
_PAGE_MAX = 1000


class Regulation(msgspec.Struct, rename="camel"):
    """One request. `overallStatus` is INITIALIZED: an operator must act on it."""

    id: str
    regulation_type: str
    subject_type: str
    subject_ids: list[str]
    source: str
    message_id: str
    overall_status: str
    created_at: str


class RegulationPage(msgspec.Struct):
    """One page of requests."""

    regulations: list[Regulation]
    pagination: bodies.Pagination


@get("/regulations", summary="List deletion requests")
@run_in_executor
def list_regulations(
    dependencies: Dependencies,
    cursor: FromQuery[str | None] = None,
    count: Annotated[int, QueryParameter(ge=1, le=_PAGE_MAX)] = _PAGE_DEFAULT,
) -> dict[str, RegulationPage]:
    """List deletion requests received from Segment's cloud, newest first. Punchcard deletes nothing by itself."""
    with dependencies.store.reading() as work:
        deletions = list_deletions(work, count=count + 1, before_id=read_row_cursor(cursor))
        total = count_deletions(work)
    page_deletions = deletions[:count]
    following = str(page_deletions[-1].id) if len(deletions) > count else None
    regulations = [
        Regulation(
            id=str(deletion.id),
            regulation_type="DELETE_ONLY",
            subject_type="USER_ID",
            subject_ids=[deletion.user_id],
            source=deletion.source,
            message_id=deletion.message_id,
            overall_status="INITIALIZED",
            created_at=to_iso(deletion.received_at),
        )
        for deletion in page_deletions
    ]
    pagination = bodies.Pagination(current=cursor or "", total_entries=total, next=following)
    return {"data": RegulationPage(regulations=regulations, pagination=pagination)}
