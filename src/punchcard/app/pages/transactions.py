"""The ledger of a destination: searched, and what is parked tried again or dismissed."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from litestar import get, post
from litestar.params import FromPath
from sqlalchemy import Connection

from punchcard.app.periods import read_period
from punchcard.app.request_context import ContextDependency, Page, RequestContext
from punchcard.delivery.retrying import dismiss_chosen, retry_chosen
from punchcard.operations.executor import run_in_executor
from punchcard.store import ledger
from punchcard.store.counts import CountQuery, read_counts
from punchcard.store.event_results import EventStatus
from punchcard.store.schema import EffectState
from punchcard.traces.trace import attempt_trace, current_status
from punchcard.workspace.computations import OWN_SOURCES
from punchcard.workspace.editing import find_destination
from punchcard.workspace.model import Destination

_ROWS = 50
_COUNTED_MAX = 10_000
_STATES = {
    "open": tuple(state for state in EffectState if state.is_open),
    "pending": (EffectState.PENDING, EffectState.SENDING),
    "retrying": (EffectState.RETRYING,),
    "unknown": (EffectState.UNKNOWN,),
    "waiting": (EffectState.RETRYING, EffectState.PARKED),
    "parked": (EffectState.PARKED,),
    "rejected": (EffectState.REJECTED,),
    "delivered": (EffectState.DELIVERED,),
}
_RETRYABLE = (EffectState.PARKED, EffectState.REJECTED)
_ENDS = (EffectState.DELIVERED, EffectState.REJECTED, EffectState.PARKED)


@get("/destinations/{slug:str}/transactions")
@run_in_executor
def list_transactions(context: ContextDependency, slug: FromPath[str]) -> Page:
    """The ledger, newest first."""
    destination = find_destination(context.dependencies.workspace(), slug)
    query, asked = _query(context, destination)
    before = context.query("before")
    with context.dependencies.store.reading() as work:
        rows = ledger.page(work, query, count=_ROWS + 1, before_id=int(before) if before.isdecimal() else None)
        total = _total(work, query)
        shown = rows[:_ROWS]
        ids = [one.id for one in shown]
        attempts, conflicts = ledger.attempts_of(work, ids), ledger.conflicts_of(work, ids)
    return context.page(
        "transactions.html",
        destination=destination,
        rows=[
            (one, current_status(one), [attempt_trace(each) for each in attempts[one.id]], conflicts[one.id])
            for one in shown
        ],
        total=total,
        counted_max=_COUNTED_MAX,
        asked=asked,
        query=urlencode({name: value for name, value in asked.items() if value}),
        following=str(shown[-1].id) if len(rows) > _ROWS else "",
        states=list(_STATES),
        retryable=any(one.state in _RETRYABLE for one in shown),
    )


@post("/destinations/{slug:str}/transactions", status_code=200)
@run_in_executor
def act(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Try parked ones again, or put them aside: those chosen, or all that match."""
    destination = find_destination(context.dependencies.workspace(), slug)
    query, asked = _query(context, destination)
    does_dismiss = context.field("do") == "dismiss"
    with context.dependencies.store.unit_of_work() as work:
        effect_ids: Sequence[int]
        if context.field("which") == "all":
            states = (EffectState.PARKED,) if does_dismiss else _RETRYABLE
            chosen = [state for state in states if not query.states or state in query.states]
            effect_ids = ledger.ids(work, replace(query, states=chosen)) if chosen else ()
        else:
            numbers = [int(field) for field in context.fields("id") if field.isdecimal()]
            effect_ids = ledger.own_ids(work, slug, numbers)
        act_on = dismiss_chosen if does_dismiss else retry_chosen
        done = act_on(work, slug, effect_ids, actor=context.actor, now=context.dependencies.clock.now())
    award = "award" if done == 1 else "awards"
    said = f"{done:,} {award} dismissed." if does_dismiss else f"{done:,} {award} back in the queue."
    if not done:
        said = "Nothing was changed: choose parked awards first."
    return context.redirect(
        f"/destinations/{slug}/transactions", notices=[said], **{name: one for name, one in asked.items() if one}
    )


def _total(work: Connection, query: ledger.LedgerQuery) -> int:
    """How many match; of a time it is what the overview says, which is counted, of all times no more than shown."""
    begin, end = query.begin, query.end
    one_by_one = (query.customer, query.order_id, query.sets, query.without_reason)
    if begin is None or end is None or one_by_one != (None, None, None, None):
        return ledger.count(work, query, at_most=_COUNTED_MAX + 1)
    if query.states == _STATES["open"]:
        if query.reason is not None or query.event_name is not None:
            return ledger.count(work, query, at_most=_COUNTED_MAX + 1)
        planned = [EventStatus.PENDING]
        open_ = _counted(work, query, planned, begin, end) - _counted(work, query, _ENDS, begin, end)
        return max(0, open_)  # as the overview says
    if query.states and not any(state.is_open for state in query.states):
        return _counted(work, query, query.states, begin, end)
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


def _query(context: RequestContext, destination: Destination) -> tuple[ledger.LedgerQuery, dict[str, str]]:
    """What is asked for, by the address or (of a form) by its fields; and the same to be said in an address."""
    names = ("time", "state", "reason", "event", "q", "property", "without")
    asked = {name: context.query(name) or context.field(name) for name in names}
    text = asked["q"]
    is_email = "@" in text
    timed = asked["time"] != ""
    period = read_period(context)
    values: dict[str, Any] = {
        "customer": text if is_email else None,
        "order_id": text if text and not is_email else None,
        "reason": asked["reason"] or None,
        "event_name": asked["event"] or None,
        "sets": asked["property"] or None,
        "source": OWN_SOURCES + destination.slug,
        "without_reason": asked["without"] or None,
        "begin": period.begin if timed else None,
        "end": period.end if timed else None,
    }
    return (
        ledger.LedgerQuery(
            destination=destination.slug,
            states=_STATES.get(asked["state"], ()),
            **values,
        ),
        asked,
    )


HANDLERS = (list_transactions, act)
