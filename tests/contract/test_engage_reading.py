"""The promise of what pages say of audiences, on both engines: sizes over time, how destinations took it."""

import random
import string
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from punchcard.operations.trends import compute_trends
from punchcard.store.delivery.effects import EffectState
from punchcard.store.engage import profile_search as search
from punchcard.store.engage.sync_outcomes import SyncOutcome, outcome_of
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.testing.engage_samples import add_computation, add_person, call_about, record_sync

NOW = datetime(2026, 3, 31, 12, 30, tzinfo=UTC)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


def keep(store: Store, key: str, sizes: dict[timedelta, int], *, now: int) -> None:
    with store.unit_of_work() as work:
        add_computation(work, key, size=now, now=NOW, sizes=list(sizes.items()))


def test_a_size_stands_until_the_next_in_trends_of_all_keys_at_once(store: Store) -> None:
    days = {number: timedelta(days=number) for number in (2, 5, 8, 10, 40, 60)}
    keep(store, "grows", {days[60]: 3, days[40]: 5, days[8]: 10, days[5]: 14}, now=22)
    keep(store, "shrinks", {days[10]: 30, days[2]: 20}, now=20)
    keep(store, "stays", {days[40]: 7}, now=7)
    keep(store, "new", {days[5]: 4}, now=9)
    keep(store, "untold", {}, now=0)
    sizes = {"grows": 22, "shrinks": 20, "stays": 7, "new": 9, "untold": 0}
    trends = compute_trends(store, sizes, clock=ManualClock(start=NOW))
    assert {key: trend.week_change for key, trend in trends.items()} == {
        "grows": 12,
        "shrinks": -10,
        "stays": 0,
        "new": None,
        "untold": None,
    }
    assert [size for _, size in trends["grows"].points] == [5, 10, 14, 22]
    assert trends["grows"].points[0][0] == NOW - timedelta(days=30)
    assert [size for _, size in trends["stays"].points] == [7, 7]
    assert trends["new"].points[0][0] == NOW.replace(minute=0) - days[5]
    assert trends["untold"].points == []


def test_of_many_sizes_the_last_of_six_hours_is_shown_and_a_week_ago_is_exact(store: Store) -> None:
    keep(store, "often", {timedelta(hours=number): 1000 - number for number in range(1, 24 * 31)}, now=1000)
    trend = compute_trends(store, {"often": 1000}, clock=ManualClock(start=NOW))["often"]
    assert trend.week_change == 24 * 7
    assert 110 < len(trend.points) < 125
    assert [size for _, size in trend.points] == sorted(size for _, size in trend.points)


def test_an_outcome_counts_people_once_and_calls_as_they_stand_at_the_destination(store: Store) -> None:
    calls = [
        (EffectState.PENDING, None),
        (EffectState.RETRYING, "no_connection"),
        (EffectState.PARKED, "no_connection"),
        (EffectState.RETRYING, "partner_unavailable"),
        (EffectState.RETRYING, None),
        (EffectState.PARKED, "outcome_unknown"),
        (EffectState.REJECTED, "email_refused"),
        (EffectState.DELIVERED, None),
    ]
    with store.unit_of_work() as work:
        people = [add_person(work, ("email", f"{name}@example.com"), at=NOW) for name in ("ann", "ben", "cleo")]
        for key in ("regulars", "regulars_of_old"):
            for number, (state, reason) in enumerate(calls):
                call_about(work, key, f"{number}@example.com", state=state, reason=reason)
        call_about(work, "regulars", "x@example.com", source="web", state=EffectState.PARKED)
        record_sync(work, "regulars", "ann@example.com", profile=people[0], at=NOW)
        record_sync(work, "regulars", "ann@elsewhere.example", profile=people[0], at=NOW)
        record_sync(work, "regulars", "ben@example.com", profile=people[1], at=NOW)
        record_sync(work, "regulars", "cleo@example.com", profile=people[2], at=NOW, value="false")
        record_sync(work, "lapsed", "cleo@example.com", profile=people[2], at=NOW)
    with store.reading() as work:
        outcome = outcome_of(work, "regulars", destination="perkville", source="engage-perkville")
        nothing = outcome_of(work, "unheard_of", destination="perkville", source="engage-perkville")
    assert replace(outcome, failed=()) == SyncOutcome(synced=2, no_connection=2, retrying=2, parked=1, rejected=1)
    assert [(call.email, call.state) for call in outcome.failed] == [
        ("6@example.com", EffectState.REJECTED),
        ("5@example.com", EffectState.PARKED),
    ]
    assert nothing == SyncOutcome(synced=0, no_connection=0, retrying=0, parked=0, rejected=0)


def test_people_are_found_the_same_on_both_engines(store: Store) -> None:
    with store.unit_of_work() as work:
        ann = add_person(work, ("email", "ann@example.com"), ("phone", "+1"), at=NOW, traits={"plan": "gold"})
        annie = add_person(work, ("email", "annie@example.com"), ("user_id", "ann"), at=NOW, traits={"plan": "basic"})
        visitor = add_person(work, ("anonymous_id", "ann"), at=NOW)
    with store.reading() as work:
        assert [item.profile_id for item in search.named(work, "ann", limit=9)] == [annie, visitor, ann]
        assert [item.profile_id for item in search.named(work, "ANN@", limit=9)] == [ann]
        result = search.find(work, "ann")
        assert result is not None
        assert result.id == annie
        assert search.find(work, "nobody") is None
        assert [item.profile_id for item in search.newest(work, limit=2)] == [visitor, annie]
        assert [item.profile_id for item in search.with_trait(work, "plan", limit=9, before=annie)] == [ann]
        assert [item.value for item in search.with_trait(work, "plan", limit=9, values=['"basic"'])] == ['"basic"']
        assert search.names_of_traits(work, limit=9) == ["plan"]
        assert search.types_of_ids(work) == ["anonymous_id", "email", "phone", "user_id"]


def test_values_of_any_length_are_compared_in_full(store: Store) -> None:
    long = "".join(random.Random(1).choices(string.ascii_letters, k=5_000))  # which cannot be compressed
    with store.unit_of_work() as work:
        people = [
            add_person(work, ("email", f"p{number}@example.com"), at=NOW, traits={"plan": plan})
            for number, plan in enumerate((long, long + "x", long[:98], "gold", "gold"))
        ]
    with store.reading() as work:
        for plan, expected in ((long, people[:1]), (long[:98], people[2:3]), ("silver", []), ("gold", people[:2:-1])):
            matches = search.with_trait(work, "plan", limit=9, values=[f'"{plan}"', plan])
            assert [person.profile_id for person in matches] == expected
        both = search.with_trait(work, "plan", limit=2, values=['"gold"', f'"{long}"'])
        assert [person.profile_id for person in both] == people[:2:-1]
