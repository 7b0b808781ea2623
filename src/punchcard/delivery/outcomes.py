"""How one attempt's answer moves its effect: the only place where outcomes become states."""

from datetime import datetime, timedelta
from decimal import Decimal

from punchcard.clock import Clock
from punchcard.delivery.retry import wait_seconds
from punchcard.destinations.port import DeliveryOptions, OnUnknown, Performed
from punchcard.errors import CredentialsError, DeliveryError, OutcomeUnknownError, RejectedError, RetryableError
from punchcard.events.commerce import amount_text
from punchcard.store.delivery.effects import Action, Attempt, AttemptOutcome, AttemptResult, EffectState
from punchcard.store.delivery.recoveries import STORE_RESTORED

TOO_MANY_REQUESTS = 429
NOT_SENT = "not_sent"
"""Code of a request that did not leave because log or database could not be written before."""

LATE = "late"
"""Code of a request that did not leave because its process stood still after it had claimed the effect."""

CANNOT_READ_BACK = "it may have been performed, and this destination cannot be asked; look there before it is retried"
PartnerResult = Performed | DeliveryError | None


def classify_outcome(
    attempt: Attempt,
    result: PartnerResult,
    *,
    clock: Clock,
    options: DeliveryOptions,
    finished_at: datetime | None = None,
) -> AttemptResult:
    """Return what follows from the result of an attempt.

    Args:
        attempt: The attempt.
        result: What `perform` returned or raised; for a read-back, what `find` did (None: surely not performed).
        clock: Gives the present and the jitter.
        options: The destination's retry schedule.
        finished_at: When the result came; None for the present.
    """
    now = clock.now() if finished_at is None else finished_at
    if isinstance(result, RetryableError) and result.code in (NOT_SENT, LATE):
        return _not_made(attempt, result, now)
    if attempt.action is Action.READ_BACK:
        return _classify_read_back(attempt, result, now, clock=clock, options=options)
    return _classify_send(attempt, result, now, clock=clock, options=options)


def _classify_send(
    attempt: Attempt, result: PartnerResult, now: datetime, *, clock: Clock, options: DeliveryOptions
) -> AttemptResult:
    match result:
        case Performed():
            return _delivered(attempt, result, now)
        case OutcomeUnknownError() if options.on_unknown is not OnUnknown.READ_BACK:
            return _in_doubt(attempt, result, now, clock=clock, options=options)
        case OutcomeUnknownError():
            later = now + timedelta(seconds=options.unknown_wait_seconds)
            return _moved(
                attempt, result, AttemptOutcome.UNKNOWN, EffectState.UNKNOWN, now, later, reason="outcome_unknown"
            )
        case CredentialsError():
            return _moved(attempt, result, AttemptOutcome.CREDENTIALS, EffectState.RETRYING, now, now, counts=False)
        case RejectedError(code="duplicate_key") if options.on_unknown is OnUnknown.READ_BACK:
            # The key is used, most likely by an earlier attempt of which the response was lost: read back first.
            return _moved(attempt, result, AttemptOutcome.UNKNOWN, EffectState.UNKNOWN, now, now, counts=False)
        case RejectedError():
            return _moved(attempt, result, AttemptOutcome.REJECTED, EffectState.REJECTED, now, now)
        case RetryableError() if result.status == TOO_MANY_REQUESTS:
            return _slowed_down(attempt, result, EffectState.RETRYING, now, clock=clock, options=options)
        case RetryableError():
            return _later_or_parked(
                attempt,
                result,
                now,
                outcome=AttemptOutcome.RETRYABLE,
                state=EffectState.RETRYING,
                reason=result.code,
                clock=clock,
                options=options,
            )
        case _:
            unknown = OutcomeUnknownError(f"the attempt ended in no answer that is known: {result!r}")
            if options.on_unknown is not OnUnknown.READ_BACK:
                return _in_doubt(attempt, unknown, now, clock=clock, options=options)
            return _moved(
                attempt,
                unknown,
                AttemptOutcome.UNKNOWN,
                EffectState.UNKNOWN,
                now,
                now + timedelta(seconds=options.unknown_wait_seconds),
                reason="outcome_unknown",
            )


