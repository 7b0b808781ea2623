"""How one attempt's answer moves its effect: the only place where outcomes become states."""

from datetime import datetime, timedelta

from punchcard.clock import Clock
from punchcard.delivery.retry import wait_seconds
from punchcard.destinations.port import DeliveryOptions, Performed
from punchcard.errors import CredentialsError, DeliveryError, OutcomeUnknownError, RejectedError, RetryableError
from punchcard.store.outbox import Action, Outcome, Settlement, Started
from punchcard.store.schema import EffectState

TOO_MANY_REQUESTS = 429
Answer = Performed | DeliveryError | None


def judge(started: Started, answer: Answer, *, clock: Clock, options: DeliveryOptions) -> Settlement:
    """The settlement of an attempt.

    Args:
        started: The attempt.
        answer: What `perform` returned or raised; for a read-back, what `find` did (None: it surely does not stand).
        clock: Gives the present and the jitter.
        options: The destination's retry schedule.
    """
    if started.action is Action.READ_BACK:
        return _judge_read_back(started, answer, clock=clock, options=options)
    return _judge_send(started, answer, clock=clock, options=options)


def _judge_send(started: Started, answer: Answer, *, clock: Clock, options: DeliveryOptions) -> Settlement:
    now = clock.now()
    match answer:
        case Performed():
            return _delivered(started, answer, now)
        case OutcomeUnknownError():
            later = now + timedelta(seconds=options.unknown_wait_seconds)
            return _moved(started, answer, Outcome.UNKNOWN, EffectState.UNKNOWN, now, later, reason="outcome_unknown")
        case CredentialsError():
            return _moved(started, answer, Outcome.CREDENTIALS, EffectState.RETRYING, now, now, counts=False)
        case RejectedError(code="duplicate_key"):
            # Our id is used: by an attempt of ours whose answer was lost, most likely. Look before believing it.
            return _moved(started, answer, Outcome.UNKNOWN, EffectState.UNKNOWN, now, now, counts=False)
        case RejectedError():
            return _moved(started, answer, Outcome.REJECTED, EffectState.REJECTED, now, now)
        case RetryableError():
            return _retry_or_park(started, answer, now, clock=clock, options=options)
        case _:
            return _moved(
                started,
                OutcomeUnknownError(f"the attempt ended in no answer that is known: {answer!r}"),
                Outcome.UNKNOWN,
                EffectState.UNKNOWN,
                now,
                now + timedelta(seconds=options.unknown_wait_seconds),
                reason="outcome_unknown",
            )


def _judge_read_back(started: Started, answer: Answer, *, clock: Clock, options: DeliveryOptions) -> Settlement:
    now = clock.now()
    effect = started.effect
    in_doubt = "duplicate_key" if effect.reason == "duplicate_key" else "outcome_unknown"
    if isinstance(answer, Performed):
        return _delivered(started, answer, now)
    if isinstance(answer, CredentialsError):
        return _moved(
            started, answer, Outcome.CREDENTIALS, EffectState.UNKNOWN, now, now, reason=in_doubt, counts=False
        )
    if answer is None and in_doubt == "outcome_unknown":
        return _not_there(started, now, clock=clock, options=options)
    if answer is None:
        doubt: DeliveryError = OutcomeUnknownError(
            "the partner says that this key is used, but shows no transaction of the customer with it"
        )
    else:
        doubt = answer
    return _later_or_parked(
        started,
        doubt,
        now,
        outcome=Outcome.NOT_FOUND if answer is None else Outcome.RETRYABLE,
        state=EffectState.UNKNOWN,
        reason=in_doubt,
        clock=clock,
        options=options,
    )


def _not_there(started: Started, now: datetime, *, clock: Clock, options: DeliveryOptions) -> Settlement:
    # Surely not performed, so the same key goes out again: at once the first time, later if it happens again and again.
    tries = started.effect.tries
    absent = RetryableError("the partner has nothing under this key: it was not performed", code="not_performed")
    if tries >= options.tries_max:
        return _moved(started, absent, Outcome.NOT_FOUND, EffectState.PARKED, now, now, counts=False)
    wait = 0.0
    if tries > 1:
        wait = wait_seconds(tries - 1, base_seconds=options.retry_base_seconds, jitter=clock.jitter())
    later = now + timedelta(seconds=wait)
    return _moved(started, absent, Outcome.NOT_FOUND, EffectState.RETRYING, now, later, counts=False)


def _retry_or_park(
    started: Started, error: RetryableError, now: datetime, *, clock: Clock, options: DeliveryOptions
) -> Settlement:
    if error.status == TOO_MANY_REQUESTS:
        # Not this effect's fault: the whole destination slows down, and the try is not held against it.
        wait = wait_seconds(
            1,
            base_seconds=min(1.0, options.retry_base_seconds),
            jitter=clock.jitter(),
            retry_after_seconds=error.retry_after_seconds,
        )
        later = now + timedelta(seconds=wait)
        return _moved(started, error, Outcome.RETRYABLE, EffectState.RETRYING, now, later, counts=False)
    return _later_or_parked(
        started,
        error,
        now,
        outcome=Outcome.RETRYABLE,
        state=EffectState.RETRYING,
        reason=error.code,
        clock=clock,
        options=options,
    )


def _later_or_parked(
    started: Started,
    error: DeliveryError,
    now: datetime,
    *,
    outcome: Outcome,
    state: EffectState,
    reason: str,
    clock: Clock,
    options: DeliveryOptions,
) -> Settlement:
    tries = started.effect.tries + 1
    if tries >= options.tries_max:
        return _moved(
            started,
            error,
            outcome,
            EffectState.PARKED,
            now,
            now,
            reason=reason,
            detail=f"given up after {tries} tries; the last: {error.message}",
        )
    wait = wait_seconds(
        tries,
        base_seconds=options.retry_base_seconds,
        jitter=clock.jitter(),
        retry_after_seconds=error.retry_after_seconds if isinstance(error, RetryableError) else None,
    )
    return _moved(started, error, outcome, state, now, now + timedelta(seconds=wait), reason=reason)


def _delivered(started: Started, performed: Performed, now: datetime) -> Settlement:
    return Settlement(
        effect_id=started.effect.id,
        number=started.number,
        settled_at=now,
        status=performed.status,
        outcome=Outcome.DELIVERED,
        attempt_detail=performed.note or ("found by reading back" if started.action is Action.READ_BACK else None),
        state=EffectState.DELIVERED,
        reason=None,
        detail=performed.note,
        due_at=now,
        partner_id=performed.partner_id,
    )


def _moved(
    started: Started,
    error: DeliveryError,
    outcome: Outcome,
    state: EffectState,
    now: datetime,
    due_at: datetime,
    *,
    reason: str | None = None,
    detail: str | None = None,
    counts: bool = True,
) -> Settlement:
    return Settlement(
        effect_id=started.effect.id,
        number=started.number,
        settled_at=now,
        status=error.status,
        outcome=outcome,
        attempt_detail=error.message,
        state=state,
        reason=reason or error.code,
        detail=detail or error.message,
        due_at=due_at,
        partner_id=None,
        counts=counts,
    )
