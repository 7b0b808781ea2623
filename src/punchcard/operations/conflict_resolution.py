"""Conflicts as operators resolve them: keep the first content, or correct the award to the second one.

A decision and all that follows from it are one unit of work: the effects of the correction go through the outbox like
any other, under keys derived from both contents. A second click, or a crash, adds nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from sqlalchemy import Connection

from punchcard.clock import to_micros
from punchcard.delivery.attempts import effect_to_perform
from punchcard.delivery.preparation import NotReady, Ready, prepare
from punchcard.destinations.correcting import CorrectionStep, CorrectsEffects, EffectContent
from punchcard.destinations.definition import Capability
from punchcard.destinations.port import RemapsItems, account_of
from punchcard.errors import ConfigurationError, RefusedError
from punchcard.store.access import audit
from punchcard.store.delivery import outbox
from punchcard.store.delivery.conflicts import (
    StoredConflict,
    effects_with_corrections,
    lock_effect,
    resolve_conflict,
    set_corrected_content,
)
from punchcard.store.delivery.counts import MINUTE_MICROS, CountKey, add_counts
from punchcard.store.delivery.effect_subjects import copy_effect_subjects
from punchcard.store.delivery.effects import NOTHING_TO_CORRECT, ConflictResolution, NewEffect, StoredEffect
from punchcard.store.delivery.operator_actions import reopen, supersede
from punchcard.store.delivery.orders import effects_by_order
from punchcard.store.delivery.outbox import effect_by_id, effects_by_key
from punchcard.store.delivery.recoveries import newest_recovery
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import EventStatus
from punchcard.store.values import decimal_text
from punchcard.workspace.part_names import destination_title
from punchcard.workspace.snapshot import RoutedDestination

CANNOT_CORRECT: Final = "cannot_correct"


class AlreadyResolvedError(ConfigurationError):
    """Somebody has resolved the conflict before."""

    code = "already_resolved"


@dataclass(frozen=True, kw_only=True)
class ConflictSide:
    """One of the two contents of a conflict.

    Attributes:
        quantity: Signed decimal text; None if the ledger decides, or there is none.
    """

    message_id: str
    source: str
    event_name: str
    email: str
    item: str | None
    quantity: str | None
    attributes: Mapping[str, object] | None = None
    summary: str | None = None
    received_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class ConflictView:
    """A conflict with both contents and what was done about it.

    Attributes:
        effect: The effect of the first event, as it is now.
        first: The first content, as it was received.
        current: The content that counts now: the first one, unless an operator has chosen another before.
        second: The content that was received later.
        corrections: The effects that correct the award to the second content.
    """

    conflict: StoredConflict
    effect: StoredEffect
    first: ConflictSide
    current: ConflictSide
    second: ConflictSide
    corrections: Sequence[StoredEffect]


@dataclass(frozen=True, kw_only=True)
class PreviewedStep:
    """An effect of a correction as it would be sent now.

    Attributes:
        quantity: Signed units; None if they are decided later.
        detail: What was counted, or what is waited for.
        request: The request to the partner, None if its amount is decided later.
    """

    email: str
    item: str | None
    quantity: Decimal | None
    detail: str
    request: Mapping[str, object] | None


def view_conflict(work: Connection, conflict: StoredConflict) -> ConflictView:
    """Return a conflict with both contents."""
    effect, *corrections = effects_with_corrections(work, conflict.effect_id)
    first = ConflictSide(
        message_id=effect.message_id,
        source=effect.source,
        event_name=effect.event_name,
        email=effect.email,
        item=effect.item,
        quantity=decimal_text(effect.requested_quantity),
        attributes=effect.attributes,
        summary=effect.summary,
        received_at=effect.received_at,
    )
    second = _side(conflict.values, conflict.message_id, received_at=conflict.received_at)
    current = first
    if effect.corrected_content is not None:
        current = _side(effect.corrected_content, str(effect.corrected_content.get("messageId", "")), received_at=None)
    return ConflictView(
        conflict=conflict,
        effect=effect,
        first=first,
        current=current,
        second=second,
        corrections=[row for row in corrections if row.message_id == conflict.message_id],
    )


def reason_not_correctable(work: Connection, conflict: StoredConflict, destination: RoutedDestination | None) -> str:
    """Return why a conflict cannot be corrected to its second content, "" if it can."""
    try:
        _plan(effects_with_corrections(work, conflict.effect_id)[0], conflict, destination)
    except ConfigurationError as error:
        return error.message
    return ""


def preview_correction(
    store: Store, conflict: StoredConflict, destination: RoutedDestination | None, *, now: datetime
) -> list[PreviewedStep]:
    """Return what a correction would send now: it is made, and undone.

    Raises:
        AlreadyResolvedError: the conflict is resolved.
        ConfigurationError: it cannot be corrected.
        StorageError: the store is away.
    """
    steps: list[PreviewedStep] = []
    with store.trial() as work:
        for effect_id in correct_to_second(work, conflict, destination, actor="", now=now):
            assert destination is not None
            effect = effect_by_id(work, effect_id)
            steps.append(_previewed(effect, _prepare(work, effect, destination, now=now), destination))
    return steps


def keep_first(work: Connection, conflict: StoredConflict, *, actor: str, now: datetime) -> None:
    """Decide that the first content counts: nothing is sent.

    Raises:
        AlreadyResolvedError: the conflict is resolved.
    """
    effect = lock_effect(work, conflict.effect_id)
    _decide(work, conflict, effect, resolution=ConflictResolution.KEPT, actor=actor, now=now)


def correct_to_second(
    work: Connection,
    conflict: StoredConflict,
    destination: RoutedDestination | None,
    *,
    actor: str,
    now: datetime,
) -> list[int]:
    """Decide that the second content counts; returns the ids of the effects that were put in the queue for it.

    Raises:
        AlreadyResolvedError: the conflict is resolved.
        ConfigurationError: it cannot be corrected.
    """
    effect = lock_effect(work, conflict.effect_id)
    _decide(work, conflict, effect, resolution=ConflictResolution.CORRECTED, actor=actor, now=now)
    content, steps = _plan(effect, conflict, destination)
    assert destination is not None
    # What was never sent is not sent any more: the correction gives the second content in full.
    supersede(
        work,
        effect.id,
        detail=f"{actor} chose the content of message {conflict.message_id} on {now:%Y-%m-%d %H:%M} UTC.",
        now=now,
    )
    if effect.is_refund:
        _prepare_corrections_again(work, effect, now=now)
    values = {**conflict.values, "messageId": conflict.message_id, "item": content.item}
    set_corrected_content(work, effect.id, json.dumps(values, sort_keys=True))
    return [
        effect_id
        for step in steps
        if (effect_id := _add_step(work, step, content, effect, conflict, destination, now=now)) is not None
    ]


def _prepare_corrections_again(work: Connection, refund: StoredEffect, *, now: datetime) -> None:
    """Requeue corrections of a refund's order that had nothing to correct because of what the refund took."""
    if refund.order_id is None:
        return
    rows = effects_by_order(work, refund.destination, [refund.order_id])
    futile = [row.id for of_order in rows.values() for row in of_order if row.reason == NOTHING_TO_CORRECT]
    reopen(work, futile, now=now)


