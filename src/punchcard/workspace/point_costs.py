"""What a point costs the business, if the workspace says so: points are then shown as money, too."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from punchcard.workspace.problems import Problem

_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_COST_MAX: Final = Decimal(1_000_000)
_PLACES_MAX: Final = 9
_CENTS: Final = Decimal("0.01")


@dataclass(frozen=True, kw_only=True)
class PointCost:
    """The cost of one point.

    Attributes:
        amount: In units of the currency.
        currency: ISO 4217 code, such as `USD`.
    """

    amount: Decimal
    currency: str

    def of(self, points: Decimal) -> Decimal:
        """Return what points cost, rounded to hundredths."""
        return (points * self.amount).quantize(_CENTS)

    def text(self, points: Decimal) -> str:
        """Return what points cost for people, such as `1,234.50 USD`."""
        return f"{self.of(points):,} {self.currency}"


def read_point_cost(amount: str, currency: str) -> PointCost | None:
    """Return the cost of a point as configured, None if none is or it is not valid."""
    if not amount or next(point_cost_problems(amount, currency), None) is not None:
        return None
    return PointCost(amount=Decimal(amount), currency=currency)


def point_cost_problems(amount: str, currency: str) -> Iterator[Problem]:
    """Yield the problems of the cost of a point."""
    if not _CURRENCY.fullmatch(currency):
        message = f'"{currency}" is not a currency. Use a code such as "USD".'
        yield Problem(path=("workspace", "currency"), message=message)
    if not amount:
        return
    try:
        number = Decimal(amount)
    except InvalidOperation:
        number = Decimal("NaN")
    exponent = number.as_tuple().exponent
    if not number.is_finite() or not 0 < number <= _COST_MAX or not isinstance(exponent, int):
        message = f'"{amount}" is not an amount above 0 such as "0.01".'
        yield Problem(path=("workspace", "pointCost"), message=message)
    elif -exponent > _PLACES_MAX:
        message = f'"{amount}" has more than {_PLACES_MAX} decimal places.'
        yield Problem(path=("workspace", "pointCost"), message=message)
