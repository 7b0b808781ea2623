"""What was earned in a period, as a simulation is compared with it: delivered and open awards."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Select, or_, select, true
from sqlalchemy.sql.elements import ColumnElement

from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.schema import effects

_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class EarnedEffect:
    """An award, or its removal. The quantity is signed; 0 while a refund's is not decided."""

    event_name: str
    item: str | None
    customer: str
    quantity: Decimal


def earned_effects(
    work: Connection, destination: str, *, begin: datetime, end: datetime, through: int
) -> Iterator[EarnedEffect]:
    """Return what events of a period have earned, of the event log up to a position."""
    columns = effects.c
    chosen = select(columns.event_name, columns.item, columns.customer, columns.quantity)
    statement = _of_period(chosen, destination, begin=begin, end=end, through=through)
    for event_name, item, customer, quantity in work.execute(statement.execution_options(yield_per=_ROWS_AT_ONCE)):
        yield EarnedEffect(event_name, item, customer, Decimal(quantity or 0))


def earned_names(work: Connection, destination: str, *, begin: datetime, end: datetime, through: int) -> list[str]:
    """Return the names of the events that have earned something in a period."""
    chosen = select(effects.c.event_name).distinct()
    return list(work.scalars(_of_period(chosen, destination, begin=begin, end=end, through=through)))


def _of_period(chosen: Select[Any], destination: str, *, begin: datetime, end: datetime, through: int) -> Select[Any]:
    columns = effects.c
    is_earned: ColumnElement[bool] = or_(columns.state == EffectState.DELIVERED, columns.is_open == true())
    return chosen.where(
        columns.destination == destination,
        columns.item.is_not(None),
        columns.received_at >= begin,
        columns.received_at < end,
        columns.log_position <= through,
        is_earned,
    )
