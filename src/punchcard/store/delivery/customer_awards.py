"""What customers were given most of, summed over the newest delivered awards."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Float, Numeric, Select, Subquery, case, cast, func, select, type_coerce, union_all

from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.schema import effects

# SQLite puts at most 500 SELECTs together.
_DESTINATIONS_PER_QUERY: Final = 100


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
    slugs = list(weights)
    awards: Counter[str] = Counter()
    amounts: dict[str, float] = defaultdict(float)
    is_partial = False
    for first in range(0, len(slugs), _DESTINATIONS_PER_QUERY):
        part = {slug: weights[slug] for slug in slugs[first : first + _DESTINATIONS_PER_QUERY]}
        newest = [_newest_awards(slug, begin=begin, end=end, limit=counted_max + 1) for slug in part]
        numbers = work.scalars(union_all(*(select(func.count()).select_from(counted) for counted in newest)))
        is_partial |= any(number > counted_max for number in numbers)
        query = _sums_by_customer(part, begin=begin, end=end, counted_max=counted_max)
        # Customers of several queries are added up here, so each of them is needed.
        for customer, number, total in work.execute(query.limit(limit) if len(part) == len(slugs) else query):
            awards[customer] += number
            amounts[customer] += total
    most = sorted(amounts, key=lambda customer: (-amounts[customer], customer))[:limit]
    return [
        CustomerAwards(customer, awards[customer], Decimal(f"{amounts[customer]:.2f}")) for customer in most
    ], is_partial


def _sums_by_customer(
    weights: Mapping[str, Mapping[str, Decimal]], *, begin: datetime, end: datetime, counted_max: int
) -> Select[Any]:
    """Return the query for each customer's awards and their weighted sum, the most first."""
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
    return query.order_by(func.sum(every.c.amount).desc(), every.c.customer)


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
