"""The ledger of a destination: search, and retry or dismissal of parked awards."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from litestar import get, post
from litestar.params import FromPath
from sqlalchemy import Connection

from punchcard.app.bulk import ROWS_MAX, BulkAction, run_bulk
from punchcard.app.paths import page_path
from punchcard.app.periods import read_period
from punchcard.app.request_context import SHOWS_AWARDS, ContextDependency, Page, RequestContext
from punchcard.delivery.operator_retries import dismiss_chosen, retry_chosen
from punchcard.operations.executor import run_in_executor
from punchcard.operations.row_ids import is_row_id
from punchcard.operations.sentences import count_noun
from punchcard.operations.statuses import LEDGER_STATUSES, OPEN_STATUSES, parse_ledger_statuses, status_label
from punchcard.store.delivery import ledger
from punchcard.store.delivery.conflicts import conflicts_of
from punchcard.store.delivery.counts import CountQuery, read_counts
from punchcard.store.delivery.effects import EffectState
from punchcard.store.routing.event_results import EventStatus
from punchcard.traces.conflicts import conflict_to_show
from punchcard.traces.stopped import waits_of
from punchcard.traces.trace import effect_result, with_wait
from punchcard.workspace.computations import OWN_SOURCES
from punchcard.workspace.editing import find_destination
from punchcard.workspace.model import Destination
from punchcard.workspace.part_names import destination_title

_ROWS = 50
_COUNTED_MAX = 10_000
_RETRYABLE = (EffectState.PARKED, EffectState.REJECTED)
_ENDS = (EffectState.DELIVERED, EffectState.REJECTED, EffectState.PARKED)


@get("/destinations/{slug:str}/transactions", opt={SHOWS_AWARDS: True})
@run_in_executor
def list_transactions(context: ContextDependency, slug: FromPath[str]) -> Page:
    """List the ledger, newest first."""
    destination = find_destination(context.dependencies.workspace(), slug)
    query, params = read_ledger_query(context, destination)
    before = context.query("before")
    with context.dependencies.store.reading() as work:
        rows = ledger.page(work, query, count=_ROWS + 1, before_id=int(before) if is_row_id(before) else None)
        total = _total(work, query)
        page_rows = rows[:_ROWS]
        ids = [effect.id for effect in page_rows]
        attempts, conflicts = ledger.attempts_of(work, ids), conflicts_of(work, ids)
        waits = waits_of(work, [slug])
    return context.page(
        "transactions.html",
        destination=destination,
        rows=[
            (
                effect,
                replace(
                    with_wait(effect_result(effect, attempts[effect.id]), waits),
                    conflict=conflict_to_show(conflicts[effect.id], effect, effect.message_id),
                ),
                conflicts[effect.id],
            )
            for effect in page_rows
        ],
        total=total,
        counted_max=_COUNTED_MAX,
        params=params,
        period=read_period(context),
        following=str(page_rows[-1].id) if len(rows) > _ROWS else "",
        states=[
            (",".join(OPEN_STATUSES), "In delivery"),
            *((status, status_label(status)) for status in LEDGER_STATUSES),
        ],
        retryable=any(effect.state in _RETRYABLE for effect in page_rows),
        actionable=_count_actionable(context, _actionable(query, _RETRYABLE), at_most=_COUNTED_MAX + 1),
    )


@post("/destinations/{slug:str}/transactions", status_code=200)
@run_in_executor
def act(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Retry or dismiss awards: the selected ones, or all that match."""
    destination = find_destination(context.dependencies.workspace(), slug)
    query, params = read_ledger_query(context, destination)
    does_dismiss = context.field("do") == "dismiss"
    # Of all parked awards, those for another account go to their own only: nobody has looked at each.
    are_named = context.field("which") != "all" or query.reason is not None
    act_on = dismiss_chosen if does_dismiss else partial(retry_chosen, for_present_account=are_named)
    store, path = context.dependencies.store, page_path("destinations", slug, "transactions", **params)

    def change(effect_ids: Sequence[int]) -> int:
        with store.unit_of_work() as work:
            own = ledger.own_ids(work, slug, effect_ids)
            return act_on(work, slug, own, actor=context.actor, now=context.dependencies.clock.now())

    def notice(count: int) -> str:
        if not count:
            return "Nothing was changed. Select parked awards first."
        return f"{count_noun(count, 'award')} {'dismissed' if does_dismiss else 'back in the queue'}."

    if context.field("which") != "all":
        numbers = [int(field) for field in context.fields("id") if is_row_id(field)]
        return context.redirect(path, notices=[notice(change(numbers))])
    chosen = _actionable(query, (EffectState.PARKED,) if does_dismiss else _RETRYABLE)
    return run_bulk(
        context,
        BulkAction(
            verb="Dismiss" if does_dismiss else "Retry",
            nouns=("award", "awards"),
            filters=[f"Destination: {destination_title(destination)}", *_filter_texts(context, params, chosen)],
            effect="They will not be sent." if does_dismiss else "They are put back in the queue and sent in order.",
            count=lambda: _count_actionable(context, chosen, at_most=ROWS_MAX + 1),
            take=lambda cursor, limit: _ids_of(context, chosen, after_id=cursor or 0, limit=limit),
            act=change,
            path=path,
            done=notice,
        ),
    )


