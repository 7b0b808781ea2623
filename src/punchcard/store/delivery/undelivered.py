"""Awards that do not reach their partner: parked, rejected, or attempted again and again without a response."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Numeric,
    Select,
    TextClause,
    and_,
    bindparam,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    true,
    union_all,
)

from punchcard.store.bulk import PreparedStatement
from punchcard.store.delivery.effects import DISMISSED_REASONS, UNCERTAIN_REASONS, AttemptOutcome, EffectState
from punchcard.store.delivery.schema import IS_CORRECTED, IS_FAILED, IS_PARKED, IS_REJECTED, delivery_attempts, effects
from punchcard.store.delivery.unknown_customers import NO_CONNECTION

# The attempts of these awards say whether a partner responds: the oldest that wait, the newest that do not.
_SAMPLE: Final = 200
_SERVER_ERROR: Final = 500
_FAILED: Final = (AttemptOutcome.RETRYABLE, AttemptOutcome.UNKNOWN)
_ANY_FAILED: Final = PreparedStatement(
    select(effects.c.id)
    .where(IS_FAILED, effects.c.destination == bindparam("b_destination"))
    .order_by(effects.c.source, effects.c.id)  # in the order of the small index of failed effects
    .limit(1)
)


@dataclass(frozen=True, kw_only=True)
class Undelivered:
    """Awards of a destination that were not delivered for one reason.

    Attributes:
        since: When the first of them ended, None while they are open.
        amounts: Units by item.
    """

    destination: str
    reason: str
    count: int
    customers: int
    since: datetime | None
    amounts: Mapping[str, Decimal]


@dataclass(frozen=True, kw_only=True)
class FailedAttempts:
    """Attempts without a response since the partner's last one.

    Attributes:
        effects: How many effects they are of.
        since: When the first was made.
        detail: What the last one met.
    """

    effects: int
    since: datetime
    detail: str


@dataclass(frozen=True, kw_only=True)
class OverdueAttempts:
    """Attempts that have not ended, although the longest time that they may take is over.

    Attributes:
        effects: How many effects they are of.
        since: When the first should have ended.
    """

    effects: int
    customers: int
    since: datetime


def has_failed(work: Connection, destination: str) -> bool:
    """Return whether a destination has anything that is parked or rejected: most of hundreds have nothing."""
    return bool(_ANY_FAILED.rows(work, {"b_destination": destination}))


def parked_awards(work: Connection) -> Iterator[Undelivered]:
    """Yield awards that are not retried any more, by destination and reason, the most first."""
    return _undelivered(work, IS_PARKED)


def rejected_awards(work: Connection, destination: str, *, since: datetime) -> Iterator[Undelivered]:
    """Yield awards that the partner has refused for good since an instant and nobody has dismissed, by reason."""
    columns = effects.c
    # As `is_superseded`, which asks for the content: the index of what was not sent has none, and few have another one.
    superseded = select(columns.id).where(
        IS_CORRECTED,
        columns.destination == destination,
        columns.finished_at >= since,
        func.coalesce(columns.reason, "").not_in(UNCERTAIN_REASONS),
    )
    return _undelivered(
        work,
        and_(
            IS_REJECTED,
            columns.destination == destination,
            columns.finished_at >= since,
            columns.id.not_in(superseded),
            or_(columns.reason.is_(None), columns.reason.not_in(DISMISSED_REASONS)),
        ),
    )


def attempts_without_response(work: Connection, destination: str) -> FailedAttempts | None:
    """Return the attempts of waiting awards since the partner's last response, None if there are none."""
    columns, attempts = effects.c, delivery_attempts.c
    waiting = (
        select(columns.id)
        .where(
            columns.destination == destination,
            columns.is_open == true(),
            columns.state.in_([EffectState.RETRYING, EffectState.UNKNOWN]),
            columns.reason.is_distinct_from(NO_CONNECTION),  # which is a response
        )
        .order_by(columns.id + 0)  # in this order SQLite reads the small index of open effects, not the whole ledger
        .limit(_SAMPLE)
    )
    ids = list(work.scalars(waiting))
    if not ids:
        return None
    newest = select(columns.state, columns.finished_at).where(columns.destination == destination)
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
        return None
    return FailedAttempts(
        effects=len({row.effect_id for row in rows}), since=rows[0].started_at, detail=rows[-1].detail or ""
    )


def overdue_attempts(work: Connection, destination: str, *, before: datetime) -> OverdueAttempts | None:
    """Return the attempts without a result that should have ended before an instant, None if there are none."""
    columns = effects.c
    counted = select(
        func.count(), func.count(func.distinct(func.nullif(columns.customer, ""))), func.min(columns.lease_until)
    ).where(
        columns.destination == destination,
        columns.is_open == true(),
        columns.state == EffectState.SENDING,
        columns.lease_until < before,
    )
    count, customers, since = work.execute(counted).one()
    return OverdueAttempts(effects=count, customers=customers, since=since) if count else None


def _undelivered(work: Connection, condition: ColumnElement[bool] | TextClause) -> Iterator[Undelivered]:
    """Count awards that were not sent, by destination and reason, with their customers and units."""
    quantity = func.coalesce(effects.c.quantity, effects.c.requested_quantity)
    names = ("destination", "reason", "item", "customer", "finished_at")
    # Read once, from an index that has all of it, and counted twice.
    unsent = select(*(effects.c[name] for name in names), quantity.label("quantity")).where(condition).cte("unsent")
    columns = unsent.c
    # For people to read: SQLite adds as floating point numbers, which are rounded to the units that destinations take.
    units = func.sum(cast(columns.quantity, Numeric(20, 2)))
    customers = func.count(func.distinct(func.nullif(columns.customer, "")))
    by_item = (
        select(columns.destination, columns.reason, columns.item, units, literal(0), literal(0), null())
        .where(columns.item.is_not(None))
        .group_by(columns.destination, columns.reason, columns.item)
    )
    by_reason = select(
        columns.destination, columns.reason, null(), null(), func.count(), customers, func.min(columns.finished_at)
    ).group_by(columns.destination, columns.reason)
    amounts: dict[tuple[str, str | None], dict[str, Decimal]] = defaultdict(dict)
    groups = []
    for slug, reason, item, total, *counted in work.execute(union_all(by_reason, by_item)):
        if item is None:
            groups.append((slug, reason, *counted))
        elif total is not None:
            amounts[slug, reason][item] = Decimal(total)
    for slug, reason, count, customer_count, since in sorted(groups, key=lambda group: (-group[2], group[0])):
        yield Undelivered(
            destination=slug,
            reason=reason or "",
            count=count,
            customers=customer_count,
            since=since,
            amounts=amounts[slug, reason],
        )
