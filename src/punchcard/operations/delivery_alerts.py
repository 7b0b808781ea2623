"""Alerts about awards that do not reach their partner."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from punchcard.operations.alert_model import Alert
from punchcard.store.delivery.counts import CountQuery, Dimension, read_counts
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.ledger import open_backlog
from punchcard.store.delivery.pauses import pause_of
from punchcard.store.delivery.queue import next_due
from punchcard.store.delivery.undelivered import (
    Undelivered,
    attempts_without_response,
    has_failed,
    overdue_attempts,
    parked_awards,
    rejected_awards,
)
from punchcard.workspace.alert_rules import AlertKind
from punchcard.workspace.snapshot import Snapshot

_LATELY: Final = timedelta(days=7)
_RATE_PERIOD: Final = timedelta(hours=24)
_COMPLETED_MIN: Final = 20  # fewer say nothing about a rate


def find_parked(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    """Find awards that are not retried any more, by destination and reason, the most first."""
    yield from _unsent(AlertKind.PARKED, parked_awards(work))


def find_rejected(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    """Find awards that partners have refused for good of late and nobody has dismissed."""
    for slug in snapshot.destinations:
        if has_failed(work, slug):
            yield from _unsent(AlertKind.REJECTED, rejected_awards(work, slug, since=now - _LATELY))


def find_old_queues(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    """Find destinations that could deliver and have an award that has waited for long.

    What waits for a customer whom the partner does not know may wait for ever: no operator can change that.
    """
    rule = snapshot.alert_rules[AlertKind.QUEUE_AGE]
    oldest: dict[str, datetime] = {}
    counts: dict[str, int] = defaultdict(int)
    for entry in open_backlog(work, _delivering(work, snapshot), with_unknown_customers=False):
        oldest[entry.destination] = min(entry.oldest_created_at, oldest.get(entry.destination, entry.oldest_created_at))
        counts[entry.destination] += entry.count
    for slug, since in sorted(oldest.items()):
        if now - since >= timedelta(minutes=rule.threshold):
            yield Alert(kind=AlertKind.QUEUE_AGE, subject=slug, destination=slug, count=counts[slug], since=since)


def find_unreachable(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    """Find partners that have not responded to any attempt for a while."""
    patience = timedelta(minutes=snapshot.alert_rules[AlertKind.UNREACHABLE].threshold)
    for slug in _waited_for(work, snapshot):
        failures = attempts_without_response(work, slug)
        if failures is not None and now - failures.since >= patience:
            yield Alert(
                kind=AlertKind.UNREACHABLE,
                subject=slug,
                destination=slug,
                count=failures.effects,
                detail=failures.detail,
                since=failures.since,
            )


def find_hung_attempts(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    """Find destinations with attempts that never ended: their customers get nothing until somebody intervenes."""
    patience = timedelta(minutes=snapshot.alert_rules[AlertKind.HUNG].threshold)
    for slug in _waited_for(work, snapshot):
        overdue = overdue_attempts(work, slug, before=now - patience)
        if overdue is not None:
            yield Alert(
                kind=AlertKind.HUNG,
                subject=slug,
                destination=slug,
                count=overdue.effects,
                customers=overdue.customers,
                since=overdue.since,
            )


def find_low_success_rates(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    """Find destinations to which too few of the awards of the last day were delivered."""
    least = snapshot.alert_rules[AlertKind.SUCCESS_RATE].threshold
    query = CountQuery(
        statuses=[EffectState.DELIVERED, EffectState.REJECTED, EffectState.PARKED],
        begin=now - _RATE_PERIOD,
        end=now + timedelta(minutes=1),
    )
    counts: Mapping[tuple[object, ...], int] = read_counts(work, query, by=[Dimension.DESTINATION, Dimension.STATUS])
    for slug in snapshot.destinations:
        delivered = counts.get((slug, EffectState.DELIVERED.value), 0)
        failed = sum(counts.get((slug, state.value), 0) for state in (EffectState.REJECTED, EffectState.PARKED))
        completed = delivered + failed
        if completed >= _COMPLETED_MIN and (rate := 100 * delivered / completed) < least:
            yield Alert(kind=AlertKind.SUCCESS_RATE, subject=slug, destination=slug, count=failed, value=rate)


def _delivering(work: Connection, snapshot: Snapshot) -> Sequence[str]:
    """Return the destinations that should deliver now: another alert says why the others do not."""
    return [
        slug
        for slug, destination in snapshot.destinations.items()
        if destination.destination.enabled and destination.invalid is None and pause_of(work, slug) is None
    ]


def _waited_for(work: Connection, snapshot: Snapshot) -> Iterator[str]:
    """Yield the destinations that should deliver now and have something to deliver."""
    return (slug for slug in _delivering(work, snapshot) if next_due(work, slug) is not None)


def _unsent(kind: AlertKind, awards: Iterable[Undelivered]) -> Iterable[Alert]:
    for group in awards:
        yield Alert(
            kind=kind,
            subject=group.destination,
            destination=group.destination,
            count=group.count,
            reason=group.reason,
            since=group.since,
            customers=group.customers,
            amounts=group.amounts,
        )
