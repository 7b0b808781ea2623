"""Reconciliations: which were asked for, how far each is, and what a partner has shown so far.

Every write is conditional on the status that it follows from, so a reconciliation that was cancelled, or taken over by
another process, is not written to any more.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, delete, func, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from punchcard.store.effects import decimal_text, storable
from punchcard.store.schema import Instant
from punchcard.store.schema_reconciliation import (
    partner_customers,
    reconciliation_differences,
    reconciliation_transactions,
    reconciliations,
)
from punchcard.store.stored_enum import StoredEnum

SCHEDULE = "schedule"
"""Who asks for the nightly reconciliation."""

_KEYS_PER_QUERY = 400  # below SQLite's limit of bound variables, also on old builds
_ROWS_PER_READ = 2_000
_PARTNER_ID_CHARACTERS_MAX = 128


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
    """One comparison of the ledger of a destination with what its partner has booked.

    Attributes:
        since: Awards for events that were received from here on are compared.
        until: When reading began, None before that.
        cursor: Where the next page begins.
        read: How many transactions the partner has shown.
        waiting_since: None while it goes on.
        detail: Why it waits or has failed, or what it is at.
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


@dataclass(frozen=True, kw_only=True)
class ShownTransaction:
    """One transaction as a partner has shown it.

    Attributes:
        effect_key: None if it was booked without one.
        customer_ref: How the partner names its customer, "" if it does not say.
        mapping_value: What events are mapped to.
        quantity: Signed units, None if the partner does not say.
        status: What it is worth, in the port's words.
        status_text: The partner's own word.
        booked_at: None if the partner does not say.
    """

    partner_id: str
    effect_key: str | None
    customer_ref: str
    mapping_value: str | None
    quantity: Decimal | None
    status: str
    status_text: str
    booked_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class PartnerCustomer:
    """The addresses of a customer as the partner has shown them; none if it does not know the customer."""

    emails: Sequence[str]
    read_at: datetime


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
    columns = reconciliations.c
    chosen = select(reconciliations).where(columns.id == reconciliation_id, columns.destination == destination)
    row = work.execute(chosen).one_or_none()
    return None if row is None else _reconciliation(row)


def list_reconciliations(
    work: Connection, destination: str, *, count: int, before_id: int | None = None
) -> list[Reconciliation]:
    """A page of a destination's reconciliations, newest first."""
    columns = reconciliations.c
    chosen = select(reconciliations).where(columns.destination == destination)
    if before_id is not None:
        chosen = chosen.where(columns.id < before_id)
    return [_reconciliation(row) for row in work.execute(chosen.order_by(columns.id.desc()).limit(count))]


def count_reconciliations(work: Connection, destination: str) -> int:
    """How many reconciliations of a destination there are."""
    chosen = select(func.count()).where(reconciliations.c.destination == destination)
    return work.scalar(chosen) or 0


def newest_finished(work: Connection, destination: str) -> Reconciliation | None:
    """The newest reconciliation that came to an end, None if there is none."""
    columns = reconciliations.c
    chosen = select(reconciliations).where(
        columns.destination == destination, columns.status == ReconciliationStatus.FINISHED
    )
    row = work.execute(chosen.order_by(columns.id.desc()).limit(1)).one_or_none()
    return None if row is None else _reconciliation(row)


def newest_scheduled_at(work: Connection, destination: str) -> datetime | None:
    """When a reconciliation was last begun by the schedule, None if none ever was."""
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


def begin_reading(work: Connection, reconciliation_id: int, *, now: datetime) -> bool:
    """Begin a queued one; False if somebody else has, or it was cancelled."""
    return _move(work, reconciliation_id, ReconciliationStatus.QUEUED, status=ReconciliationStatus.READING, until=now)


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
    rows = [_transaction_row(reconciliation_id, transaction) for transaction in transactions]
    if rows:
        # A list that grows at its front shows some transactions again on its next page.
        work.execute(_inserting(work, reconciliation_transactions).on_conflict_do_nothing(), rows)
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


def drop_transactions(work: Connection, destination: str, *, limit: int) -> int:
    """Forget what the partner has shown for reconciliations that are over; returns how many rows that took away."""
    columns = reconciliation_transactions.c
    over = select(reconciliations.c.id).where(
        reconciliations.c.destination == destination, reconciliations.c.status.not_in(_UNFINISHED)
    )
    chosen = (
        select(columns.reconciliation_id, columns.partner_id).where(columns.reconciliation_id.in_(over)).limit(limit)
    )
    rows = work.execute(chosen).all()
    for reconciliation_id in {row.reconciliation_id for row in rows}:
        ids = [row.partner_id for row in rows if row.reconciliation_id == reconciliation_id]
        for begin in range(0, len(ids), _KEYS_PER_QUERY):
            chunk = ids[begin : begin + _KEYS_PER_QUERY]
            work.execute(
                delete(reconciliation_transactions).where(
                    columns.reconciliation_id == reconciliation_id, columns.partner_id.in_(chunk)
                )
            )
    return len(rows)


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


