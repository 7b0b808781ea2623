"""What a refund removes, decided against a real ledger."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from punchcard.delivery.preparation import NotReady, Ready
from punchcard.delivery.stages import DeliveryTarget, begin
from punchcard.destinations.perkville.refunds import RefundFollows
from punchcard.destinations.port import KeyScope
from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.operator_actions import dismiss
from punchcard.store.engine import Store
from punchcard.testing.effects import DESTINATION, new_effect, stored_effect
from punchcard.testing.fresh_store import with_tables
from punchcard.testing.partner.orders import ANN, AWARD, BOB, OTHER_REFUND, REFUND, OrderLedger
from punchcard.testing.partner.scripted import ScriptedPartner, ScriptedSettings

WAITING = (EffectState.RETRYING, "waiting_for_order")
NOTHING_EARNED = (EffectState.REJECTED, "order_earned_nothing")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[OrderLedger]:
    store = Store(with_tables(f"sqlite:///{tmp_path / 'store.db'}"))
    yield OrderLedger(store)
    store.close()


def quantity_of(ready: Ready | NotReady) -> str:
    assert isinstance(ready, Ready), ready
    return str(ready.quantity)


def refusal_of(result: Ready | NotReady) -> tuple[str, str]:
    assert isinstance(result, NotReady), result
    return result.state, result.reason


def detail_of(result: Ready | NotReady) -> str:
    assert result.detail is not None
    return result.detail


def test_an_award_and_a_user_property_need_no_ledger(ledger: OrderLedger) -> None:
    ledger.add(AWARD, "9.99")
    assert quantity_of(ledger.prepare(AWARD)) == "9.99"
    with ledger.store.unit_of_work() as work:
        outbox.add(work, [new_effect("trait", quantity=None, attributes={"vip": True})], now=ledger.clock.now())
    assert ledger.prepare("trait") == Ready(quantity=None)


@pytest.mark.parametrize(
    ("awarded", "requested", "removed", "words"),
    [
        pytest.param("9.99", "-9.99", "-9.99", None, id="all of it"),
        pytest.param("9.99", "-4", "-4", None, id="a part"),
        pytest.param("9.99", "-12.50", "-9.99", "cut from 12.5 to 9.99", id="more than was awarded"),
        pytest.param("9.99", None, "-9.99", "no amount in the refund", id="no amount"),
    ],
)
def test_a_refund_removes_what_it_asks_but_not_more_than_was_awarded(
    ledger: OrderLedger, awarded: str, requested: str | None, removed: str, words: str | None
) -> None:
    ledger.add(AWARD, awarded)
    ledger.deliver(AWARD)
    ledger.add(REFUND, requested)
    ready = ledger.prepare()
    assert quantity_of(ready) == removed
    assert isinstance(ready, Ready)
    assert (ready.detail is None) if words is None else words in (ready.detail or "")


@pytest.mark.parametrize("requested", ["-12.50", None], ids=["an amount", "no amount"])
def test_a_refund_of_an_unknown_order_waits_for_it_and_is_parked_then(
    ledger: OrderLedger, requested: str | None
) -> None:
    ledger.add(AWARD, "5", source_order="another")
    ledger.deliver(AWARD)
    ledger.add(REFUND, requested)
    result = ledger.prepare()
    assert refusal_of(result) == WAITING
    assert "order o-1 until 2026-01-03 03:04 UTC" in detail_of(result)
    ledger.clock.advance(24 * 3600 - 1)
    assert refusal_of(ledger.prepare()) == WAITING
    ledger.clock.advance(1)
    result = ledger.prepare()
    assert refusal_of(result) == (EffectState.PARKED, "refund_unknown_order")
    assert "o-1" in detail_of(result)


def test_how_long_a_refund_waits_is_an_option(ledger: OrderLedger) -> None:
    ledger.add(REFUND, "-5")
    ledger.set_refunds(wait_seconds=0)
    assert refusal_of(ledger.prepare()) == (EffectState.PARKED, "refund_unknown_order")
    ledger.set_refunds(wait_seconds=60)
    result = ledger.prepare()
    assert isinstance(result, NotReady)
    assert 0 < result.wait_seconds <= 60


def test_a_waiting_refund_looks_again_long_before_its_wait_is_over(ledger: OrderLedger) -> None:
    ledger.add(REFUND, "-5")
    result = ledger.prepare()
    assert isinstance(result, NotReady)
    assert 0 < result.wait_seconds <= 300


def test_a_refund_that_follows_the_event_takes_what_it_asks_for_an_unknown_order(ledger: OrderLedger) -> None:
    ledger.set_refunds(follows=RefundFollows.EVENT)
    ledger.add(REFUND, "-12.50")
    ledger.add(OTHER_REFUND, None)
    assert refusal_of(ledger.prepare()) == WAITING
    ledger.clock.advance(24 * 3600)
    assert quantity_of(ledger.prepare()) == "-12.50"
    assert refusal_of(ledger.prepare(OTHER_REFUND)) == (EffectState.PARKED, "refund_unknown_order")


def test_a_refund_waits_while_its_award_is_on_the_way(ledger: OrderLedger) -> None:
    ledger.add(AWARD, "5")
    ledger.add(REFUND, "-5")
    assert refusal_of(ledger.prepare()) == WAITING
    ledger.start(AWARD)
    assert refusal_of(ledger.prepare()) == WAITING
    ledger.record_results(AWARD, EffectState.UNKNOWN)
    ledger.clock.advance(48 * 3600)  # an award that is tried again for days is still to come
    result = ledger.prepare()
    assert refusal_of(result) == WAITING
    assert isinstance(result, NotReady)
    assert result.wait_seconds > 0


def test_a_refund_of_a_parked_award_waits_and_is_parked_itself(ledger: OrderLedger) -> None:
    ledger.add(AWARD, "5")
    ledger.start(AWARD)
    ledger.record_results(AWARD, EffectState.PARKED, reason="outcome_unknown")
    ledger.add(REFUND, "-5")
    assert refusal_of(ledger.prepare()) == WAITING
    ledger.clock.advance(24 * 3600)
    assert refusal_of(ledger.prepare()) == (EffectState.PARKED, "order_not_delivered")


def test_a_dismissed_award_earned_nothing(ledger: OrderLedger) -> None:
    ledger.add(AWARD, "5")
    ledger.start(AWARD)
    ledger.record_results(AWARD, EffectState.PARKED, reason="partner_unavailable")
    ledger.add(REFUND, "-5")
    with ledger.store.unit_of_work() as work:
        assert dismiss(work, [stored_effect(work, AWARD).id], detail="by hand", now=ledger.clock.now()) == 1
    result = ledger.prepare()
    assert refusal_of(result) == NOTHING_EARNED
    assert "dismissed" in detail_of(result)


@pytest.mark.parametrize("requested", ["-5", None], ids=["an amount", "no amount"])
def test_nothing_is_removed_for_an_award_that_was_rejected(ledger: OrderLedger, requested: str | None) -> None:
    ledger.add(AWARD, "5")
    ledger.start(AWARD)
    ledger.record_results(AWARD, EffectState.REJECTED, reason="perk_unknown")
    ledger.add(REFUND, requested)
    result = ledger.prepare()
    assert refusal_of(result) == NOTHING_EARNED
    assert "perk_unknown" in detail_of(result)


@pytest.mark.parametrize("requested", ["-5", None], ids=["an amount", "no amount"])
def test_nothing_is_removed_for_an_order_that_was_refused(ledger: OrderLedger, requested: str | None) -> None:
    ledger.add(REFUND, requested)
    assert refusal_of(ledger.prepare()) == WAITING
    ledger.refuse("missing_email")
    ledger.refuse("zero_amount")  # the same order again: the newest reason counts
    result = ledger.prepare()
    assert refusal_of(result) == NOTHING_EARNED
    assert "zero_amount" in detail_of(result)


def test_an_order_that_was_refused_first_and_awarded_later_is_refunded(ledger: OrderLedger) -> None:
    ledger.refuse("missing_email")
    ledger.add(AWARD, "5")
    ledger.add(REFUND, "-5")
    assert refusal_of(ledger.prepare()) == WAITING
    ledger.deliver(AWARD)
    assert quantity_of(ledger.prepare()) == "-5"


def test_several_refunds_together_remove_no_more_than_was_awarded(ledger: OrderLedger) -> None:
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
    ledger: OrderLedger, state: EffectState | None, reason: str | None, left: str
) -> None:
    ledger.add(AWARD, "10")
    ledger.deliver(AWARD)
    ledger.add(OTHER_REFUND, "-7")
    ledger.start(OTHER_REFUND, "-7")
    if state is not None:
        ledger.record_results(OTHER_REFUND, state, reason=reason)
    ledger.add(REFUND, "-10")
    assert quantity_of(ledger.prepare()) == left


def test_a_refund_that_came_before_its_award_waits_for_it(ledger: OrderLedger) -> None:
    ledger.add(REFUND, "-5")
    ledger.add(AWARD, "3")
    assert refusal_of(ledger.prepare()) == WAITING
    ledger.start(AWARD)
    assert refusal_of(ledger.prepare()) == WAITING
    ledger.record_results(AWARD, EffectState.DELIVERED)
    assert quantity_of(ledger.prepare()) == "-3"


def test_its_own_earlier_try_does_not_count_against_a_refund(ledger: OrderLedger) -> None:
    ledger.add(AWARD, "5")
    ledger.deliver(AWARD)
    ledger.add(REFUND, "-5")
    ledger.start(REFUND, "-5")
    ledger.record_results(REFUND, EffectState.RETRYING, reason="not_performed")
    assert quantity_of(ledger.prepare()) == "-5"


def test_two_awards_of_one_order_are_refunded_together(ledger: OrderLedger) -> None:
    ledger.add(AWARD, "5")
    ledger.deliver(AWARD)
    ledger.add("second award", "2.50")
    ledger.deliver("second award")
    ledger.add(REFUND, None)
    assert quantity_of(ledger.prepare()) == "-7.50"


def test_a_refund_for_another_customer_is_parked_with_both_addresses(ledger: OrderLedger) -> None:
    ledger.add(AWARD, "10")
    ledger.deliver(AWARD)
    ledger.add(REFUND, "-4", customer=BOB)
    result = ledger.prepare()
    assert refusal_of(result) == (EffectState.PARKED, "refund_other_customer")
    assert ANN in detail_of(result)
    assert BOB in detail_of(result)


def test_a_refund_that_follows_the_event_takes_from_the_customer_it_names_and_no_more(ledger: OrderLedger) -> None:
    ledger.set_refunds(follows=RefundFollows.EVENT)
    ledger.add(AWARD, "10")
    ledger.deliver(AWARD)
    ledger.add(REFUND, "-14", customer=BOB)
    assert quantity_of(ledger.prepare()) == "-10"
    ledger.deliver(REFUND, "-10")
    ledger.add(OTHER_REFUND, "-4")
    assert refusal_of(ledger.prepare(OTHER_REFUND)) == (EffectState.REJECTED, "refund_nothing_left")


def test_customers_with_awards_under_one_order_id_take_back_their_own(ledger: OrderLedger) -> None:
    ledger.add(AWARD, "10")
    ledger.deliver(AWARD)
    ledger.add("second award", "3", customer=BOB, source="register")
    ledger.deliver("second award")
    ledger.add(REFUND, None, customer=BOB)
    assert quantity_of(ledger.prepare()) == "-3"
    ledger.deliver(REFUND, "-3")
    ledger.add(OTHER_REFUND, "-12")
    assert quantity_of(ledger.prepare(OTHER_REFUND)) == "-10"


def test_an_order_is_found_whichever_source_sent_it(ledger: OrderLedger) -> None:
    ledger.add(AWARD, "10", source="server")
    ledger.deliver(AWARD)
    ledger.add(REFUND, None, source="website")
    assert quantity_of(ledger.prepare()) == "-10"
    ledger.set_delivery(order_scope=KeyScope.SOURCE)
    assert refusal_of(ledger.prepare()) == WAITING


def test_refusals_have_the_scope_of_orders(ledger: OrderLedger) -> None:
    ledger.add(REFUND, "-5")
    ledger.refuse("zero_amount", source="server")
    assert refusal_of(ledger.prepare()) == NOTHING_EARNED
    ledger.set_delivery(order_scope=KeyScope.SOURCE)
    assert refusal_of(ledger.prepare()) == WAITING


@pytest.mark.parametrize(("of_award", "of_refund"), [("1001.0", "1001"), ("1001", "1001.0"), ("1001.0", "1001.0")])
def test_a_refund_finds_its_order_under_the_id_that_a_float_column_wrote(
    ledger: OrderLedger, of_award: str, of_refund: str
) -> None:
    """Rows of an earlier version may stand under `1001.0`; both texts are one order and have one balance."""
    ledger.add(REFUND, "-8", source_order=of_refund)
    assert refusal_of(ledger.prepare()) == WAITING
    ledger.add(AWARD, "9.99", source_order=of_award)
    ledger.deliver(AWARD)
    ledger.add(OTHER_REFUND, None, source_order=of_award)
    assert quantity_of(ledger.prepare()) == "-8"
    ledger.deliver(REFUND, "-8")
    assert quantity_of(ledger.prepare(OTHER_REFUND)) == "-1.99"


@pytest.mark.parametrize(
    ("of_award", "of_refund", "woken"),
    [("1001.0", "1001", 1), ("1001", "1001.0", 1), ("1001", "1001", 1), ("1001", "1001.00", 0)],
)
def test_a_refund_is_woken_by_its_order_under_either_id(
    ledger: OrderLedger, of_award: str, of_refund: str, woken: int
) -> None:
    ledger.add(REFUND, "-8", source_order=of_refund)
    with ledger.store.unit_of_work() as work:
        effect = stored_effect(work, REFUND)
        outbox.put(
            work,
            effect.id,
            state=EffectState.PARKED,
            reason="refund_unknown_order",
            detail=None,
            due_at=ledger.clock.now(),
            now=ledger.clock.now(),
        )
    assert ledger.wake(delivered={of_award}) == woken


@pytest.mark.parametrize(
    ("attributes", "item"),
    [pytest.param(None, "9", id="with an item"), pytest.param({"vip": True}, None, id="without an item")],
)
def test_a_corrected_map_changes_the_item_of_effects_that_have_one(
    ledger: OrderLedger, attributes: dict[str, object] | None, item: str | None
) -> None:
    settings = ScriptedSettings(items={"Order Completed": "9"})
    target = DeliveryTarget(
        slug=DESTINATION,
        partner=ScriptedPartner(clock=ledger.clock),
        settings=settings,
        options=settings.options,
        fingerprint="f",
    )
    new = new_effect("effect", quantity=None if attributes else "1", attributes=attributes)
    with ledger.store.unit_of_work() as work:
        outbox.add(work, [new], now=ledger.clock.now())
        attempt = begin(work, target, stored_effect(work, "effect"), clock=ledger.clock)
    assert attempt is not None
    assert attempt.item == item
