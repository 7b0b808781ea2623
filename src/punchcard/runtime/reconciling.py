"""Wires the reconciliations of a destination, for the worker and for the command line."""

from collections.abc import Callable

from punchcard.clock import SystemClock
from punchcard.delivery.request_permits import RequestPermits
from punchcard.delivery.stages import DeliveryTarget
from punchcard.operations.reconciliation_runner import (
    ReconciledDestination,
    ReconciliationPlan,
    ReconciliationRunner,
)
from punchcard.runtime.settings import Settings
from punchcard.store.engine import Store
from punchcard.workspace.snapshot import Snapshot, SnapshotWatch


def target_of(snapshot: Snapshot, slug: str) -> DeliveryTarget | None:
    """A destination as it is delivered to, None if it is not there or cannot be used."""
    destination = snapshot.destinations.get(slug)
    if destination is None or destination.invalid is not None:
        return None
    return DeliveryTarget(
        slug=slug,
        partner=destination.partner,
        settings=destination.settings,
        options=destination.partner.delivery_options(destination.settings),
        fingerprint=destination.fingerprint,
        enabled=destination.destination.enabled,
        network=destination.network,
    )


def reconciled_destination(snapshot: Snapshot, slug: str) -> ReconciledDestination | None:
    """A destination as it is reconciled, None if it is not there or cannot be used."""
    target = target_of(snapshot, slug)
    if target is None:
        return None
    sources = {route.source.slug for route in snapshot.routes.values()}
    return ReconciledDestination(target=target, scopes=frozenset({slug, *sources}), zone=snapshot.zone)


def reconciliation_runner(
    slug: str,
    *,
    store: Store,
    watch: SnapshotWatch,
    settings: Settings,
    permits: RequestPermits,
    may_have_work: Callable[[], bool] = lambda: True,
) -> ReconciliationRunner:
    """The reconciliations of one destination.

    Args:
        permits: Of requests to its partner.
        may_have_work: Returns False if nothing can be due since the last look.
    """
    return ReconciliationRunner(
        slug,
        store=store,
        clock=SystemClock(),
        may_have_work=may_have_work,
        current=lambda: reconciled_destination(watch.current(), slug),
        permits=permits,
        plan=ReconciliationPlan(
            nightly_at=settings.reconcile_at,
            nightly_days=settings.reconcile_days,
            pending_hours=settings.reconcile_pending_hours,
        ),
    )
