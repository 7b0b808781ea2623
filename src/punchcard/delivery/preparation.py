"""What exactly to do for a claimed effect, decided against the ledger at the last moment before it is sent."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property

from sqlalchemy import Connection

from punchcard.destinations.correcting import CorrectsEffects
from punchcard.destinations.definition import Capability
from punchcard.destinations.port import DeliveryOptions, KeyScope, Partner, account_of
from punchcard.destinations.preparation import NotReady, PreparesEffects, Ready
from punchcard.errors import InvariantError
from punchcard.events.commerce import normalize_id
from punchcard.store.delivery.conflicts import effects_with_corrections
from punchcard.store.delivery.effects import OTHER_ACCOUNT, RETRIED, Attempt, EffectState, Move, StoredEffect
from punchcard.store.delivery.orders import RefusedOrder, effects_by_order, refusals_by_order

__all__ = ["NotReady", "Ready", "prepare"]


class ClaimedOrders:
    """The orders that claimed effects depend on: read at once, and kept as the claim itself changes their rows.

    Args:
        claimed: Effects of one destination; those that depend on no order are left out.
    """

    def __init__(self, work: Connection, claimed: Sequence[StoredEffect]) -> None:
        self._work = work
        self._destination = claimed[0].destination if claimed else ""
        self._order_ids = {effect.order_id for effect in claimed if effect.is_refund and effect.order_id is not None}

    @property
    def are_needed(self) -> bool:
        """Whether any of the claimed effects depends on its order."""
        return bool(self._order_ids)

    def rows_of(self, order_id: str) -> Sequence[StoredEffect]:
        """Return the effects of an order, oldest first."""
        return self._rows.get(normalize_id(order_id), ())

    def refusal_of(self, order_id: str, *, source: str | None) -> str | None:
        """Return the reason for which the order was refused the last time, None if it was not.

        Args:
            source: Only if it came from this source; None for any.
        """
        refused = self._refusals.get(normalize_id(order_id), ())
        return next((order.reason for order in refused if source in (None, order.source)), None)

    def note_attempt(self, attempt: Attempt) -> None:
        """Show the effect as in flight to the others of its order."""
        self._note(
            attempt.effect,
            state=EffectState.SENDING,
            attempts=attempt.number,
            item=attempt.item,
            quantity=attempt.quantity,
            detail=attempt.detail,
        )

    def note_move(self, effect: StoredEffect, move: Move) -> None:
        """Show the effect as moved to the others of its order."""
        self._note(effect, state=move.state, reason=move.reason, detail=move.detail, due_at=move.due_at)

    @cached_property
    def _rows(self) -> dict[str, list[StoredEffect]]:
        return effects_by_order(self._work, self._destination, self._order_ids) if self._order_ids else {}

    @cached_property
    def _refusals(self) -> dict[str, list[RefusedOrder]]:
        return refusals_by_order(self._work, self._destination, self._order_ids)

    def _note(self, effect: StoredEffect, **changes: object) -> None:
        if effect.order_id is None or not self._order_ids:
            return
        rows = self._rows.get(normalize_id(effect.order_id), [])
        rows[:] = [replace(row, **changes) if row.id == effect.id else row for row in rows]  # type: ignore[arg-type]


def prepare(
    work: Connection,
    effect: StoredEffect,
    *,
    partner: Partner,
    settings: object,
    options: DeliveryOptions,
    now: datetime,
    orders: ClaimedOrders | None = None,
) -> Ready | NotReady:
    """Decide the amount of one effect. Only those that depend on their order need the ledger, which knows the others.

    Args:
        orders: Of the effects that are claimed together; None reads this effect's.

    Raises:
        InvariantError: an effect of its order cannot be read, so nothing that depends on the order can be decided.
    """
    if effect.corrects is not None:
        return _prepare_correction(work, effect, effect.corrects, partner=partner, settings=settings, now=now)
    if not effect.is_refund or effect.order_id is None or Capability.PREPARATION not in partner.definition.capabilities:
        return Ready(quantity=effect.requested_quantity)
    if not isinstance(partner, PreparesEffects):
        raise InvariantError(f"{partner.definition.name} declares preparation, and has no `prepare`")
    orders = orders or ClaimedOrders(work, [effect])
    source = effect.source if options.order_scope is KeyScope.SOURCE else None
    of_order = [row for row in orders.rows_of(effect.order_id) if source in (None, row.source)]
    _check_readable(of_order)
    refusal = None
    if all(row.is_refund for row in of_order):
        refusal = orders.refusal_of(effect.order_id, source=source)
    others = [row for row in of_order if row.id != effect.id]
    if (elsewhere := _awarded_elsewhere(effect, others, partner=partner, settings=settings)) is not None:
        return elsewhere
    return partner.prepare(effect, others, refusal=refusal, settings=settings, now=now)


def _awarded_elsewhere(
    effect: StoredEffect, others: Sequence[StoredEffect], *, partner: Partner, settings: object
) -> NotReady | None:
    """Keep an effect from one account if its order was awarded in another one, until an operator retries it."""
    account = account_of(partner, settings, effect.event_settings)
    # An operator who retries what was parked for its account has chosen this one.
    if account is None or (effect.reason == RETRIED and effect.account is None):
        return None
    awards = [row for row in others if row.state is EffectState.DELIVERED and not row.is_refund]
    accounts = dict.fromkeys(row.account for row in awards if row.account not in (None, account))
    # One that was sent before is sent again where it was.
    if not accounts or (effect.attempts > 0 and effect.account == account):
        return None
    return NotReady(
        state=EffectState.PARKED,
        reason=OTHER_ACCOUNT,
        detail=f"{_shown_order(effect)} was awarded for {', '.join(map(str, accounts))}, and the settings name "
        f"{account}: nothing was booked in either. Correct it there and dismiss this, or retry this to book it here.",
    )


def _shown_order(effect: StoredEffect) -> str:
    return "What it corrects" if effect.order_id is None else f"Order {effect.order_id}"


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
    if (elsewhere := _awarded_elsewhere(correction, others, partner=partner, settings=settings)) is not None:
        return elsewhere
    return partner.prepare_correction(correction, first, others, settings=settings, now=now)


def _check_readable(rows: Sequence[StoredEffect]) -> None:
    if damaged := next((row for row in rows if row.unreadable is not None), None):
        raise InvariantError(f"{damaged.effect_key} of the same order cannot be read: {damaged.unreadable}")
