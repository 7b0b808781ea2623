"""A reconciliation with its differences as App, Public API and command line show it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from sqlalchemy import Connection

from punchcard.destinations.definition import SummaryColumn
from punchcard.store.operations.reconciliation_differences import (
    DifferenceQuery,
    DifferenceState,
    StoredDifference,
    count_differences,
    list_differences,
)
from punchcard.store.operations.reconciliations import Reconciliation, list_reconciliations, newest_finished
from punchcard.traces.summary import item_column

_ADDED_UP_MAX: Final = 3_000


@dataclass(frozen=True, kw_only=True)
class ReconciliationView:
    """A reconciliation.

    Attributes:
        counts: How many differences there are, by kind and state.
        differences: Of the page that was asked for.
    """

    reconciliation: Reconciliation
    counts: Mapping[tuple[str, str], int]
    differences: Sequence[StoredDifference] = ()

    @property
    def differences_total(self) -> int:
        """How many differences were found, whatever became of them."""
        return sum(self.counts.values())

    @property
    def differences_open(self) -> int:
        """How many wait for somebody's decision."""
        return sum(number for (_, state), number in self.counts.items() if state == DifferenceState.OPEN)

    def by_kind(self, *, open_only: bool = False) -> Counter[str]:
        """Return how many differences there are of each kind."""
        kinds: Counter[str] = Counter()
        for (kind, state), number in sorted(self.counts.items()):
            if not open_only or state == DifferenceState.OPEN:
                kinds[kind] += number
        return kinds


def view_reconciliation(
    work: Connection,
    reconciliation: Reconciliation,
    query: DifferenceQuery,
    *,
    types: Mapping[str, str],
    count: int,
    after_id: int = 0,
) -> ReconciliationView:
    """A reconciliation with a page of its differences. Their items are under the destination's own name for them.

    Args:
        types: The type of each configured destination by its slug.
    """
    item = item_column(reconciliation.destination, types=types)
    listed = list_differences(work, query, count=count, after_id=after_id)
    return ReconciliationView(
        reconciliation=reconciliation,
        counts=count_differences(work, [reconciliation.id])[reconciliation.id],
        differences=[
            replace(difference, ours=_named(difference.ours, item), theirs=_named(difference.theirs, item))
            for difference in listed
        ],
    )


@dataclass(frozen=True, kw_only=True)
class SidePoints:
    """What a set of differences is worth on each side, in points."""

    ledger: Decimal
    partner: Decimal


def open_points(
    work: Connection, reconciliation: Reconciliation, points_per_unit: Callable[[str, str], Decimal | None]
) -> SidePoints | None:
    """Return what the open differences are worth; None if points are not known, or they are too many to add up.

    Args:
        points_per_unit: Points of one unit by destination and item, None if they are not known.
    """
    query = DifferenceQuery(reconciliation_id=reconciliation.id, states=(DifferenceState.OPEN,))
    differences = list_differences(work, query, count=_ADDED_UP_MAX + 1)
    if len(differences) > _ADDED_UP_MAX:
        return None
    sides = {"ours": Decimal(0), "theirs": Decimal(0)}
    for difference in differences:
        for side in sides:
            values = getattr(difference, side)
            if not values or values.get("quantity") is None or values.get("item") is None:
                continue
            points = points_per_unit(difference.destination, str(values["item"]))
            if points is None:
                return None
            # What is booked several times is worth all of them.
            sides[side] += Decimal(values.get("quantityTotal") or values["quantity"]) * abs(points)
    return SidePoints(ledger=sides["ours"], partner=sides["theirs"])


def view_history(
    work: Connection, destination: str, *, count: int, before_id: int | None = None
) -> list[ReconciliationView]:
    """A page of a destination's reconciliations, newest first, without their differences."""
    listed = list_reconciliations(work, destination, count=count, before_id=before_id)
    counts = count_differences(work, [reconciliation.id for reconciliation in listed])
    return [
        ReconciliationView(reconciliation=reconciliation, counts=counts[reconciliation.id]) for reconciliation in listed
    ]


def count_open_differences(work: Connection, destinations: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return how many open differences the newest finished reconciliation of each destination has, by kind."""
    open_differences: dict[str, dict[str, int]] = {}
    for slug in destinations:
        newest = newest_finished(work, slug)
        if newest is not None:
            view = ReconciliationView(reconciliation=newest, counts=count_differences(work, [newest.id])[newest.id])
            open_differences[slug] = view.by_kind(open_only=True)
    return open_differences


def _named(side: Mapping[str, object] | None, item: SummaryColumn) -> Mapping[str, object] | None:
    return None if side is None else {item.member if name == "item" else name: value for name, value in side.items()}
