"""Attributes that wait for a destination to know the customer: tried again once something proves that it does."""

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.operator_actions import reopen
from punchcard.store.delivery.schema import effects

NO_CONNECTION = "no_connection"
"""The reason of an effect for a customer that the destination does not know yet."""

_CUSTOMERS_PER_QUERY = 400


def wake_waiting(work: Connection, destination: str, customers: Collection[str], *, now: datetime) -> int:
    """Let what waits for these customers to be known be tried now, parked ones too; returns how many.

    A parked one stays where it is if a later one has set the same attribute since: the older value must not come back.
    """
    woken = 0
    listed = sorted(customers)
    for begin in range(0, len(listed), _CUSTOMERS_PER_QUERY):
        batch = listed[begin : begin + _CUSTOMERS_PER_QUERY]
        own = (
            effects.c.destination == destination,
            effects.c.customer.in_(batch),
            effects.c.attributes.is_not(None),
        )
        waiting = (*own, effects.c.reason == NO_CONNECTION)
        states = {row.state for row in work.execute(select(effects.c.state).where(*waiting))}
        if EffectState.RETRYING in states:
            due = update(effects).where(*waiting, effects.c.state == EffectState.RETRYING).values(due_at=now)
            woken += work.execute(due).rowcount
        if EffectState.PARKED in states:
            columns = (effects.c.id, effects.c.customer, effects.c.attributes, effects.c.state, effects.c.reason)
            rows = work.execute(select(*columns).where(*own).order_by(effects.c.id.desc()))
            woken += reopen(work, _newest_parked(list(rows)), now=now)
    return woken


def _newest_parked(rows: Sequence[Row[*tuple[Any, ...]]]) -> list[int]:
    """Of effects, newest first, those that are parked for want of a connection and set what no later one sets."""
    later: dict[str, set[str]] = defaultdict(set)
    parked = []
    for row in rows:
        keys = set(json.loads(row.attributes or "{}"))
        if row.state == EffectState.PARKED and row.reason == NO_CONNECTION and not keys & later[row.customer]:
            parked.append(row.id)
        later[row.customer] |= keys
    return parked