def _actionable(query: ledger.LedgerQuery, states: Sequence[EffectState]) -> ledger.LedgerQuery | None:
    """Return the query for its rows in one of the states, None if there can be none."""
    chosen = [state for state in states if not query.statuses or EventStatus(state) in query.statuses]
    return replace(query, states=chosen) if chosen else None


def _count_actionable(context: RequestContext, query: ledger.LedgerQuery | None, *, at_most: int) -> int:
    if query is None:
        return 0
    with context.dependencies.store.reading() as work:
        return ledger.count(work, query, at_most=at_most)


def _ids_of(context: RequestContext, query: ledger.LedgerQuery | None, *, after_id: int, limit: int) -> Sequence[int]:
    if query is None:
        return ()
    with context.dependencies.store.reading() as work:
        return ledger.ids(work, query, after_id=after_id, limit=limit)


def _filter_texts(
    context: RequestContext, params: Mapping[str, str], query: ledger.LedgerQuery | None
) -> Sequence[str]:
    """Return the filter of a list in words."""
    states = [status_label(state) for state in query.states] if query is not None else []
    texts = {
        "Status": " or ".join(states),
        "Customer’s email" if "@" in params["q"] else "Order id": params["q"],
        "Reason": params["reason"],
        "Event": params["event"],
        "User property": params["property"],
        "Without the reason": params["without"],
        "Received": read_period(context).label if params["time"] else "",
    }
    return [f"{name}: {text}" for name, text in texts.items() if text]


def _total(work: Connection, query: ledger.LedgerQuery) -> int:
    """Return the number of matches: from the counters if possible, so that it equals the overview; else counted."""
    begin, end = query.begin, query.end
    uncounted = (query.customer, query.order_id, query.sets, query.without_reason)
    if begin is None or end is None or uncounted != (None, None, None, None):
        return ledger.count(work, query, at_most=_COUNTED_MAX + 1)
    if set(query.statuses) == set(OPEN_STATUSES):
        if query.reason is not None or query.event_name is not None:
            return ledger.count(work, query, at_most=_COUNTED_MAX + 1)
        planned = [EventStatus.PENDING]
        open_ = _counted(work, query, planned, begin, end) - _counted(work, query, _ENDS, begin, end)
        return max(0, open_)  # as in the overview
    if query.statuses and not set(query.statuses) & set(OPEN_STATUSES):
        return _counted(work, query, query.statuses, begin, end)
    return ledger.count(work, query, at_most=_COUNTED_MAX + 1)


def _counted(
    work: Connection, query: ledger.LedgerQuery, statuses: Sequence[str], begin: datetime, end: datetime
) -> int:
    names = () if query.event_name is None else (query.event_name,)
    reasons = () if query.reason is None else (query.reason,)
    count_query = CountQuery(
        begin=begin, end=end, destination=query.destination, statuses=statuses, event_names=names, reasons=reasons
    )
    return sum(read_counts(work, count_query, by=()).values())


def read_ledger_query(context: RequestContext, destination: Destination) -> tuple[ledger.LedgerQuery, dict[str, str]]:
    """Return the query from the URL or the form, and its parameters for links."""
    names = ("time", "state", "reason", "event", "q", "property", "without")
    params = {name: context.query(name) or context.field(name) for name in names}
    text = params["q"]
    is_email = "@" in text
    timed = params["time"] != ""
    period = read_period(context)
    values: dict[str, Any] = {
        "customer": text if is_email else None,
        "order_id": text if text and not is_email else None,
        "reason": params["reason"] or None,
        "event_name": params["event"] or None,
        "sets": params["property"] or None,
        "source": OWN_SOURCES + destination.slug,
        "without_reason": params["without"] or None,
        "begin": period.begin if timed else None,
        "end": period.end if timed else None,
    }
    return (
        ledger.LedgerQuery(
            destination=destination.slug,
            statuses=parse_ledger_statuses(params["state"]),
            **values,
        ),
        params,
    )


HANDLERS = (list_transactions, act)
