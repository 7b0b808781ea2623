"""The promise of refunds on both engines: one that comes before its order waits, is done after it, blocks nobody."""

import asyncio
from collections.abc import Iterator

import pytest

from punchcard.delivery.attempts import perform_attempt
from punchcard.delivery.stages import CompletedAttempt, Cycle, DeliveryTarget, cycle
from punchcard.delivery.telemetry import DeliveryTelemetry
from punchcard.destinations.port import DeliveryOptions
from punchcard.store.delivery import ledger, outbox
from punchcard.store.delivery.effects import EffectState, NewEffect, StoredEffect
from punchcard.store.delivery.operator_actions import reopen
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.testing.effects import DESTINATION, new_effect, stored_effect
from punchcard.testing.partner.scripted import ScriptedPartner, ScriptedSettings, Step

ANN, BOB = "ann@example.com", "bob@example.com"
HOUR = 3600


class Delivery:
    """Delivers step by step on a clock that is moved by hand."""

    def __init__(self, store_url: str) -> None:
        self._url = store_url
        self.clock = ManualClock()
        self.store = Store(store_url)
        self.partner = ScriptedPartner(clock=self.clock)
        self.options = DeliveryOptions(requests_per_second=0, tries_max=2)

    def add(self, *effects: NewEffect) -> None:
        with self.store.unit_of_work() as work:
            outbox.add(work, effects, now=self.clock.now())

    def cycle(self, *answered: CompletedAttempt, room: int = 8) -> Cycle:
        settings = ScriptedSettings(options=self.options)
        target = DeliveryTarget(
            slug=DESTINATION, partner=self.partner, settings=settings, options=self.options, fingerprint="f"
        )
        return cycle(
            self.store, target, answered, room=room, clock=self.clock, telemetry=DeliveryTelemetry(DESTINATION)
        )

    def run(self, *, cycles_max: int = 50) -> None:
        """Deliver until there is nothing to do at this moment."""
        answered: list[CompletedAttempt] = []
        client = self.partner.client(ScriptedSettings())
        for _ in range(cycles_max):
            done = self.cycle(*answered)
            if not done.attempts and not done.moved and not answered:
                return
            answered = []
            for started in done.attempts:
                result = asyncio.run(
                    perform_attempt(
                        client,
                        started,
                        send_before=done.send_before,
                        clock=self.clock,
                        telemetry=DeliveryTelemetry(DESTINATION),
                    )
                )
                answered.append(CompletedAttempt(attempt=started, result=result, seconds=0.0, fingerprint="f"))
        raise AssertionError("it does not come to rest")

    def restart(self) -> None:
        """Forget all but what is stored."""
        self.store.close()
        self.store = Store(self._url)

    def effect(self, key: str) -> StoredEffect:
        with self.store.reading() as work:
            return stored_effect(work, key)

    def book(self) -> list[str]:
        return [f"{item.effect.effect_key} {item.effect.quantity}" for item in self.partner.book]


@pytest.fixture
def delivery(store_url: str) -> Iterator[Delivery]:
    delivery = Delivery(store_url)
    yield delivery
    delivery.store.close()


def order(key: str = "order", quantity: str = "50", *, order_id: str = "o1", customer: str = ANN) -> NewEffect:
    return new_effect(key, quantity=quantity, order_id=order_id, customer=customer)


def refund(
    key: str = "refund", quantity: str | None = "-20", *, order_id: str = "o1", customer: str = ANN
) -> NewEffect:
    return new_effect(key, quantity=quantity, order_id=order_id, customer=customer, is_refund=True)


def test_a_refund_before_its_order_lets_others_go_first_and_follows_its_order(delivery: Delivery) -> None:
    delivery.add(refund(), new_effect("visit", customer=ANN))
    delivery.run()
    assert delivery.book() == ["visit 1"]
    waiting = delivery.effect("refund")
    assert (waiting.state, waiting.reason, waiting.attempts) == (EffectState.RETRYING, "waiting_for_order", 0)
    delivery.restart()
    delivery.clock.advance(12 * HOUR)
    delivery.run()
    delivery.add(order(), new_effect("second visit", customer=ANN))
    delivery.run()
    assert delivery.book() == ["visit 1", "order 50", "refund -20", "second visit 1"]


def test_a_refund_is_done_as_soon_as_its_order_is_delivered_in_another_queue(delivery: Delivery) -> None:
    delivery.add(refund(customer=BOB), order(customer=ANN))
    delivery.run()
    assert delivery.effect("refund").reason == "refund_other_customer"
    assert delivery.book() == ["order 50"]


