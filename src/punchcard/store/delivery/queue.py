"""The queue of a destination: its length, by which others decide whether to add to it, and whether anything is due."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import CompoundSelect, Connection, bindparam, func, or_, select, true

from punchcard.store.bulk import PreparedStatement, pipelined
from punchcard.store.delivery.effects import OTHER_ACCOUNT, OTHER_ACCOUNT_IN_DOUBT, SYNCED_AGAIN, EffectState
from punchcard.store.delivery.schema import IS_FAILED, effects
from punchcard.store.delivery.unknown_customers import IS_WITHOUT_UNKNOWN_CUSTOMER

_COUNT_DUE = PreparedStatement(
    select(func.count().label("due")).select_from(
        select(effects.c.id)
        .where(
            effects.c.destination == bindparam("b_destination"),
            effects.c.is_open == true(),
            effects.c.due_at <= bindparam("b_now"),
        )
        .limit(bindparam("b_count_max"))
        .subquery()
    )
)
_NEXT_DUE = PreparedStatement(
    select(func.min(effects.c.due_at).label("due_at")).where(
        effects.c.destination == bindparam("b_destination"), effects.c.is_open == true()
    )
)


def count_due(work: Connection, destination: str, *, now: datetime, count_max: int) -> int:
    """Return how many effects of a destination wait to be sent now, `count_max` at most."""
    (row,) = _COUNT_DUE.rows(work, {"b_destination": destination, "b_now": now, "b_count_max": count_max})
    return int(row.due)


def next_due(work: Connection, destination: str) -> datetime | None:
    """Return when the next open effect of the destination is due, None if there is none."""
    (row,) = _NEXT_DUE.rows(work, {"b_destination": destination})
    instant: datetime | None = row.due_at
    return instant


def destinations_due(work: Connection, destinations: Iterable[str], *, now: datetime) -> set[str]:
    """Return the destinations that have an open effect that is due: one exchange with the server for all of them."""
    with pipelined(work):
        rows = {slug: _NEXT_DUE.request(work, {"b_destination": slug}) for slug in destinations}
    instants = {slug: rows_of_one()[0].due_at for slug, rows_of_one in rows.items()}
    return {slug for slug, instant in instants.items() if instant is not None and instant <= now}


def has_overdue_awards(work: Connection, destination: str, *, due_before: datetime) -> bool:
    """Return whether a destination has awards that have waited for their first attempt since an instant."""
    waiting = select(effects.c.id).where(
        effects.c.destination == destination,
        effects.c.is_open,
        effects.c.item.is_not(None),
        effects.c.state == EffectState.PENDING,
        effects.c.due_at < due_before,
    )
    return work.execute(waiting.limit(1)).first() is not None


def customers_of_open_calls(destination: str, *, source: str) -> CompoundSelect[tuple[str]]:
    """Return the query for the customers of a source's calls that a destination does not have yet.

    Those that were not sent because its account has changed are among them.
    """
    own = (effects.c.destination == destination, effects.c.source == source)
    other_account = effects.c.reason.in_([OTHER_ACCOUNT, OTHER_ACCOUNT_IN_DOUBT, SYNCED_AGAIN])
    customers = select(effects.c.customer)
    return customers.where(*own, effects.c.is_open == true()).union_all(customers.where(*own, IS_FAILED, other_account))


def count_open_awards(work: Connection, destination: str, *, source: str) -> int:
    """Return how many open effects a destination has, but for the calls of a source that give or take nothing."""
    is_award = or_(effects.c.source != source, effects.c.item.is_not(None))
    query = select(func.count()).where(effects.c.destination == destination, effects.c.is_open == true(), is_award)
    return int(work.scalar(query) or 0)


def count_open_calls(work: Connection, destination: str, *, source: str) -> int:
    """Return how many calls of a source wait for their turn; those that wait for a customer are not counted."""
    query = select(func.count()).where(
        effects.c.destination == destination,
        effects.c.is_open,
        effects.c.source == source,
        effects.c.item.is_(None),  # a call of any destination but what gives or takes units
        IS_WITHOUT_UNKNOWN_CUSTOMER,
    )
    return int(work.scalar(query) or 0)
