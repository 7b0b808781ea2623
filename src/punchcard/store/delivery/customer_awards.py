"""What customers were given most of, summed over the newest delivered awards."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import Connection, Float, Numeric, Subquery, case, cast, func, select, type_coerce, union_all

from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.schema import effects


class CustomerAwards(NamedTuple):
    """What delivered effects gave a customer.

    Attributes:
        amount: Quantities, each multiplied by the weight of its item; with two decimals.
    """

    customer: str
    awards: int
    amount: Decimal


def top_customers(
    work: Connection,
    weights: Mapping[str, Mapping[str, Decimal]],
    *,
    begin: datetime,
    end: datetime,
    counted_max: int,
    limit: int,
) -> tuple[list[CustomerAwards], bool]:
    """Return the customers who were given most for the events received in a period, the most first.

    Args:
        weights: What a unit of an item counts, by destination and item; 1 for other items.
        counted_max: How many awards of a destination are counted, the newest ones.

    Returns:
        The customers, and True if a destination has more awards than were counted.
    """
    if not weights:
        return [], False
    newest = [_newest_awards(slug, begin=begin, end=end, limit=counted_max + 1) for slug in weights]
    numbers = work.scalars(union_all(*(select(func.count()).select_from(awards) for awards in newest)))
    parts = []
    for slug, weight_of in weights.items():
        counted = _newest_awards(slug, begin=begin, end=end, limit=counted_max).c
        units = cast(counted.quantity, Numeric(20, 2))
        whens = [(counted.item == item, units * float(weight)) for item, weight in weight_of.items()]
        weighted = case(*whens, else_=units) if whens else units
        parts.append(select(counted.customer, weighted.label("amount")))
    every = union_all(*parts).subquery()
    amount = type_coerce(func.sum(every.c.amount), Float)
    query = select(every.c.customer, func.count(), amount).where(every.c.customer != "").group_by(every.c.customer)
    rows = work.execute(query.order_by(func.sum(every.c.amount).desc(), every.c.customer).limit(limit))
    customers = [CustomerAwards(customer, number, Decimal(f"{total:.2f}")) for customer, number, total in rows]
    return customers, any(number > counted_max for number in numbers)


def _newest_awards(destination: str, *, begin: datetime, end: datetime, limit: int) -> Subquery:
    columns = effects.c
    return (
        select(columns.customer, columns.item, columns.quantity)
        .where(
            columns.destination == destination,
            columns.received_at >= begin,
            columns.received_at < end,
            columns.state == EffectState.DELIVERED,
            columns.item.is_not(None),
        )
        .order_by(columns.received_at.desc())
        .limit(limit)
        .subquery()
    )
