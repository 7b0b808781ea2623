"""Effects of which only a person knows whether they were performed, and what follows when they say so."""

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, exists, false, func, or_, select

from punchcard.store.delivery.accounts import account_once_retried
from punchcard.store.delivery.corrections import correct_effect
from punchcard.store.delivery.effects import (
    RETRIED,
    UNCERTAIN_REASONS,
    Action,
    EffectState,
    StoredEffect,
    effect_of,
)
from punchcard.store.delivery.schema import delivery_attempts, effects
from punchcard.store.values import decimal_text, storable, storable_or_none

_ENDED = (EffectState.PARKED, EffectState.REJECTED)


def effects_in_doubt(work: Connection, message_id: str, *, destination: str | None = None) -> list[StoredEffect]:
    """Return the effects of an event that were perhaps performed."""
    statement = select(effects).where(effects.c.message_id == storable(message_id), _is_in_doubt())
    if destination is not None:
        statement = statement.where(effects.c.destination == destination)
    return [effect_of(row) for row in work.execute(statement.order_by(effects.c.id))]


def effect_in_doubt(work: Connection, effect_id: int, *, locks: bool = False) -> StoredEffect | None:
    """Return an effect that was perhaps performed; None if that is known, or being read back.

    Args:
        locks: True to lock it until the unit of work ends.
    """
    statement = select(effects).where(effects.c.id == effect_id, _is_in_doubt())
    row = work.execute(statement.with_for_update() if locks else statement).one_or_none()
    return None if row is None else effect_of(row)


def message_with_partner_id(work: Connection, effect: StoredEffect, partner_id: str) -> str | None:
    """Return the message id of another delivered effect of the customer that has this id of the partner's."""
    message_id: str | None = work.scalars(
        select(effects.c.message_id).where(
            effects.c.destination == effect.destination,
            effects.c.customer == effect.customer,
            effects.c.kind == effect.kind,
            effects.c.partner_id == partner_id,
            effects.c.state == EffectState.DELIVERED,
            effects.c.id != effect.id,
        )
    ).first()
    return message_id


def record_performed(
    work: Connection, effect: StoredEffect, *, partner_id: str | None, detail: str, now: datetime
) -> None:
    """Record that an effect was performed, as a read-back does that has seen it."""
    quantity = effect.requested_quantity if effect.quantity is None else effect.quantity
    correct_effect(
        work,
        effect.id,
        (effect.state,),
        state=EffectState.DELIVERED,
        is_open=False,
        reason=None,
        detail=storable(detail),
        quantity=decimal_text(quantity),
        partner_id=storable_or_none(partner_id) or effect.partner_id,
        finished_at=now,
    )


def record_absent(work: Connection, effect: StoredEffect, *, detail: str, now: datetime) -> None:
    """Put an effect that was not performed back in the queue, to be sent under its key without another read-back."""
    correct_effect(
        work,
        effect.id,
        (effect.state,),
        state=EffectState.PENDING,
        is_open=True,
        reason=RETRIED,
        detail=storable(detail),
        tries=0,
        partner_id=None,  # an inconclusive response may have named another one's
        account=account_once_retried(),
        due_at=now,
        finished_at=None,
    )


def _is_in_doubt() -> ColumnElement[bool]:
    """Return the condition that an effect was perhaps performed, and no request of ours can perform it any more."""
    attempts = delivery_attempts.c
    was_read_back = exists().where(
        attempts.effect_id == effects.c.id,
        attempts.number == effects.c.attempts,
        attempts.action == Action.READ_BACK,
    )
    return or_(
        and_(effects.c.state.in_(_ENDED), func.coalesce(effects.c.reason.in_(UNCERTAIN_REASONS), false())),
        # The first read-back waits for as long as a lost request may still be performed.
        and_(effects.c.state == EffectState.UNKNOWN, was_read_back),
    )
