"""The life of a delivery, one function per stage, in order: claim, prepare, attempt, record the result.

`cycle` records results, claims and prepares in one unit of work; `attempts.py` is the only stage that talks to the
partner. Between the two lies the rule that keeps awards single: an attempt is durable before its first byte leaves, and
one without a result is never repeated before it was read back.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection

from punchcard.clock import Clock
from punchcard.delivery.attempts import SendBefore, within_requests
from punchcard.delivery.beginning import Beginning
from punchcard.delivery.clock_watch import ClockWatch
from punchcard.delivery.outcomes import PartnerResult, classify_outcome
from punchcard.delivery.target import DeliveryTarget
from punchcard.delivery.telemetry import DeliveryTelemetry
from punchcard.delivery.waking import wake_others
from punchcard.destinations.port import DeliveryOptions
from punchcard.errors import CredentialsError, OutcomeUnknownError, StorageError
from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import Attempt, AttemptResult, EffectState, OrderingGroup, StoredEffect
from punchcard.store.delivery.pauses import Pause, PauseEnd, end_pause, pause, pause_of
from punchcard.store.delivery.queue import count_due, next_due
from punchcard.store.engine import Store, is_storage_fault

__all__ = [
    "CompletedAttempt",
    "Cycle",
    "DeliveryTarget",
    "RecordedResults",
    "begin",
    "claim",
    "cycle",
    "lease_seconds",
    "record_results",
]

# A lease outlives the request and the wait for lost ones, so that an expired one may be read back at once.
# The margin is how late a claimed request may leave: a process that was frozen meanwhile must not send it any more.
_LEASE_MARGIN_SECONDS = 5.0
_DETAIL_CHARACTERS_MAX = 500
_CLAIMED_MAX = 1000


class CompletedAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt with its result, which is not recorded yet.

    Attributes:
        fingerprint: Of the settings that the attempt was made with; they may have changed since.
        finished_at: When the result came, None for the moment in which it is recorded.
    """

    attempt: Attempt
    result: PartnerResult
    seconds: float
    fingerprint: str
    finished_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """What one unit of work did.

    Attributes:
        attempts: Attempts that may leave now.
        send_before: When the first byte of each must have left.
        moved: Effects put elsewhere without an attempt; if any, more may be claimable at once.
        paused: True if the destination delivers nothing: it is disabled or paused.
        pause: The refusal, None if its credentials are good or a person has paused it.
        next_due: When the next open effect is due. None if there is none, or if the destination has anything in flight,
            of which the result is awaited first.
        holds_back: True if an effect is due that was not claimed: it may wait for the result of one that is in flight.
    """

    attempts: Sequence[Attempt]
    send_before: SendBefore
    moved: int
    paused: bool
    pause: Pause | None = None
    next_due: datetime | None = None
    holds_back: bool = False


def cycle(
    store: Store,
    target: DeliveryTarget,
    completed: Sequence[CompletedAttempt],
    *,
    room: int,
    clock: Clock,
    telemetry: DeliveryTelemetry,
    busy: Collection[OrderingGroup] = (),
    watch: ClockWatch | None = None,
) -> Cycle:
    """Record the results, then claim and prepare what `room` requests carry, all in one unit of work.

    Args:
        room: How many requests may be started.
        watch: Corrects due times if the wall clock was set, before anything is claimed by them.
        busy: Ordering groups of which the caller has an effect in flight: nothing of them is claimed, however late its
            result comes.

    Raises:
        StorageError: nothing of it happened; call again with the same results.
    """
    try:
        return _cycle(
            store, target, completed, room=room, clock=clock, telemetry=telemetry, busy=busy, watch=watch, apart=False
        )
    except Exception as error:
        if _is_storage_fault(error):
            raise
        telemetry.cycle_failed(error=error)
        return _cycle(
            store, target, completed, room=room, clock=clock, telemetry=telemetry, busy=busy, watch=watch, apart=True
        )


