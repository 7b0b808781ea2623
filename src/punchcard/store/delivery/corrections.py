"""Changes to the ledger that an operator decides after it was compared with what the partner has booked.

Rows are never deleted. Each function looks at the state that it corrects: what has changed since is left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, insert, select, update

from punchcard.store.delivery.counts import count_ends, ended_of
from punchcard.store.delivery.effects import SENT_AGAIN, EffectState
from punchcard.store.delivery.schema import effects
from punchcard.store.values import decimal_text, storable, storable_or_none

_KEYS_PER_QUERY = 400  # below SQLite's limit of bound variables, also on old builds
_WAITING = (EffectState.PENDING, EffectState.RETRYING, EffectState.UNKNOWN)


@dataclass(frozen=True, kw_only=True)
class RebuiltEffect:
    """A row that the ledger has lost, as the partner's transaction and its key show it. Quantities are signed."""

    destination: str
    effect_key: str
    kind: str
    source: str
    message_id: str
    event_name: str
    email: str
    item: str | None
    quantity: Decimal | None
    order_id: str | None
    is_refund: bool
    refund_id: str | None
    partner_id: str
    booked_at: datetime


def send_again(work: Connection, effect_ids: Sequence[int], *, detail: str, now: datetime) -> int:
    """Put effects in the queue so that each is read back first, and sent only if it is not there; returns how many.

    One that is in the queue already is tried at once.
    """
    sent = 0
    for begin in range(0, len(effect_ids), _KEYS_PER_QUERY):
        chunk = effect_ids[begin : begin + _KEYS_PER_QUERY]
        ended = ended_of(work, chunk)
        count_ends(work, ended, sign=-1)
        work.execute(
            update(effects)
            .where(effects.c.id.in_([row.id for row in ended]))
            .values(
                state=EffectState.UNKNOWN,
                is_open=True,
                reason=SENT_AGAIN,
                detail=storable(detail),
                tries=0,
                due_at=now,
                finished_at=None,
            )
        )
        waiting = update(effects).where(effects.c.id.in_(chunk), effects.c.state.in_(_WAITING), effects.c.due_at > now)
        sent += len(ended) + work.execute(waiting.values(due_at=now)).rowcount
    return sent


def reject_delivered(work: Connection, effect_id: int, *, reason: str, detail: str, now: datetime) -> bool:
    """Say of a delivered effect that the partner does not have it any more; False if it is not delivered now."""
    return correct_effect(
        work,
        effect_id,
        (EffectState.DELIVERED,),
        state=EffectState.REJECTED,
        reason=reason,
        detail=storable(detail),
        finished_at=now,
    )


def change_delivered(
    work: Connection, effect_id: int, *, quantity: Decimal | None, item: str | None, detail: str
) -> bool:
    """Give a delivered effect the content that the partner has booked; False if it is not delivered now.

    Args:
        quantity: Without a sign: the effect keeps its own. None leaves it.
        item: None leaves it.
    """
    row = work.execute(select(effects.c.quantity).where(effects.c.id == effect_id)).one_or_none()
    values: dict[str, object] = {"detail": storable(detail)}
    if quantity is not None and row is not None:
        takes_away = row.quantity is not None and Decimal(row.quantity) < 0
        values["quantity"] = decimal_text(-abs(quantity) if takes_away else abs(quantity))
    if item is not None:
        values["item"] = storable(item)
    return correct_effect(work, effect_id, (EffectState.DELIVERED,), **values)


def deliver_booked(work: Connection, effect_id: int, *, partner_id: str, detail: str, now: datetime) -> bool:
    """Mark an effect as delivered that the partner has booked; False if it is in flight, or delivered already."""
    states = (*_WAITING, EffectState.PARKED, EffectState.REJECTED)
    row = work.execute(select(effects.c.quantity, effects.c.requested_quantity).where(effects.c.id == effect_id)).one()
    return correct_effect(
        work,
        effect_id,
        states,
        state=EffectState.DELIVERED,
        is_open=False,
        reason=None,
        detail=storable(detail),
        partner_id=partner_id,
        quantity=row.quantity if row.quantity is not None else row.requested_quantity,
        lease_until=None,
        finished_at=now,
    )


def rebuild(work: Connection, lost: RebuiltEffect, *, detail: str, now: datetime) -> bool:
    """Add a delivered row for what the partner has booked; False if the ledger has its key."""
    same = select(effects.c.id).where(
        effects.c.destination == lost.destination, effects.c.effect_key == lost.effect_key
    )
    if work.scalar(same) is not None:
        return False
    quantity = decimal_text(lost.quantity)
    customer = lost.email.lower()
    effect_id = work.scalar(
        insert(effects)
        .values(
            destination=lost.destination,
            effect_key=lost.effect_key,
            kind=lost.kind,
            source=lost.source,
            message_id=storable(lost.message_id),
            event_name=storable(lost.event_name),
            log_position=0,
            event_index=0,
            received_at=lost.booked_at,
            customer=customer,
            email=lost.email,
            item=storable_or_none(lost.item),
            requested_quantity=quantity,
            quantity=quantity,
            order_id=storable_or_none(lost.order_id),
            is_refund=lost.is_refund,
            refund_id=storable_or_none(lost.refund_id),
            ordering_key=customer,
            event_type="track",
            state=EffectState.DELIVERED,
            is_open=False,
            detail=storable(detail),
            attempts=0,
            tries=0,
            due_at=now,
            partner_id=lost.partner_id,
            created_at=lost.booked_at,
            finished_at=lost.booked_at,
        )
        .returning(effects.c.id)
    )
    if effect_id is not None:
        count_ends(work, ended_of(work, [effect_id]), sign=1)
    return True


def correct_effect(work: Connection, effect_id: int, expected: Sequence[EffectState], **values: object) -> bool:
    """Change one effect, and the counts with it; False if it is in none of the expected states."""
    count_ends(work, [row for row in ended_of(work, [effect_id]) if row.state in expected], sign=-1)
    corrected = update(effects).where(effects.c.id == effect_id, effects.c.state.in_(expected)).values(**values)
    if work.execute(corrected).rowcount != 1:
        return False
    count_ends(work, ended_of(work, [effect_id]), sign=1)
    return True
