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
from punchcard.delivery.doubts import confirm_absent, confirm_performed
from punchcard.delivery.operator_retries import dismiss_chosen, find_retryable, options_by_slug, retry
from punchcard.errors import ConfigurationError
from punchcard.operations.conflict_resolution import AlreadyResolvedError
from punchcard.operations.downloads import download
from punchcard.operations.executor import run_in_executor
from punchcard.operations.exports import export_transactions
from punchcard.operations.lookups import find_running_destination
from punchcard.operations.row_ids import is_row_id
from punchcard.operations.statuses import parse_ledger_statuses
from punchcard.store.delivery import ledger, outbox
from punchcard.store.delivery.conflicts import conflicts_of
from punchcard.store.delivery.doubts import effect_in_doubt
from punchcard.workspace.editing import NotFoundError, find_destination, not_found

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


class RetryRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Parked and rejected transactions to retry: all that match the members, or all if there are none.

    An empty list of message ids selects none.
    """

    message_ids: list[str] | None = None
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
    if data.message_ids == []:
        find_destination(dependencies.workspace(), destination_id)
        return {"data": Retried(reopened=0, resumed=False)}
    with dependencies.store.unit_of_work() as work:
        retryable = find_retryable(
            work,
            configured={slug: option for slug, option in options.items() if slug == destination_id},
            destination=destination_id,
            reason=data.reason,
            message_ids=data.message_ids or (),
            now=dependencies.clock.now(),
        )
        if not retryable.effects and destination_id not in options:
            raise not_found("destination", destination_id, options)
        reopened = retry(work, retryable, actor=dependencies.actor, now=dependencies.clock.now())
    return {"data": Retried(reopened=reopened, resumed=bool(retryable.pauses))}


class DismissRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
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


class ResolveTransaction(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What an operator saw at the destination.

    Attributes:
        performed: True to record it as delivered, false to send it under the same key.
        partner_id: If it was performed: the destination's id of it; without one it is recorded all the same.
    """

    performed: bool
    partner_id: str = ""


@post(
    "/destinations/{destination_id:str}/transactions/{transaction_id:str}/resolve",
    status_code=200,
    summary="Resolve a transaction in doubt",
)
@run_in_executor
def resolve_transaction(
    destination_id: FromPath[str],
    transaction_id: FromPath[str],
    data: JSONBody[ResolveTransaction],
    dependencies: Dependencies,
) -> dict[str, dict[str, bodies.LedgerRow]]:
    """Record whether a transaction in doubt was performed. 409 if it is not in doubt, or is being read back."""
    snapshot, now = dependencies.current(), dependencies.clock.now()
    destination = snapshot.destinations.get(destination_id)
    with dependencies.store.unit_of_work() as work:
        own = ledger.own_ids(work, destination_id, [int(transaction_id)] if is_row_id(transaction_id) else [])
        if not own:
            raise NotFoundError(f"There is no transaction {transaction_id} of destination {destination_id}.")
        effect_id = own[0]
        if effect_in_doubt(work, effect_id, locks=True) is None:
            raise AlreadyResolvedError("This transaction is not in doubt, or it is being read back.")
        if data.performed:
            confirm_performed(
                work,
                effect_id,
                partner_id=data.partner_id,
                definition=None if destination is None else destination.partner.definition,
                actor=dependencies.actor,
                now=now,
            )
        else:
            confirm_absent(work, effect_id, actor=dependencies.actor, now=now)
        attempts, conflicts = ledger.attempts_of(work, [effect_id]), conflicts_of(work, [effect_id])
        effect = outbox.effect_by_id(work, effect_id)
    types = snapshot.destination_types
    return {"data": {"transaction": bodies.ledger_row(effect, attempts[effect_id], conflicts[effect_id], types=types)}}
