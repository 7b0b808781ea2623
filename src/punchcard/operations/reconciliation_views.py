"""A reconciliation with its differences as App, Public API and command line show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from punchcard.destinations.definition import SummaryColumn
from punchcard.store.reconciliation_differences import (
    DifferenceQuery,
    DifferenceState,
    StoredDifference,
    count_differences,
    list_differences,
)
from punchcard.store.reconciliations import Reconciliation, list_reconciliations, newest_finished
from punchcard.traces.summary import item_column


@dataclass(frozen=True, kw_only=True)
class ReconciliationView:
    """One reconciliation.

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

    def by_kind(self, *, open_only: bool = False) -> dict[str, int]:
        """How many differences there are of each kind."""
        kinds: dict[str, int] = {}
        for (kind, state), number in sorted(self.counts.items()):
            if not open_only or state == DifferenceState.OPEN:
                kinds[kind] = kinds.get(kind, 0) + number
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
    """How many open differences the newest finished reconciliation of each destination has, by kind."""
    open_differences: dict[str, dict[str, int]] = {}
    for slug in destinations:
        newest = newest_finished(work, slug)
        if newest is not None:
            view = ReconciliationView(reconciliation=newest, counts=count_differences(work, [newest.id])[newest.id])
            open_differences[slug] = view.by_kind(open_only=True)
    return open_differences


def _named(side: Mapping[str, object] | None, item: SummaryColumn) -> Mapping[str, object] | None:
    return None if side is None else {item.member if name == "item" else name: value for name, value in side.items()}
