"""Every kind of answer to a request and to a question, and what it makes of an effect."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest

from punchcard.delivery.outcomes import LATE, NOT_SENT, PartnerResult, classify_outcome
from punchcard.destinations.port import DeliveryOptions, Performed
from punchcard.errors import (
    CredentialsError,
    DeliveryError,
    OutcomeUnknownError,
    RejectedError,
    RetryableError,
)
from punchcard.store.delivery.effects import Action, Attempt, AttemptOutcome, EffectState, StoredEffect
from punchcard.testing.clock import ManualClock

OPTIONS = DeliveryOptions(retry_base_seconds=30, tries_max=10, unknown_wait_seconds=10)
CLOCK = ManualClock()
NOW = CLOCK.now()
EFFECT = StoredEffect(
    id=7,
    destination="perkville",
    effect_key="k",
    kind="transaction",
    source="website",
    message_id="m",
    event_name="Order Completed",
    received_at=NOW,
    customer="ann@example.com",
    email="ann@example.com",
    item="1",
    requested_quantity=Decimal("9.99"),
    quantity=Decimal("9.99"),
    attributes=None,
    order_id="o",
    is_refund=False,
    state=EffectState.PENDING,
    reason=None,
    detail=None,
    attempts=0,
    tries=0,
    due_at=NOW,
    partner_id=None,
    created_at=NOW,
    finished_at=None,
)

NOT_MADE = RetryableError("nothing was sent: the disk is full", code=NOT_SENT)
TOO_LATE = RetryableError("this process stood still", code=LATE)


class MiddleClock(ManualClock):
    def jitter(self) -> float:
        return 0.5


def make_attempt(action: Action, *, tries: int = 0, reason: str | None = None) -> Attempt:
    effect = replace(EFFECT, tries=tries, reason=reason)
    return Attempt(effect=effect, number=1, action=action, item="1", quantity=EFFECT.quantity, detail=None)


DONE = Performed(status=201, partner_id="p1")
FOUND = Performed(status=None, partner_id="p1")
BUSY = RetryableError("down", status=503)
BUSY_FOR = RetryableError("down", status=503, retry_after_seconds=0)
TOO_FAST = RetryableError("slow", status=429)
TOO_FAST_FOR = RetryableError("slow", status=429, retry_after_seconds=0)
NO_PERK = RejectedError("no such perk", code="perk_unknown", status=400)
USED = RejectedError("used", code="duplicate_key", status=400)
NO_TOKEN = CredentialsError("bad token", status=401)
LOST = OutcomeUnknownError("time-out", status=504)
STRANGE = DeliveryError("a kind of its own")
S, R, E, O = Action.SEND, Action.READ_BACK, EffectState, AttemptOutcome  # noqa: E741  # short, so that the table is one

TABLE = [
    # id, action, tries so far, reason so far, answer -> state, outcome, reason, wait, counts
    ("performed", S, 0, None, DONE, E.DELIVERED, O.DELIVERED, None, 0, True),
    ("performed at the last try", S, 9, None, DONE, E.DELIVERED, O.DELIVERED, None, 0, True),
    ("busy", S, 0, None, BUSY, E.RETRYING, O.RETRYABLE, "partner_unavailable", 30, True),
    ("busy at the third try", S, 2, None, BUSY, E.RETRYING, O.RETRYABLE, "partner_unavailable", 120, True),
    ("busy, come at once", S, 2, None, BUSY_FOR, E.RETRYING, O.RETRYABLE, "partner_unavailable", 0, True),
    ("busy at the last but one", S, 8, None, BUSY, E.RETRYING, O.RETRYABLE, "partner_unavailable", 5_400, True),
    ("busy at the last try", S, 9, None, BUSY, E.PARKED, O.RETRYABLE, "partner_unavailable", 0, True),
    ("too fast", S, 0, None, TOO_FAST, E.RETRYING, O.RETRYABLE, "partner_unavailable", 1, False),
    ("too fast at the last try", S, 9, None, TOO_FAST_FOR, E.RETRYING, O.RETRYABLE, "partner_unavailable", 0, False),
    ("rejected", S, 0, None, NO_PERK, E.REJECTED, O.REJECTED, "perk_unknown", 0, True),
    ("key used", S, 0, None, USED, E.UNKNOWN, O.UNKNOWN, "duplicate_key", 0, False),
    ("credentials", S, 4, None, NO_TOKEN, E.RETRYING, O.CREDENTIALS, "credentials_refused", 0, False),
    ("answer lost", S, 0, None, LOST, E.UNKNOWN, O.UNKNOWN, "outcome_unknown", 10, True),
    ("answer lost at the last try", S, 9, None, LOST, E.UNKNOWN, O.UNKNOWN, "outcome_unknown", 10, True),
    ("an undeclared error", S, 0, None, STRANGE, E.UNKNOWN, O.UNKNOWN, "outcome_unknown", 10, True),
    ("nothing at all", S, 0, None, None, E.UNKNOWN, O.UNKNOWN, "outcome_unknown", 10, True),
    ("found", R, 1, "outcome_unknown", FOUND, E.DELIVERED, O.DELIVERED, None, 0, True),
    ("found at the last try", R, 10, "outcome_unknown", FOUND, E.DELIVERED, O.DELIVERED, None, 0, True),
    ("not there", R, 1, "outcome_unknown", None, E.RETRYING, O.NOT_FOUND, "not_performed", 0, False),
    ("not there after a crash", R, 0, "worker_stopped", None, E.RETRYING, O.NOT_FOUND, "not_performed", 0, False),
    ("not there again", R, 3, "outcome_unknown", None, E.RETRYING, O.NOT_FOUND, "not_performed", 60, False),
    ("not there, tries used up", R, 10, "outcome_unknown", None, E.PARKED, O.NOT_FOUND, "not_performed", 0, False),
    ("key used, yet not there", R, 0, "duplicate_key", None, E.UNKNOWN, O.NOT_FOUND, "duplicate_key", 30, True),
    ("key used, never there", R, 9, "duplicate_key", None, E.PARKED, O.NOT_FOUND, "duplicate_key", 0, True),
    ("key used, found", R, 0, "duplicate_key", FOUND, E.DELIVERED, O.DELIVERED, None, 0, True),
    ("question busy", R, 1, "outcome_unknown", BUSY, E.UNKNOWN, O.RETRYABLE, "outcome_unknown", 60, True),
    ("question busy for ever", R, 9, "outcome_unknown", BUSY, E.PARKED, O.RETRYABLE, "outcome_unknown", 0, True),
    ("question too fast", R, 9, "outcome_unknown", TOO_FAST, E.UNKNOWN, O.RETRYABLE, "outcome_unknown", 1, False),
    ("question rejected", R, 1, "outcome_unknown", NO_PERK, E.UNKNOWN, O.RETRYABLE, "outcome_unknown", 60, True),
    ("question lost", R, 1, "outcome_unknown", LOST, E.UNKNOWN, O.RETRYABLE, "outcome_unknown", 60, True),
    ("question lost for a used key", R, 1, "duplicate_key", LOST, E.UNKNOWN, O.RETRYABLE, "duplicate_key", 60, True),
    ("question, credentials", R, 1, "duplicate_key", NO_TOKEN, E.UNKNOWN, O.CREDENTIALS, "duplicate_key", 0, False),
    ("question, credentials 2", R, 1, "retried", NO_TOKEN, E.UNKNOWN, O.CREDENTIALS, "outcome_unknown", 0, False),
    ("not sent", S, 9, None, NOT_MADE, E.RETRYING, O.RETRYABLE, "not_sent", 0, False),
    ("too late to send", S, 9, None, TOO_LATE, E.RETRYING, O.RETRYABLE, "late", 0, False),
    ("question not sent", R, 9, "outcome_unknown", NOT_MADE, E.UNKNOWN, O.RETRYABLE, "outcome_unknown", 0, False),
    ("question too late to send", R, 9, "duplicate_key", TOO_LATE, E.UNKNOWN, O.RETRYABLE, "duplicate_key", 0, False),
    ("question, undeclared error", R, 1, None, STRANGE, E.UNKNOWN, O.RETRYABLE, "outcome_unknown", 60, True),
]


@pytest.mark.parametrize(
    ("action", "tries", "before", "result", "state", "outcome", "reason", "wait", "counts"),
    [pytest.param(*rest, id=name) for name, *rest in TABLE],
)
def test_an_answer_decides_what_follows(
    action: Action,
    tries: int,
    before: str | None,
    result: PartnerResult,
    state: EffectState,
    outcome: AttemptOutcome,
    reason: str | None,
    wait: float,
    counts: bool,
) -> None:
    attempt = make_attempt(action, tries=tries, reason=before)
    attempt_result = classify_outcome(attempt, result, clock=MiddleClock(), options=OPTIONS)
    assert (attempt_result.state, attempt_result.outcome, attempt_result.reason) == (state, outcome, reason)
    assert attempt_result.counts is counts
    assert (attempt_result.due_at - NOW).total_seconds() == pytest.approx(wait, rel=0.11)
    assert (attempt_result.effect_id, attempt_result.number, attempt_result.finished_at) == (7, 1, NOW)


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize(
    "result",
    [BUSY, TOO_FAST, NO_PERK, USED, NO_TOKEN, LOST, STRANGE, None],
    ids=["busy", "429", "rejected", "used", "token", "lost", "strange", "none"],
)
@pytest.mark.parametrize("tries", [0, 9, 10, 99])
def test_only_a_partner_that_says_so_makes_an_effect_delivered(
    action: Action, result: PartnerResult, tries: int
) -> None:
    for before in (None, "outcome_unknown", "duplicate_key", "retried", "worker_stopped"):
        attempt_result = classify_outcome(
            make_attempt(action, tries=tries, reason=before), result, clock=MiddleClock(), options=OPTIONS
        )
        assert attempt_result.state is not EffectState.DELIVERED
        assert attempt_result.outcome is not AttemptOutcome.DELIVERED
        assert attempt_result.detail
        assert attempt_result.due_at >= NOW


@pytest.mark.parametrize("tries", [9, 10, 99])
def test_a_parked_effect_with_an_unknown_outcome_says_so_in_its_reason(tries: int) -> None:
    for result in (BUSY, NO_PERK, LOST, STRANGE):
        attempt_result = classify_outcome(
            make_attempt(R, tries=tries, reason="worker_stopped"), result, clock=CLOCK, options=OPTIONS
        )
        assert (attempt_result.state, attempt_result.reason) == (EffectState.PARKED, "outcome_unknown")
        assert f"given up after {tries + 1} tries" in (attempt_result.detail or "")


def test_the_partners_words_and_id_are_kept() -> None:
    note = replace(DONE, note="rounded to 10")
    attempt_result = classify_outcome(make_attempt(S), note, clock=CLOCK, options=OPTIONS)
    assert (attempt_result.partner_id, attempt_result.status, attempt_result.detail) == ("p1", 201, "rounded to 10")
    attempt_result = classify_outcome(make_attempt(S), NO_PERK, clock=CLOCK, options=OPTIONS)
    assert (attempt_result.status, attempt_result.detail) == (400, "no such perk")


@pytest.mark.parametrize(
    ("requested", "sent", "words"),
    [
        pytest.param("-5", "-5", "found by reading back", id="as asked"),
        pytest.param("-5", "-3", "found by reading back; -5 was asked, -3 sent", id="cut"),
        pytest.param(None, "-3", "found by reading back; no amount was asked, -3 sent", id="the ledger's"),
    ],
)
def test_what_was_cut_is_still_on_record_after_reading_back(requested: str | None, sent: str, words: str) -> None:
    effect = replace(EFFECT, requested_quantity=None if requested is None else Decimal(requested), is_refund=True)
    attempt = msgspec.structs.replace(make_attempt(R), effect=effect, quantity=Decimal(sent))
    assert classify_outcome(attempt, FOUND, clock=CLOCK, options=OPTIONS).detail == words


def test_waits_of_many_are_spread() -> None:
    clock = ManualClock()
    due = {classify_outcome(make_attempt(S), BUSY, clock=clock, options=OPTIONS).due_at for _ in range(20)}
    assert len(due) == 20
    assert min(due) >= NOW + timedelta(seconds=24)
    assert max(due) <= NOW + timedelta(seconds=36)


@pytest.mark.parametrize(
    ("recorded", "shown", "expected"),
    [
        pytest.param(None, "7.50", "-7.50", id="never-decided-here"),
        pytest.param(None, None, None, id="not-shown"),
        pytest.param("-9.99", "7.50", None, id="decided-here"),
    ],
)
def test_a_refund_that_a_lost_run_made_has_taken_what_the_partner_shows(
    recorded: str | None, shown: str | None, expected: str | None
) -> None:
    """After a restore the ledger knows a refund without an amount, and later refunds must not take it once more."""
    attempt = make_attempt(R, reason="store_restored")
    effect = replace(attempt.effect, is_refund=True, quantity=None if recorded is None else Decimal(recorded))
    match = replace(FOUND, units=None if shown is None else Decimal(shown))
    attempt_result = classify_outcome(
        msgspec.structs.replace(attempt, effect=effect), match, clock=MiddleClock(), options=DeliveryOptions()
    )
    assert attempt_result.state is E.DELIVERED
    assert attempt_result.quantity == (None if expected is None else Decimal(expected))
    assert attempt_result.detail is not None
    assert "older copy" in attempt_result.detail
