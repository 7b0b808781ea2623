"""What exactly to do for a claimed effect, decided against the ledger at the last moment before it is sent."""

from datetime import datetime

from sqlalchemy import Connection

from punchcard.delivery.refunds import NotReady, Ready, decide_refund
from punchcard.destinations.port import DeliveryOptions, EffectKind, KeyScope
from punchcard.errors import InvariantError
from punchcard.store.effects import StoredEffect
from punchcard.store.orders import effects_by_order, refusal_of_order

__all__ = ["NotReady", "Ready", "prepare"]


def prepare(work: Connection, effect: StoredEffect, *, options: DeliveryOptions, now: datetime) -> Ready | NotReady:
    """Decide the amount of one effect. Only refunds need the ledger: it knows what was awarded for their order.

    Raises:
        InvariantError: an effect of the refund's order cannot be read, so what is left of the order is not known.
    """
    if effect.kind == EffectKind.USER_PROPERTY or not effect.is_refund or effect.order_id is None:
        return Ready(quantity=effect.requested_quantity)
    source = effect.source if options.order_scope is KeyScope.SOURCE else None
    found = effects_by_order(work, effect.destination, [effect.order_id])
    of_order = [one for rows in found.values() for one in rows if source in (None, one.source)]
    if damaged := next((one for one in of_order if one.unreadable is not None), None):
        raise InvariantError(f"{damaged.effect_key} of the same order cannot be read: {damaged.unreadable}")
    refusal = None
    if not any(not one.is_refund for one in of_order):
        refusal = refusal_of_order(work, effect.destination, effect.order_id, source=source)
    return decide_refund(
        effect, [one for one in of_order if one.id != effect.id], refusal=refusal, options=options, now=now
    )
