"""What a correction sends, as a table of orders: the difference to what the chosen content is worth after refunds."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from punchcard.destinations.correcting import EffectContent
from punchcard.destinations.perkville.corrections import decide_correction, plan_correction
from punchcard.destinations.perkville.refunds import RefundRules
from punchcard.destinations.preparation import NotReady, Ready
from punchcard.errors import RefusedError
from punchcard.store.delivery.effects import EffectState, StoredEffect

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ANN, BOB = "ann@example.com", "bob@example.com"
PERK, REDEEMING = "123456", "999"


def row(number: int, quantity: str | None, **more: Any) -> StoredEffect:
    units = None if quantity is None else Decimal(quantity)
    values: dict[str, Any] = {
        "id": number,
        "destination": "perkville",
        "effect_key": f"key {number}",
        "kind": "transaction",
        "source": "website",
        "message_id": f"m{number}",
        "event_name": "Order Completed",
        "received_at": NOW,
        "customer": ANN,
        "email": ANN,
        "item": PERK,
        "requested_quantity": units,
        "quantity": units,
        "attributes": None,
        "order_id": "1",
        "is_refund": False,
        "state": EffectState.DELIVERED,
        "reason": None,
        "detail": None,
        "attempts": 1,
        "tries": 1,
        "due_at": NOW,
        "partner_id": None,
        "created_at": NOW,
        "finished_at": NOW,
    }
    return StoredEffect(**values | more)


def refund(number: int, quantity: str, *, requested: str | None = "same", **more: Any) -> StoredEffect:
    text = quantity if requested == "same" else requested
    values: dict[str, Any] = {"is_refund": True, "requested_quantity": None if text is None else Decimal(text)}
    return row(number, quantity, **values | more)


def chosen(quantity: str, *, email: str = ANN, item: str = PERK) -> dict[str, object]:
    return {"email": email, "item": item, "quantity": quantity}


def correction(number: int = 9, *, email: str = ANN, item: str = PERK, corrects: int = 1, **more: Any) -> StoredEffect:
    values: dict[str, Any] = {"is_refund": True, "corrects": corrects, "state": EffectState.PENDING, "attempts": 0}
    values |= {"customer": email, "email": email, "item": item, "message_id": "second"}
    return row(number, None, **values | more)


def decide(step: StoredEffect, *rows: StoredEffect) -> Ready | NotReady:
    first = next(other for other in rows if other.id == step.corrects)
    return decide_correction(step, first, rows, rules=RefundRules(), now=NOW)


@pytest.mark.parametrize(
    ("rows", "step", "expected"),
    [
        pytest.param([row(1, "10", corrected_content=chosen("8"))], correction(), "-2", id="less"),
        pytest.param([row(1, "10", corrected_content=chosen("12.5"))], correction(), "2.5", id="more"),
        pytest.param([row(1, "10", corrected_content=chosen("10"))], correction(), None, id="the same"),
        pytest.param([row(1, "10", corrected_content=chosen("8", email=BOB))], correction(), "-10", id="take"),
        pytest.param([row(1, "10", corrected_content=chosen("8", email=BOB))], correction(email=BOB), "8", id="give"),
        pytest.param([row(1, "10", corrected_content=chosen("8", item="7"))], correction(item="7"), "8", id="perk"),
        pytest.param(
            [row(1, "10", state=EffectState.REJECTED, corrected_content=chosen("8"))], correction(), "8", id="rejected"
        ),
        pytest.param(
            [row(1, "10", corrected_content=chosen("8")), refund(2, "-4")], correction(), "-2", id="less after a refund"
        ),
        pytest.param(
            [row(1, "10", corrected_content=chosen("8")), refund(2, "-10", requested=None)],
            correction(),
            None,
            id="less after a refund of all",
        ),
        pytest.param(
            [row(1, "10", corrected_content=chosen("12")), refund(2, "-10", requested="-15")],
            correction(),
            None,
            id="more after a refund that was cut",
        ),
        pytest.param(
            [row(1, "10", corrected_content=chosen("8", email=BOB)), refund(2, "-4")],
            correction(),
            "-6",
            id="take what a refund has left",
        ),
        pytest.param(
            [row(1, "10"), refund(2, "-4", corrected_content=chosen("-6"))],
            correction(corrects=2),
            "-2",
            id="a refund takes more",
        ),
        pytest.param(
            [row(1, "10"), refund(2, "-4", item=REDEEMING, corrected_content=chosen("-1"))],
            correction(corrects=2, item=REDEEMING),
            "3",
            id="a refund takes less",
        ),
        pytest.param(
            [row(1, "10"), refund(2, "-4", corrected_content=chosen("-30"))],
            correction(corrects=2),
            "-6",
            id="a refund takes no more than there is",
        ),
    ],
)
def test_a_correction_sends_the_difference(rows: list[StoredEffect], step: StoredEffect, expected: str | None) -> None:
    outcome = decide(step, *rows)
    if expected is None:
        assert isinstance(outcome, NotReady)
        assert outcome.reason == "nothing_to_correct"
    else:
        assert isinstance(outcome, Ready)
        assert outcome.quantity == Decimal(expected)
        # What once was given is decided again without adding anything.
        done = replace(step, id=8, state=EffectState.DELIVERED, quantity=outcome.quantity)
        again = decide(replace(step, id=10), *rows, done)
        assert isinstance(again, NotReady)
        assert again.reason == "nothing_to_correct"


def test_points_are_given_back_on_the_perk_of_the_award() -> None:
    rows = [row(1, "10"), refund(2, "-4", item=REDEEMING, corrected_content=chosen("-1"))]
    outcome = decide(correction(corrects=2, item=REDEEMING), *rows)
    assert isinstance(outcome, Ready)
    assert outcome.item == PERK


@pytest.mark.parametrize(
    ("rows", "state", "reason"),
    [
        ([row(1, "10", state=EffectState.RETRYING, corrected_content=chosen("8"))], "retrying", "waiting_for_order"),
        ([row(1, "10", state=EffectState.UNKNOWN, corrected_content=chosen("8"))], "retrying", "waiting_for_order"),
        ([row(1, "10", state=EffectState.PARKED, corrected_content=chosen("8"))], "retrying", "waiting_for_order"),
        (
            [row(1, "10", corrected_content=chosen("8")), refund(2, "-4", state=EffectState.SENDING)],
            "retrying",
            "waiting_for_order",
        ),
        (
            [row(1, "10", corrected_content=chosen("8")), correction(3, message_id="earlier")],
            "retrying",
            "waiting_for_order",
        ),
        (
            [
                row(
                    1,
                    "10",
                    state=EffectState.REJECTED,
                    reason="dismissed_in_doubt",
                    corrected_content=chosen("8"),
                )
            ],
            "parked",
            "order_not_delivered",
        ),
    ],
)
def test_a_correction_waits_for_what_it_depends_on(rows: list[StoredEffect], state: str, reason: str) -> None:
    outcome = decide(correction(), *rows)
    assert isinstance(outcome, NotReady)
    assert (outcome.state, outcome.reason) == (state, reason)


def content(quantity: str | None = "8", *, email: str = ANN, item: str | None = PERK) -> EffectContent:
    return EffectContent(
        source="website",
        message_id="second",
        event_name="Order Completed",
        email=email,
        item=item,
        quantity=None if quantity is None else Decimal(quantity),
    )


@pytest.mark.parametrize(
    ("first", "second", "steps"),
    [
        (row(1, "10"), content(), [(ANN, PERK)]),
        (row(1, "10"), content(email="ANN@example.com"), [("ANN@example.com", PERK)]),
        (row(1, "10"), content(email=BOB), [(ANN, PERK), (BOB, PERK)]),
        (row(1, "10"), content(item="7"), [(ANN, PERK), (ANN, "7")]),
        (row(1, "10", corrected_content=chosen("9", email=BOB)), content(), [(BOB, PERK), (ANN, PERK)]),
        (refund(1, "-4"), content("-6"), [(ANN, PERK)]),
    ],
)
def test_its_steps_and_keys_are_derived_from_both_contents(
    first: StoredEffect, second: EffectContent, steps: list[tuple[str, str]]
) -> None:
    planned = plan_correction(first, second, destination="perkville")
    assert [(step.email, step.item) for step in planned] == steps
    assert planned == plan_correction(first, second, destination="perkville")
    keys = {step.effect_key for step in planned}
    assert len(keys) == len(steps)
    assert all(key.startswith("SEG:perkville:CORRECTION:1:") and len(key) <= 100 for key in keys)
    other = plan_correction(first, replace(second, message_id="third"), destination="perkville")
    assert not keys & {step.effect_key for step in other}


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (row(1, None, item=None), content(), "user property"),
        (row(1, "10"), content(None), "no amount"),
        (row(1, "10", state=EffectState.REJECTED, reason="dismissed_in_doubt"), content(), "unknown whether"),
        (refund(1, "-4", state=EffectState.REJECTED), content("-6"), "was not made"),
        (refund(1, "-4"), content("-4", email=BOB), "only from the customer"),
    ],
)
def test_what_cannot_be_corrected_says_why(first: StoredEffect, second: EffectContent, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        plan_correction(first, second, destination="perkville")
