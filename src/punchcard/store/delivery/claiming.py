"""What may be claimed of a destination's outbox now, when the next effect is due, and what reading back goes by."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    and_,
    bindparam,
    func,
    not_,
    or_,
    select,
    true,
    tuple_,
)

from punchcard.store.bulk import PreparedStatement
from punchcard.store.delivery.effects import EffectState, StoredEffect, effect_of
from punchcard.store.delivery.orders import waits_for_order
from punchcard.store.delivery.schema import effects

# An award in doubt holds up the customer's others if it is read back within this time: what is read may decide nothing
# for hours.
_HOLDS_UP: Final = timedelta(seconds=20)


def _lets_others_pass(table: FromClause) -> ColumnElement[bool]:
    """Return the condition that a row lets others pass: it waits for its order, or long for its next read-back.

    Awards of a customer do not depend on each other, and a refund of one in doubt waits for it by itself. Attributes
    keep their order: an older value that is sent again must not replace a newer one.
    """
    is_in_doubt = and_(
        table.c.state == EffectState.UNKNOWN, table.c.due_at > bindparam("b_soon"), table.c.item.is_not(None)
    )
    return or_(waits_for_order(table), is_in_doubt)


_same_key = effects.alias("same_key")
_flying = effects.alias("flying")
# The statements of every delivery cycle are built once: building them costs more than running them.
_DUE = (
    select(effects)
    .where(
        effects.c.destination == bindparam("b_destination"),
        effects.c.is_open == true(),
        effects.c.due_at <= bindparam("b_now"),
        or_(effects.c.state != EffectState.SENDING, effects.c.lease_until < bindparam("b_now")),
        # A scalar, not an EXISTS: PostgreSQL would join that, and with old statistics through the whole ledger.
        or_(
            waits_for_order(effects),
            effects.c.id
            == select(func.min(_same_key.c.id))
            .where(
                _same_key.c.destination == effects.c.destination,
                _same_key.c.ordering_key == effects.c.ordering_key,
                _same_key.c.kind == effects.c.kind,
                _same_key.c.is_open == true(),
                not_(_lets_others_pass(_same_key)),
            )
            .scalar_subquery(),
        ),
        tuple_(effects.c.ordering_key, effects.c.kind).not_in(
            select(_flying.c.ordering_key, _flying.c.kind).where(
                _flying.c.destination == bindparam("b_destination"),
                _flying.c.state == EffectState.SENDING,
                _flying.c.lease_until >= bindparam("b_now"),
            )
        ),
    )
    .order_by(effects.c.due_at, effects.c.id)
    .limit(bindparam("b_limit"))
    .with_for_update(skip_locked=True)
)
_CLAIMABLE = PreparedStatement(_DUE)
_CLAIMABLE_LIVE = PreparedStatement(_DUE.where(effects.c.replay.is_(None)))
_CLAIMABLE_IDS = PreparedStatement(_DUE.with_only_columns(effects.c.id, effects.c.replay))
_CLAIMABLE_LIVE_IDS = PreparedStatement(
    _DUE.where(effects.c.replay.is_(None)).with_only_columns(effects.c.id, effects.c.replay)
)
_OTHERS_OF_CUSTOMER = PreparedStatement(
    select(effects.c.partner_id, effects.c.effect_key, effects.c.account).where(
        effects.c.destination == bindparam("b_destination"),
        effects.c.customer == bindparam("b_customer"),
        effects.c.kind == bindparam("b_kind"),
        effects.c.id != bindparam("b_id"),
        effects.c.partner_id.is_not(None),
        effects.c.state == EffectState.DELIVERED,  # others may have an id that an inconclusive response named
    )
)
_DELIVERED_ELSEWHERE = PreparedStatement(
    select(effects)
    .where(
        effects.c.destination == bindparam("b_destination"),
        effects.c.state == EffectState.DELIVERED,
        effects.c.kind == bindparam("b_kind"),
        effects.c.account == bindparam("b_account"),
        effects.c.customer != bindparam("b_customer"),
        effects.c.email != "",
    )
    .order_by(effects.c.id.desc())
    .limit(1)
)


def claimable(work: Connection, destination: str, *, now: datetime, limit: int) -> list[StoredEffect]:
    """Return effects that are due and first in their ordering key, oldest due first. The caller starts or moves each.

    Live effects come before those of replays, which wait for as long as there are enough.

    An effect that waits for its order holds up no other, and may be due beside the first of its ordering key: the
    caller starts one of an ordering key at most. Nor does an award in doubt that is not read back soon.

    Effects of two kinds are ordered apart: an attribute may wait for a customer whom the destination does not know yet,
    and whom the first effect of another kind makes known. Nothing of an ordering key is claimed while an effect of it
    is in flight: an older one that an operator has put back in the queue waits for it.
    """
    rows = _live_first(work, _CLAIMABLE, _CLAIMABLE_LIVE, destination, now=now, limit=limit)
    return [effect_of(row) for row in rows]


def claimable_ids(work: Connection, destination: str, *, now: datetime, limit: int) -> list[int]:
    """Return the ids of what `claimable` would return, also of rows that cannot be read."""
    rows = _live_first(work, _CLAIMABLE_IDS, _CLAIMABLE_LIVE_IDS, destination, now=now, limit=limit)
    return [row.id for row in rows]


def _live_first(
    work: Connection,
    statement: PreparedStatement,
    live_statement: PreparedStatement,
    destination: str,
    *,
    now: datetime,
    limit: int,
) -> list[Any]:
    """Return the rows of a statement like `_CLAIMABLE`, those of replays behind all others.

    Args:
        live_statement: The same without those of replays.
    """
    values = {"b_destination": destination, "b_now": now, "b_soon": now + _HOLDS_UP, "b_limit": limit}
    rows = statement.rows(work, values)
    replayed = [row for row in rows if row.replay is not None]
    live = [row for row in rows if row.replay is None]
    if replayed and len(rows) >= limit:
        # Behind those of a replay more live ones may be due: sorting by both in SQL would read the whole queue.
        live = live_statement.rows(work, values)
    return [*live, *replayed][:limit]


def others_of_customer(work: Connection, effect: StoredEffect, *, account: str | None) -> Sequence[Any]:
    """Return `partner_id`, `effect_key` and `account` of a customer's other effects that were delivered to an account.

    What the partner shows under these ids is not this effect. Those from before accounts were stored may be in any
    account. In another account the same id may be of anything.
    """
    values = {
        "b_destination": effect.destination,
        "b_customer": effect.customer,
        "b_kind": effect.kind,
        "b_id": effect.id,
    }
    rows = _OTHERS_OF_CUSTOMER.rows(work, values)
    return [row for row in rows if account is None or row.account in (None, account)]


def newest_delivered_elsewhere(work: Connection, effect: StoredEffect, *, account: str | None) -> StoredEffect | None:
    """Return the newest delivered effect of another customer in the account: it tells how the partner shows keys."""
    values = {
        "b_destination": effect.destination,
        "b_customer": effect.customer,
        "b_kind": effect.kind,
        "b_account": account,
    }
    rows = _DELIVERED_ELSEWHERE.rows(work, values)
    return effect_of(rows[0]) if rows else None
