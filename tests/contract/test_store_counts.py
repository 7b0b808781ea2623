"""The promise of the counts on both engines: every event and every end counted once, whatever happens to it later."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from sqlalchemy import text

from punchcard.clock import from_micros, to_micros
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
    renew_sums,
    seen_names,
)
from punchcard.store.delivery.effects import AttemptOutcome, EffectState, StoredEffect
from punchcard.store.delivery.operator_actions import dismiss, reopen
from punchcard.store.engine import Store
from punchcard.store.migrations.upgrade import upgrade
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


# --- sums ---

DAY = timedelta(days=1)
FIRST = datetime(2026, 1, 1, 21, 30, tzinfo=UTC)  # so that periods begin and end within hours and days
FIRST_OF_DAY = timedelta(hours=21.5)


def drawn_counts() -> dict[CountKey, int]:
    """Counts of four days, drawn by chance: some are taken back later, as those of a retried effect."""
    chance = random.Random(5)
    counts: Counter[CountKey] = Counter()
    for _ in range(1_500):
        micros = to_micros(FIRST + timedelta(minutes=chance.randrange(4 * 24 * 60)))
        counts[
            CountKey(
                micros - micros % 60_000_000,
                chance.choice(["website", "till"]),
                chance.choice(["", "perkville"]),
                chance.choice(["track", "page"]),
                chance.choice(["A", "B", "C"]),
                chance.choice([RECEIVED, "refused", "delivered"]),
                chance.choice(["", "no_email"]),
            )
        ] += chance.choice([1, 2, 50, -1])
    return counts


PERIODS = {
    "whole days": (FIRST - FIRST_OF_DAY, FIRST - FIRST_OF_DAY + 4 * DAY),
    "from minute to minute": (FIRST + timedelta(minutes=17), FIRST + 3 * DAY + timedelta(minutes=61)),
    "hours within a day": (FIRST + timedelta(hours=3.5), FIRST + timedelta(hours=8.5)),
    "less than an hour": (FIRST + timedelta(minutes=31), FIRST + timedelta(minutes=44)),
    "over midnight": (FIRST + timedelta(hours=1), FIRST + timedelta(hours=4)),
}
GROUPINGS = {
    "in all": ((), 60),
    "by name": ((Dimension.EVENT_NAME,), 60),
    "by status and reason": ((Dimension.STATUS, Dimension.REASON), 60),
    "by minute": ((Dimension.TIME, Dimension.STATUS), 1),
    "by hour": ((Dimension.TIME, Dimension.SOURCE), 60),
    "by half day and name": ((Dimension.TIME, Dimension.EVENT_NAME), 12 * 60),
    "by day and type": ((Dimension.TIME, Dimension.EVENT_TYPE, Dimension.DESTINATION), 24 * 60),
}
FILTERS: dict[str, dict[str, Any]] = {
    "all": {},
    "one name": {"event_names": ["A"]},
    "one type": {"event_types": ["track"], "source": "till"},
    "before any destination": {"destination": "", "statuses": [RECEIVED]},
    "one reason": {"reasons": ["no_email"], "destination": "perkville"},
}


def summed(
    counts: Mapping[CountKey, int], query: CountQuery, by: Sequence[Dimension], width_minutes: int
) -> dict[tuple[object, ...], int]:
    """What `read_counts` has to return, added up one by one."""
    numbers: Counter[tuple[object, ...]] = Counter()
    width = width_minutes * 60_000_000
    for item, number in counts.items():
        if not to_micros(query.begin) <= item.bucket < to_micros(query.end):
            continue
        if query.source not in (None, item.source) or query.destination not in (None, item.destination):
            continue
        chosen = {"status": query.statuses, "event_name": query.event_names, "event_type": query.event_types}
        if any(values and getattr(item, name) not in values for name, values in chosen.items()):
            continue
        if query.reasons and item.reason not in query.reasons:
            continue
        begin = from_micros(item.bucket - item.bucket % width)
        numbers[
            tuple(begin if dimension is Dimension.TIME else getattr(item, dimension.value) for dimension in by)
        ] += number
    return {item: number for item, number in numbers.items() if number}


@pytest.fixture
def filled(store: Store) -> Store:
    with store.unit_of_work() as work:
        items = list(drawn_counts().items())
        for begin in range(0, len(items), 400):
            add_counts(work, dict(items[begin : begin + 400]))
    return store


def test_every_period_and_grouping_adds_up_whatever_sums_it_is_read_from(filled: Store) -> None:
    counts = drawn_counts()
    with filled.reading() as work:
        for (period, (begin, end)), (grouping, (by, width)), (chosen, values) in product(
            PERIODS.items(), GROUPINGS.items(), FILTERS.items()
        ):
            query = CountQuery(begin=begin, end=end, **values)
            result = read_counts(work, query, by=by, width_micros=width * 60_000_000)
            assert result == summed(counts, query, by, width), (period, grouping, chosen)


def test_merged_minutes_change_no_sum(filled: Store) -> None:
    counts = drawn_counts()
    query = CountQuery(begin=FIRST - FIRST_OF_DAY, end=FIRST - FIRST_OF_DAY + 6 * DAY)
    with filled.unit_of_work() as work:
        assert merge_old_minutes(work, now=FIRST + 30 * DAY, minutes_max=10_000)
    with filled.reading() as work:
        for by, width in GROUPINGS.values():
            if width >= 60:
                result = read_counts(work, query, by=by, width_micros=width * 60_000_000)
                assert result == summed(counts, query, by, width)


def test_sums_are_renewed_after_a_version_that_does_not_add_to_them(filled: Store) -> None:
    rows = text("SELECT * FROM result_count_sums WHERE count <> 0")
    with filled.reading() as work:
        before = sorted(map(tuple, work.execute(rows)))
    with filled.unit_of_work() as work:
        work.execute(text("DELETE FROM result_count_sums WHERE event_name = 'A'"))
        work.execute(text("UPDATE result_count_sums SET count = count - 3 WHERE level = 'total'"))
        renew_sums(work, now=FIRST + 2 * DAY)
    with filled.reading() as work:
        assert sorted(map(tuple, work.execute(rows))) == before


def test_a_month_is_read_from_a_row_for_each_name_and_day(store: Store) -> None:
    """However many minutes have counts, a page reads as many rows: those of days, and of two broken days by hours."""
    with store.unit_of_work() as work:
        add_counts(work, {key("A", FIRST + timedelta(minutes=number)): 1 for number in range(3 * 24 * 60)})
    with store.reading() as work:
        rows = work.execute(text("SELECT level, count(*) FROM result_count_sums GROUP BY level")).all()
    assert {row[0]: row[1] for row in rows} == {"day": 4, "hour": 73, "total": 73}


def test_the_migration_sums_the_counts_of_an_older_store(filled: Store) -> None:
    with filled.reading() as work:
        before = sorted(map(tuple, work.execute(text("SELECT * FROM result_count_sums WHERE count <> 0"))))
    with filled.unit_of_work() as work:
        work.execute(text("DROP TABLE result_count_sums"))
        for index in (
            "ix_effects_event_name",
            "ix_effects_reason",
            "ix_effects_failed",
            "ix_effects_attributes",
            "ix_sync_queue_waiting",
        ):
            work.execute(text(f"DROP INDEX {index}"))
        work.execute(text("CREATE INDEX ix_result_counts_destination ON result_counts (destination, bucket)"))
        work.execute(text("UPDATE alembic_version SET version_num = '0045'"))
        upgrade(work, revision="0046")
    with filled.reading() as work:
        after = sorted(map(tuple, work.execute(text("SELECT * FROM result_count_sums WHERE count <> 0"))))
    assert after == before
