"""The result of a simulation, put together: by event and item, by reason, by customer."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import msgspec

from punchcard.destinations.definition import SummaryColumn
from punchcard.destinations.port import Intent
from punchcard.store.delivery.earned import EarnedEffect
from punchcard.store.operations.simulations import Simulation
from punchcard.store.values import decimal_text

CUSTOMERS_SHOWN: Final = 20
_ZERO: Final = Decimal(0)


class SimulatedEvent(msgspec.Struct, kw_only=True, rename="camel"):
    """What events of one name would earn of one item. Quantities are signed decimal texts in units.

    `points` and `actualPoints` are null where the partner does not say what a unit is worth. `events` counts all events
    of the name in the period, `customers` those who would earn.
    """

    event: str
    item: str | None
    events: int
    awards: int
    customers: int
    quantity: str
    points: str | None
    actual_awards: int
    actual_quantity: str
    actual_points: str | None


class CustomerChange(msgspec.Struct, kw_only=True, rename="camel"):
    """What a customer would get, and has got; `change` is the difference, in points if they are known, else units."""

    email: str
    simulated: str
    actual: str
    change: str


class SimulationTotals(msgspec.Struct, kw_only=True, rename="camel"):
    """The sums over all events and items."""

    awards: int
    quantity: str
    points: str | None
    actual_awards: int
    actual_quantity: str
    actual_points: str | None


class SimulationOutcome(msgspec.Struct, kw_only=True, rename="camel"):
    """What a configuration would have earned: `refused` counts events that would earn nothing, by reason."""

    by_event: list[SimulatedEvent]
    refused: dict[str, int]
    gaining: list[CustomerChange]
    losing: list[CustomerChange]
    totals: SimulationTotals


@dataclass
class _Row:
    awards: int = 0
    quantity: Decimal = _ZERO
    customers: set[str] = field(default_factory=set)
    actual_awards: int = 0
    actual_quantity: Decimal = _ZERO


class OutcomeBuilder:
    """Adds up what would be earned and what was.

    Args:
        events: How many events of each name there are, for names that may earn something.
        item_of: What a name is mapped to.
        points: What one unit of each item is worth.
    """

    def __init__(
        self, *, events: Mapping[str, int], item_of: Callable[[str], str | None], points: Mapping[str, Decimal]
    ) -> None:
        self._events = events
        self._points = points
        self._rows: dict[tuple[str, str | None], _Row] = {}
        self._refused: Counter[str] = Counter()
        self._simulated: dict[str, Decimal] = {}
        self._actual: dict[str, Decimal] = {}
        for name in events:
            if (item := item_of(name)) is not None:
                self._rows[name, item] = _Row()

    def refuse(self, reason: str, count: int) -> None:
        """Count events that would earn nothing."""
        if count:
            self._refused[reason] += count

    def award(self, intent: Intent, quantity: Decimal | None) -> None:
        """Count what an event would earn, or take back."""
        row = self._rows.setdefault((intent.event_name, intent.item), _Row())
        row.awards += 1
        row.quantity += quantity or _ZERO
        row.customers.add(intent.customer)
        self._add(self._simulated, intent.customer, intent.item, quantity)

    def earned(self, effect: EarnedEffect) -> None:
        """Count what was earned."""
        row = self._rows.setdefault((effect.event_name, effect.item), _Row())
        row.actual_awards += 1
        row.actual_quantity += effect.quantity
        self._add(self._actual, effect.customer, effect.item, effect.quantity)

    def outcome(self) -> SimulationOutcome:
        """All of it."""
        events = [self._event(name, item, row) for (name, item), row in sorted(self._rows.items(), key=_by_name)]
        rows = list(self._rows.items())
        known = all(self._worth(item) is not None for (_, item), _ in rows)
        changes = self._changes()
        return SimulationOutcome(
            by_event=events,
            refused=dict(self._refused.most_common()),
            gaining=[change for change in changes if Decimal(change.change) > 0][:CUSTOMERS_SHOWN],
            losing=[change for change in reversed(changes) if Decimal(change.change) < 0][:CUSTOMERS_SHOWN],
            totals=SimulationTotals(
                awards=sum(row.awards for _, row in rows),
                quantity=_text(sum((row.quantity for _, row in rows), _ZERO)),
                points=self._sum(rows, lambda row: row.quantity) if known else None,
                actual_awards=sum(row.actual_awards for _, row in rows),
                actual_quantity=_text(sum((row.actual_quantity for _, row in rows), _ZERO)),
                actual_points=self._sum(rows, lambda row: row.actual_quantity) if known else None,
            ),
        )

    def _event(self, name: str, item: str | None, row: _Row) -> SimulatedEvent:
        worth = self._worth(item)
        return SimulatedEvent(
            event=name,
            item=item,
            events=self._events.get(name, 0),
            awards=row.awards,
            customers=len(row.customers),
            quantity=_text(row.quantity),
            points=None if worth is None else _text(row.quantity * worth),
            actual_awards=row.actual_awards,
            actual_quantity=_text(row.actual_quantity),
            actual_points=None if worth is None else _text(row.actual_quantity * worth),
        )

    def _sum(self, rows: list[tuple[tuple[str, str | None], _Row]], quantity: Callable[[_Row], Decimal]) -> str:
        return _text(sum((quantity(row) * (self._worth(item) or _ZERO) for (_, item), row in rows), _ZERO))

    def _worth(self, item: str | None) -> Decimal | None:
        """What one unit is worth. The quantity of an item that takes away is negative."""
        points = None if item is None else self._points.get(item)
        return None if points is None else abs(points)

    def _add(self, sums: dict[str, Decimal], customer: str, item: str | None, quantity: Decimal | None) -> None:
        worth = self._worth(item)
        amount = (quantity or _ZERO) * (Decimal(1) if worth is None else worth)
        sums[customer] = sums.get(customer, _ZERO) + amount

    def _changes(self) -> list[CustomerChange]:
        """Every customer for whom something changes, who gains most first."""
        changed = []
        for email in self._simulated.keys() | self._actual.keys():
            simulated, actual = self._simulated.get(email, _ZERO), self._actual.get(email, _ZERO)
            if simulated != actual:
                changed.append((actual - simulated, email, simulated, actual))
        return [
            CustomerChange(
                email=email, simulated=_text(simulated), actual=_text(actual), change=_text(simulated - actual)
            )
            for _, email, simulated, actual in sorted(changed)
        ]


def read_outcome(simulation: Simulation) -> SimulationOutcome | None:
    """The outcome of a simulation, None until it is finished."""
    if simulation.outcome is None:
        return None
    return msgspec.json.decode(simulation.outcome, type=SimulationOutcome)


def name_item(event: SimulatedEvent, item: SummaryColumn) -> dict[str, object]:
    """The members of a row, with its item under the destination's own name for it."""
    members: dict[str, object] = msgspec.to_builtins(event)
    return {item.member if name == "item" else name: value for name, value in members.items()}


def _by_name(row: tuple[tuple[str, str | None], _Row]) -> tuple[str, str]:
    (name, item), _ = row
    return name, item or ""


def _text(value: Decimal) -> str:
    # In its shortest form, so that equal amounts are equal texts.
    return decimal_text(value.normalize() + 0) or "0"
