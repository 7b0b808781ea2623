"""What a refund removes, decided against a real ledger."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from punchcard.delivery.preparation import NotReady, Ready, prepare
from punchcard.store import outbox
from punchcard.store.effects import Outcome
from punchcard.store.engine import Store
from punchcard.store.schema import EffectState
from punchcard.testing.clock import ManualClock
from punchcard.testing.effects import new_effect, settlement, standing, started

AWARD, REFUND, OTHER_REFUND = "award", "refund", "other refund"


class Ledger:
    """One order's effects, brought into any state in few words. Each is in a lane of its own."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = ManualClock()

    def add(self, key: str, quantity: str | None, *, source_order: str = "o-1") -> None:
        effect = new_effect(
            key,
            quantity=quantity,
            order_id=source_order,
            is_refund=key not in (AWARD, "second award"),
            customer=f"{key}@example.com",
        )
        with self.store.unit_of_work() as work:
            outbox.add(work, [effect], now=self.clock.now())

    def start(self, key: str, quantity: str | None = None) -> None:
        with self.store.unit_of_work() as work:
            effect = standing(work, key)
            one = started(effect, quantity=None if quantity is None else Decimal(quantity))
            outbox.start(work, [one], now=self.clock.now(), lease_until=self.clock.now() + timedelta(seconds=25))

    def settle(self, key: str, state: EffectState, *, reason: str | None = None) -> None:
        with self.store.unit_of_work() as work:
            effect = standing(work, key)
            end = settlement(
                effect,
                clock=self.clock,
                state=state,
                outcome=Outcome.DELIVERED if state is EffectState.DELIVERED else Outcome.UNKNOWN,
                reason=reason,
                number=effect.attempts,
            )
            assert outbox.settle(work, [end]) == 1

    def deliver(self, key: str, quantity: str | None = None) -> None:
        self.start(key, quantity)
        self.settle(key, EffectState.DELIVERED)

    def prepare(self, key: str = REFUND) -> Ready | NotReady:
        with self.store.unit_of_work() as work:
            return prepare(work, standing(work, key))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    yield Ledger(store)
    store.close()


def quantity_of(ready: Ready | NotReady) -> str:
    assert isinstance(ready, Ready), ready
    return str(ready.quantity)


def refusal_of(answer: Ready | NotReady) -> tuple[EffectState, str]:
    assert isinstance(answer, NotReady), answer
    return answer.state, answer.reason


def test_an_award_and_a_user_property_need_no_ledger(ledger: Ledger) -> None:
    ledger.add(AWARD, "9.99")
    assert quantity_of(ledger.prepare(AWARD)) == "9.99"
    with ledger.store.unit_of_work() as work:
        outbox.add(work, [new_effect("trait", quantity=None, attributes={"vip": True})], now=ledger.clock.now())
        assert prepare(work, standing(work, "trait")) == Ready(quantity=None)


@pytest.mark.parametrize(
    ("awarded", "asked", "removed", "words"),
    [
        pytest.param("9.99", "-9.99", "-9.99", None, id="all of it"),
        pytest.param("9.99", "-4", "-4", None, id="a part"),
        pytest.param("9.99", "-12.50", "-9.99", "cut from 12.50 to 9.99", id="more than was awarded"),
        pytest.param("9.99", None, "-9.99", "no amount in the refund", id="no amount"),
    ],
)
def test_a_refund_removes_what_it_asks_but_not_more_than_was_awarded(
    ledger: Ledger, awarded: str, asked: str | None, removed: str, words: str | None
) -> None:
    ledger.add(AWARD, awarded)
    ledger.deliver(AWARD)
    ledger.add(REFUND, asked)
    ready = ledger.prepare()
    assert quantity_of(ready) == removed
    assert isinstance(ready, Ready)
    assert (ready.detail is None) if words is None else words in (ready.detail or "")


def test_a_refund_of_an_order_the_ledger_does_not_know_removes_what_it_asks(ledger: Ledger) -> None:
    ledger.add(AWARD, "5", source_order="another")
    ledger.deliver(AWARD)
    ledger.add(REFUND, "-12.50")
    assert quantity_of(ledger.prepare()) == "-12.50"


def test_a_refund_of_an_unknown_order_without_an_amount_is_parked(ledger: Ledger) -> None:
    ledger.add(REFUND, None)
    assert refusal_of(ledger.prepare()) == (EffectState.PARKED, "refund_unknown_order")


