"""What a partner has shown for reconciliations that are under way: its transactions, and the addresses of customers."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, delete, exists, or_, select, true
from sqlalchemy.dialects import postgresql, sqlite

from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.schema import effects
from punchcard.store.operations.schema import partner_customers, reconciliation_transactions
from punchcard.store.values import decimal_text, storable

_KEYS_PER_QUERY = 400  # below SQLite's limit of bound variables, also on old builds
_ROWS_PER_READ = 2_000
_PARTNER_ID_CHARACTERS_MAX = 128


@dataclass(frozen=True, kw_only=True)
class ShownTransaction:
    """A transaction as a partner has shown it.

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


def add_transactions(work: Connection, reconciliation_id: int, transactions: Sequence[ShownTransaction]) -> None:
    """Keep what a page has shown."""
    rows = [_transaction_row(reconciliation_id, transaction) for transaction in transactions]
    if rows:
        # A list that grows at its front shows some transactions again on its next page.
        work.execute(_inserting(work, reconciliation_transactions).on_conflict_do_nothing(), rows)


def drop_transactions(work: Connection, reconciliation_ids: Sequence[int], *, limit: int) -> int:
    """Forget what was shown for reconciliations that are over; returns how many rows that removed."""
    columns = reconciliation_transactions.c
    chosen = select(columns.reconciliation_id, columns.partner_id).where(
        columns.reconciliation_id.in_(list(reconciliation_ids))
    )
    rows = work.execute(chosen.limit(limit)).all()
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


def unmatched_transactions(
    work: Connection, destination: str, reconciliation_id: int, *, status: str
) -> Iterator[list[ShownTransaction]]:
    """Transactions with a status, in chunks, for which the ledger has no effect that is delivered or in the queue."""
    columns = reconciliation_transactions.c
    matched = exists().where(
        effects.c.destination == destination,
        effects.c.effect_key == columns.effect_key,
        or_(effects.c.state == EffectState.DELIVERED, effects.c.is_open == true()),
    )
    after = ""
    while True:
        chosen = select(reconciliation_transactions).where(
            columns.reconciliation_id == reconciliation_id,
            columns.partner_id > after,
            columns.status == status,
            or_(columns.effect_key.is_(None), ~matched),
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
        for row in work.execute(chosen.order_by(columns.booked_at, columns.partner_id)):
            shown.setdefault(row.effect_key, []).append(_transaction(row))
    return shown


def are_keys_shown(work: Connection, reconciliation_id: int) -> bool:
    """Whether the partner has shown a transaction under any key, also of other senders."""
    columns = reconciliation_transactions.c
    keyed = exists().where(columns.reconciliation_id == reconciliation_id, columns.effect_key.is_not(None))
    return bool(work.scalar(select(keyed)))


def keyless_transactions(
    work: Connection, reconciliation_id: int, partner_ids: Sequence[str]
) -> dict[str, ShownTransaction]:
    """What the partner has shown without a key, among these ids."""
    columns = reconciliation_transactions.c
    shown: dict[str, ShownTransaction] = {}
    for begin in range(0, len(partner_ids), _KEYS_PER_QUERY):
        chosen = select(reconciliation_transactions).where(
            columns.reconciliation_id == reconciliation_id,
            columns.partner_id.in_(partner_ids[begin : begin + _KEYS_PER_QUERY]),
            columns.effect_key.is_(None),
        )
        shown |= {row.partner_id: _transaction(row) for row in work.execute(chosen)}
    return shown


def keyless_contents(work: Connection, reconciliation_id: int) -> list[tuple[str | None, Decimal | None]]:
    """Which items and quantities the partner has shown without a key, each pair once."""
    columns = reconciliation_transactions.c
    chosen = select(columns.mapping_value, columns.quantity).where(
        columns.reconciliation_id == reconciliation_id, columns.effect_key.is_(None)
    )
    rows = work.execute(chosen.distinct())
    return [(row.mapping_value, None if row.quantity is None else Decimal(row.quantity)) for row in rows]


def save_customer(
    work: Connection,
    destination: str,
    customer_ref: str,
    emails: Sequence[str],
    *,
    account: str | None,
    now: datetime,
) -> None:
    """Remember the addresses that a partner's customer has in an account, instead of those in any other one."""
    adding = _inserting(work, partner_customers).values(
        destination=destination,
        customer_ref=customer_ref,
        emails=json.dumps(list(emails)),
        read_at=now,
        account=account,
    )
    work.execute(
        adding.on_conflict_do_update(
            index_elements=["destination", "customer_ref"],
            set_={name: adding.excluded[name] for name in ("emails", "read_at", "account")},
        )
    )


def customers_by_ref(
    work: Connection, destination: str, refs: Sequence[str], *, account: str | None
) -> dict[str, PartnerCustomer]:
    """The remembered customers among these, of one account: another one may number others alike."""
    columns = partner_customers.c
    customers: dict[str, PartnerCustomer] = {}
    for begin in range(0, len(refs), _KEYS_PER_QUERY):
        chunk = refs[begin : begin + _KEYS_PER_QUERY]
        chosen = select(partner_customers).where(
            columns.destination == destination,
            columns.customer_ref.in_(chunk),
            columns.account.is_not_distinct_from(account),
        )
        for row in work.execute(chosen):
            customers[row.customer_ref] = PartnerCustomer(emails=json.loads(row.emails), read_at=row.read_at)
    return customers


def _inserting(work: Connection, table: Any) -> Any:  # the two engines' inserts have no common type
    return (sqlite.insert if work.dialect.name == "sqlite" else postgresql.insert)(table)


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
