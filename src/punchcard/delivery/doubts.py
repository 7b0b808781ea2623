"""An operator has looked at the destination and says whether an award in doubt was performed."""

from datetime import datetime

from sqlalchemy import Connection

from punchcard.delivery.waking import wake_others
from punchcard.destinations.definition import Definition
from punchcard.errors import ConfigurationError
from punchcard.store.access import audit
from punchcard.store.delivery.doubts import (
    effect_in_doubt,
    message_with_partner_id,
    record_absent,
    record_performed,
)
from punchcard.store.delivery.effects import EffectState, StoredEffect
from punchcard.store.delivery.operator_actions import is_sendable

_PARTNER_ID_CHARACTERS_MAX = 100


def confirm_performed(
    work: Connection,
    effect_id: int,
    *,
    partner_id: str,
    definition: Definition | None,
    actor: str,
    now: datetime,
) -> StoredEffect:
    """Record an award in doubt as delivered, and write down by whom; returns it as it was.

    Args:
        partner_id: The partner's id of it, or an address that ends with it; "" if the partner shows none.
        definition: Of its destination; None if that is not configured any more.

    Raises:
        ConfigurationError: It is not in doubt, its amount is not known, or the id is another award's.
    """
    effect = _effect_in_doubt(work, effect_id)
    shown_id = partner_id.strip().rstrip("/").rpartition("/")[2]
    if len(shown_id) > _PARTNER_ID_CHARACTERS_MAX or not shown_id.isprintable():
        raise ConfigurationError("This is not the id of a transaction.")
    if effect.item is not None and effect.quantity is None and effect.requested_quantity is None:
        raise ConfigurationError("The amount of this refund is not known yet. Retry it instead.")
    if shown_id and (message_id := message_with_partner_id(work, effect, shown_id)) is not None:
        raise ConfigurationError(f"{shown_id} is the award of event {message_id}. Look for another one.")
    named = f" as {shown_id}" if shown_id else ""
    detail = f"performed{named}: resolved by {actor} on {now:%Y-%m-%d %H:%M} UTC"
    record_performed(work, effect, partner_id=shown_id or None, detail=detail, now=now)
    if definition is not None:
        wake_others(work, effect.destination, definition, [(effect, EffectState.DELIVERED)], now=now)
    _write_down(work, effect, f"performed{named}", actor, now)
    return effect


def confirm_absent(work: Connection, effect_id: int, *, actor: str, now: datetime) -> StoredEffect:
    """Send an award in doubt that was not performed, and write down by whom; returns it as it was.

    Raises:
        ConfigurationError: It is not in doubt, or must not be sent.
    """
    effect = _effect_in_doubt(work, effect_id)
    if not is_sendable(work, effect.id):
        raise ConfigurationError(
            "This award is not sent any more: another content was chosen in its place, or its customer was deleted."
        )
    detail = f"not performed, so it is sent: resolved by {actor} on {now:%Y-%m-%d %H:%M} UTC"
    record_absent(work, effect, detail=detail, now=now)
    _write_down(work, effect, "not performed", actor, now)
    return effect


def _effect_in_doubt(work: Connection, effect_id: int) -> StoredEffect:
    effect = effect_in_doubt(work, effect_id, locks=True)
    if effect is None:
        raise ConfigurationError("This award is not in doubt any more, or it is being read back. Look at its trace.")
    return effect


def _write_down(work: Connection, effect: StoredEffect, decision: str, actor: str, now: datetime) -> None:
    audit.record(
        work,
        at=now,
        actor=actor,
        kind="resolve",
        resource_type="destination",
        resource_id=effect.destination,
        changes=audit.changes_json(
            audit.ChangedValue(f"award.{effect.effect_key}", before=effect.reason, after=decision)
        ),
    )
