"""Deletes what the database keeps for a limited time or number only."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.operations.retention import LAKE, REPORTS, days_of, enforce_retention
from punchcard.routing.lake_feed import LakeFeed
from punchcard.runtime.settings import Settings
from punchcard.store.delivery.orders import prune_refused_orders
from punchcard.store.engine import Store
from punchcard.store.operations.reconciliations import prune_reconciliations
from punchcard.store.operations.simulations import prune_simulations
from punchcard.store.privacy.retention import record_deletion
from punchcard.store.routing.note_counts import PRUNED_PER_UNIT, prune_note_counts
from punchcard.store.source_schema.recording import prune_schema, prune_schema_days
from punchcard.store.tracking_plans.violations import prune_violations
from punchcard.store.workspace.configuration_versions import prune_versions


def prune_history(store: Store, settings: Settings, *, clock: Clock, is_stopping: Callable[[], bool]) -> None:
    """Delete what is older than its retention period, and configuration versions above their number.

    Raises:
        StorageError: The store cannot be written; what was deleted before stays deleted.
    """
    with store.unit_of_work() as work:
        prune_versions(work, count=settings.configuration_versions_max)
    _repeat(store, lambda work: prune_schema_days(work, now=clock.now()), is_stopping)
    with store.reading() as work:
        days = days_of(work, REPORTS, settings.retention_days())
    enforce_retention(store, settings.retention_days(), clock=clock, is_stopping=is_stopping)
    if not days:
        return
    before = clock.now() - timedelta(days=days)
    for prune in (
        prune_refused_orders,
        prune_note_counts,
        prune_reconciliations,
        prune_simulations,
        prune_schema,
        prune_violations,
    ):
        _repeat(store, partial(prune, before=before), is_stopping)


def drop_old_events(feed: LakeFeed, store: Store, settings: Settings, *, clock: Clock) -> None:
    """Delete the events of the lake that are older than their retention period.

    Raises:
        StorageError: Lake or store is unavailable; nothing was deleted.
    """
    with store.reading() as work:
        days = days_of(work, LAKE, settings.retention_days())
    if days and (dropped := feed.drop_old(days=days)):
        with store.unit_of_work() as work:
            record_deletion(work, LAKE, deleted=dropped, cursor=None, now=clock.now())


def _repeat(store: Store, prune: Callable[[Connection], int], is_stopping: Callable[[], bool]) -> None:
    """Delete portion by portion, each in its own unit of work, until less than a whole portion was left."""
    pruned = PRUNED_PER_UNIT
    while pruned == PRUNED_PER_UNIT and not is_stopping():
        with store.unit_of_work() as work:
            pruned = prune(work)
