"""The ledger of a destination."""

from typing import Annotated, Any, cast

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from punchcard.api import bodies
from punchcard.api.api_dependencies import Dependencies
from punchcard.api.errors import bad_request
from punchcard.api.files import read_format
from punchcard.api.paging import read_row_cursor
from punchcard.delivery.retrying import dismiss_chosen, find_retryable, options_by_slug, retry
from punchcard.errors import ConfigurationError
from punchcard.operations.downloads import download
from punchcard.operations.executor import run_in_executor
from punchcard.operations.exports import export_transactions
from punchcard.operations.lookups import find_running_destination
from punchcard.operations.row_ids import is_row_id
from punchcard.operations.statuses import parse_ledger_statuses
from punchcard.store.delivery import ledger
from punchcard.store.delivery.conflicts import conflicts_of
from punchcard.workspace.editing import not_found

_PAGE_DEFAULT = 50
_PAGE_MAX = 1000


@get("/destinations/{destination_id:str}/transactions", summary="List transactions")
@run_in_executor
def list_transactions(
    destination_id: FromPath[str],
    request: Request[Any, Any, Any],
    dependencies: Dependencies,
    cursor: FromQuery[str | None] = None,
    count: Annotated[int, QueryParameter(ge=1, le=_PAGE_MAX)] = _PAGE_DEFAULT,
    email: FromQuery[str | None] = None,
    states: Annotated[str, QueryParameter(name="state")] = "",  # Litestar reserves the name `state`
    format_: Annotated[str | None, QueryParameter(name="format")] = None,
) -> dict[str, bodies.LedgerPage]:
    """List the transactions of a destination, newest first, optionally by customer and state.

    `format` returns the whole list as a file.
    """
    find_running_destination(dependencies.current(), destination_id)
    before_id = read_row_cursor(cursor)
    try:
        statuses = parse_ledger_statuses(states)
    except ConfigurationError as error:
        raise bad_request(error.message, "state") from error
    query = ledger.LedgerQuery(destination=destination_id, customer=email, statuses=statuses)
    types = dependencies.current().destination_types
    if (format := read_format(request, format_)) is not None:
        return cast(
            "dict[str, bodies.LedgerPage]",
            download(export_transactions(dependencies.store, query, types=types), format),
        )
    with dependencies.store.reading() as work:
        rows = ledger.page(work, query, count=count + 1, before_id=before_id)
        total = ledger.count(work, query)
        page_rows = rows[:count]
        ids = [row.id for row in page_rows]
        attempts, conflicts = ledger.attempts_of(work, ids), conflicts_of(work, ids)
    following = str(page_rows[-1].id) if len(rows) > count else None
    return {
        "data": bodies.LedgerPage(
            transactions=[
                bodies.ledger_row(row, attempts[row.id], conflicts[row.id], types=types) for row in page_rows
            ],
            pagination=bodies.Pagination(current=cursor or "", total_entries=total, next=following),
        )
    }


class RetryRequest(msgspec.Struct, rename="camel"):
    """Parked and rejected transactions to retry: all that match the members, or all if there are none."""

    message_ids: list[str] = []
    reason: str | None = None


class Retried(msgspec.Struct):
    """Number of transactions put back in the queue, and whether a paused destination was resumed."""

    reopened: int
    resumed: bool


@post("/destinations/{destination_id:str}/transactions/retry", status_code=200, summary="Retry transactions")
@run_in_executor
def retry_transactions(
    destination_id: FromPath[str], data: JSONBody[RetryRequest], dependencies: Dependencies
) -> dict[str, Retried]:
    """Put parked and rejected transactions back in the queue. If an outcome is unknown, it is read back first.

    Queued transactions with a next attempt too far in the future, because the clock was wrong, are retried as well.
    """
    options = options_by_slug(dependencies.current())
    with dependencies.store.unit_of_work() as work:
        retryable = find_retryable(
            work,
            configured={slug: option for slug, option in options.items() if slug == destination_id},
            destination=destination_id,
            reason=data.reason,
            message_ids=data.message_ids,
            now=dependencies.clock.now(),
        )
        if not retryable.effects and destination_id not in options:
            raise not_found("destination", destination_id, options)
        reopened = retry(work, retryable, actor=dependencies.actor, now=dependencies.clock.now())
    return {"data": Retried(reopened=reopened, resumed=bool(retryable.pauses))}


class DismissRequest(msgspec.Struct, rename="camel"):
    """Parked transactions to dismiss, by their ids in the list."""

    ids: list[str]


class Dismissed(msgspec.Struct):
    """Number of dismissed transactions."""

    dismissed: int


@post("/destinations/{destination_id:str}/transactions/dismiss", status_code=200, summary="Dismiss transactions")
@run_in_executor
def dismiss_transactions(
    destination_id: FromPath[str], data: JSONBody[DismissRequest], dependencies: Dependencies
) -> dict[str, Dismissed]:
    """Dismiss parked transactions: they become rejected, with the actor on record. A retry brings them back."""
    find_running_destination(dependencies.current(), destination_id)
    numbers = [int(id_) for id_ in data.ids if is_row_id(id_)]
    with dependencies.store.unit_of_work() as work:
        chosen = ledger.own_ids(work, destination_id, numbers)
        dismissed = dismiss_chosen(work, destination_id, chosen, actor=dependencies.actor, now=dependencies.clock.now())
    return {"data": Dismissed(dismissed=dismissed)}
