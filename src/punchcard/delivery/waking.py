"""What the results of a destination make ready: effects that wait for a customer or depend on an order."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from punchcard.destinations.definition import Capability, Definition
from punchcard.store.delivery.effects import EffectState, StoredEffect
from punchcard.store.delivery.orders import wake_dependents
from punchcard.store.delivery.waiting_attributes import wake_waiting

Outcome = tuple[StoredEffect, EffectState]
"""An effect with its new state."""


def wake_others(
    work: Connection, destination: str, definition: Definition, outcomes: Sequence[Outcome], *, now: datetime
) -> None:
    """Make the effects that wait for these ones due now.

    Args:
        destination: Slug of the configured destination.
    """
    # A customer who was given an item is known at the destination, so their attributes need not wait any longer.
    known = {
        effect.customer for effect, state in outcomes if state is EffectState.DELIVERED and effect.item is not None
    }
    if known:
        wake_waiting(work, destination, known, now=now)
    if Capability.PREPARATION in definition.capabilities:
        _wake_dependents(work, destination, definition, outcomes, now=now)


def _wake_dependents(
    work: Connection, destination: str, definition: Definition, outcomes: Sequence[Outcome], *, now: datetime
) -> None:
    ends: dict[EffectState, set[str]] = {EffectState.DELIVERED: set(), EffectState.REJECTED: set()}
    corrected: set[str] = set()
    for effect, state in outcomes:
        if effect.order_id is None or state not in ends:
            continue
        if effect.corrects is not None and state is EffectState.DELIVERED:
            corrected.add(effect.order_id)
        elif effect.corrects is not None or not effect.is_refund:
            ends[state].add(effect.order_id)
    delivered, rejected = ends[EffectState.DELIVERED], ends[EffectState.REJECTED]
    if corrected:
        wake_dependents(
            work,
            destination,
            delivered=corrected,
            reopened=definition.reopened.on_any_end | definition.reopened.on_correction,
            reopened_on_delivery=definition.reopened.on_delivery | definition.reopened.on_correction,
            now=now,
        )
    if delivered or rejected:
        wake_dependents(
            work,
            destination,
            delivered=delivered,
            ended=rejected,
            reopened=definition.reopened.on_any_end,
            reopened_on_delivery=definition.reopened.on_delivery,
            now=now,
        )