def test_a_refund_that_has_waited_in_vain_is_parked_and_follows_an_order_that_comes_after_all(
    delivery: Delivery,
) -> None:
    delivery.add(refund())
    delivery.run()
    delivery.clock.advance(23.9 * HOUR)
    delivery.run()
    assert delivery.effect("refund").state is EffectState.RETRYING
    delivery.clock.advance(0.2 * HOUR)
    delivery.run()
    assert (delivery.effect("refund").state, delivery.effect("refund").reason) == (
        EffectState.PARKED,
        "refund_unknown_order",
    )
    delivery.add(order())
    delivery.run()
    assert delivery.book() == ["order 50", "refund -20"]


def test_a_retry_of_a_parked_refund_takes_nothing_while_its_order_is_unknown(delivery: Delivery) -> None:
    delivery.add(refund())
    delivery.clock.advance(25 * HOUR)
    delivery.run()
    with delivery.store.unit_of_work() as work:
        assert reopen(work, [stored_effect(work, "refund").id], now=delivery.clock.now()) == 1
    delivery.run()
    assert delivery.effect("refund").reason == "refund_unknown_order"
    assert delivery.book() == []


def test_a_refund_waits_for_a_parked_order_and_follows_its_retry(delivery: Delivery) -> None:
    delivery.partner.script("order", [Step.BUSY, Step.BUSY])
    delivery.add(order(), refund())
    delivery.run()
    delivery.clock.advance(HOUR)
    delivery.run()
    assert delivery.effect("order").state is EffectState.PARKED
    assert delivery.effect("refund").reason == "waiting_for_order"
    delivery.clock.advance(25 * HOUR)
    delivery.run()
    assert delivery.effect("refund").reason == "order_not_delivered"
    with delivery.store.unit_of_work() as work:
        reopen(work, [stored_effect(work, "order").id], now=delivery.clock.now())
    delivery.run()
    assert delivery.book() == ["order 50", "refund -20"]


def test_a_refund_of_a_rejected_order_takes_nothing_until_the_order_is_delivered(delivery: Delivery) -> None:
    delivery.partner.script("order", [Step.REJECT])
    delivery.add(refund(), order())
    delivery.run()
    assert (delivery.effect("refund").state, delivery.effect("refund").reason) == (
        EffectState.REJECTED,
        "order_earned_nothing",
    )
    with delivery.store.unit_of_work() as work:
        reopen(work, [stored_effect(work, "order").id], now=delivery.clock.now())
    delivery.run()
    assert delivery.book() == ["order 50", "refund -20"]


def test_refunds_that_waited_for_one_order_take_no_more_than_it_earned(delivery: Delivery) -> None:
    delivery.add(refund("r1", "-30"), refund("r2", "-30"), refund("r3", None), order())
    delivery.run()
    assert delivery.book() == ["order 50", "r1 -30", "r2 -20"]
    assert delivery.effect("r3").reason == "refund_nothing_left"


def test_one_effect_of_a_customer_is_on_its_way_when_several_are_due_at_once(delivery: Delivery) -> None:
    delivery.add(*(refund(f"r{number}", "-1") for number in range(3)), order("first"))
    delivery.run()
    delivery.add(*(refund(f"late {number}", "-1", order_id="o2") for number in range(3)))
    delivery.run()
    delivery.add(order("second", order_id="o2"), new_effect("visit", customer=ANN))
    delivery.clock.advance(HOUR)  # the refunds look again, beside the first of the ordering key
    for _ in range(3):
        assert len(delivery.cycle().attempts) <= 1
        assert delivery.cycle().attempts == []
    with delivery.store.reading() as work:
        sending = ledger.count(work, ledger.LedgerQuery(destination=DESTINATION, states=[EffectState.SENDING]))
    assert sending == 1


def test_waiting_refunds_leave_the_others_their_turn(delivery: Delivery) -> None:
    delivery.add(*(refund(f"r{number}", order_id=f"o{number}") for number in range(40)))
    delivery.run(cycles_max=60)
    delivery.add(new_effect("bob", customer=BOB), new_effect("ann", customer=ANN))
    delivery.clock.advance(HOUR)  # all of them look again
    delivery.run(cycles_max=60)
    assert sorted(delivery.book()) == ["ann 1", "bob 1"]