def _decide(
    work: Connection,
    conflict: StoredConflict,
    effect: StoredEffect,
    *,
    resolution: ConflictResolution,
    actor: str,
    now: datetime,
) -> None:
    if not resolve_conflict(work, conflict, resolution=resolution, by=actor, now=now):
        raise AlreadyResolvedError("This conflict is resolved already. Nothing was changed.")
    changes = [
        audit.ChangedValue(f"conflicts.{conflict.id}", after=resolution),
        audit.ChangedValue("effectKey", after=effect.effect_key),
        audit.ChangedValue("messageId", before=effect.message_id, after=conflict.message_id),
    ]
    audit.record(
        work,
        at=now,
        actor=actor,
        kind="resolve",
        resource_type="destination",
        resource_id=effect.destination,
        changes=audit.changes_json(*changes),
    )


def _plan(
    effect: StoredEffect, conflict: StoredConflict, destination: RoutedDestination | None
) -> tuple[EffectContent, Sequence[CorrectionStep]]:
    if destination is None:
        raise _refused(f"{effect.destination} is not configured any more, so nothing can be sent to it.")
    if destination.invalid is not None:
        raise _refused(
            f"The settings of {destination_title(destination.destination)} cannot be used: {destination.invalid}"
        )
    partner = destination.partner
    if Capability.CORRECTIONS not in partner.definition.capabilities or not isinstance(partner, CorrectsEffects):
        raise _refused(f"{destination.name} has no way to change what was sent. Keep the first content.")
    if effect.unreadable is not None:
        raise _refused(f"The row of {effect.effect_key} cannot be read: {effect.unreadable}")
    values = conflict.values
    event_name, item, quantity = str(values.get("event", "")), values.get("item"), values.get("quantity")
    if item is None and effect.item is not None:  # stored by a version that did not keep it
        item = partner.remap(event_name, destination.settings) if isinstance(partner, RemapsItems) else None
        item = item or effect.item
    settings = values.get("eventSettings")
    content = EffectContent(
        source=str(values.get("source", effect.source)),
        message_id=conflict.message_id,
        event_name=event_name,
        email=str(values.get("email", "")),
        item=None if item is None else str(item),
        quantity=None if quantity is None else Decimal(str(quantity)),
        event_settings=settings if isinstance(settings, Mapping) else None,
    )
    try:
        steps = partner.plan_correction(effect, content, destination=destination.slug, settings=destination.settings)
    except RefusedError as error:
        raise _refused(error.message) from error
    return content, steps


