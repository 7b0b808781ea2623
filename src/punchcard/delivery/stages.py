"""The life of a delivery, one function per stage, in order: claim, prepare, attempt, settle.

`cycle` runs settle, claim and prepare in one unit of work; `attempt` is the only stage that talks to the partner.
Between the two lies the rule that keeps awards single: an attempt is durable before its first byte leaves, and one
that has no settlement is never repeated before the partner was asked.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.delivery.judgement import Answer, judge
from punchcard.delivery.preparation import NotReady, Ready, prepare
from punchcard.delivery.telemetry import DeliveryTelemetry
from punchcard.destinations.port import DeliveryOptions, Effect, EffectKey, EffectKind, Partner, PartnerClient
from punchcard.errors import CredentialsError, DeliveryError, InvariantError, OutcomeUnknownError, RetryableError
from punchcard.store import outbox
from punchcard.store.effects import Action, Lane, Settlement, Started, StoredEffect
from punchcard.store.engine import Store
from punchcard.store.pauses import Pause, pause, pause_of, resume
from punchcard.store.schema import EffectState
from punchcard.store.waiting import wake_waiting

# A lease outlives the request and the wait for lost ones, so that an expired one may be read back at once.
# The margin is how late a claimed request may leave: a process that was frozen meanwhile must not send it any more.
_LEASE_MARGIN_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """A destination as delivery sees it at one moment.

    Attributes:
        fingerprint: Changes whenever the settings do.
        enabled: False leaves its outbox alone.
    """

    slug: str
    partner: Partner
    settings: object
    options: DeliveryOptions
    fingerprint: str
    enabled: bool = True


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An attempt with what came of it, waiting to be settled.

    Attributes:
        fingerprint: Of the settings that the attempt was made with; they may have changed since.
    """

    started: Started
    answer: Answer
    seconds: float
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """What one unit of work did.

    Attributes:
        started: Attempts that may leave now.
        send_before: When the first byte of each must have left.
        moved: Effects put elsewhere without an attempt; if any, more may be claimable at once.
        paused: True if the destination stands still for its credentials.
    """

    started: Sequence[Started]
    send_before: datetime
    moved: int
    paused: bool


def cycle(
    store: Store,
    target: Target,
    answered: Sequence[Answered],
    *,
    room: int,
    clock: Clock,
    telemetry: DeliveryTelemetry,
    busy: Collection[Lane] = (),
) -> Cycle:
    """Settle what has come back, then claim and prepare up to `room` effects, all in one unit of work.

    Args:
        room: How many attempts may be started.
        busy: Lanes in which the caller has an effect on its way: nothing of them is claimed, however late its answer
            comes.

    Raises:
        StorageError: nothing of it happened; call again with the same answers.
    """
    with store.unit_of_work() as work:
        settled = settle(work, target, answered, clock=clock)
        resumed = _resume_if_changed(work, target)
        paused = not target.enabled or pause_of(work, target.slug) is not None
        claimed = [] if paused else claim(work, target, room=room, busy=busy, clock=clock)
        now = clock.now()
        started = _begin_all(work, target, claimed, clock=clock)
    # Said only now: what a failed unit of work has not done is not reported.
    if resumed:
        telemetry.destination_resumed()
    settled.report(answered, telemetry)
    return Cycle(
        started=started,
        send_before=now + timedelta(seconds=_LEASE_MARGIN_SECONDS),
        moved=len(claimed) - len(started),
        paused=paused,
    )


def _begin_all(work: Connection, target: Target, claimed: Sequence[StoredEffect], *, clock: Clock) -> list[Started]:
    now = clock.now()
    options = target.options
    lease_until = now + timedelta(
        seconds=options.request_timeout_seconds + options.unknown_wait_seconds + _LEASE_MARGIN_SECONDS
    )
    begun: list[Started] = []
    written = 0
    for effect in claimed:
        one = begin(work, target, effect, clock=clock)
        if one is None:
            continue
        begun.append(one)
        if effect.is_refund:
            # The next refund of the same order must find this one in the ledger.
            outbox.start(work, begun[written:], now=now, lease_until=lease_until)
            written = len(begun)
    outbox.start(work, begun[written:], now=now, lease_until=lease_until)
    return begun


def claim(work: Connection, target: Target, *, room: int, busy: Collection[Lane], clock: Clock) -> list[StoredEffect]:
    """Effects that are due and first in their customer's lane, so that no order is overtaken by its refund."""
    if room <= 0:
        return []
    found = outbox.claimable(work, target.slug, now=clock.now(), limit=room + len(busy))
    return [effect for effect in found if effect.lane not in busy][:room]