def _in_doubt(
    attempt: Attempt, error: OutcomeUnknownError, now: datetime, *, clock: Clock, options: DeliveryOptions
) -> AttemptResult:
    # The destination cannot be read back: the effect is sent again (at least once), or an operator decides.
    if options.on_unknown is OnUnknown.PARK:
        detail = f"{CANNOT_READ_BACK}; {error.message}"
        return _moved(
            attempt,
            error,
            AttemptOutcome.UNKNOWN,
            EffectState.PARKED,
            now,
            now,
            reason="outcome_unknown",
            detail=detail,
        )
    return _later_or_parked(
        attempt,
        error,
        now,
        outcome=AttemptOutcome.UNKNOWN,
        state=EffectState.RETRYING,
        reason="outcome_unknown",
        clock=clock,
        options=options,
    )


def _classify_read_back(
    attempt: Attempt, result: PartnerResult, now: datetime, *, clock: Clock, options: DeliveryOptions
) -> AttemptResult:
    in_doubt = _doubt_of(attempt)
    if isinstance(result, Performed):
        return _delivered(attempt, result, now)
    if isinstance(result, CredentialsError):
        return _moved(
            attempt, result, AttemptOutcome.CREDENTIALS, EffectState.UNKNOWN, now, now, reason=in_doubt, counts=False
        )
    if isinstance(result, RetryableError) and result.status == TOO_MANY_REQUESTS:
        return _slowed_down(attempt, result, EffectState.UNKNOWN, now, clock=clock, options=options, reason=in_doubt)
    if result is None and in_doubt == "outcome_unknown":
        return _not_there(attempt, now, clock=clock, options=options)
    if result is None:
        doubt: DeliveryError = OutcomeUnknownError(
            "the partner says that this key is used, but shows no transaction of the customer with it"
        )
    else:
        doubt = result
    return _later_or_parked(
        attempt,
        doubt,
        now,
        outcome=AttemptOutcome.NOT_FOUND if result is None else AttemptOutcome.RETRYABLE,
        state=EffectState.UNKNOWN,
        reason=in_doubt,
        clock=clock,
        options=options,
    )


def _not_there(attempt: Attempt, now: datetime, *, clock: Clock, options: DeliveryOptions) -> AttemptResult:
    # Surely not performed, so the same key goes out again: at once the first time, later if it happens again and again.
    tries = attempt.effect.tries
    absent = RetryableError("the partner has nothing under this key: it was not performed", code="not_performed")
    if tries >= options.tries_max:
        # The read-back has replaced the attempt's response in the effect's detail, so that is repeated here.
        detail = f"{absent.message}; given up after {tries} tries; the last: {attempt.effect.detail or 'no words'}"
        return _moved(
            attempt, absent, AttemptOutcome.NOT_FOUND, EffectState.PARKED, now, now, detail=detail, counts=False
        )
    wait = 0.0
    if tries > 1:
        wait = wait_seconds(tries - 1, base_seconds=options.retry_base_seconds, jitter=clock.jitter())
    later = now + timedelta(seconds=wait)
    return _moved(attempt, absent, AttemptOutcome.NOT_FOUND, EffectState.RETRYING, now, later, counts=False)


def _not_made(attempt: Attempt, error: RetryableError, now: datetime) -> AttemptResult:
    """Nothing has left this process, so the destination needs no time: due at once, and no try is counted."""
    if attempt.action is Action.READ_BACK:
        reason = _doubt_of(attempt)
        return _moved(
            attempt, error, AttemptOutcome.RETRYABLE, EffectState.UNKNOWN, now, now, reason=reason, counts=False
        )
    return _moved(attempt, error, AttemptOutcome.RETRYABLE, EffectState.RETRYING, now, now, counts=False)


