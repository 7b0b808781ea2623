"""What exactly to do for a claimed effect, decided against the ledger at the last moment before it is sent."""

from datetime import datetime

from sqlalchemy import Connection

from punchcard.destinations.definition import Capability
from punchcard.destinations.port import DeliveryOptions, KeyScope, Partner
from punchcard.destinations.preparation import NotReady, PreparesEffects, Ready
from punchcard.errors import InvariantError
from punchcard.store.delivery.effects import StoredEffect
from punchcard.store.delivery.orders import effects_by_order, refusal_of_order

__all__ = ["NotReady", "Ready", "prepare"]


def prepare(
    work: Connection,
    effect: StoredEffect,
    *,
    partner: Partner,
    settings: object,
    options: DeliveryOptions,
    now: datetime,
) -> Ready | NotReady:
    """Decide the amount of one effect. Only those that depend on their order need the ledger, which knows the others.

    Raises:
        InvariantError: an effect of its order cannot be read, so nothing that depends on the order can be decided.
    """
    if not effect.is_refund or effect.order_id is None or Capability.PREPARATION not in partner.definition.capabilities:
        return Ready(quantity=effect.requested_quantity)
    if not isinstance(partner, PreparesEffects):
        raise InvariantError(f"{partner.definition.name} declares preparation, and has no `prepare`")
    source = effect.source if options.order_scope is KeyScope.SOURCE else None
    effects_of_order = effects_by_order(work, effect.destination, [effect.order_id])
    of_order = [row for rows in effects_of_order.values() for row in rows if source in (None, row.source)]
    if damaged := next((row for row in of_order if row.unreadable is not None), None):
        raise InvariantError(f"{damaged.effect_key} of the same order cannot be read: {damaged.unreadable}")
    refusal = None
    if not any(not row.is_refund for row in of_order):
        refusal = refusal_of_order(work, effect.destination, effect.order_id, source=source)
    others = [row for row in of_order if row.id != effect.id]
    return partner.prepare(effect, others, refusal=refusal, settings=settings, now=now)
