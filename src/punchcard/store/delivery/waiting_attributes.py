"""Attributes that wait for a destination to know the customer: tried again once something proves that it does."""

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select, update

from punchcard.store.bulk import PreparedStatement, is_listed
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.operator_actions import reopen
from punchcard.store.delivery.schema import HAS_NO_CONNECTION, effects
from punchcard.store.delivery.unknown_customers import NO_CONNECTION

_WAITING = (
    # Not the columns themselves: SQLite would take an index of destination and reason, or of states, and read all
    # that wait.
    func.coalesce(effects.c.destination, "") == bindparam("b_destination"),
    is_listed(effects.c.customer, "b_customers"),
    effects.c.attributes.is_not(None),
    HAS_NO_CONNECTION,
)
_WAITING_STATES = PreparedStatement(select(effects.c.state).where(*_WAITING).distinct())
_END_WAITS = PreparedStatement(
    update(effects)
    .where(*_WAITING, func.coalesce(effects.c.state, "") == EffectState.RETRYING)
    .values(due_at=bindparam("b_now"))
)
# Without an order: for the sake of it SQLite would read all effects of the destination.
_ATTRIBUTES = select(effects.c.id, effects.c.customer, effects.c.attributes, effects.c.state, effects.c.reason).where(
    effects.c.destination == bindparam("b_destination"),
    is_listed(effects.c.customer, "b_customers"),
    effects.c.attributes.is_not(None),
)


def wake_waiting(work: Connection, destination: str, customers: Collection[str], *, now: datetime) -> int:
    """Make attributes that wait for these customers to be known due now, parked ones too; return their number.

    A parked one stays where it is if a later one has set the same attribute since: the older value must not come back.
    """
    woken = 0
    of_customers = {"b_destination": destination, "b_customers": sorted(customers)}
    states = {row.state for row in _WAITING_STATES.rows(work, of_customers)}
    if EffectState.RETRYING in states:
        woken += _END_WAITS.execute(work, {**of_customers, "b_now": now})
    if EffectState.PARKED in states:
        rows = sorted(work.execute(_ATTRIBUTES, of_customers), key=lambda row: row.id, reverse=True)
        woken += reopen(work, _newest_parked(rows), now=now)
    return woken


def _newest_parked(rows: Sequence[Row[*tuple[Any, ...]]]) -> list[int]:
    """Return the ids of effects that are parked because the customer was unknown, and set what no later one sets.

    Args:
        rows: Effects of some customers, newest first.
    """
    later: dict[str, set[str]] = defaultdict(set)
    parked = []
    for row in rows:
        keys = set(json.loads(row.attributes or "{}"))
        if row.state == EffectState.PARKED and row.reason == NO_CONNECTION and not keys & later[row.customer]:
            parked.append(row.id)
        later[row.customer] |= keys
    return parked
