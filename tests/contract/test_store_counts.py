"""The promise of the counts on both engines: every event and every end counted once, whatever happens to it later."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from punchcard.clock import to_micros
from punchcard.store.delivery import outbox
from punchcard.store.delivery.counts import (
    RECEIVED,
    CountKey,
    CountQuery,
    Dimension,
    add_counts,
    latency_percentile,
    merge_old_minutes,
    read_award_totals,
    read_counts,
    seen_names,
)
from punchcard.store.delivery.effects import AttemptOutcome, EffectState, StoredEffect
from punchcard.store.delivery.operator_actions import dismiss, reopen
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.testing.effects import DESTINATION, attempt_result, begin_all, new_effect

RECEIVED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ALWAYS = {"begin": RECEIVED_AT - timedelta(days=30), "end": RECEIVED_AT + timedelta(days=30)}


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(start=RECEIVED_AT)


def ends(store: Store) -> dict[tuple[object, ...], int]:
    with store.reading() as work:
        query = CountQuery(**ALWAYS, destination=DESTINATION)
        return read_counts(work, query, by=[Dimension.STATUS, Dimension.REASON])


def started(store: Store, clock: ManualClock, *keys: str, quantity: str = "1") -> list[StoredEffect]:
    with store.unit_of_work() as work:
        new = [new_effect(key, customer=f"{key}@example.com", quantity=quantity) for key in keys]
        outbox.add(work, new, now=clock.now())
        claimed = outbox.claimable(work, DESTINATION, now=clock.now(), limit=99)
        begin_all(work, claimed, now=clock.now(), lease_until=clock.now() + timedelta(seconds=25))
        effects = outbox.effects_by_key(work, DESTINATION, keys)
    return [effects[key] for key in keys]


def record_results(
    store: Store, clock: ManualClock, effect: StoredEffect, state: EffectState, reason: str | None = None
) -> int:
    with store.unit_of_work() as work:
        item = attempt_result(
            effect, clock=clock, state=state, outcome=AttemptOutcome.REJECTED, reason=reason, number=1
        )
        return outbox.record_results(work, [item])


def key(name: str, at: datetime, status: str = RECEIVED) -> CountKey:
    micros = to_micros(at)
    return CountKey(micros - micros % 60_000_000, "website", "", "track", name, status, "")


def test_counts_add_up_and_are_distinguished_as_requested(store: Store) -> None:
    for number in (1, 2):
        with store.unit_of_work() as work:
            add_counts(work, {key("A", RECEIVED_AT): number, key("B", RECEIVED_AT + timedelta(hours=2)): 10})
    with store.reading() as work:
        query = CountQuery(**ALWAYS)
        assert read_counts(work, query, by=()) == {(): 23}
        assert read_counts(work, query, by=[Dimension.EVENT_NAME]) == {("A",): 3, ("B",): 20}
        hour = RECEIVED_AT.replace(minute=0, second=0)
        assert read_counts(work, query, by=[Dimension.TIME]) == {(hour,): 3, (hour + timedelta(hours=2),): 20}
        assert read_counts(work, CountQuery(**ALWAYS, event_names=["B"]), by=()) == {(): 20}
        assert read_counts(work, CountQuery(**ALWAYS, source="till"), by=()) == {}
        assert seen_names(work, sources=["website"], since=RECEIVED_AT - timedelta(days=1)) == {"A": 3, "B": 20}


def test_an_effect_counts_once_where_it_ends_and_its_units_are_summed(store: Store, clock: ManualClock) -> None:
    first, second = started(store, clock, "a", "b", quantity="9.99")
    clock.advance(2.0)
    assert record_results(store, clock, first, EffectState.DELIVERED) == 1
    assert record_results(store, clock, second, EffectState.REJECTED, "perk_unknown") == 1
    assert ends(store) == {("delivered", ""): 1, ("rejected", "perk_unknown"): 1}
    with store.reading() as work:
        (total,) = read_award_totals(work, **ALWAYS, destination=DESTINATION)
        p95 = latency_percentile(work, 95, **ALWAYS, destination=DESTINATION)
    assert (total.units, total.transactions, total.item) == (Decimal("9.99"), 1, "123456")
    assert p95 is not None
    assert 2.0 <= p95.total_seconds() <= 2.0 * 1.2


def test_an_end_that_is_written_twice_counts_once(store: Store, clock: ManualClock) -> None:
    (effect,) = started(store, clock, "a")
    assert record_results(store, clock, effect, EffectState.DELIVERED) == 1
    assert record_results(store, clock, effect, EffectState.DELIVERED) == 0  # the answer to the first commit was lost
    assert ends(store) == {("delivered", ""): 1}


def test_what_is_put_back_in_the_queue_has_not_ended(store: Store, clock: ManualClock) -> None:
    (effect,) = started(store, clock, "a")
    record_results(store, clock, effect, EffectState.PARKED, "partner_unavailable")
    assert ends(store) == {("parked", "partner_unavailable"): 1}
    with store.unit_of_work() as work:
        assert reopen(work, [effect.id], now=clock.now()) == 1
        assert reopen(work, [effect.id], now=clock.now()) == 0
    assert ends(store) == {}


@pytest.mark.parametrize(
    ("reason", "dismissed"),
    [("partner_unavailable", "dismissed"), ("outcome_unknown", "dismissed_in_doubt")],
    ids=["surely not performed", "perhaps performed"],
)
def test_what_is_put_aside_ends_as_rejected_and_keeps_its_doubt(
    store: Store, clock: ManualClock, reason: str, dismissed: str
) -> None:
    (effect,) = started(store, clock, "a")
    record_results(store, clock, effect, EffectState.PARKED, reason)
    with store.unit_of_work() as work:
        assert dismiss(work, [effect.id], detail="dismissed by Olga", now=clock.now()) == 1
        assert dismiss(work, [effect.id], detail="dismissed by Olga", now=clock.now()) == 0
    assert ends(store) == {("rejected", dismissed): 1}
    with store.unit_of_work() as work:
        reopen(work, [effect.id], now=clock.now())
        (back,) = outbox.effects_by_key(work, DESTINATION, ["a"]).values()
    assert back.state is (EffectState.PENDING if dismissed == "dismissed" else EffectState.UNKNOWN)


def test_a_delivered_award_is_never_put_aside(store: Store, clock: ManualClock) -> None:
    (effect,) = started(store, clock, "a")
    record_results(store, clock, effect, EffectState.DELIVERED)
    with store.unit_of_work() as work:
        assert dismiss(work, [effect.id], detail="", now=clock.now()) == 0
    assert ends(store) == {("delivered", ""): 1}


def test_old_minutes_become_hours_and_no_number_changes(store: Store) -> None:
    old = RECEIVED_AT - timedelta(days=5)
    with store.unit_of_work() as work:
        add_counts(work, {key("A", old + timedelta(minutes=number)): 1 for number in range(90)})
        add_counts(work, {key("A", RECEIVED_AT): 5})
    with store.reading() as work:
        before = read_counts(work, CountQuery(**ALWAYS), by=[Dimension.TIME, Dimension.EVENT_NAME])
    merged = 0
    while True:
        with store.unit_of_work() as work:
            step = merge_old_minutes(work, now=RECEIVED_AT, minutes_max=40)
        if not step:
            break
        merged += step
    assert merged >= 88
    with store.reading() as work:
        assert read_counts(work, CountQuery(**ALWAYS), by=[Dimension.TIME, Dimension.EVENT_NAME]) == before
        by_minute = read_counts(work, CountQuery(**ALWAYS), by=[Dimension.TIME], width_micros=60_000_000)
    assert len(by_minute) == 2 + 1  # two hours of old ones; the young one keeps its minute
