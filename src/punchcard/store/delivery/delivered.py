"""The ledger of a period in the order of receipt, as it is compared with what a partner has booked."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, and_, func, or_, select, type_coerce

from punchcard.clock import to_micros
from punchcard.store.delivery.effects import EffectState, StoredEffect, effect_of
from punchcard.store.delivery.schema import IS_OPEN, effects
from punchcard.store.operations.schema import reconciliation_transactions

_ROWS_PER_READ = 2_000
_IDS_PER_QUERY = 400  # below SQLite's limit of bound variables, also on old builds


@dataclass(frozen=True, slots=True)
class Match:
    """A delivered effect beside what the partner has shown under its key; texts as they are stored.

    Attributes:
        shown_count: How many transactions were shown. The members that begin with `shown` are those of the first one.
    """

    id: int
    customer: str
    item: str | None
    quantity: str | None
    has_event_settings: bool
    account: str | None
    shown_count: int
    shown_status: str | None
    shown_customer_ref: str | None
    shown_value: str | None
    shown_quantity: str | None


def matched_effects(
    work: Connection, destination: str, reconciliation_id: int, *, since: datetime, until: datetime
) -> Iterator[list[Match]]:
    """Effects for events received since then and delivered until then, in chunks, with what was shown for them.

    Only what a comparison looks at first is read: of 100,000 effects nearly all agree.
    """
    after = (to_micros(since), 0)
    while True:
        chunk = _delivered_after(destination, after, until).subquery()
        shown = reconciliation_transactions.c
        joined = select(
            chunk.c.id,
            chunk.c.received_at,
            chunk.c.customer,
            chunk.c.item,
            chunk.c.quantity,
            chunk.c.event_settings,
            chunk.c.account,
            shown.status,
            shown.customer_ref,
            shown.mapping_value,
            shown.quantity,
        ).select_from(
            chunk.outerjoin(
                reconciliation_transactions,
                and_(shown.reconciliation_id == reconciliation_id, shown.effect_key == chunk.c.effect_key),
            )
        )
        rows = work.execute(joined.order_by(chunk.c.received_at, chunk.c.id, shown.partner_id)).all()
        if not rows:
            return
        after = (to_micros(rows[-1][1]), rows[-1][0])
        yield [_match(list(same)) for _, same in groupby(rows, key=itemgetter(0))]


def _delivered_after(destination: str, after: tuple[int, int], until: datetime) -> Select[Any]:
    """Return the statement for the next effects behind a time of receipt and an id."""
    columns = effects.c
    received = type_coerce(columns.received_at, BigInteger)
    # Row by row from where the last chunk ended: the index of times of receipt holds the id as well.
    behind = or_(received > after[0], and_(received == after[0], columns.id > after[1]))
    return (
        select(
            columns.id,
            columns.received_at,
            columns.effect_key,
            columns.customer,
            columns.item,
            columns.quantity,
            columns.event_settings,
            columns.account,
        )
        .where(
            columns.destination == destination,
            received >= after[0],
            behind,
            columns.item.is_not(None),
            columns.state == EffectState.DELIVERED,
            columns.finished_at <= until,
        )
        .order_by(columns.received_at, columns.id)
        .limit(_ROWS_PER_READ)
    )


def _match(rows: Sequence[Any]) -> Match:  # rows of a join
    id_, _, customer, item, quantity, event_settings, account, status, customer_ref, value, shown_quantity = rows[0]
    return Match(
        id_,
        customer,
        item,
        quantity,
        event_settings is not None,
        account,
        0 if status is None else len(rows),
        status,
        customer_ref,
        value,
        shown_quantity,
    )


def effects_by_id(work: Connection, effect_ids: Sequence[int]) -> dict[int, StoredEffect]:
    """Return these effects."""
    stored: dict[int, StoredEffect] = {}
    for begin in range(0, len(effect_ids), _IDS_PER_QUERY):
        chosen = select(effects).where(effects.c.id.in_(effect_ids[begin : begin + _IDS_PER_QUERY]))
        stored |= {row.id: effect_of(row) for row in work.execute(chosen)}
    return stored


def open_effects_before(work: Connection, destination: str, *, before: datetime) -> list[StoredEffect]:
    """Effects that were planned before an instant and are in the queue still, oldest first."""
    columns = effects.c
    chosen = select(effects).where(
        columns.destination == destination,
        IS_OPEN,
        columns.item.is_not(None),
        columns.created_at < before,
    )
    in_order = chosen.order_by(columns.id + 0)  # by the id itself, SQLite would read the whole ledger in its order
    return [effect_of(row) for row in work.execute(in_order)]


def other_destinations(work: Connection, destination: str) -> list[str]:
    """Return the other destinations that the ledger has rows of, configured or not."""
    columns, slugs, last = effects.c, [], ""
    # One step of the index for each: a DISTINCT would read the index of the whole ledger.
    while (last := work.scalar(select(func.min(columns.destination)).where(columns.destination > last))) is not None:
        slugs.append(last)
    return [slug for slug in slugs if slug != destination]


def keys_at(work: Connection, destinations: Collection[str], keys: Sequence[str]) -> set[str]:
    """Return those of the keys that have a row of one of these destinations."""
    columns, known = effects.c, set[str]()
    for destination in destinations:
        for begin in range(0, len(keys), _IDS_PER_QUERY):
            chunk = keys[begin : begin + _IDS_PER_QUERY]
            of_chunk = select(columns.effect_key).where(
                columns.destination == destination, columns.effect_key.in_(chunk)
            )
            known.update(work.scalars(of_chunk))
    return known
