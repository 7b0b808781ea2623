"""Invented names fill no table: each source has so many an hour, over batches, restarts and on both databases."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import func, select

from punchcard.clock import to_micros
from punchcard.routing.counted_names import CountedNames
from punchcard.store.delivery.count_sums import HOUR_MICROS
from punchcard.store.delivery.counts import MINUTE_MICROS, OTHER_NAMES, RECEIVED, CountKey, add_counts
from punchcard.store.delivery.schema import result_counts
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock

HOUR = to_micros(ManualClock().now()) // HOUR_MICROS * HOUR_MICROS


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with closing(Store(store_url)) as opened:
        yield opened


def received(name: str, *, source: str = "website", minute: int = 0, status: str = RECEIVED) -> CountKey:
    destination = "" if status == RECEIVED else "perkville"
    return CountKey(HOUR + minute * MINUTE_MICROS, source, destination, "track", name, status, "")


def count(store: Store, names: CountedNames, *keys: CountKey) -> None:
    with store.unit_of_work() as work:
        add_counts(work, names.limit(work, dict.fromkeys(keys, 1)))


def stored(store: Store, source: str = "website") -> dict[str, int]:
    columns = result_counts.c
    with store.reading() as work:
        rows = work.execute(
            select(columns.event_name, func.sum(columns.count))
            .where(columns.source == source, columns.status == RECEIVED)
            .group_by(columns.event_name)
        )
        return {name: int(number) for name, number in rows}


@pytest.mark.parametrize("restarts", [False, True])
def test_names_beyond_the_limit_are_counted_together(store: Store, *, restarts: bool) -> None:
    names = CountedNames(names_max=3)
    for number in range(10):
        count(store, names, received(f"Event {number}", minute=number))
        if restarts:
            names = CountedNames(names_max=3)
    assert stored(store) == {"Event 0": 1, "Event 1": 1, "Event 2": 1, OTHER_NAMES: 7}


def test_a_name_that_is_counted_stays_counted(store: Store) -> None:
    names = CountedNames(names_max=1)
    for minute in range(3):
        count(store, names, received("Checked In", minute=minute), received("Junk", minute=minute))
    assert stored(store) == {"Checked In": 3, OTHER_NAMES: 3}


def test_a_name_that_earns_is_always_counted_by_itself(store: Store) -> None:
    names = CountedNames(names_max=1)
    count(store, names, received("Junk"))
    count(store, names, received("Checked In"), received("Checked In", status="pending"))
    assert stored(store) == {"Junk": 1, "Checked In": 1}


def test_unknown_senders_have_few_names(store: Store) -> None:
    names = CountedNames(unknown_max=2)
    count(store, names, *(received(f"Event {number}", source="") for number in range(100)))
    assert stored(store, "") == {"Event 0": 1, "Event 1": 1, OTHER_NAMES: 98}


def test_sources_and_hours_have_names_of_their_own(store: Store) -> None:
    names = CountedNames(names_max=1)
    for number, (source, minute) in enumerate([("website", 0), ("website", 60), ("till", 0)]):
        count(store, names, received(f"Event {number}", source=source, minute=minute))
    assert OTHER_NAMES not in stored(store) | stored(store, "till")


def test_no_event_is_lost_from_the_totals(store: Store) -> None:
    names = CountedNames(names_max=5)
    for batch in range(4):
        count(store, names, *(received(f"Event {batch * 50 + number}") for number in range(50)))
    assert sum(stored(store).values()) == 200


def test_memory_is_bounded(store: Store) -> None:
    names = CountedNames()
    for hour in range(600):
        key = received("Event")._replace(bucket=HOUR + hour * HOUR_MICROS)
        with store.unit_of_work() as work:
            names.limit(work, {key: 1})
    assert len(names._names) <= 512
