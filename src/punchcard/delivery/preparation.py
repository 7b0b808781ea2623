"""What exactly to do for a claimed effect, decided against the ledger at the last moment before it is sent."""

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Connection

from punchcard.destinations.port import EffectKind
from punchcard.store.effects import StoredEffect
from punchcard.store.ledger import OrderStanding, order_standing
from punchcard.store.schema import EffectState

_WAIT_FOR_ORDER_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The effect can be sent.

    Attributes:
        quantity: Signed units to send, None for a user property.
        detail: What was cut and why, None if nothing was.
    """

    quantity: Decimal | None
    detail: str | None = None


@dataclass(frozen=True, kw_only=True)
class NotReady:
    """The effect is not sent now.

    Attributes:
        state: Where it goes instead.
        wait_seconds: When to look again, for an open state.
    """

    state: EffectState
    reason: str
    detail: str
    wait_seconds: float = 0.0


def prepare(work: Connection, effect: StoredEffect) -> Ready | NotReady:
    """Decide the amount of one effect. Only refunds need the ledger: it knows what was awarded for their order.

    A refund removes what it asks for, but never more than the ledger has awarded for an order that it knows, less
    what was removed for it before. One without an amount removes all of that.
    """
    if effect.kind == EffectKind.USER_PROPERTY or not effect.is_refund:
        return Ready(quantity=effect.requested_quantity)
    return _prepare_refund(effect, order_standing(work, effect))


def _prepare_refund(effect: StoredEffect, order: OrderStanding) -> Ready | NotReady:
    asked = None if effect.requested_quantity is None else -effect.requested_quantity
    if order.parked:
        return NotReady(
            state=EffectState.PARKED,
            reason="order_not_delivered",
            detail=f"the award for order {effect.order_id} is parked itself: settle it first, then retry this refund",
        )
    if order.waiting:
        return NotReady(
            state=EffectState.RETRYING,
            reason="waiting_for_order",
            detail=f"the award for order {effect.order_id} is still on its way",
            wait_seconds=_WAIT_FOR_ORDER_SECONDS,
        )
    if not order.known:
        if asked is None:
            return NotReady(
                state=EffectState.PARKED,
                reason="refund_unknown_order",
                detail=f"the refund names no amount and no award for order {effect.order_id} is on record",
            )
        return Ready(quantity=-asked)
    left = order.awarded - order.removed
    standing = f"{order.awarded:f} awarded for order {effect.order_id}, {order.removed:f} removed before"
    if left <= 0:
        return NotReady(
            state=EffectState.REJECTED,
            reason="refund_nothing_left",
            detail=f"nothing is left to remove: {standing}",
        )
    if asked is None:
        return Ready(quantity=-left, detail=f"no amount in the refund: {left:f} taken from the ledger ({standing})")
    if asked > left:
        return Ready(quantity=-left, detail=f"cut from {asked:f} to {left:f}: {standing}")
    return Ready(quantity=-asked)
