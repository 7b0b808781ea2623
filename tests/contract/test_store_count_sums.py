"""The promise of the sums: pages show the same numbers as from the counts, at whatever moment hours are added up."""

import random
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from sqlalchemy import text

from punchcard.clock import from_micros, to_micros
from punchcard.runtime.count_upkeep import CountUpkeep
from punchcard.store.delivery.count_sums import Level, mark_last_days, sum_next_hour
from punchcard.store.delivery.counts import (
    RECEIVED,
    CountKey,
    CountQuery,
    Dimension,
    add_counts,
    merge_old_minutes,
    read_counts,
)
from punchcard.store.engine import Store
from punchcard.store.migrations.upgrade import upgrade
from punchcard.testing.clock import ManualClock

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


NOW = FIRST + 6 * DAY
RECENT = {"begin": to_micros(FIRST)}


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


def add(store: Store, counts: Mapping[CountKey, int]) -> None:
    items = list(counts.items())
    for begin in range(0, len(items), 400):
        with store.unit_of_work() as work:
            add_counts(work, dict(items[begin : begin + 400]))


def sum_hours(store: Store, *, now: datetime = NOW, hours_max: int = 1_000) -> int:
    """Add up marked hours; returns how many."""
    for number in range(hours_max):
        with store.unit_of_work() as work:
            if not sum_next_hour(work, now=now):
                return number
    return hours_max


def key(name: str, at: datetime) -> CountKey:
    micros = to_micros(at)
    return CountKey(micros - micros % 60_000_000, "website", "", "track", name, RECEIVED, "")


def levels_read(store: Store, query: CountQuery, **grouping: Any) -> set[str]:
    """Return the levels of the sums that a query reads, "" for the counts themselves."""
    with store.reading() as work:
        before = read_counts(work, query, **grouping)
    levels = set()
    for level in ("", *Level):
        table, condition = ("result_count_sums", f"WHERE level = '{level}'") if level else ("result_counts", "")
        with store.trial() as work:
            work.execute(text(f"UPDATE {table} SET count = count + 1000000 {condition}"))
            if read_counts(work, query, **grouping) != before:
                levels.add(str(level))
    return levels


def check(store: Store, counts: Mapping[CountKey, int], *, filters: Sequence[str] = ("all",)) -> None:
    with store.reading() as work:
        for (period, (begin, end)), (grouping, (by, width)), chosen in product(
            PERIODS.items(), GROUPINGS.items(), filters
        ):
            values = FILTERS[chosen]
            query = CountQuery(begin=begin, end=end, **values)
            result = read_counts(work, query, by=by, width_micros=width * 60_000_000)
            assert result == summed(counts, query, by, width), (period, grouping, chosen)


@pytest.fixture
def filled(store: Store) -> Store:
    add(store, drawn_counts())
    return store


@pytest.mark.parametrize("hours_summed", [0, 30, 1_000])
def test_every_period_and_grouping_adds_up_whatever_it_is_read_from(filled: Store, hours_summed: int) -> None:
    assert sum_hours(filled, hours_max=hours_summed) == min(hours_summed, 97)
    check(filled, drawn_counts(), filters=list(FILTERS))


def test_hours_that_change_after_they_were_summed_are_exact_before_and_after_the_next_sum(filled: Store) -> None:
    sum_hours(filled)
    counts = Counter(drawn_counts())
    chance = random.Random(7)
    for _ in range(2):
        late = {item: chance.choice([3, -1]) for item in chance.sample(sorted(counts), 15)}
        counts.update(late)
        add(filled, late)
        check(filled, counts)
        assert sum_hours(filled, hours_max=7) == 7
        check(filled, counts)


def test_merged_minutes_change_no_sum(filled: Store) -> None:
    counts = drawn_counts()
    query = CountQuery(begin=FIRST - FIRST_OF_DAY, end=FIRST - FIRST_OF_DAY + 6 * DAY)
    sum_hours(filled, hours_max=40)
    with filled.unit_of_work() as work:
        assert merge_old_minutes(work, now=FIRST + 30 * DAY, minutes_max=10_000)
    for _ in range(2):
        with filled.reading() as work:
            for by, width in GROUPINGS.values():
                if width >= 60:
                    result = read_counts(work, query, by=by, width_micros=width * 60_000_000)
                    assert result == summed(counts, query, by, width)
        assert sum_hours(filled) in (57, 0)


