"""What the store knows of orders: their effects, orders that earned nothing, effects that depend on them."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    true,
    tuple_,
    update,
)

from punchcard.events.commerce import id_variants, normalize_id
from punchcard.store.bulk import PreparedStatement, is_listed
from punchcard.store.delivery.effects import WAITING_FOR_ORDER, EffectState, StoredEffect, effect_of
from punchcard.store.delivery.operator_actions import reopen
from punchcard.store.delivery.schema import effects, refused_orders
from punchcard.store.routing.note_counts import PRUNED_PER_UNIT
from punchcard.store.upsert import insert_into
from punchcard.store.values import storable

# Without an order: for the sake of it SQLite would read all effects of the destination.
_OF_ORDERS: Final = PreparedStatement(
    select(effects).where(
        effects.c.destination == bindparam("b_destination"), is_listed(effects.c.order_id, "b_orders")
    )
)
_REFUSALS: Final = PreparedStatement(
    select(refused_orders)
    .where(refused_orders.c.destination == bindparam("b_destination"), is_listed(refused_orders.c.order_id, "b_orders"))
    .order_by(refused_orders.c.received_at.desc())
)
_DEPENDENTS: Final = PreparedStatement(
    select(effects.c.id, effects.c.order_id, effects.c.state, effects.c.reason).where(
        effects.c.destination == bindparam("b_destination"),
        is_listed(effects.c.order_id, "b_orders"),
        effects.c.is_refund.is_(True),
        # Not the column itself: SQLite would take its index, and read all refunds that ever had such a reason.
        is_listed(func.coalesce(effects.c.reason, ""), "b_reasons"),
    )
)
_SET_DUE: Final = PreparedStatement(
    update(effects).where(is_listed(effects.c.id, "b_ids")).values(due_at=bindparam("b_now"))
)


@dataclass(frozen=True, kw_only=True)
class RefusedOrder:
    """An order that a destination's rules refused, so that it earned nothing.

    Attributes:
        reason: Code of the refusal.
    """

    destination: str
    order_id: str
    source: str
    reason: str
    message_id: str
    received_at: datetime


def waits_for_order(table: FromClause) -> ColumnElement[bool]:
    """Return the condition that a row waits for its order to end, and lets others of its ordering key pass."""
    return and_(table.c.state == EffectState.RETRYING, func.coalesce(table.c.reason, "") == WAITING_FOR_ORDER)


def effects_by_order(work: Connection, destination: str, order_ids: Iterable[str]) -> dict[str, list[StoredEffect]]:
    """The awards and refunds of these orders, from whatever source, oldest first, by the normal text of the order id.

    Earlier versions kept `1001.0` apart from `1001`: rows of both are rows of order 1001.
    """
    return request_effects_by_order(work, destination, order_ids)()


def request_effects_by_order(
    work: Connection, destination: str, order_ids: Iterable[str]
) -> Callable[[], dict[str, list[StoredEffect]]]:
    """Ask for the same; see `PreparedStatement.request`."""
    rows = _OF_ORDERS.request(work, {"b_destination": destination, "b_orders": _stored_ids(order_ids)})

    def read() -> dict[str, list[StoredEffect]]:
        effects_of_orders: dict[str, list[StoredEffect]] = {}
        for row in sorted(rows(), key=lambda row: row.id):
            effects_of_orders.setdefault(normalize_id(row.order_id), []).append(effect_of(row))
        return effects_of_orders

    return read


def _stored_ids(order_ids: Iterable[str]) -> list[str]:
    """Return every text under which rows of these orders may be stored."""
    return sorted({variant for order_id in order_ids for variant in id_variants(storable(order_id))})


def record_refused_orders(work: Connection, refused: Iterable[RefusedOrder]) -> None:
    """Store that these orders earned nothing, by the newest refusal of each."""
    newest = {(order.destination, order.order_id, order.source): order for order in refused}
    if not newest:
        return
    adding = insert_into(work, refused_orders)
    keys = [column.name for column in refused_orders.primary_key]
    changed = {name: adding.excluded[name] for name in ("reason", "message_id", "received_at")}
    work.execute(
        adding.on_conflict_do_update(index_elements=keys, set_=changed),
        [
            {
                "destination": order.destination,
                "order_id": storable(order.order_id),
                "source": order.source,
                "reason": order.reason,
                "message_id": storable(order.message_id),
                "received_at": order.received_at,
            }
            # In one order everywhere: two processes that write the same rows must not wait for each other.
            for _, order in sorted(newest.items())
        ],
    )


def prune_refused_orders(work: Connection, *, before: datetime, limit: int = PRUNED_PER_UNIT) -> int:
    """Delete at most `limit` orders that were refused before an instant; returns how many.

    An order with a dependent effect that waits or is parked stays, because that effect is decided by the refusal.
    """
    columns = refused_orders.c
    keys = list(refused_orders.primary_key)
    has_dependent = exists().where(
        effects.c.destination == columns.destination,
        effects.c.order_id == columns.order_id,
        effects.c.is_refund == true(),
        or_(effects.c.is_open == true(), effects.c.state == EffectState.PARKED),
    )
    chosen = (
        select(*keys).where(columns.received_at < before, ~has_dependent).order_by(columns.received_at).limit(limit)
    )
    return work.execute(delete(refused_orders).where(tuple_(*keys).in_(chosen))).rowcount


def refusal_of_order(work: Connection, destination: str, order_id: str, *, source: str | None) -> str | None:
    """Return the reason for which the order was refused, None if it was not.

    Args:
        source: Only if it came from this source; None for any.
    """
    refused = refusals_by_order(work, destination, [order_id]).get(normalize_id(order_id), [])
    return next((order.reason for order in refused if source in (None, order.source)), None)


def refusals_by_order(work: Connection, destination: str, order_ids: Iterable[str]) -> dict[str, list[RefusedOrder]]:
    """Return the refusals of these orders, newest first, by the normal text of the order id."""
    refusals: dict[str, list[RefusedOrder]] = {}
    for row in _REFUSALS.rows(work, {"b_destination": destination, "b_orders": _stored_ids(order_ids)}):
        refusals.setdefault(normalize_id(row.order_id), []).append(RefusedOrder(**row._asdict()))
    return refusals


def wake_dependents(
    work: Connection,
    destination: str,
    *,
    delivered: Collection[str] = (),
    ended: Collection[str] = (),
    reopened: Collection[str],
    reopened_on_delivery: Collection[str],
    now: datetime,
) -> int:
    """Make effects that depend on an order due now, to be prepared again; return their number.

    Those that wait for it are due. Those that have ended for one of the reasons are put back in the queue.

    Args:
        delivered: Ids of orders of which an effect was delivered just now.
        ended: Ids of orders of which an effect has ended otherwise, or was refused.
        reopened: Reasons of parked effects that are put back in any case.
        reopened_on_delivery: Reasons of rejected effects that are put back if an effect of their order was delivered.
    """
    rows = _DEPENDENTS.rows(
        work,
        {
            "b_destination": destination,
            "b_orders": _stored_ids((*delivered, *ended)),
            "b_reasons": sorted({WAITING_FOR_ORDER, *reopened, *reopened_on_delivery}),
        },
    )
    waiting = [row.id for row in rows if row.state == EffectState.RETRYING]
    if waiting:
        _SET_DUE.execute(work, {"b_ids": waiting, "b_now": now})
    delivered_ids = set(_stored_ids(delivered)) if rows else set()
    again = [
        row.id
        for row in rows
        if (row.state == EffectState.PARKED and row.reason in reopened)
        or (row.state == EffectState.REJECTED and row.reason in reopened_on_delivery and row.order_id in delivered_ids)
    ]
    return len(waiting) + (reopen(work, again, now=now) if again else 0)