def _doubt_of(attempt: Attempt) -> str:
    """Return why an effect is read back."""
    return "duplicate_key" if attempt.effect.reason == "duplicate_key" else "outcome_unknown"


def _slowed_down(
    attempt: Attempt,
    error: RetryableError,
    state: EffectState,
    now: datetime,
    *,
    clock: Clock,
    options: DeliveryOptions,
    reason: str | None = None,
) -> AttemptResult:
    # Not this effect's fault: the whole destination slows down, and the try is not held against it.
    wait = wait_seconds(
        1,
        base_seconds=min(1.0, options.retry_base_seconds),
        jitter=clock.jitter(),
        retry_after_seconds=error.retry_after_seconds,
    )
    later = now + timedelta(seconds=wait)
    return _moved(attempt, error, AttemptOutcome.RETRYABLE, state, now, later, reason=reason, counts=False)


def _later_or_parked(
    attempt: Attempt,
    error: DeliveryError,
    now: datetime,
    *,
    outcome: AttemptOutcome,
    state: EffectState,
    reason: str,
    clock: Clock,
    options: DeliveryOptions,
) -> AttemptResult:
    tries = attempt.effect.tries + 1
    if tries >= options.tries_max:
        return _moved(
            attempt,
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
    return _moved(attempt, error, outcome, state, now, now + timedelta(seconds=wait), reason=reason)


def _delivered(attempt: Attempt, performed: Performed, now: datetime) -> AttemptResult:
    read_back_detail = _found_words(attempt) if attempt.action is Action.READ_BACK else None
    return AttemptResult(
        effect_id=attempt.effect.id,
        number=attempt.number,
        finished_at=now,
        status=performed.status,
        outcome=AttemptOutcome.DELIVERED,
        attempt_detail=performed.note or read_back_detail,
        state=EffectState.DELIVERED,
        reason=None,
        detail=performed.note or read_back_detail,
        due_at=now,
        partner_id=performed.partner_id,
        quantity=_booked(attempt, performed),
    )


def _booked(attempt: Attempt, performed: Performed) -> Decimal | None:
    """The amount that the ledger had never decided: of an effect of a run that it knows nothing of."""
    effect = attempt.effect
    if attempt.action is not Action.READ_BACK or not effect.is_refund or effect.quantity is not None:
        return None
    if performed.units is None:
        return None
    # A correction may give as well: its sign is that of the difference by which it was looked up.
    gives = effect.corrects is not None and attempt.quantity is not None and attempt.quantity > 0
    return performed.units if gives else -performed.units


def _found_words(attempt: Attempt) -> str:
    if attempt.effect.reason == STORE_RESTORED:
        return "found by reading back: it was delivered before the database was restored from an older copy"
    # Takes the place of the sentence about the lost answer, which had taken the place of the one about a cut amount.
    requested_quantity = attempt.effect.requested_quantity
    if attempt.quantity == requested_quantity or attempt.quantity is None:
        return "found by reading back"
    requested = "no amount" if requested_quantity is None else amount_text(requested_quantity)
    return f"found by reading back; {requested} was asked, {amount_text(attempt.quantity)} sent"


def _moved(
    attempt: Attempt,
    error: DeliveryError,
    outcome: AttemptOutcome,
    state: EffectState,
    now: datetime,
    due_at: datetime,
    *,
    reason: str | None = None,
    detail: str | None = None,
    counts: bool = True,
) -> AttemptResult:
    return AttemptResult(
        effect_id=attempt.effect.id,
        number=attempt.number,
        finished_at=now,
        status=error.status,
        outcome=outcome,
        attempt_detail=error.message,
        state=state,
        reason=reason or error.code,
        detail=detail or error.message,
        due_at=due_at,
        partner_id=error.partner_id if isinstance(error, OutcomeUnknownError) else None,
        counts=counts,
    )