def _refused(message: str) -> ConfigurationError:
    return ConfigurationError(message, code=CANNOT_CORRECT)


def _add_step(
    work: Connection,
    step: CorrectionStep,
    content: EffectContent,
    first: StoredEffect,
    conflict: StoredConflict,
    destination: RoutedDestination,
    *,
    now: datetime,
) -> int | None:
    """Put one effect of a correction in the queue; None if there is surely nothing to do for it."""
    is_second = step.email.lower() == content.customer
    event_settings = content.event_settings if is_second else first.event_settings
    new = NewEffect(
        destination=destination.slug,
        effect_key=step.effect_key,
        kind=first.kind,
        source=content.source,
        message_id=conflict.message_id,
        event_name=content.event_name,
        log_position=conflict.log_position,
        event_index=conflict.event_index,
        received_at=conflict.received_at,
        customer=step.email.lower(),
        email=step.email,
        item=step.item,
        requested_quantity=None,
        attributes=None,
        order_id=first.order_id,
        is_refund=True,  # it depends on the other effects of its order
        event_settings=event_settings,
        event_type=first.event_type,
        corrects=first.id,
        account=account_of(destination.partner, destination.settings, event_settings),
    )
    with work.begin_nested() as savepoint:
        outbox.add(work, [new], now=now, recovery=newest_recovery(work))
        effect = effects_by_key(work, destination.slug, [step.effect_key])[step.effect_key]
        outcome = _prepare(work, effect, destination, now=now)
        is_futile = isinstance(outcome, NotReady) and outcome.reason == NOTHING_TO_CORRECT
        # With a refund in between, a later decision about that may give it something to do.
        if is_futile and not _has_refund(work, first):
            savepoint.rollback()
            return None
        if new.customer == first.customer:
            copy_effect_subjects(work, first.id, to=effect.id)
    _count_planned(work, effect)
    return effect.id


def _count_planned(work: Connection, effect: StoredEffect) -> None:
    """Count an effect as planned, as routing counts what events plan."""
    received = to_micros(effect.received_at)
    event_type = effect.event_type or "track"
    key = CountKey(
        bucket=received - received % MINUTE_MICROS,
        source=effect.source,
        destination=effect.destination,
        event_type=event_type,
        event_name=effect.event_name if event_type == "track" else "",
        status=EventStatus.PENDING,
        reason="",
    )
    add_counts(work, {key: 1})


def _has_refund(work: Connection, effect: StoredEffect) -> bool:
    if effect.order_id is None:
        return False
    rows = effects_by_order(work, effect.destination, [effect.order_id])
    return any(row.is_refund and row.corrects is None for of_order in rows.values() for row in of_order)


def _prepare(
    work: Connection, effect: StoredEffect, destination: RoutedDestination, *, now: datetime
) -> Ready | NotReady:
    partner, settings = destination.partner, destination.settings
    options = partner.delivery_options(settings)
    return prepare(work, effect, partner=partner, settings=settings, options=options, now=now)


def _previewed(effect: StoredEffect, outcome: Ready | NotReady, destination: RoutedDestination) -> PreviewedStep:
    if isinstance(outcome, NotReady):
        return PreviewedStep(email=effect.email, item=effect.item, quantity=None, detail=outcome.detail, request=None)
    item = outcome.item or effect.item
    performed = effect_to_perform(effect, item=item, quantity=outcome.quantity)
    return PreviewedStep(
        email=effect.email,
        item=item,
        quantity=outcome.quantity,
        detail=outcome.detail or "",
        request=destination.partner.preview(performed, destination.settings),
    )


def _side(values: Mapping[str, object], message_id: str, *, received_at: datetime | None) -> ConflictSide:
    attributes, summary, item, quantity = (values.get(name) for name in ("attributes", "summary", "item", "quantity"))
    return ConflictSide(
        message_id=message_id,
        source=str(values.get("source", "")),
        event_name=str(values.get("event", "")),
        email=str(values.get("email", "")),
        item=None if item is None else str(item),
        quantity=None if quantity is None else str(quantity),
        attributes=attributes if isinstance(attributes, Mapping) else None,
        summary=None if summary is None else str(summary),
        received_at=received_at,
    )
