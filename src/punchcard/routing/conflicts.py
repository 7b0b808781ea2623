"""Turns intents into outbox entries within the unit of work: new, duplicate or conflict, as the ledger says.

An order is the same order under every key that its destination has given it: within the destination, or within one of
its sources, as earlier versions and the option `orderIdScope` have it. So an effect is compared with its order's rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from punchcard.destinations.definition import Capability
from punchcard.destinations.port import Intent, KeyScope, OnRepeat, ScopedKey, account_of
from punchcard.errors import InvariantError
from punchcard.events.commerce import amount_text, normalize_id
from punchcard.events.model import Event
from punchcard.routing.ledger import Ledger, LedgerRow, request_ledger
from punchcard.routing.planning import Planned
from punchcard.store.bulk import pipelined
from punchcard.store.delivery import outbox
from punchcard.store.delivery.conflicts import add_conflict, is_chosen_content
from punchcard.store.delivery.effect_subjects import add_effect_subjects
from punchcard.store.delivery.effects import NewEffect, StoredEffect
from punchcard.store.delivery.orders import RefusedOrder, record_refused_orders, wake_dependents
from punchcard.store.delivery.recoveries import Recovery
from punchcard.store.privacy.regulations import SubjectType
from punchcard.store.routing.event_results import EventResult, EventStatus
from punchcard.store.values import storable
from punchcard.workspace.snapshot import RoutedDestination
from punchcard.workspace.subject_vault import SubjectVault, is_deleted


@dataclass(frozen=True, slots=True)
class PlannedEffect:
    """An event's intent at one destination, with the event's place in the log.

    Attributes:
        seen_before: True if the message id was seen lately: nothing new may come of it.
        replay: Id of the replay by which the event is planned again; None if it is planned for the first time.
    """

    planned: Planned
    event: Event
    source: str
    position: int
    index: int
    seen_before: bool
    replay: str | None = None


def resolve_conflicts(
    work: Connection,
    planned_effects: Sequence[PlannedEffect],
    *,
    now: datetime,
    recovery: Recovery | None = None,
    vault: SubjectVault | None = None,
) -> list[EventResult]:
    """Add the effects that are new; returns the result of every planned effect, in order.

    Args:
        recovery: The last time that the store was restored from an older copy.
        vault: Hashes the persons of the effects; None for a trial.
    """
    ledgers = _load(work, planned_effects)
    decisions = _decide_all(planned_effects, ledgers)
    outbox.add(work, decisions.new, now=now, recovery=recovery)
    if vault is not None and decisions.new:
        _add_subjects(work, decisions, vault)
    _keep_conflicts(work, decisions.conflicts)
    return decisions.results


@dataclass
class _Decisions:
    """The results of a run of planned effects, and the rows to write for it."""

    results: list[EventResult] = field(default_factory=list)
    new: list[NewEffect] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)  # of each new effect
    conflicts: list[tuple[LedgerRow, NewEffect]] = field(default_factory=list)


def _destinations_of(planned_effects: Sequence[PlannedEffect]) -> set[str]:
    return {planned_effect.planned.destination.slug for planned_effect in planned_effects}


def _decide_all(planned_effects: Sequence[PlannedEffect], ledgers: Mapping[str, Ledger]) -> _Decisions:
    """Decide planned effects in order; each that is new is added to its ledger, so that the next one meets it."""
    decisions = _Decisions()
    for planned_effect in planned_effects:
        new_effect = _new_effect(planned_effect)
        ledger = ledgers[new_effect.destination]
        existing = _existing(planned_effect, new_effect, ledger)
        result = _decide(planned_effect, new_effect, existing, ledger)
        decisions.results.append(result)
        if result.status is EventStatus.PENDING:
            decisions.new.append(new_effect)
            decisions.events.append(planned_effect.event)
            ledger.add(new_effect)
        elif result.status is EventStatus.CONFLICT and existing is not None:
            decisions.conflicts.append((existing, new_effect))
    return decisions


class LedgerPreview:
    """Decides as `resolve_conflicts` would, but writes nothing: later planned effects meet those that it called new.

    Args:
        with_stored: False to begin with an empty ledger, as if nothing had ever been awarded.
        stored_before: Only what was awarded for events received before this instant is known; None for all.
    """

    def __init__(self, *, with_stored: bool = True, stored_before: datetime | None = None) -> None:
        self._with_stored = with_stored
        self._stored_before = stored_before
        self._new: dict[str, Ledger] = {}

    def decide(self, work: Connection, planned_effects: Sequence[PlannedEffect]) -> list[EventResult]:
        """Return the result that each planned effect would have, in order."""
        stored = _load(work, planned_effects) if self._with_stored else {}
        ledgers = {
            slug: self._ledger(stored.get(slug, Ledger(slug)), planned_effects)
            for slug in _destinations_of(planned_effects)
        }
        decisions = _decide_all(planned_effects, ledgers)
        for new_effect in decisions.new:
            self._new[new_effect.destination].add(new_effect)
        return decisions.results

    def _ledger(self, ledger: Ledger, planned_effects: Sequence[PlannedEffect]) -> Ledger:
        """Add what was called new before to what is stored, as far as these planned effects may meet it."""
        slug = ledger.destination
        known = self._new.setdefault(slug, Ledger(slug))
        if self._stored_before is not None:
            ledger = ledger.before(self._stored_before)
        order_ids: set[str] = set()
        for planned_effect in planned_effects:
            if planned_effect.planned.destination.slug != slug:
                continue
            for key in keys_to_load(planned_effect):
                if key in known.by_key:
                    ledger.by_key.setdefault(key, known.by_key[key])
            message = (planned_effect.source, storable(planned_effect.event.message_id))
            if message in known.by_message:
                ledger.by_message.setdefault(message, known.by_message[message])
            if (order_id := planned_effect.planned.intent.order_id) is not None:
                order_ids.add(normalize_id(storable(order_id)))
        for order_id in order_ids & known.by_order.keys():
            ledger.by_order[order_id] += known.by_order[order_id]
        return ledger


def refused_orders(refused: Sequence[tuple[str, str, str]], event: Event, source: str) -> list[RefusedOrder]:
    """Return the orders of an event for which an award was refused.

    Args:
        refused: Destination, order id and reason of each.
    """
    return [
        RefusedOrder(
            destination=destination,
            order_id=order_id,
            source=source,
            reason=reason,
            message_id=event.message_id,
            received_at=event.received_at,
        )
        for destination, order_id, reason in refused
    ]


def record_refusals(
    work: Connection,
    refused: Sequence[RefusedOrder],
    *,
    destinations: Mapping[str, RoutedDestination],
    now: datetime,
) -> None:
    """Keep which orders earned nothing, and let effects that depend on them be prepared again.

    Args:
        destinations: By slug: those that refused an order.
    """
    record_refused_orders(work, refused)
    for slug in sorted({order.destination for order in refused}):
        definition = destinations[slug].partner.definition
        if Capability.PREPARATION not in definition.capabilities:
            continue
        wake_dependents(
            work,
            slug,
            ended={order.order_id for order in refused if order.destination == slug},
            reopened=definition.reopened.on_any_end,
            reopened_on_delivery=definition.reopened.on_delivery,
            now=now,
        )


def _load(work: Connection, planned_effects: Sequence[PlannedEffect]) -> dict[str, Ledger]:
    """Return what is stored of the effects that these may repeat, by destination."""
    with pipelined(work):
        requests = {slug: _request(work, slug, planned_effects) for slug in sorted(_destinations_of(planned_effects))}
    return {slug: read() for slug, read in requests.items()}


def _request(work: Connection, slug: str, planned_effects: Sequence[PlannedEffect]) -> Callable[[], Ledger]:
    own = [planned_effect for planned_effect in planned_effects if planned_effect.planned.destination.slug == slug]
    order_ids = (planned_effect.planned.intent.order_id for planned_effect in own)
    return request_ledger(
        work,
        slug,
        keys={key for planned_effect in own for key in keys_to_load(planned_effect)},
        messages={planned_effect.event.message_id for planned_effect in own},
        orders={order_id for order_id in order_ids if order_id is not None},
    )


def keys_to_load(planned_effect: PlannedEffect) -> Iterator[str]:
    """Yield the effect keys under which the ledger may hold what the planned effect would repeat."""
    intent = planned_effect.planned.intent
    yield intent.effect_key
    if intent.scoped_key is not None and intent.on_repeat is OnRepeat.DUPLICATE:
        # What is given once a day is found by its key alone, which may be that of any of the sources.
        yield from (intent.scoped_key.within(scope) for scope in _scopes(planned_effect))


def _scopes(planned_effect: PlannedEffect) -> list[str]:
    destination = planned_effect.planned.destination
    return [destination.slug, *destination.destination.sources, planned_effect.source]


def _existing(planned_effect: PlannedEffect, new_effect: NewEffect, ledger: Ledger) -> LedgerRow | None:
    """Return the effect that the planned one would repeat, None if there is none."""
    candidates = _candidates(planned_effect, ledger)
    exact = ledger.by_key.get(new_effect.effect_key)
    if exact is not None:
        candidates.insert(0, exact)
    # An order with several keys may have several contents: what agrees with one of them is not new.
    return next((row for row in candidates if _same_content(row, new_effect)), candidates[0] if candidates else None)


def _candidates(planned_effect: PlannedEffect, ledger: Ledger) -> list[LedgerRow]:
    intent = planned_effect.planned.intent
    if intent.scoped_key is None:
        return []
    if intent.on_repeat is OnRepeat.DUPLICATE:
        keys = dict.fromkeys(intent.scoped_key.within(scope) for scope in _scopes(planned_effect))
        rows = [ledger.by_key[key] for key in keys if key in ledger.by_key]
        return [row for row in rows if _in_scope(row, planned_effect)]
    if intent.order_id is None:
        return []
    return [
        row
        for row in ledger.by_order.get(normalize_id(storable(intent.order_id)), ())
        if _in_scope(row, planned_effect) and _is_key_of(row, intent, ledger)
    ]


def _in_scope(row: LedgerRow, planned_effect: PlannedEffect) -> bool:
    return planned_effect.planned.intent.scope is KeyScope.DESTINATION or row.source == planned_effect.source


def _is_key_of(row: LedgerRow, intent: Intent, ledger: Ledger) -> bool:
    if row.effect_key == intent.effect_key:
        return True
    keys: Sequence[ScopedKey | None] = (intent.scoped_key, *intent.other_keys)
    return any(
        row.effect_key == key.within(scope)
        for key in keys
        if key is not None
        for scope in (ledger.destination, row.source)
    )


def _decide(
    planned_effect: PlannedEffect, effect: NewEffect, existing: LedgerRow | None, ledger: Ledger
) -> EventResult:
    intent = planned_effect.planned.intent
    if existing is not None:
        is_same_message = (existing.source, existing.message_id) == (effect.source, effect.message_id)
        if intent.on_repeat is OnRepeat.DUPLICATE or _same_content(existing, effect):
            return _repeat(
                effect,
                "duplicate_message_id" if is_same_message else intent.repeat_reason,
                f"{existing.effect_key} is in the ledger already, with the same content{_from(existing, effect)}"
                f"{_noted(intent)}",
                existing.effect_key,
            )
        return EventResult(
            effect.destination,
            EventStatus.CONFLICT,
            "same_key_other_content",
            f"{existing.effect_key} is in the ledger with other content: {_content(existing)} from message "
            f"{existing.message_id}{_from(existing, effect)}, now {_content(effect)}; nothing was sent"
            f"{_noted(intent)}",
            existing.effect_key,
        )
    earlier = ledger.by_message.get((effect.source, effect.message_id))
    if earlier is not None:
        return _repeat(
            effect, "duplicate_message_id", f"message {effect.message_id} has made {earlier.effect_key} before"
        )
    if planned_effect.seen_before:
        return _repeat(
            effect, "duplicate_message_id", f"message {effect.message_id} was received before and made no effect then"
        )
    return EventResult(effect.destination, EventStatus.PENDING, intent.note_code, intent.note, effect.effect_key)


def _from(existing: LedgerRow, new_effect: NewEffect) -> str:
    return "" if existing.source == new_effect.source else f" (from source {existing.source})"


def _noted(intent: Intent) -> str:
    """Return how the ids were read: it explains why two orders are one."""
    return "" if intent.order_id is None or intent.note is None else f". {intent.note}"


def _repeat(new_effect: NewEffect, reason: str, detail: str, effect_key: str | None = None) -> EventResult:
    return EventResult(
        new_effect.destination, EventStatus.DUPLICATE, reason, detail, effect_key or new_effect.effect_key
    )


def _same_content(existing: StoredEffect | NewEffect, new_effect: NewEffect) -> bool:
    if isinstance(existing, StoredEffect) and is_chosen_content(existing, new_effect):
        return True
    return (
        existing.kind == new_effect.kind
        and (existing.customer == new_effect.customer or is_deleted(existing.customer))
        and existing.requested_quantity == new_effect.requested_quantity
        and existing.attributes == new_effect.attributes
        and existing.payload == new_effect.payload
    )


def _content(effect: LedgerRow) -> str:
    if effect.attributes is not None:
        return f"{dict(effect.attributes)} for {effect.customer}"
    if effect.summary is not None:
        return effect.summary
    amount = "no amount" if effect.requested_quantity is None else amount_text(effect.requested_quantity)
    return f"{amount} for {effect.customer}"


def _keep_conflicts(work: Connection, conflicts: Sequence[tuple[LedgerRow, NewEffect]]) -> None:
    for existing, new_effect in conflicts:
        if isinstance(existing, NewEffect):  # added in this very unit of work: its id is known only now
            existing = outbox.effects_by_key(work, new_effect.destination, [existing.effect_key])[existing.effect_key]
        add_conflict(work, existing.id, new_effect)


def _add_subjects(work: Connection, decisions: _Decisions, vault: SubjectVault) -> None:
    """Add the hashes by which a deletion finds the new effects after their events are gone."""
    hashes = vault.open_or_create_effects(work)
    if hashes is None:
        return
    digests: dict[tuple[str, str], list[str]] = {}
    for effect, event in zip(decisions.new, decisions.events, strict=True):
        ids = ((SubjectType.USER_ID, event.wire.user_id), (SubjectType.ANONYMOUS_ID, event.wire.anonymous_id))
        digests[effect.destination, effect.effect_key] = [
            hashes.digest(subject_type, value) for subject_type, value in ids if value is not None
        ]
    add_effect_subjects(work, digests)


def _new_effect(planned_effect: PlannedEffect) -> NewEffect:
    intent = planned_effect.planned.intent
    if len(intent.effect_key) > 100 or not intent.effect_key.isascii() or "\x00" in intent.effect_key:
        raise InvariantError(f"effect key {intent.effect_key!r} is longer than 100 ASCII characters")
    destination = planned_effect.planned.destination
    return NewEffect(
        destination=destination.slug,
        effect_key=intent.effect_key,
        kind=intent.kind,
        source=planned_effect.source,
        message_id=storable(planned_effect.event.message_id),
        event_name=intent.event_name,
        log_position=planned_effect.position,
        event_index=planned_effect.index,
        received_at=planned_effect.event.received_at,
        customer=intent.customer,
        email=intent.email,
        item=intent.item,
        requested_quantity=intent.quantity,
        attributes=intent.attributes,
        order_id=intent.order_id,
        is_refund=intent.is_refund,
        event_settings=intent.event_settings,
        refund_id=intent.refund_id,
        ordering_key=intent.ordering_key,
        event_type=planned_effect.event.type,
        payload=intent.payload,
        summary=intent.summary,
        replay=planned_effect.replay,
        account=account_of(destination.partner, destination.settings, intent.event_settings),
    )
