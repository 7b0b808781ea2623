"""Reconciliations: which were asked for, how far each is, and what a partner has shown so far.

Every write is conditional on the status that it follows from, so a reconciliation that was cancelled, or taken over by
another process, is not written to any more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, delete, func, insert, literal, select, update

from punchcard.store.operations.destination_rows import count_rows, find_row, list_rows
from punchcard.store.operations.partner_transactions import ShownTransaction, add_transactions
from punchcard.store.operations.schema import reconciliation_differences, reconciliation_transactions, reconciliations
from punchcard.store.schema import Instant
from punchcard.store.stored_enum import StoredEnum
from punchcard.store.values import decimal_text, storable

SCHEDULE = "schedule"
"""Who asks for the nightly reconciliation."""

_ENDED_MAX = 20


class ReconciliationStatus(StoredEnum):
    """How far a reconciliation is."""

    QUEUED = "queued"  # nobody has begun
    READING = "reading"  # the partner's transactions are read, page by page
    COMPARING = "comparing"  # they are compared with the ledger
    FINISHED = "finished"
    FAILED = "failed"  # it cannot be done; the detail says why
    CANCELLED = "cancelled"  # by a person

    @property
    def is_over(self) -> bool:
        """True if nothing more will come of it."""
        return self not in _UNFINISHED


_UNFINISHED = (ReconciliationStatus.QUEUED, ReconciliationStatus.READING, ReconciliationStatus.COMPARING)


@dataclass(frozen=True, kw_only=True)
class Totals:
    """The totals of both sides. Quantities are signed units.

    Attributes:
        others_count: The partner's transactions that are not of this destination.
        not_compared: Awards that the partner lists elsewhere: their event brought another account.
        customers_unchecked: Customers of the partner for whom the address was not read, and so not compared.
    """

    ledger_count: int = 0
    ledger_quantity: Decimal = Decimal(0)
    partner_count: int = 0
    partner_quantity: Decimal = Decimal(0)
    others_count: int = 0
    others_quantity: Decimal = Decimal(0)
    not_compared: int = 0
    customers_unchecked: int = 0


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """A comparison of the ledger of a destination with what its partner has booked.

    Attributes:
        since: Awards for events that were received from here on are compared.
        until: When reading began, None before that.
        cursor: Where the next page begins.
        read: How many transactions the partner has shown.
        waiting_since: None while it goes on.
        detail: Why it waits or has failed, or what it is at.
        account: The account at the destination that is read; None before that, or if it is not known.
    """

    id: int
    destination: str
    requested_by: str
    requested_at: datetime
    since: datetime
    until: datetime | None
    status: ReconciliationStatus
    cursor: str | None
    read: int
    waiting_since: datetime | None
    detail: str
    totals: Totals
    finished_at: datetime | None
    account: str | None = None


def add_reconciliation(
    work: Connection, destination: str, *, since: datetime, requested_by: str, now: datetime
) -> Reconciliation:
    """Ask for a reconciliation; one that nobody has begun yet and that reaches as far back is returned instead."""
    columns = reconciliations.c
    queued = select(reconciliations).where(
        columns.destination == destination,
        columns.status == ReconciliationStatus.QUEUED,
        columns.since == since,
    )
    row = work.execute(queued.limit(1)).one_or_none()
    if row is not None:
        return _reconciliation(row)
    values = {
        "destination": destination,
        "requested_by": storable(requested_by),
        "requested_at": now,
        "since": since,
        "status": ReconciliationStatus.QUEUED,
        "read": 0,
        "detail": "",
        **_columns_of(Totals()),
    }
    added = work.execute(insert(reconciliations).values(values).returning(reconciliations)).one()
    return _reconciliation(added)


def reconciliation_by_id(work: Connection, destination: str, reconciliation_id: int) -> Reconciliation | None:
    """A destination's reconciliation, None if there is none with this id."""
    row = find_row(work, reconciliations, destination, reconciliation_id)
    return None if row is None else _reconciliation(row)


def list_reconciliations(
    work: Connection, destination: str, *, count: int, before_id: int | None = None
) -> list[Reconciliation]:
    """A page of a destination's reconciliations, newest first."""
    rows = list_rows(work, reconciliations, destination, count=count, before=before_id)
    return [_reconciliation(row) for row in rows]


def count_reconciliations(work: Connection, destination: str) -> int:
    """Return how many reconciliations of a destination there are."""
    return count_rows(work, reconciliations, destination)


def newest_finished(work: Connection, destination: str) -> Reconciliation | None:
    """The newest reconciliation that came to an end, None if there is none."""
    columns = reconciliations.c
    chosen = select(reconciliations).where(
        columns.destination == destination, columns.status == ReconciliationStatus.FINISHED
    )
    row = work.execute(chosen.order_by(columns.id.desc()).limit(1)).one_or_none()
    return None if row is None else _reconciliation(row)


def newest_scheduled_at(work: Connection, destination: str) -> datetime | None:
    """Return when a reconciliation was last begun by the schedule, None if none ever was."""
    columns = reconciliations.c
    chosen = select(func.max(columns.requested_at)).where(
        columns.destination == destination, columns.requested_by == SCHEDULE
    )
    instant: datetime | None = work.scalar(chosen)
    return instant


def next_unfinished(work: Connection, destination: str) -> Reconciliation | None:
    """The oldest unfinished reconciliation of a destination, None if there is none."""
    columns = reconciliations.c
    chosen = select(reconciliations).where(columns.destination == destination, columns.status.in_(_UNFINISHED))
    row = work.execute(chosen.order_by(columns.id).limit(1)).one_or_none()
    return None if row is None else _reconciliation(row)


