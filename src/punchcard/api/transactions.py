"""The ledger of a destination as a list, newest first."""

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.exceptions import HTTPException
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from punchcard.api import bodies
from punchcard.api.api_dependencies import Dependencies
from punchcard.api.errors import bad_request
from punchcard.delivery.retrying import dismiss_chosen, find_retryable, options_by_slug, retry
from punchcard.operations.executor import run_in_executor
from punchcard.store import ledger
from punchcard.store.schema import EffectState

_PAGE_DEFAULT = 50
_PAGE_MAX = 1000
_ID_DIGITS_MAX = 19
# What the list's `state` takes, in the words that results have.
_STATES = {
    "pending": (EffectState.PENDING, EffectState.SENDING),
    "retrying": (EffectState.RETRYING, EffectState.SENDING),
    "unknown": (EffectState.UNKNOWN,),
    "parked": (EffectState.PARKED,),
    "rejected": (EffectState.REJECTED,),
    "delivered": (EffectState.DELIVERED,),
}


@get("/destinations/{destination_id:str}/transactions", summary="The ledger, newest first")
@run_in_executor
def list_transactions(
    destination_id: FromPath[str],
    dependencies: Dependencies,
    cursor: FromQuery[str | None] = None,
    count: Annotated[int, QueryParameter(ge=1, le=_PAGE_MAX)] = _PAGE_DEFAULT,
    email: FromQuery[str | None] = None,
    standing: Annotated[str | None, QueryParameter(name="state")] = None,  # `state` is a word of the framework's own
) -> dict[str, bodies.LedgerPage]:
    """Every transaction of a destination, by customer and state if asked."""
    if destination_id not in dependencies.current().destinations:
        raise HTTPException(f"there is no destination {destination_id}", status_code=404)
    if standing is not None and standing not in _STATES:
        raise bad_request(f"state is one of {', '.join(_STATES)}", "state")
    if cursor is not None and not cursor.isdecimal():
        raise bad_request("cursor is not one that a page of this list has given", "cursor")
    states = _STATES[standing] if standing else ()
    before_id = int(cursor) if cursor else None
    query = ledger.LedgerQuery(destination=destination_id, customer=email, states=states)
    with dependencies.store.reading() as work:
        rows = ledger.page(work, query, count=count + 1, before_id=before_id)
        total = ledger.count(work, query)
        shown = rows[:count]
        ids = [row.id for row in shown]
        attempts, conflicts = ledger.attempts_of(work, ids), ledger.conflicts_of(work, ids)
    types = dependencies.current().destination_types
    following = str(shown[-1].id) if len(rows) > count else None
    return {
        "data": bodies.LedgerPage(
            transactions=[bodies.ledger_row(row, attempts[row.id], conflicts[row.id], types=types) for row in shown],
            pagination=bodies.Pagination(current=cursor or "", total_entries=total, next=following),
        )
    }


class RetryRequest(msgspec.Struct, rename="camel"):
    """Which parked and rejected transactions to try again: all that match; without anything, all."""

    message_ids: list[str] = []
    reason: str | None = None


class Retried(msgspec.Struct):
    """How many went back in the queue, and whether a pause of the destination has ended."""

    reopened: int
    resumed: bool


@post("/destinations/{destination_id:str}/transactions/retry", status_code=200, summary="Try parked ones again")
@run_in_executor
def retry_transactions(
    destination_id: FromPath[str], data: JSONBody[RetryRequest], dependencies: Dependencies
) -> dict[str, Retried]:
    """Put parked and rejected transactions back in the queue; one whose outcome is not known is read back first.

    Open ones that wait for a time that cannot be meant, because the clock was set forward and back, are tried as well.
    """
    options = options_by_slug(dependencies.current())
    with dependencies.store.unit_of_work() as work:
        found = find_retryable(
            work,
            configured={slug: option for slug, option in options.items() if slug == destination_id},
            destination=destination_id,
            reason=data.reason,
            message_ids=data.message_ids,
            now=dependencies.clock.now(),
        )
        if not found.effects and destination_id not in options:
            raise HTTPException(f"there is no destination {destination_id}", status_code=404)
        reopened = retry(work, found, actor=dependencies.actor, now=dependencies.clock.now())
    return {"data": Retried(reopened=reopened, resumed=bool(found.pauses))}


class DismissRequest(msgspec.Struct, rename="camel"):
    """Which parked transactions to dismissed: by their ids in the list."""

    ids: list[str]


class Dismissed(msgspec.Struct):
    """How many were dismissed."""

    dismissed: int


@post("/destinations/{destination_id:str}/transactions/dismiss", status_code=200, summary="Put parked ones aside")
@run_in_executor
def dismiss_transactions(
    destination_id: FromPath[str], data: JSONBody[DismissRequest], dependencies: Dependencies
) -> dict[str, Dismissed]:
    """Parked transactions that are not to be sent: they end as rejected, with who said so. A retry brings one back."""
    if destination_id not in dependencies.current().destinations:
        raise HTTPException(f"there is no destination {destination_id}", status_code=404)
    numbers = [int(one) for one in data.ids if one.isascii() and one.isdecimal() and len(one) < _ID_DIGITS_MAX]
    with dependencies.store.unit_of_work() as work:
        chosen = ledger.own_ids(work, destination_id, numbers)
        dismissed = dismiss_chosen(work, destination_id, chosen, actor=dependencies.actor, now=dependencies.clock.now())
    return {"data": Dismissed(dismissed=dismissed)}