def _cycle(
    store: Store,
    target: DeliveryTarget,
    completed: Sequence[CompletedAttempt],
    *,
    room: int,
    clock: Clock,
    telemetry: DeliveryTelemetry,
    busy: Collection[OrderingGroup],
    watch: ClockWatch | None,
    apart: bool,
) -> Cycle:
    """Run one cycle.

    Args:
        apart: True to give each effect a savepoint of its own, so that one that fails is parked and the others go on.
    """
    with store.unit_of_work() as work:
        if apart:
            recorded = _record_results_apart(work, target, completed, clock=clock, telemetry=telemetry)
        else:
            recorded = record_results(work, target, completed, clock=clock)
        # One reading for all that follows: the clock may be set at any time.
        reading = (watch or ClockWatch(clock)).read()
        now = reading.now
        corrected = 0 if watch is None else watch.correct(work, target.slug, reading, target.options)
        lasting = pause_of(work, target.slug)
        ended_by = _end_pause_if_over(work, target, lasting, now=now)
        lasting = None if ended_by is not None else lasting
        paused = not target.enabled or lasting is not None
        if paused:
            claimed = []
        elif apart:
            claimed = _claim_apart(work, target, room=room, busy=busy, now=now, telemetry=telemetry)
        else:
            claimed = claim(work, target, room=room, busy=busy, now=now)
        attempt = _begin_all(work, target, claimed, clock=clock, telemetry=telemetry, apart=apart)
        in_flight = len(busy) + len(attempt)
        holds_back = 0 < in_flight < count_due(work, target.slug, now=now, count_max=in_flight + 1)
        # Here rather than in a unit of work of its own, as this is what a single event ends with.
        due = next_due(work, target.slug) if room > 0 and not (paused or in_flight) else None
    if watch is not None:
        watch.done(reading)
    _report(recorded, corrected=corrected, ended_by=ended_by, telemetry=telemetry)
    return Cycle(
        attempts=attempt,
        send_before=SendBefore(
            instant=now + timedelta(seconds=_LEASE_MARGIN_SECONDS), elapsed=reading.elapsed + _LEASE_MARGIN_SECONDS
        ),
        moved=len(claimed) - len(attempt),
        paused=paused,
        pause=None if lasting is None or lasting.is_by_operator else lasting,
        next_due=due,
        holds_back=holds_back,
    )


def _report(
    recorded: "RecordedResults", *, corrected: int, ended_by: PauseEnd | None, telemetry: DeliveryTelemetry
) -> None:
    """Log what a cycle did, once it is committed: what a failed unit of work has not done is not reported."""
    try:
        if corrected:
            telemetry.waits_corrected(count=corrected)
        if ended_by is not None:
            telemetry.destination_resumed(by=ended_by)
        recorded.report(telemetry)
    except Exception as error:  # noqa: BLE001  # what was started just now must be sent all the same
        telemetry.report_failed(error=error)


def _begin_all(
    work: Connection,
    target: DeliveryTarget,
    claimed: Sequence[StoredEffect],
    *,
    clock: Clock,
    telemetry: DeliveryTelemetry,
    apart: bool,
) -> list[Attempt]:
    now = clock.now()
    lease_until = now + timedelta(seconds=lease_seconds(target.options))
    beginning = Beginning(work, target, claimed, clock=clock)
    begun: list[Attempt] = []
    written = 0
    ordering_groups: set[OrderingGroup] = set()

    def write() -> None:
        nonlocal written
        beginning.write()
        outbox.start(work, begun[written:], now=now, lease_until=lease_until)
        written = len(begun)

    for effect in claimed:
        ordering_group = effect.ordering_group
        if ordering_group in ordering_groups:
            continue  # one that has waited for its order, and the first of its ordering key: one of them at a time
        if apart:
            new_attempt = _begin_apart(work, target, effect, lease_until=lease_until, clock=clock, telemetry=telemetry)
        else:
            if effect.corrects is not None:
                write()  # a correction is decided by the ledger itself, so that must hold what was begun before it
            new_attempt = beginning.begin(effect)
        if new_attempt is not None:
            begun.append(new_attempt)
            ordering_groups.add(ordering_group)
        if not apart and effect.corrects is not None:
            write()
    if not apart:
        write()
    return begun


def _begin_apart(
    work: Connection,
    target: DeliveryTarget,
    effect: StoredEffect,
    *,
    lease_until: datetime,
    clock: Clock,
    telemetry: DeliveryTelemetry,
) -> Attempt | None:
    """Begin one effect and write its attempt; park it if that fails, so that the others go on."""
    try:
        with work.begin_nested():
            attempt = begin(work, target, effect, clock=clock)
            if attempt is not None:
                outbox.start(work, [attempt], now=clock.now(), lease_until=lease_until)
            return attempt
    except Exception as error:
        if _is_storage_fault(error):
            raise
        telemetry.preparation_failed(effect_key=effect.effect_key, error=error)
        _set_aside(work, effect.id, error, now=clock.now(), telemetry=telemetry)
        return None