def destinations_with_unfinished(work: Connection) -> set[str]:
    """Return the destinations that have an unfinished reconciliation."""
    columns = reconciliations.c
    return set(work.scalars(select(columns.destination).where(columns.status.in_(_UNFINISHED)).distinct()))


def begin_reading(work: Connection, reconciliation_id: int, *, account: str | None, now: datetime) -> bool:
    """Begin a queued one; False if somebody else has, or it was cancelled."""
    values = {"status": ReconciliationStatus.READING, "until": now, "account": account}
    return _move(work, reconciliation_id, ReconciliationStatus.QUEUED, **values)


def add_page(
    work: Connection,
    reconciliation_id: int,
    transactions: Sequence[ShownTransaction],
    *,
    after: str | None,
    cursor: str | None,
    total: int,
) -> bool:
    """Keep a page and where the next one begins; with the last one, comparing begins.

    Args:
        transactions: Those of the page that are compared.
        after: The cursor that the page was read with: a page is kept once.
        total: How many transactions the page had.

    Returns:
        False if the page was kept before, or the reconciliation is over.
    """
    columns = reconciliations.c
    is_last = cursor is None
    moved = work.execute(
        update(reconciliations)
        .where(
            columns.id == reconciliation_id,
            columns.status == ReconciliationStatus.READING,
            columns.cursor.is_not_distinct_from(after),
        )
        .values(
            cursor=cursor,
            read=columns.read + total,
            status=ReconciliationStatus.COMPARING if is_last else ReconciliationStatus.READING,
            waiting_since=None,
            detail="",
        )
    )
    if moved.rowcount != 1:
        return False
    add_transactions(work, reconciliation_id, transactions)
    return True


def note_waiting(work: Connection, reconciliation_id: int, *, detail: str, now: datetime) -> None:
    """Say why it does not go on at the moment."""
    columns = reconciliations.c
    work.execute(
        update(reconciliations)
        .where(columns.id == reconciliation_id, columns.status.in_(_UNFINISHED))
        .values(detail=storable(detail), waiting_since=func.coalesce(columns.waiting_since, literal(now, Instant())))
    )


def note_progress(work: Connection, reconciliation_id: int, *, detail: str) -> bool:
    """Say what it is at; False if it is over."""
    columns = reconciliations.c
    changed = work.execute(
        update(reconciliations)
        .where(columns.id == reconciliation_id, columns.status.in_(_UNFINISHED))
        .values(detail=storable(detail), waiting_since=None)
    )
    return changed.rowcount == 1


def finish(work: Connection, reconciliation_id: int, totals: Totals, *, now: datetime) -> bool:
    """End one that was compared; False if it is over already."""
    return _move(
        work,
        reconciliation_id,
        ReconciliationStatus.COMPARING,
        status=ReconciliationStatus.FINISHED,
        finished_at=now,
        detail="",
        waiting_since=None,
        **_columns_of(totals),
    )


def end_early(
    work: Connection, reconciliation_id: int, *, status: ReconciliationStatus, detail: str, now: datetime
) -> bool:
    """End one as failed or cancelled; False if it is over already."""
    columns = reconciliations.c
    ended = work.execute(
        update(reconciliations)
        .where(columns.id == reconciliation_id, columns.status.in_(_UNFINISHED))
        .values(status=status, detail=storable(detail), finished_at=now, waiting_since=None)
    )
    return ended.rowcount == 1


def newest_ended(work: Connection, destination: str) -> list[int]:
    """The ids of the newest reconciliations that are over: those that may have something left to forget."""
    columns = reconciliations.c
    chosen = select(columns.id).where(columns.destination == destination, columns.status.not_in(_UNFINISHED))
    return list(work.scalars(chosen.order_by(columns.id.desc()).limit(_ENDED_MAX)))


def prune_reconciliations(work: Connection, *, before: datetime, limit: int = 20) -> int:
    """Drop reconciliations that ended before an instant, with their differences; returns how many."""
    columns = reconciliations.c
    chosen = select(columns.id).where(columns.finished_at < before, columns.status.not_in(_UNFINISHED)).limit(limit)
    ids = list(work.scalars(chosen))
    if ids:
        shown, differences = reconciliation_transactions, reconciliation_differences
        work.execute(delete(shown).where(shown.c.reconciliation_id.in_(ids)))
        work.execute(delete(differences).where(differences.c.reconciliation_id.in_(ids)))
        work.execute(delete(reconciliations).where(columns.id.in_(ids)))
    return len(ids)


def _move(work: Connection, reconciliation_id: int, expected: ReconciliationStatus, **values: object) -> bool:
    columns = reconciliations.c
    moved = update(reconciliations).where(columns.id == reconciliation_id, columns.status == expected)
    return work.execute(moved.values(**values)).rowcount == 1


def _columns_of(totals: Totals) -> dict[str, object]:
    return {
        name: decimal_text(value) if isinstance(value, Decimal) else value for name, value in totals.__dict__.items()
    }


def _reconciliation(row: Any) -> Reconciliation:  # a row of a select
    values: dict[str, Any] = dict(row._mapping)
    totals: dict[str, Any] = {name: values.pop(name) for name in Totals.__dataclass_fields__}
    for name in ("ledger_quantity", "partner_quantity", "others_quantity"):
        totals[name] = Decimal(totals[name])
    return Reconciliation(**{**values, "status": ReconciliationStatus(values["status"])}, totals=Totals(**totals))