def read_transactions(work: Connection, reconciliation_id: int) -> Iterator[list[ShownTransaction]]:
    """All that the partner has shown, in chunks."""
    columns = reconciliation_transactions.c
    after = ""
    while True:
        chosen = select(reconciliation_transactions).where(
            columns.reconciliation_id == reconciliation_id, columns.partner_id > after
        )
        rows = work.execute(chosen.order_by(columns.partner_id).limit(_ROWS_PER_READ)).all()
        if not rows:
            return
        after = rows[-1].partner_id
        yield [_transaction(row) for row in rows]


def transactions_by_key(
    work: Connection, reconciliation_id: int, keys: Sequence[str]
) -> Mapping[str, list[ShownTransaction]]:
    """What the partner has shown under these keys."""
    columns = reconciliation_transactions.c
    shown: dict[str, list[ShownTransaction]] = {}
    for begin in range(0, len(keys), _KEYS_PER_QUERY):
        chunk = keys[begin : begin + _KEYS_PER_QUERY]
        chosen = select(reconciliation_transactions).where(
            columns.reconciliation_id == reconciliation_id, columns.effect_key.in_(chunk)
        )
        for row in work.execute(chosen.order_by(columns.partner_id)):
            shown.setdefault(row.effect_key, []).append(_transaction(row))
    return shown


def save_customer(
    work: Connection, destination: str, customer_ref: str, emails: Sequence[str], *, now: datetime
) -> None:
    """Remember the addresses of a partner's customer."""
    adding = _inserting(work, partner_customers).values(
        destination=destination, customer_ref=customer_ref, emails=json.dumps(list(emails)), read_at=now
    )
    work.execute(
        adding.on_conflict_do_update(
            index_elements=["destination", "customer_ref"],
            set_={"emails": adding.excluded.emails, "read_at": adding.excluded.read_at},
        )
    )


def customers_by_ref(work: Connection, destination: str, refs: Sequence[str]) -> dict[str, PartnerCustomer]:
    """The remembered customers among these."""
    columns = partner_customers.c
    customers: dict[str, PartnerCustomer] = {}
    for begin in range(0, len(refs), _KEYS_PER_QUERY):
        chunk = refs[begin : begin + _KEYS_PER_QUERY]
        chosen = select(partner_customers).where(columns.destination == destination, columns.customer_ref.in_(chunk))
        for row in work.execute(chosen):
            customers[row.customer_ref] = PartnerCustomer(emails=json.loads(row.emails), read_at=row.read_at)
    return customers


def _move(work: Connection, reconciliation_id: int, expected: ReconciliationStatus, **values: object) -> bool:
    columns = reconciliations.c
    moved = update(reconciliations).where(columns.id == reconciliation_id, columns.status == expected)
    return work.execute(moved.values(**values)).rowcount == 1


def _inserting(work: Connection, table: Any) -> Any:  # the two engines' inserts have no common type
    return (sqlite.insert if work.dialect.name == "sqlite" else postgresql.insert)(table)


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


def _transaction_row(reconciliation_id: int, transaction: ShownTransaction) -> dict[str, object]:
    key = transaction.effect_key
    return {
        "reconciliation_id": reconciliation_id,
        "partner_id": storable(transaction.partner_id)[:_PARTNER_ID_CHARACTERS_MAX],
        "effect_key": None if key is None else storable(key),
        "customer_ref": storable(transaction.customer_ref)[:_PARTNER_ID_CHARACTERS_MAX],
        "mapping_value": transaction.mapping_value,
        "quantity": decimal_text(transaction.quantity),
        "status": transaction.status,
        "status_text": storable(transaction.status_text),
        "booked_at": transaction.booked_at,
    }


def _transaction(row: Any) -> ShownTransaction:  # a row of a select
    return ShownTransaction(
        partner_id=row.partner_id,
        effect_key=row.effect_key,
        customer_ref=row.customer_ref,
        mapping_value=row.mapping_value,
        quantity=None if row.quantity is None else Decimal(row.quantity),
        status=row.status,
        status_text=row.status_text,
        booked_at=row.booked_at,
    )