def _claim_apart(
    work: Connection,
    target: DeliveryTarget,
    *,
    room: int,
    busy: Collection[OrderingGroup],
    now: datetime,
    telemetry: DeliveryTelemetry,
) -> list[StoredEffect]:
    """Claim effects, each read by itself; a row that cannot be read at all is parked."""
    if room <= 0:
        return []
    claimed = []
    for effect_id in outbox.claimable_ids(work, target.slug, now=now, limit=room + len(busy)):
        try:
            with work.begin_nested():
                effect = outbox.effect_by_id(work, effect_id)
        except Exception as error:
            if _is_storage_fault(error):
                raise
            telemetry.preparation_failed(effect_key=f"effect {effect_id}", error=error)
            _set_aside(work, effect_id, error, now=now, telemetry=telemetry)
        else:
            if effect.ordering_group not in busy:
                claimed.append(effect)
    return claimed[:room]


def _set_aside(
    work: Connection,
    effect_id: int,
    error: Exception,
    *,
    now: datetime,
    telemetry: DeliveryTelemetry,
    number: int | None = None,
) -> None:
    detail = f"Punchcard failed on this effect, and sends nothing until it is retried: {_described(error)}"
    for count in (True, False):
        try:
            with work.begin_nested():
                outbox.set_aside(work, effect_id, detail=detail, now=now, number=number, count=count)
            return
        except Exception as again:
            if _is_storage_fault(again):
                raise
            telemetry.preparation_failed(effect_key=f"effect {effect_id}", error=again)


def _is_storage_fault(error: Exception) -> bool:
    """Whether the database is at fault, so that nothing is known of any effect and all of it must be done again."""
    return isinstance(error, StorageError) or is_storage_fault(error)


def _described(error: Exception) -> str:
    # Without the statement and its parameters, which are long and name customers.
    return f"{getattr(error, 'orig', None) or error!r}"[:_DETAIL_CHARACTERS_MAX]


def lease_seconds(options: DeliveryOptions) -> float:
    """Return how long after its claim a request may still land, whatever becomes of the process that claimed it."""
    return options.request_timeout_seconds + options.unknown_wait_seconds + _LEASE_MARGIN_SECONDS


def claim(
    work: Connection, target: DeliveryTarget, *, room: int, busy: Collection[OrderingGroup], now: datetime
) -> list[StoredEffect]:
    """Effects that are due and first in their ordering key, so that no order is overtaken by what depends on it."""
    if room <= 0:
        return []
    # One unit of work must stay short, however many effects a request may carry.
    limit = min(room * target.options.batch_size, max(room, _CLAIMED_MAX))
    due_effects = outbox.claimable(work, target.slug, now=now, limit=limit)
    free = [effect for effect in due_effects if effect.ordering_group not in busy]
    if len(free) < len(due_effects) == limit:
        # Effects of which the lease is over while the caller still waits for their results take the places of others.
        due_effects = outbox.claimable(work, target.slug, now=now, limit=limit + len(busy))
        free = [effect for effect in due_effects if effect.ordering_group not in busy][:limit]
    return list(within_requests(free, target.options, requests=room))


def begin(work: Connection, target: DeliveryTarget, effect: StoredEffect, *, clock: Clock) -> Attempt | None:
    """Prepare one claimed effect; None if it was put elsewhere instead of being sent.

    Raises:
        InvariantError: its row is damaged, or it would be sent without an amount.
    """
    beginning = Beginning(work, target, [effect], clock=clock)
    attempt = beginning.begin(effect)
    beginning.write()
    return attempt


@dataclass(frozen=True, kw_only=True)
class RecordedResults:
    """What `record_results` has written.

    Attributes:
        attempt_results: Each completed attempt with what follows from it.
        ignored: Results that came too late to change their effect.
        paused_by: The refusal that paused the destination just now, if one did.
    """

    attempt_results: Sequence[tuple[CompletedAttempt, AttemptResult]]
    ignored: int
    paused_by: CredentialsError | None

    def report(self, telemetry: DeliveryTelemetry) -> None:
        """Report to logs and metrics."""
        if self.ignored:
            telemetry.late_results_ignored(count=self.ignored)
        if self.paused_by is not None:
            telemetry.destination_paused(detail=self.paused_by.message)
        outcomes: Counter[tuple[str, str]] = Counter()
        seconds = []
        award_seconds = []
        for completed_attempt, attempt_result in self.attempt_results:
            attempt, state = completed_attempt.attempt, attempt_result.state
            effect = attempt.effect
            outcomes[attempt.action, attempt_result.outcome] += 1
            seconds.append(completed_attempt.seconds)
            if state is EffectState.DELIVERED:
                award_seconds.append((attempt_result.finished_at - effect.received_at).total_seconds())
            elif not state.is_open:
                telemetry.effect_parked(
                    effect_key=effect.effect_key,
                    state=state,
                    reason=attempt_result.reason,
                    detail=attempt_result.detail,
                )
        if seconds:
            telemetry.attempts_completed(outcomes=outcomes, seconds=seconds)
        if award_seconds:
            telemetry.effects_delivered(seconds=award_seconds)


