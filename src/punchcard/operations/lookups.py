"""Looks up what a person names: parts of the running configuration, and stored rows by the ids of paths."""

from typing import TypeVar

from punchcard.operations.row_ids import is_row_id
from punchcard.store.delivery.conflicts import StoredConflict, conflict_by_id
from punchcard.store.engine import Store
from punchcard.store.operations.reconciliations import Reconciliation, reconciliation_by_id
from punchcard.store.operations.simulations import Simulation, simulation_by_id
from punchcard.workspace.editing import NotFoundError, not_found
from punchcard.workspace.snapshot import RoutedDestination, Snapshot

T = TypeVar("T")


def find_running_destination(snapshot: Snapshot, slug: str) -> RoutedDestination:
    """Return the destination with this slug, with its code and settings.

    Raises:
        NotFoundError: There is no such destination.
    """
    destination = snapshot.destinations.get(slug)
    if destination is None:
        raise not_found("destination", slug, snapshot.destinations)
    return destination


def find_conflict(store: Store, slug: str, number: str) -> StoredConflict:
    """Return a destination's conflict by the text of its id.

    Raises:
        NotFoundError: There is no such conflict.
        StorageError: The store is unavailable.
    """
    with store.reading() as work:
        conflict = conflict_by_id(work, int(number)) if is_row_id(number) else None
    own = conflict if conflict is not None and conflict.destination == slug else None
    return require_row(own, "conflict", number)


def find_reconciliation(store: Store, slug: str, number: str) -> Reconciliation:
    """Return a destination's reconciliation by the text of its id.

    Raises:
        NotFoundError: There is no such reconciliation.
        StorageError: The store is unavailable.
    """
    with store.reading() as work:
        reconciliation = reconciliation_by_id(work, slug, int(number)) if is_row_id(number) else None
    return require_row(reconciliation, "reconciliation", number)


def find_simulation(store: Store, slug: str, number: str) -> Simulation:
    """Return a destination's simulation by the text of its id.

    Raises:
        NotFoundError: There is no such simulation.
        StorageError: The store is unavailable.
    """
    with store.reading() as work:
        simulation = simulation_by_id(work, slug, int(number)) if is_row_id(number) else None
    return require_row(simulation, "simulation", number)


def require_row(row: T | None, kind: str, number: str) -> T:
    """Return a row of a destination that somebody has named by its id.

    Args:
        row: None if there is none.
        kind: What it is, for the message.

    Raises:
        NotFoundError: There is none.
    """
    if row is None:
        raise NotFoundError(f"This destination has no {kind} {number}.")
    return row
