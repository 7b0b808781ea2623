"""The source schema: what is counted and sampled of routed events, its bounds, and what never gets into it."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import timedelta

import pytest
from sqlalchemy import update

from punchcard.clock import to_micros
from punchcard.events.observed_properties import Observation, ValueType
from punchcard.events.personal_data import PersonalData
from punchcard.profiles.erasure import ErasedIds
from punchcard.store.delivery.counts import OTHER_NAMES
from punchcard.store.engine import Store
from punchcard.store.source_schema.erasure import erase_from_source_schema
from punchcard.store.source_schema.model import (
    FREQUENT_TRACKED_MAX,
    EventDelta,
    FrequentValue,
    PropertyDelta,
    SchemaKey,
    merge_frequent,
    schema_key,
)
from punchcard.store.source_schema.reading import (
    find_event,
    list_events,
    list_names,
    list_paths,
    list_properties,
    list_values,
    read_days,
)
from punchcard.store.source_schema.recording import prune_schema, prune_schema_days, record_schema
from punchcard.store.source_schema.schema import schema_properties
from punchcard.testing.clock import ManualClock

NOW = ManualClock().now()
DAY = timedelta(days=1)
SINCE = NOW - 30 * DAY


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with closing(Store(store_url)) as opened:
        yield opened


def key(name: str, source: str = "website") -> SchemaKey:
    return SchemaKey(source, "track", name)


def received(count: int = 1, *, at: timedelta = timedelta(), planned: int = 0) -> EventDelta:
    micros = to_micros(NOW + at)
    delta = EventDelta(micros, micros, sampled=count)
    day = delta.day(micros)
    day.count, day.planned = count, planned
    return delta


def seen(*values: object, personal: PersonalData | None = None, at: timedelta = timedelta()) -> PropertyDelta:
    micros = to_micros(NOW + at)
    delta = PropertyDelta(micros, micros)
    for value in values:
        stored_value = None if personal else str(value)
        delta.add(Observation("x", ValueType.STRING, "", personal, stored_value), micros)
    return delta


def record(
    store: Store,
    events: Mapping[SchemaKey, EventDelta],
    properties: Mapping[SchemaKey, Mapping[str, PropertyDelta]] | None = None,
    **bounds: object,
) -> None:
    with store.unit_of_work() as work:
        record_schema(work, events=events, properties=properties or {}, **bounds)  # type: ignore[arg-type]


def listed(store: Store, source: str = "website") -> dict[str, int]:
    with store.reading() as work:
        return {event.key.event_name: event.total for event in list_events(work, source, since=SINCE)}


def test_counts_add_up_over_writes_and_days(store: Store) -> None:
    record(store, {key("Checked In"): received(3, at=-2 * DAY, planned=3)})
    record(store, {key("Checked In"): received(2)})
    record(store, {key("Checked In"): received(7, at=-90 * DAY), key("Refunded"): received()})
    with store.reading() as work:
        first, second = list_events(work, "website", since=SINCE)
        days = read_days(work, key("Checked In"), since=SINCE)
    assert (first.key, first.count, first.total, first.planned, first.sampled) == (key("Checked In"), 5, 12, 3, 12)
    assert (first.first_seen, first.last_seen) == (NOW - 90 * DAY, NOW)
    assert second.key == key("Refunded")
    assert [number for _, number in days] == [3, 2]


def test_sources_and_calls_are_apart(store: Store) -> None:
    identify = SchemaKey("website", "identify", "")
    record(store, {key("A"): received(), key("A", "till"): received(4), identify: received(2)})
    assert listed(store) == {"": 2, "A": 1}
    assert listed(store, "till") == {"A": 4}
    with store.reading() as work:
        assert list_names(work, ["website", "till"]) == ["A"]
        assert find_event(work, key("B"), since=SINCE) is None


def test_a_flood_of_names_is_bounded_and_counted_together(store: Store) -> None:
    record(store, {key(f"Junk {number}"): received() for number in range(50)}, names_max=10)
    record(store, {key(f"More {number}"): received() for number in range(50)}, names_max=10)
    names = listed(store)
    assert len(names) == 11
    assert sum(names.values()) == 100
    assert names[OTHER_NAMES] == 90


def test_a_flood_pushes_out_no_real_name(store: Store) -> None:
    record(
        store, {key("Established"): received(9, at=-2 * DAY), key("Mapped"): received(1), key("Often"): received(90)}
    )
    record(store, {key("Established"): received(1)})
    for turn in range(5):
        flood = {key(f"Junk {turn}.{number}"): received(number + 2) for number in range(40)}
        record(store, flood, mapped={key("Mapped")}, names_max=10)
    assert {"Established", "Mapped", "Often"} <= set(listed(store))


def test_a_new_name_takes_the_place_of_a_rarer_one(store: Store) -> None:
    record(store, {key(f"Junk {number}"): received() for number in range(10)}, names_max=10)
    record(store, {key("Real"): received(2)}, names_max=10)
    assert "Real" in listed(store)
    assert len(listed(store)) == 10


def test_a_mapped_name_is_always_listed(store: Store) -> None:
    record(store, {key(f"Junk {number}"): received(50) for number in range(10)}, names_max=10)
    record(store, {key("Mapped"): received()}, mapped={key("Mapped")}, names_max=10)
    assert listed(store)["Mapped"] == 1


def test_a_displaced_name_leaves_nothing_behind(store: Store) -> None:
    record(store, {key("Junk"): received()}, {key("Junk"): {"x": seen('"a"')}}, names_max=1)
    record(store, {key("Real"): received(2)}, {key("Real"): {"y": seen('"b"')}}, names_max=1)
    with store.reading() as work:
        assert list(list_paths(work, ["website"], ["track"])) == ["y"]
        assert list_properties(work, key("Junk")) == []
        assert read_days(work, key("Junk"), since=SINCE) == []


def test_paths_are_bounded_and_frequent_ones_stay(store: Store) -> None:
    record(store, {key("A"): received()}, {key("A"): {"real": seen(*"abc")}}, paths_max=10)
    for turn in range(3):
        flood = {f"junk{turn}.{number}": seen("x") for number in range(50)}
        record(store, {key("A"): received()}, {key("A"): flood}, paths_max=10)
    with store.reading() as work:
        paths = [known.path for known in list_properties(work, key("A"))]
    assert len(paths) == 10
    assert paths[0] == "real"


def test_a_property_has_types_and_frequent_values(store: Store) -> None:
    for _ in range(2):
        record(store, {key("A"): received(3)}, {key("A"): {"plan": seen('"gold"', '"gold"', '"basic"')}})
    with store.reading() as work:
        (plan,) = list_properties(work, key("A"))
    assert (plan.path, plan.count, plan.types) == ("plan", 6, {"string": 6})
    assert plan.frequent == [FrequentValue('"gold"', 4, 0), FrequentValue('"basic"', 2, 0)]


def test_personal_data_leaves_types_only(store: Store) -> None:
    """Values that were kept before the first personal one are removed with it, and none is kept later."""
    record(store, {key("A"): received()}, {key("A"): {"note": seen('"vip"')}})
    record(store, {key("A"): received()}, {key("A"): {"note": seen("", personal=PersonalData.EMAIL)}})
    record(store, {key("A"): received()}, {key("A"): {"note": seen('"gold"')}})
    with store.reading() as work:
        (note,) = list_properties(work, key("A"))
        assert (note.personal, note.frequent, note.types) == ({"email": 1}, (), {"string": 3})
        assert list_values(work, ["website"], ["track"], ["note"]) == {}


def test_a_path_that_is_personal_in_one_event_suggests_nothing_of_others(store: Store) -> None:
    personal = {"note": seen("", personal=PersonalData.PHONE)}
    record(store, {key("A"): received(), key("B"): received()}, {key("A"): personal, key("B"): {"note": seen('"x"')}})
    with store.reading() as work:
        assert list_values(work, ["website"], ["track"], ["note"]) == {}


def test_a_text_of_several_words_is_shown_once_it_is_frequent(store: Store) -> None:
    record(store, {key("A"): received()}, {key("A"): {"class": seen('"Hot Yoga"', '"Hot Yoga"', '"gold"')}})
    with store.reading() as work:
        assert [known.value for known in list_properties(work, key("A"))[0].frequent] == ['"gold"']
    record(store, {key("A"): received()}, {key("A"): {"class": seen('"Hot Yoga"')}})
    with store.reading() as work:
        assert list_values(work, ["website"], ["track"], ["class"]) == {"class": ['"Hot Yoga"', '"gold"']}


def test_values_of_a_person_are_erased(store: Store) -> None:
    values = {"nickname": seen('"teal-fox"', '"gold"'), "other": seen('"gold"')}
    record(store, {key("A"): received()}, {key("A"): values})
    with store.unit_of_work() as work:
        assert erase_from_source_schema(work, ErasedIds(user_ids=frozenset({"teal-fox"}))) == 1
    with store.reading() as work:
        assert list_values(work, ["website"], ["track"], ["nickname"]) == {"nickname": ['"[deleted]"', '"gold"']}


@pytest.mark.parametrize("column", ["types", "formats", "personal", "frequent"])
def test_a_damaged_row_hides_only_itself(store: Store, column: str) -> None:
    record(store, {key("A"): received()}, {key("A"): {"x": seen('"a"'), "y": seen('"b"')}})
    with store.unit_of_work() as work:
        work.execute(update(schema_properties).where(schema_properties.c.path == "x").values({column: "{]"}))
    record(store, {key("A"): received()}, {key("A"): {"x": seen('"a"'), "y": seen('"b"')}})
    with store.reading() as work:
        assert [(known.path, known.count) for known in list_properties(work, key("A"))] == [("x", 2), ("y", 2)]
        assert list_values(work, ["website"], ["track"], ["y"]) == {"y": ['"b"']}


def test_old_rows_are_pruned(store: Store) -> None:
    record(store, {key("Old"): received(at=-500 * DAY)}, {key("Old"): {"x": seen("1", at=-500 * DAY)}})
    record(store, {key("New"): received()}, {key("New"): {"x": seen("1")}})
    with store.unit_of_work() as work:
        assert prune_schema(work, before=NOW - 400 * DAY) == 1
        assert prune_schema_days(work, now=NOW) == 1
    assert listed(store) == {"New": 1}
    with store.reading() as work:
        assert list_properties(work, key("Old")) == []


def test_frequent_values_have_honest_bounds() -> None:
    """Against exact counts of a skewed stream: every bound holds, and no frequent value is lost."""
    chance = random.Random(7)
    exact: Counter[str] = Counter()
    tracked: list[FrequentValue] = []
    for _ in range(200):
        batch = Counter(str(int(chance.paretovariate(0.6))) for _ in range(20))
        exact += batch
        tracked = merge_frequent(tracked, batch)
    assert len(tracked) == FREQUENT_TRACKED_MAX
    for value, count, error in tracked:
        assert count - error <= exact[value] <= count
    frequent = {value for value, count in exact.items() if count > exact.total() / FREQUENT_TRACKED_MAX}
    assert frequent <= {known.value for known in tracked}


def test_names_that_no_database_can_store_are_stored() -> None:
    assert schema_key("s", "track", "a\x00\ud800" + "x" * 300).event_name == "a\u2400?" + "x" * 253
