"""Effects for tests that start at the outbox, with useful defaults."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import (
    Action,
    Attempt,
    AttemptOutcome,
    AttemptResult,
    EffectState,
    NewEffect,
    StoredEffect,
)
from punchcard.store.delivery.ledger import effect_by_key
from punchcard.testing.partner.configuration import SLUG

DESTINATION = SLUG
LEASE_SECONDS = 25.0
_RECEIVED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def new_effect(
    key: str,
    *,
    customer: str = "ann@example.com",
    quantity: str | None = "1",
    order_id: str | None = None,
    is_refund: bool = False,
    message_id: str | None = None,
    destination: str = DESTINATION,
    received_at: datetime = _RECEIVED_AT,
    attributes: Mapping[str, object] | None = None,
    log_position: int = 1,
    source: str = "website",
    refund_id: str | None = None,
) -> NewEffect:
    """Return a transaction effect, or a user property if it has attributes."""
    return NewEffect(
        destination=destination,
        effect_key=key,
        kind="transaction" if attributes is None else "user_property",
        source=source,
        message_id=message_id or f"message of {key}",
        event_name="Order Completed",
        log_position=log_position,
        event_index=0,
        received_at=received_at,
        customer=customer,
        email=customer,
        item="123456" if attributes is None else None,
        requested_quantity=None if quantity is None else Decimal(quantity),
        attributes=attributes,
        order_id=order_id,
        is_refund=is_refund,
        refund_id=refund_id,
    )


def begin_all(work: Connection, claimed: Sequence[StoredEffect], *, now: datetime, lease_until: datetime) -> None:
    """Start each claimed effect without preparing it."""
    outbox.start(work, [started(effect) for effect in claimed], now=now, lease_until=lease_until)


def started(effect: StoredEffect, *, action: Action = Action.SEND, quantity: Decimal | None = None) -> Attempt:
    """Return the next attempt of an effect."""
    return Attempt(
        effect=effect,
        number=effect.attempts + 1,
        action=action,
        item=effect.item,
        quantity=effect.quantity if quantity is None else quantity,
        detail=None,
    )


def attempt_result(
    effect: StoredEffect,
    *,
    clock: Clock,
    state: EffectState = EffectState.DELIVERED,
    outcome: AttemptOutcome = AttemptOutcome.DELIVERED,
    reason: str | None = None,
    detail: str | None = None,
    due_at: datetime | None = None,
    number: int | None = None,
    partner_id: str | None = None,
    counts: bool = True,
) -> AttemptResult:
    """Return the result of the attempt that follows the stored state of `effect`."""
    return AttemptResult(
        effect_id=effect.id,
        number=effect.attempts + 1 if number is None else number,
        finished_at=clock.now(),
        status=201 if outcome is AttemptOutcome.DELIVERED else None,
        outcome=outcome,
        attempt_detail=detail,
        state=state,
        reason=reason,
        detail=detail,
        due_at=due_at or clock.now(),
        partner_id=partner_id,
        counts=counts,
    )


def stored_effect(work: Connection, key: str, *, destination: str = DESTINATION) -> StoredEffect:
    """Return the effect under a key, which must exist."""
    effect = effect_by_key(work, destination, key)
    if effect is None:
        raise LookupError(f"There is no effect {key}.")
    return effect