def begin(work: Connection, target: Target, effect: StoredEffect, *, clock: Clock) -> Started | None:
    """Prepare one claimed effect; None if it was put elsewhere instead of being sent."""
    if effect.state in (EffectState.UNKNOWN, EffectState.SENDING):
        if effect.state is EffectState.SENDING:
            outbox.abandon(work, effect, now=clock.now())
        return Started(
            effect=effect,
            number=effect.attempts + 1,
            action=Action.READ_BACK,
            perk=effect.perk,
            quantity=effect.quantity if effect.quantity is not None else _estimate(work, effect),
            detail=effect.detail,
        )
    ready = prepare(work, effect)
    now = clock.now()
    if isinstance(ready, NotReady):
        outbox.put(
            work,
            effect.id,
            state=ready.state,
            reason=ready.reason,
            detail=ready.detail,
            due_at=now + timedelta(seconds=ready.wait_seconds),
            now=now,
        )
        return None
    # The map may have been corrected since the event was planned; the newest one decides.
    perk = target.partner.remap(effect.event_name, target.settings) or effect.perk
    if effect.kind == EffectKind.TRANSACTION and not ready.quantity:
        raise InvariantError(f"effect {effect.effect_key} would be sent without an amount")
    return Started(
        effect=effect,
        number=effect.attempts + 1,
        action=Action.SEND,
        perk=perk,
        quantity=ready.quantity,
        detail=ready.detail,
    )


def _estimate(work: Connection, effect: StoredEffect) -> Decimal | None:
    """What a refund takes that was perhaps performed by a run that the ledger knows nothing of."""
    ready = prepare(work, effect)
    return ready.quantity if isinstance(ready, Ready) else None


async def attempt(
    client: PartnerClient, started: Started, *, send_before: datetime, clock: Clock, telemetry: DeliveryTelemetry
) -> Answer:
    """Make the one call of a started attempt; every way it can end is an answer."""
    if clock.now() > send_before:
        return RetryableError("this process stood still after it had claimed the effect: nothing was sent", code="late")
    effect = Effect(
        kind=EffectKind(started.effect.kind),
        effect_key=EffectKey(started.effect.effect_key),
        email=started.effect.email,
        event_name=started.effect.event_name,
        perk=started.perk,
        quantity=started.quantity,
        attributes=started.effect.attributes,
    )
    try:
        if started.action is Action.READ_BACK:
            return await client.find(effect)
        return await client.perform(effect)
    except DeliveryError as error:
        return error
    except Exception as error:  # noqa: BLE001  # a defect of ours must not take the other customers' awards down
        telemetry.attempt_failed_unexpectedly(effect_key=effect.effect_key, error=error)
        return OutcomeUnknownError(f"Punchcard failed while it waited for the answer: {error!r}")


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What `settle` has written.

    Attributes:
        ignored: Answers that came too late to move their effect.
        paused_by: The refusal that paused the destination just now, if one did.
    """

    settlements: Sequence[Settlement]
    ignored: int
    paused_by: CredentialsError | None

    def report(self, answered: Sequence[Answered], telemetry: DeliveryTelemetry) -> None:
        """Tell logs and metrics."""
        if self.ignored:
            telemetry.late_answers_ignored(count=self.ignored)
        if self.paused_by is not None:
            telemetry.destination_paused(detail=self.paused_by.message)
        for one, settlement in zip(answered, self.settlements, strict=True):
            effect = one.started.effect
            telemetry.attempt_settled(action=one.started.action, outcome=settlement.outcome, seconds=one.seconds)
            if settlement.state is EffectState.DELIVERED:
                telemetry.effect_delivered(seconds=(settlement.settled_at - effect.received_at).total_seconds())
            elif not settlement.state.is_open:
                telemetry.effect_parked(
                    effect_key=effect.effect_key,
                    state=settlement.state,
                    reason=settlement.reason,
                    detail=settlement.detail,
                )


def settle(work: Connection, target: Target, answered: Sequence[Answered], *, clock: Clock) -> Settled:
    """Write what became of attempts; refused credentials pause the destination, once."""
    settlements = [judge(one.started, one.answer, clock=clock, options=target.options) for one in answered]
    moved = outbox.settle(work, settlements)
    # Whoever has got points is known at the partner now: what was to be set at them need not wait any longer.
    known = {
        one.started.effect.customer
        for one, settlement in zip(answered, settlements, strict=True)
        if settlement.state is EffectState.DELIVERED and one.started.effect.kind is EffectKind.TRANSACTION
    }
    if known:
        wake_waiting(work, target.slug, known, now=clock.now())
    # A refusal of settings that have been changed in the meantime says nothing of the new ones.
    refusal = next(
        (
            one.answer
            for one in answered
            if isinstance(one.answer, CredentialsError) and one.fingerprint == target.fingerprint
        ),
        None,
    )
    newly_paused = refusal is not None and pause(
        work,
        Pause(
            destination=target.slug,
            reason=refusal.code,
            detail=refusal.message,
            since=clock.now(),
            settings_fingerprint=target.fingerprint,
        ),
    )
    return Settled(
        settlements=settlements, ignored=len(settlements) - moved, paused_by=refusal if newly_paused else None
    )


def _resume_if_changed(work: Connection, target: Target) -> bool:
    standing = pause_of(work, target.slug)
    if standing is None or standing.settings_fingerprint == target.fingerprint:
        return False
    return resume(work, target.slug)