def record_results(
    work: Connection, target: DeliveryTarget, completed: Sequence[CompletedAttempt], *, clock: Clock
) -> RecordedResults:
    """Write the results of attempts; refused credentials pause the destination, once."""
    attempt_results = [
        (
            completed_attempt,
            classify_outcome(
                completed_attempt.attempt,
                completed_attempt.result,
                clock=clock,
                options=target.options,
                finished_at=completed_attempt.finished_at,
            ),
        )
        for completed_attempt in completed
    ]
    moved = outbox.record_results(work, [attempt_result for _, attempt_result in attempt_results])
    _wake(work, target, attempt_results, clock=clock)
    return RecordedResults(
        attempt_results=attempt_results,
        ignored=len(attempt_results) - moved,
        paused_by=_pause_if_refused(work, target, completed, clock=clock),
    )


def _record_results_apart(
    work: Connection,
    target: DeliveryTarget,
    completed: Sequence[CompletedAttempt],
    *,
    clock: Clock,
    telemetry: DeliveryTelemetry,
) -> RecordedResults:
    """Record each result by itself: one that cannot be recorded is an unknown outcome, and is read back."""
    attempt_results: list[tuple[CompletedAttempt, AttemptResult]] = []
    moved = 0
    for completed_attempt in completed:
        result = _record_result(work, target, completed_attempt, clock=clock, telemetry=telemetry)
        if result is None:
            continue
        attempt_result, count = result
        attempt_results.append((completed_attempt, attempt_result))
        moved += count
        try:
            with work.begin_nested():
                _wake(work, target, [(completed_attempt, attempt_result)], clock=clock)
        except Exception as error:
            if _is_storage_fault(error):
                raise
            # What waits looks by itself from time to time.
            telemetry.wake_failed(effect_key=completed_attempt.attempt.effect.effect_key, error=error)
    return RecordedResults(
        attempt_results=attempt_results,
        ignored=len(attempt_results) - moved,
        paused_by=_pause_if_refused(work, target, completed, clock=clock),
    )


def _record_result(
    work: Connection,
    target: DeliveryTarget,
    completed_attempt: CompletedAttempt,
    *,
    clock: Clock,
    telemetry: DeliveryTelemetry,
) -> tuple[AttemptResult, int] | None:
    """Record the result of an attempt; None if the effect had to be parked without reading anything of it."""
    result = completed_attempt.result
    for _ in range(2):
        try:
            with work.begin_nested():
                attempt_result = classify_outcome(
                    completed_attempt.attempt,
                    result,
                    clock=clock,
                    options=target.options,
                    finished_at=completed_attempt.finished_at,
                )
                return attempt_result, outbox.record_results(work, [attempt_result])
        except Exception as error:
            if _is_storage_fault(error):
                raise
            telemetry.settlement_failed(effect_key=completed_attempt.attempt.effect.effect_key, error=error)
            result = OutcomeUnknownError(f"Punchcard could not record the response: {_described(error)}")
            last = error
    _set_aside(
        work,
        completed_attempt.attempt.effect.id,
        last,
        now=clock.now(),
        telemetry=telemetry,
        number=completed_attempt.attempt.number,
    )
    return None


def _pause_if_refused(
    work: Connection, target: DeliveryTarget, completed: Sequence[CompletedAttempt], *, clock: Clock
) -> CredentialsError | None:
    # A refusal of settings that have been changed in the meantime says nothing of the new ones.
    refusal = next(
        (
            completed_attempt.result
            for completed_attempt in completed
            if isinstance(completed_attempt.result, CredentialsError)
            and completed_attempt.fingerprint == target.fingerprint
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
    return refusal if newly_paused else None


def _wake(
    work: Connection,
    target: DeliveryTarget,
    attempt_results: Sequence[tuple[CompletedAttempt, AttemptResult]],
    *,
    clock: Clock,
) -> None:
    outcomes = [
        (completed_attempt.attempt.effect, attempt_result.state)
        for completed_attempt, attempt_result in attempt_results
    ]
    wake_others(work, target.slug, target.partner.definition, outcomes, now=clock.now())


def _end_pause_if_over(
    work: Connection, target: DeliveryTarget, lasting: Pause | None, *, now: datetime
) -> PauseEnd | None:
    """End the destination's pause if its end has come, or other settings may be accepted; returns what ended it."""
    if lasting is None:
        return None
    if lasting.is_by_operator:
        by, is_over = PauseEnd.SCHEDULE, lasting.until is not None and lasting.until <= now
    else:
        by, is_over = PauseEnd.SETTINGS, lasting.settings_fingerprint != target.fingerprint
    return by if is_over and end_pause(work, lasting, by=by, now=now) else None
