"""What exactly to do for a claimed effect, decided against the ledger at the last moment before it is sent."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from punchcard.destinations.correcting import CorrectsEffects
from punchcard.destinations.definition import Capability
from punchcard.destinations.port import DeliveryOptions, KeyScope, Partner
from punchcard.destinations.preparation import NotReady, PreparesEffects, Ready
from punchcard.errors import InvariantError
from punchcard.store.delivery.conflicts import effects_with_corrections
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
    if effect.corrects is not None:
        return _prepare_correction(work, effect, effect.corrects, partner=partner, settings=settings, now=now)
    if not effect.is_refund or effect.order_id is None or Capability.PREPARATION not in partner.definition.capabilities:
        return Ready(quantity=effect.requested_quantity)
    if not isinstance(partner, PreparesEffects):
        raise InvariantError(f"{partner.definition.name} declares preparation, and has no `prepare`")
    source = effect.source if options.order_scope is KeyScope.SOURCE else None
    effects_of_order = effects_by_order(work, effect.destination, [effect.order_id])
    of_order = [row for rows in effects_of_order.values() for row in rows if source in (None, row.source)]
    _check_readable(of_order)
    refusal = None
    if not any(not row.is_refund for row in of_order):
        refusal = refusal_of_order(work, effect.destination, effect.order_id, source=source)
    others = [row for row in of_order if row.id != effect.id]
    return partner.prepare(effect, others, refusal=refusal, settings=settings, now=now)


def _prepare_correction(
    work: Connection, correction: StoredEffect, first_id: int, *, partner: Partner, settings: object, now: datetime
) -> Ready | NotReady:
    if not isinstance(partner, CorrectsEffects):
        raise InvariantError(f"{partner.definition.name} has no `prepare_correction`")
    rows = effects_with_corrections(work, first_id)
    if correction.order_id is not None:
        order = effects_by_order(work, correction.destination, [correction.order_id])
        # With orders that are one within their source only, those of another source are other orders.
        sources = {row.source for row in rows}
        options = partner.delivery_options(settings)
        rows = list(
            {
                row.id: row
                for row in (*rows, *(row for of_order in order.values() for row in of_order))
                if options.order_scope is KeyScope.DESTINATION or row.source in sources
            }.values()
        )
    _check_readable(rows)
    first = next(row for row in rows if row.id == first_id)
    others = sorted((row for row in rows if row.id != correction.id), key=lambda row: row.id)
    return partner.prepare_correction(correction, first, others, settings=settings, now=now)


def _check_readable(rows: Sequence[StoredEffect]) -> None:
    if damaged := next((row for row in rows if row.unreadable is not None), None):
        raise InvariantError(f"{damaged.effect_key} of the same order cannot be read: {damaged.unreadable}")