def test_only_hours_that_are_over_are_summed(store: Store) -> None:
    """The present hour would have to be summed again all the time; a page reads its counts."""
    add(store, {key("A", FIRST): 1, key("A", FIRST + timedelta(hours=1)): 2})
    assert sum_hours(store, now=FIRST + timedelta(hours=1)) == 1
    assert sum_hours(store, now=FIRST + timedelta(hours=1)) == 0
    assert sum_hours(store, now=FIRST + timedelta(hours=2)) == 1


def test_a_month_is_read_from_a_row_for_each_name_and_day(store: Store) -> None:
    """However many minutes have counts, a page reads as many rows: those of days, and of two broken days by hours."""
    add(store, {key("A", FIRST + timedelta(minutes=number)): 1 for number in range(3 * 24 * 60)})
    sum_hours(store)
    with store.reading() as work:
        rows = work.execute(text("SELECT level, count(*) FROM result_count_sums GROUP BY level")).all()
    assert {row[0]: row[1] for row in rows} == {"day": 4, "hour": 73, "total": 73}
    days = CountQuery(begin=FIRST - FIRST_OF_DAY, end=FIRST - FIRST_OF_DAY + 4 * DAY)
    assert levels_read(store, days, by=[Dimension.EVENT_NAME]) == {"day"}
    assert levels_read(store, days, by=()) == {"total"}
    add(store, {key("A", FIRST + DAY): 1})  # the other days are read as before, and the other hours of this one
    assert levels_read(store, days, by=[Dimension.EVENT_NAME]) == {"day", "hour", ""}
    assert levels_read(store, days, by=()) == {"total", ""}


def test_counts_of_an_open_unit_of_work_are_never_missing_from_the_sums(store: Store) -> None:
    """Who sums an hour waits for all who have counted in it, or the mark would be gone and the count not seen."""
    add(store, {key("A", FIRST): 1})
    has_counted, may_commit = threading.Event(), threading.Event()

    def count() -> None:
        with store.unit_of_work() as work:
            add_counts(work, {key("A", FIRST): 10})
            has_counted.set()
            assert may_commit.wait(20)

    counting = threading.Thread(target=count)
    summing = threading.Thread(target=lambda: sum_hours(store))
    counting.start()
    assert has_counted.wait(20)
    summing.start()
    summing.join(0.3)
    assert summing.is_alive()
    may_commit.set()
    counting.join()
    summing.join()
    with store.reading() as work:
        assert read_counts(work, CountQuery(begin=FIRST - DAY, end=NOW), by=()) == {(): 11}
        assert work.scalar(text("SELECT count(*) FROM unsummed_hours")) == 0


def test_an_hour_stays_marked_if_its_sum_fails(store: Store) -> None:
    add(store, {key("A", FIRST): 1})
    with store.trial() as work:  # as a process that is killed before it commits
        assert sum_next_hour(work, now=NOW)
    assert sum_hours(store) == 1


def test_hours_that_an_older_version_counts_in_are_summed_again(filled: Store) -> None:
    sum_hours(filled)
    with filled.unit_of_work() as work:
        work.execute(text("DELETE FROM result_count_sums WHERE event_name = 'A' AND bucket >= :begin"), RECENT)
        work.execute(text("UPDATE result_count_sums SET count = 3 WHERE bucket >= :begin"), RECENT)
        mark_last_days(work, now=FIRST + 2 * DAY)
    check(filled, drawn_counts())
    sum_hours(filled)
    check(filled, drawn_counts())


def test_the_upkeep_sums_hours_on_both_databases(filled: Store) -> None:
    clock = ManualClock(start=NOW)
    CountUpkeep(filled, clock, is_stopping=lambda: False).run()
    with filled.reading() as work:
        assert work.scalar(text("SELECT count(*) FROM unsummed_hours")) == 0
    days = CountQuery(begin=FIRST - FIRST_OF_DAY, end=FIRST - FIRST_OF_DAY + 4 * DAY)
    assert levels_read(filled, days, by=[Dimension.EVENT_NAME]) == {"day"}


def test_the_migration_sums_the_counts_of_an_older_store(filled: Store) -> None:
    sum_hours(filled)
    rows = text("SELECT * FROM result_count_sums WHERE count <> 0")
    with filled.reading() as work:
        before = sorted(map(tuple, work.execute(rows)))
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
        after = sorted(map(tuple, work.execute(rows)))
    assert after == before
