"""Turns intents into outbox entries within the unit of work: new, duplicate or conflict, as the ledger says."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from punchcard.destinations.port import OnRepeat
from punchcard.errors import InvariantError
from punchcard.events.model import Event
from punchcard.routing.planning import Planned
from punchcard.store import outbox
from punchcard.store.effects import NewEffect, StoredEffect, storable
from punchcard.store.fates import Fate, FateKind
from punchcard.store.recoveries import Recovery


@dataclass(frozen=True, slots=True)
class Claim:
    """One event's intent at one destination, with the event's place in the log.

    Attributes:
        seen_before: True if the message id was seen lately: nothing new may come of it.
    """

    planned: Planned
    event: Event
    source: str
    position: int
    index: int
    seen_before: bool


@dataclass
class _Destination:
    """What one unit of work knows of one destination's ledger: what is stored, and what it adds itself."""

    by_key: dict[str, StoredEffect | NewEffect]
    by_message: dict[str, StoredEffect | NewEffect]


def settle_claims(
    work: Connection, claims: Sequence[Claim], *, now: datetime, recovery: Recovery | None = None
) -> list[Fate]:
    """Add the effects that are new and say of every claim what became of it, in order.

    Args:
        recovery: The last time that the store was restored from an older copy.
    """
    ledgers = {slug: _load(work, slug, claims) for slug in {claim.planned.destination.slug for claim in claims}}
    new: list[NewEffect] = []
    conflicts: list[NewEffect] = []
    fates = []
    for claim in claims:
        wanted = _new_effect(claim)
        ledger = ledgers[wanted.destination]
        fate = _decide(claim, wanted, ledger)
        fates.append(fate)
        if fate.fate is FateKind.PENDING:
            new.append(wanted)
            ledger.by_key[wanted.effect_key] = wanted
            ledger.by_message.setdefault(wanted.message_id, wanted)
        elif fate.fate is FateKind.CONFLICT:
            conflicts.append(wanted)
    outbox.add(work, new, now=now, recovery=recovery)
    _keep_conflicts(work, conflicts, ledgers)
    return fates


def _load(work: Connection, slug: str, claims: Sequence[Claim]) -> _Destination:
    own = [claim for claim in claims if claim.planned.destination.slug == slug]
    return _Destination(
        by_key=dict(outbox.effects_by_key(work, slug, {claim.planned.intent.effect_key for claim in own})),
        by_message=dict(outbox.effects_by_message(work, slug, {claim.event.message_id for claim in own})),
    )


def _decide(claim: Claim, wanted: NewEffect, ledger: _Destination) -> Fate:
    intent = claim.planned.intent
    standing = ledger.by_key.get(wanted.effect_key)
    if standing is not None:
        if intent.on_repeat is OnRepeat.DUPLICATE or _same_content(standing, wanted):
            reason = "duplicate_message_id" if standing.message_id == wanted.message_id else intent.repeat_reason
            return _repeat(wanted, reason, f"{wanted.effect_key} stands in the ledger already, with the same content")
        return Fate(
            wanted.destination,
            FateKind.CONFLICT,
            "same_key_other_content",
            f"{wanted.effect_key} stands in the ledger with other content: {_content(standing)} from message "
            f"{standing.message_id}, now {_content(wanted)}; nothing was sent",
            wanted.effect_key,
        )
    earlier = ledger.by_message.get(wanted.message_id)
    if earlier is not None:
        return _repeat(
            wanted, "duplicate_message_id", f"message {wanted.message_id} has made {earlier.effect_key} before"
        )
    if claim.seen_before:
        return _repeat(
            wanted, "duplicate_message_id", f"message {wanted.message_id} was received before and made no effect then"
        )
    return Fate(wanted.destination, FateKind.PENDING, effect_key=wanted.effect_key)


def _repeat(wanted: NewEffect, reason: str, detail: str) -> Fate:
    return Fate(wanted.destination, FateKind.DUPLICATE, reason, detail, wanted.effect_key)


def _same_content(standing: StoredEffect | NewEffect, wanted: NewEffect) -> bool:
    return (
        standing.kind == wanted.kind
        and standing.customer == wanted.customer
        and standing.requested_quantity == wanted.requested_quantity
        and standing.attributes == wanted.attributes
    )


def _content(effect: StoredEffect | NewEffect) -> str:
    if effect.attributes is not None:
        return f"{dict(effect.attributes)} for {effect.customer}"
    amount = "no amount" if effect.requested_quantity is None else f"{effect.requested_quantity:f}"
    return f"{amount} for {effect.customer}"


def _keep_conflicts(work: Connection, conflicts: Sequence[NewEffect], ledgers: dict[str, _Destination]) -> None:
    for wanted in conflicts:
        standing = ledgers[wanted.destination].by_key[wanted.effect_key]
        if isinstance(standing, NewEffect):
            # Added in this very unit of work: its id is known only now.
            stored = outbox.effects_by_key(work, wanted.destination, [wanted.effect_key])[wanted.effect_key]
        else:
            stored = standing
        outbox.add_conflict(work, stored.id, wanted)


def _new_effect(claim: Claim) -> NewEffect:
    intent = claim.planned.intent
    if len(intent.effect_key) > 100 or not intent.effect_key.isascii() or "\x00" in intent.effect_key:
        raise InvariantError(f"effect key {intent.effect_key!r} is longer than 100 ASCII characters")
    return NewEffect(
        destination=claim.planned.destination.slug,
        effect_key=intent.effect_key,
        kind=intent.kind,
        source=claim.source,
        message_id=storable(claim.event.message_id),
        event_name=intent.event_name,
        log_position=claim.position,
        event_index=claim.index,
        received_at=claim.event.received_at,
        customer=intent.customer,
        email=intent.email,
        perk=intent.perk,
        requested_quantity=intent.quantity,
        attributes=intent.attributes,
        order_id=intent.order_id,
        is_refund=intent.is_refund,
    )
