"""The one stage of a delivery that talks to the destination: the calls of started attempts, alone or in batches.

Every way in which a call can end is a result, also a defect of ours: nothing that one effect meets stops another.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import TypeVar

from punchcard.clock import Clock
from punchcard.delivery.outcomes import LATE, PartnerResult
from punchcard.delivery.telemetry import DeliveryTelemetry
from punchcard.destinations.port import (
    BatchClient,
    DeliveredEffect,
    DeliveryOptions,
    Effect,
    EffectKey,
    OnUnknown,
    PartnerClient,
    Performed,
    ReadBackClient,
)
from punchcard.errors import DeliveryError, InvariantError, OutcomeUnknownError, RetryableError
from punchcard.store.delivery.effects import Action, Attempt, EffectState, StoredEffect, filled

T = TypeVar("T")

_STOOD_STILL = "this process stood still after it had claimed the effect: nothing was sent"


@dataclass(frozen=True, kw_only=True)
class SendBefore:
    """When the first byte of a claimed request must have left: by both clocks.

    The one that never goes back cannot be set, but stops while a machine is suspended.

    Attributes:
        elapsed: On the clock that never goes back.
    """

    instant: datetime
    elapsed: float

    def is_over(self, clock: Clock) -> bool:
        """True if it is too late to send."""
        return clock.monotonic() > self.elapsed or clock.now() > self.instant


async def perform_attempt(
    client: PartnerClient, attempt: Attempt, *, send_before: SendBefore, clock: Clock, telemetry: DeliveryTelemetry
) -> PartnerResult:
    """Make the one call of a started attempt; every way in which it can end is a result."""
    if send_before.is_over(clock):
        return RetryableError(_STOOD_STILL, code=LATE)
    effect = effect_to_perform(
        attempt.effect,
        item=attempt.item,
        quantity=attempt.quantity,
        other_ids=attempt.other_ids,
        expected_ids=attempt.expected_ids,
        elsewhere=attempt.elsewhere,
    )
    try:
        if attempt.action is not Action.READ_BACK:
            return await client.perform(effect)
        if isinstance(client, ReadBackClient):
            return await client.find(effect)
        raise InvariantError("this destination's client cannot read back, but its options say that it can")
    except DeliveryError as error:
        return error
    except Exception as error:  # noqa: BLE001  # a defect of ours must not take the other customers' awards down
        telemetry.attempt_failed_unexpectedly(effect_key=effect.effect_key, error=error)
        return OutcomeUnknownError(f"Punchcard failed while it waited for the answer: {error!r}")


def effect_to_perform(
    stored: StoredEffect,
    *,
    item: str | None,
    quantity: Decimal | None,
    other_ids: Mapping[str, str] = MappingProxyType({}),
    expected_ids: Collection[str] = (),
    elsewhere: StoredEffect | None = None,
) -> Effect:
    """Return a stored effect as its destination's client takes it.

    Args:
        item: The item to use now.
        quantity: Signed units, as decided.
        other_ids, expected_ids: As those of the `Attempt`.
        elsewhere: As `Attempt.elsewhere`.
    """
    values = {
        "kind": stored.kind,
        "effect_key": EffectKey(stored.effect_key),
        "email": stored.email,
        "event_name": stored.event_name,
        "item": item,
        "quantity": quantity,
        "attributes": stored.attributes,
        "event_settings": stored.event_settings,
        "payload": stored.payload,
        "named_id": stored.partner_id,
        "other_ids": other_ids,
        "expected_ids": expected_ids,
        "elsewhere": None
        if elsewhere is None
        else DeliveredEffect(email=elsewhere.email, effect_key=elsewhere.effect_key, partner_id=elsewhere.partner_id),
    }
    return filled(Effect, values)


def batches(attempt: Sequence[Attempt], options: DeliveryOptions) -> list[list[Attempt]]:
    """Return the attempts grouped by the requests that will carry them, each within the destination's limits."""
    return _grouped(
        attempt,
        options,
        payload_of=lambda attempt_: attempt_.effect.payload,
        is_alone=lambda attempt_: attempt_.action is Action.READ_BACK,
    )


def within_requests(
    effects: Sequence[StoredEffect], options: DeliveryOptions, *, requests: int
) -> Sequence[StoredEffect]:
    """Return the first of the effects, as many as so many requests carry: no more may be claimed than can be sent."""
    groups = _grouped(
        effects,
        options,
        payload_of=lambda effect: effect.payload,
        is_alone=lambda effect: (
            options.on_unknown is OnUnknown.READ_BACK and effect.state in (EffectState.UNKNOWN, EffectState.SENDING)
        ),
    )
    return [effect for group in groups[:requests] for effect in group]


def _grouped(
    items: Sequence[T],
    options: DeliveryOptions,
    *,
    payload_of: Callable[[T], str | None],
    is_alone: Callable[[T], bool],
) -> list[list[T]]:
    if options.batch_size == 1:
        return [[item] for item in items]
    groups: list[list[T]] = []
    size = 0
    for item in items:
        length = len((payload_of(item) or "").encode())
        is_full = not groups or len(groups[-1]) >= options.batch_size or size + length > options.batch_bytes
        if is_full or is_alone(item) or is_alone(groups[-1][-1]):
            groups.append([])
            size = 0
        groups[-1].append(item)
        size += length
    return groups


async def attempt_batch(
    client: PartnerClient,
    batch: Sequence[Attempt],
    *,
    send_before: SendBefore,
    clock: Clock,
    telemetry: DeliveryTelemetry,
) -> Sequence[PartnerResult]:
    """Make the one call of several started attempts; returns the response to each, in order."""
    if len(batch) == 1 or not isinstance(client, BatchClient):
        return [
            await perform_attempt(client, attempt, send_before=send_before, clock=clock, telemetry=telemetry)
            for attempt in batch
        ]
    error: PartnerResult
    if send_before.is_over(clock):
        error = RetryableError(_STOOD_STILL, code=LATE)
        return [error] * len(batch)
    effects = [effect_to_perform(attempt.effect, item=attempt.item, quantity=attempt.quantity) for attempt in batch]
    try:
        results: Sequence[Performed | DeliveryError] = await client.perform_batch(effects)
        if len(results) != len(batch):
            raise InvariantError(f"{len(batch)} effects were sent and {len(results)} results came back")
    except DeliveryError as failed:
        return [failed] * len(batch)
    except Exception as failed:  # noqa: BLE001  # a defect of ours must not take the other customers' awards down
        telemetry.attempt_failed_unexpectedly(effect_key=effects[0].effect_key, error=failed)
        error = OutcomeUnknownError(f"Punchcard failed while it waited for the answer: {failed!r}")
        return [error] * len(batch)
    return results
