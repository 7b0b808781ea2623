"""Alerts about awards that do not reach their partner."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from sqlalchemy import ColumnElement, Connection, Numeric, Select, and_, cast, func, not_, or_, select, true

from punchcard.operations.alert_model import Alert
from punchcard.store.delivery.counts import CountQuery, Dimension, read_counts
from punchcard.store.delivery.effects import DISMISSED_REASONS, AttemptOutcome, EffectState
from punchcard.store.delivery.ledger import backlog, is_superseded
from punchcard.store.delivery.pauses import pause_of
from punchcard.store.delivery.schema import delivery_attempts, effects
from punchcard.workspace.alert_rules import AlertKind
from punchcard.workspace.snapshot import Snapshot

_LATELY: Final = timedelta(days=7)
_RATE_PERIOD: Final = timedelta(hours=24)
_COMPLETED_MIN: Final = 20  # fewer say nothing about a rate
# The newest rejected awards of a destination that are looked at: their index is by state, and goes back for ever.
_REJECTED_MAX: Final = 10_000
# The attempts of these awards say whether a partner responds: the oldest that wait, the newest that do not.
_SAMPLE: Final = 200
_SERVER_ERROR: Final = 500
_FAILED: Final = (AttemptOutcome.RETRYABLE, AttemptOutcome.UNKNOWN)


def find_parked(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    """Find awards that are not retried any more, by destination and reason, the most first."""
    yield from _unsent(work, AlertKind.PARKED, effects.c.state == EffectState.PARKED)


def find_rejected(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    """Find awards that partners have refused for good of late and nobody has dismissed."""
    columns = effects.c
    for slug in snapshot.destinations:
        newest = (
            select(columns.id)
            .where(columns.state == EffectState.REJECTED, columns.destination == slug)
            .order_by(columns.id.desc())
            .limit(_REJECTED_MAX)
        )
        yield from _unsent(
            work,
            AlertKind.REJECTED,
            and_(
                columns.id.in_(newest),
                columns.finished_at >= now - _LATELY,
                not_(is_superseded()),
                or_(columns.reason.is_(None), columns.reason.not_in(DISMISSED_REASONS)),
            ),
        )


def find_old_queues(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    """Find destinations that could deliver and have an award that has waited for long."""
    rule = snapshot.alert_rules[AlertKind.QUEUE_AGE]
    oldest: dict[str, datetime] = {}
    counts: dict[str, int] = defaultdict(int)
    for entry in backlog(work, _delivering(work, snapshot)):
        if entry.state is not EffectState.PARKED:
            oldest[entry.destination] = min(
                entry.oldest_created_at, oldest.get(entry.destination, entry.oldest_created_at)
            )
            counts[entry.destination] += entry.count
    for slug, since in sorted(oldest.items()):
        if now - since >= timedelta(minutes=rule.threshold):
            yield Alert(kind=AlertKind.QUEUE_AGE, subject=slug, destination=slug, count=counts[slug], since=since)


def find_unreachable(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    """Find partners that have not responded to any attempt for a while."""
    patience = timedelta(minutes=snapshot.alert_rules[AlertKind.UNREACHABLE].threshold)
    for slug in _delivering(work, snapshot):
        count, since, detail = _failures(work, slug)
        if since is not None and now - since >= patience:
            yield Alert(
                kind=AlertKind.UNREACHABLE, subject=slug, destination=slug, count=count, detail=detail, since=since
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


def _failures(work: Connection, slug: str) -> tuple[int, datetime | None, str]:
    """Return how many awards wait because the partner did not respond, since when, and what the last attempt met."""
    columns, attempts = effects.c, delivery_attempts.c
    waiting = (
        select(columns.id)
        .where(
            columns.destination == slug,
            columns.is_open == true(),
            columns.state.in_([EffectState.RETRYING, EffectState.UNKNOWN]),
        )
        .order_by(columns.id)
        .limit(_SAMPLE)
    )
    ids = list(work.scalars(waiting))
    if not ids:
        return 0, None, ""
    newest = select(columns.state, columns.finished_at).where(columns.destination == slug)
    responses = [
        finished_at
        for state, finished_at in work.execute(newest.order_by(columns.id.desc()).limit(_SAMPLE))
        if finished_at is not None and state in (EffectState.DELIVERED, EffectState.REJECTED)
    ]
    failed: Select[tuple[int, datetime, str | None]] = select(
        attempts.effect_id, attempts.started_at, attempts.detail
    ).where(
        attempts.effect_id.in_(ids),
        attempts.outcome.in_(_FAILED),
        or_(attempts.status.is_(None), attempts.status >= _SERVER_ERROR),
    )
    if responses:
        failed = failed.where(attempts.started_at > max(responses))
    rows = work.execute(failed.order_by(attempts.started_at)).all()
    if not rows:
        return 0, None, ""
    return len({row.effect_id for row in rows}), rows[0].started_at, rows[-1].detail or ""


def _unsent(work: Connection, kind: AlertKind, condition: ColumnElement[bool]) -> Iterable[Alert]:
    """Count awards that were not sent, by destination and reason, with their customers and units."""
    columns = effects.c
    # For people to read: SQLite adds as floating point numbers, which are rounded to the units that destinations take.
    units = func.sum(cast(func.coalesce(columns.quantity, columns.requested_quantity), Numeric(20, 2)))
    amounts: dict[tuple[str, str | None], dict[str, Decimal]] = defaultdict(dict)
    by_item = select(columns.destination, columns.reason, columns.item, units).where(
        condition, columns.item.is_not(None)
    )
    for slug, reason, item, total in work.execute(by_item.group_by(columns.destination, columns.reason, columns.item)):
        if item is not None and total is not None:
            amounts[slug, reason][item] = Decimal(total)
    counted = (
        select(
            columns.destination,
            columns.reason,
            func.count(),
            func.count(func.distinct(func.nullif(columns.customer, ""))),
            func.min(columns.finished_at),
        )
        .where(condition)
        .group_by(columns.destination, columns.reason)
        .order_by(func.count().desc(), columns.destination)
    )
    for slug, reason, count, customers, since in work.execute(counted):
        yield Alert(
            kind=kind,
            subject=slug,
            destination=slug,
            count=count,
            reason=reason or "",
            since=since,
            customers=customers,
            amounts=amounts[slug, reason],
        )