def test_a_refund_waits_while_its_award_is_on_the_way(ledger: Ledger) -> None:
    ledger.add(AWARD, "5")
    ledger.add(REFUND, "-5")
    waiting = (EffectState.RETRYING, "waiting_for_order")
    assert refusal_of(ledger.prepare()) == waiting
    ledger.start(AWARD)
    assert refusal_of(ledger.prepare()) == waiting
    ledger.settle(AWARD, EffectState.UNKNOWN)
    answer = ledger.prepare()
    assert refusal_of(answer) == waiting
    assert isinstance(answer, NotReady)
    assert answer.wait_seconds > 0


def test_a_refund_of_a_parked_award_is_parked_itself(ledger: Ledger) -> None:
    ledger.add(AWARD, "5")
    ledger.start(AWARD)
    ledger.settle(AWARD, EffectState.PARKED, reason="outcome_unknown")
    ledger.add(REFUND, "-5")
    assert refusal_of(ledger.prepare()) == (EffectState.PARKED, "order_not_delivered")


def test_nothing_is_removed_for_an_award_that_was_rejected(ledger: Ledger) -> None:
    ledger.add(AWARD, "5")
    ledger.start(AWARD)
    ledger.settle(AWARD, EffectState.REJECTED, reason="perk_unknown")
    ledger.add(REFUND, "-5")
    assert refusal_of(ledger.prepare()) == (EffectState.REJECTED, "refund_nothing_left")


def test_several_refunds_together_remove_no_more_than_was_awarded(ledger: Ledger) -> None:
    ledger.add(AWARD, "10")
    ledger.deliver(AWARD)
    ledger.add("refund 1", "-4")
    ledger.deliver("refund 1", "-4")
    ledger.add("refund 2", "-4")
    ledger.deliver("refund 2", "-4")
    ledger.add("refund 3", "-4")
    assert quantity_of(ledger.prepare("refund 3")) == "-2"
    ledger.deliver("refund 3", "-2")
    ledger.add("refund 4", None)
    assert refusal_of(ledger.prepare("refund 4")) == (EffectState.REJECTED, "refund_nothing_left")


@pytest.mark.parametrize(
    ("state", "reason", "left"),
    [
        pytest.param(None, None, "-3", id="on its way"),
        pytest.param(EffectState.UNKNOWN, "outcome_unknown", "-3", id="perhaps performed"),
        pytest.param(EffectState.RETRYING, "partner_unavailable", "-3", id="to be sent again"),
        pytest.param(EffectState.PARKED, "outcome_unknown", "-3", id="parked, perhaps performed"),
        pytest.param(EffectState.PARKED, "duplicate_key", "-3", id="parked, its key is used"),
        pytest.param(EffectState.PARKED, "partner_unavailable", "-10", id="parked, surely not performed"),
        pytest.param(EffectState.REJECTED, "perk_unknown", "-10", id="rejected"),
        pytest.param(EffectState.DELIVERED, None, "-3", id="delivered"),
    ],
)
def test_another_refund_counts_as_removed_where_it_may_have_happened(
    ledger: Ledger, state: EffectState | None, reason: str | None, left: str
) -> None:
    ledger.add(AWARD, "10")
    ledger.deliver(AWARD)
    ledger.add(OTHER_REFUND, "-7")
    ledger.start(OTHER_REFUND, "-7")
    if state is not None:
        ledger.settle(OTHER_REFUND, state, reason=reason)
    ledger.add(REFUND, "-10")
    assert quantity_of(ledger.prepare()) == left


def test_a_refund_that_came_before_its_award_does_not_wait_for_it(ledger: Ledger) -> None:
    ledger.add(REFUND, "-5")
    ledger.add(AWARD, "9")
    assert quantity_of(ledger.prepare()) == "-5"
    ledger.start(AWARD)
    assert quantity_of(ledger.prepare()) == "-5"


def test_a_refund_that_is_tried_again_knows_an_award_that_came_later(ledger: Ledger) -> None:
    ledger.add(REFUND, "-5")
    ledger.add(AWARD, "3")
    ledger.deliver(AWARD)
    assert quantity_of(ledger.prepare()) == "-3"


def test_its_own_earlier_try_does_not_count_against_a_refund(ledger: Ledger) -> None:
    ledger.add(AWARD, "5")
    ledger.deliver(AWARD)
    ledger.add(REFUND, "-5")
    ledger.start(REFUND, "-5")
    ledger.settle(REFUND, EffectState.RETRYING, reason="not_performed")
    assert quantity_of(ledger.prepare()) == "-5"


def test_two_awards_of_one_order_are_refunded_together(ledger: Ledger) -> None:
    ledger.add(AWARD, "5")
    ledger.deliver(AWARD)
    ledger.add("second award", "2.50")
    ledger.deliver("second award")
    ledger.add(REFUND, None)
    assert quantity_of(ledger.prepare()) == "-7.50"
