"""Refunds that two sources track, and refunds that come back once their order is there."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from punchcard.delivery.preparation import NotReady, Ready
from punchcard.destinations import preparation
from punchcard.destinations.perkville.refunds import OPEN_STATES, RefundFollows
from punchcard.destinations.perkville.refunds import UNCERTAIN_REASONS as UNCERTAIN
from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import UNCERTAIN_REASONS, WAITING_FOR_ORDER, EffectState
from punchcard.store.delivery.operator_actions import dismiss, reopen
from punchcard.store.engine import Store
from punchcard.testing.effects import stored_effect
from punchcard.testing.fresh_store import with_tables
from punchcard.testing.partner.orders import ANN, AWARD, BOB, OTHER_REFUND, REFUND, OrderLedger

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


TRACKED_TWICE = (EffectState.REJECTED, "refund_tracked_twice")


# What the two sources tell of, in order (source, amount, refund id, customer), and which of it is the same refund.
PAIRS: list[tuple[str, list[tuple[str, str | None, str | None, str]], list[int]]] = [
    ("both without ids", [("a", "-20", None, ANN), ("b", "-20", None, ANN)], [1]),
    ("both without amounts", [("a", None, None, ANN), ("b", None, None, ANN)], [1]),
    ("only the first has an id", [("a", "-20", "r1", ANN), ("b", "-20", None, ANN)], [1]),
    ("only the second has an id", [("a", "-20", None, ANN), ("b", "-20", "r1", ANN)], [1]),
    ("both have ids, which differ", [("a", "-20", "r1", ANN), ("b", "-20", "r2", ANN)], []),
    ("one source, twice", [("a", "-20", None, ANN), ("a", "-20", None, ANN)], []),
    ("another amount", [("a", "-20", None, ANN), ("b", "-10", None, ANN)], []),
    ("another customer", [("a", "-20", None, ANN), ("b", "-20", None, BOB)], []),
    (
        "two equal refunds, each tracked twice",
        [("a", "-20", None, ANN), ("b", "-20", None, ANN), ("a", "-20", None, ANN), ("b", "-20", None, ANN)],
        [1, 3],
    ),
    (
        "two equal refunds, one source late",
        [("a", "-20", None, ANN), ("a", "-20", None, ANN), ("b", "-20", None, ANN), ("b", "-20", None, ANN)],
        [2, 3],
    ),
    (
        "the second source knows one more",
        [("a", "-20", None, ANN), ("b", "-20", None, ANN), ("b", "-20", None, ANN)],
        [1],
    ),
    ("three sources", [("a", "-20", None, ANN), ("b", "-20", None, ANN), ("c", "-20", None, ANN)], [1, 2]),
]


@pytest.mark.parametrize(("refund_rows", "copies"), [pytest.param(*case[1:], id=case[0]) for case in PAIRS])
def test_a_refund_that_two_sources_track_is_taken_once(
    ledger: OrderLedger, refund_rows: list[tuple[str, str | None, str | None, str]], copies: list[int]
) -> None:
    ledger.set_refunds(follows=RefundFollows.EVENT)
    ledger.add(AWARD, "1000")
    ledger.deliver(AWARD)
    for number, (source, amount, refund_id, customer) in enumerate(refund_rows):
        ledger.add(f"r{number}", amount, source=source, refund_id=refund_id, customer=customer)
        ledger.clock.advance(60)
    results = [ledger.prepare(f"r{number}") for number in range(len(refund_rows))]
    assert [number for number, prepared in enumerate(results) if isinstance(prepared, NotReady)] == copies
    assert all(refusal_of(results[number]) == TRACKED_TWICE for number in copies)


def test_refunds_from_two_sources_that_lie_a_day_apart_are_two(ledger: OrderLedger) -> None:
    ledger.add(AWARD, "100")
    ledger.deliver(AWARD)
    ledger.add(OTHER_REFUND, "-20", source="server")
    ledger.deliver(OTHER_REFUND, "-20")
    ledger.clock.advance(24 * 3600 + 1)
    ledger.add(REFUND, "-20")
    assert quantity_of(ledger.prepare()) == "-20"


def test_amounts_in_the_detail_of_a_refund_have_no_zeros_at_their_end(ledger: OrderLedger) -> None:
    ledger.add(AWARD, "200.00")
    ledger.deliver(AWARD)
    ledger.add(OTHER_REFUND, "-100.0")
    ledger.deliver(OTHER_REFUND, "-100.0")
    ledger.clock.advance(24 * 3600 + 1)
    ledger.add(REFUND, "-150.50", source="server")
    assert detail_of(ledger.prepare()) == "cut from 150.5 to 100: 200 awarded for order o-1, 100 removed before"


def put_aside(ledger: OrderLedger, key: str) -> None:
    """Do with a refund what preparing it says."""
    result = ledger.prepare(key)
    assert isinstance(result, NotReady)
    with ledger.store.unit_of_work() as work:
        now = ledger.clock.now()
        outbox.put(
            work,
            stored_effect(work, key).id,
            state=EffectState(result.state),
            reason=result.reason,
            detail=result.detail,
            due_at=now + timedelta(seconds=result.wait_seconds),
            now=now,
        )


def state_of(ledger: OrderLedger, key: str) -> tuple[EffectState, str | None]:
    with ledger.store.reading() as work:
        row = stored_effect(work, key)
    return row.state, row.reason


def test_a_waiting_refund_is_due_when_its_order_has_ended(ledger: OrderLedger) -> None:
    ledger.add(REFUND, "-5")
    put_aside(ledger, REFUND)
    assert ledger.wake(delivered={"another"}) == 0
    assert ledger.wake(delivered={"o-1"}) == 1
    with ledger.store.reading() as work:
        assert stored_effect(work, REFUND).due_at == ledger.clock.now()


@pytest.mark.parametrize(
    ("set_back", "expected"),
    [
        pytest.param(timedelta(hours=1), WAITING, id="less than it waits"),
        pytest.param(timedelta(hours=25), (EffectState.PARKED, "refund_unknown_order"), id="more than it waits"),
        pytest.param(timedelta(days=1_200), (EffectState.PARKED, "refund_unknown_order"), id="years"),
    ],
)
def test_a_refund_does_not_wait_for_years_if_the_clock_is_set_back(
    ledger: OrderLedger, set_back: timedelta, expected: tuple[EffectState, str]
) -> None:
    ledger.add(REFUND, "-5")
    ledger.clock.set_wall_clock(by=-set_back.total_seconds())
    put_aside(ledger, REFUND)
    assert state_of(ledger, REFUND) == expected
    ledger.add(AWARD, "9")
    ledger.deliver(AWARD)
    assert ledger.wake(delivered={"o-1"}) == 1
    assert quantity_of(ledger.prepare()) == "-5"


def test_a_parked_refund_comes_back_once_its_order_is_delivered(ledger: OrderLedger) -> None:
    ledger.add(REFUND, "-5")
    ledger.set_refunds(wait_seconds=0)
    put_aside(ledger, REFUND)
    assert state_of(ledger, REFUND) == (EffectState.PARKED, "refund_unknown_order")
    ledger.add(AWARD, "9")
    ledger.deliver(AWARD)
    assert ledger.wake(delivered={"o-1"}) == 1
    assert state_of(ledger, REFUND)[0] is EffectState.PENDING
    assert quantity_of(ledger.prepare()) == "-5"


def test_a_refund_of_an_order_that_earned_nothing_comes_back_once_that_is_delivered(ledger: OrderLedger) -> None:
    ledger.add(AWARD, "5")
    ledger.start(AWARD)
    ledger.record_results(AWARD, EffectState.REJECTED, reason="perk_unknown")
    ledger.add(REFUND, None)
    put_aside(ledger, REFUND)
    assert ledger.wake(ended={"o-1"}) == 0
    assert state_of(ledger, REFUND) == NOTHING_EARNED
    with ledger.store.unit_of_work() as work:
        assert reopen(work, [stored_effect(work, AWARD).id], now=ledger.clock.now()) == 1
    ledger.deliver(AWARD)
    assert ledger.wake(delivered={"o-1"}) == 1
    assert quantity_of(ledger.prepare()) == "-5"


def test_a_refund_that_a_person_has_dismissed_does_not_come_back(ledger: OrderLedger) -> None:
    ledger.add(REFUND, "-5")
    ledger.set_refunds(wait_seconds=0)
    put_aside(ledger, REFUND)
    with ledger.store.unit_of_work() as work:
        dismiss(work, [stored_effect(work, REFUND).id], detail="by hand", now=ledger.clock.now())
    assert ledger.wake(delivered={"o-1"}) == 0
    assert state_of(ledger, REFUND) == (EffectState.REJECTED, "dismissed")


def test_perkville_and_the_ledger_use_the_same_words() -> None:
    """Neither may import the other."""
    assert {state.value for state in EffectState if state.is_open} == OPEN_STATES
    assert UNCERTAIN == UNCERTAIN_REASONS
    assert preparation.WAITING_FOR_ORDER == WAITING_FOR_ORDER
