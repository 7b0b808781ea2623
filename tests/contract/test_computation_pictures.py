"""What the pages of audiences and computed traits draw, from a real store."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from tests.contract.test_app_search import CONFIG

from punchcard.operations import computation_pictures
from punchcard.operations.computation_pictures import (
    Band,
    count_daily_changes,
    read_distribution,
    split_into_bands,
)
from punchcard.store.engine import Store
from punchcard.testing.engage_samples import add_person, set_traits
from punchcard.testing.fresh_store import with_tables
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
LOS_ANGELES = ZoneInfo("America/Los_Angeles")  # clocks change on March 8


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = Store(with_tables(store_url))
    yield opened
    opened.close()


def test_entries_and_exits_are_counted_by_local_day(store: Store) -> None:
    with store.unit_of_work() as work:
        for number, ago in enumerate((timedelta(hours=1), timedelta(hours=6), timedelta(days=3), timedelta(days=40))):
            person = add_person(work, ("user_id", f"u-{number}"), at=NOW - ago)
            set_traits(work, person, {"regulars": True}, at=NOW - ago, computation="audience")
        set_traits(work, person, {"regulars": False}, at=NOW, computation="audience")
        set_traits(work, person, {"regulars": "custom"}, at=NOW)
    with store.reading() as work:
        changes = count_daily_changes(work, "regulars", now=NOW, zone=LOS_ANGELES)
        nothing = count_daily_changes(work, "other", now=NOW, zone=LOS_ANGELES)
    assert nothing is None
    assert changes is not None
    assert len(changes.days) == 30
    assert changes.days[-1] == datetime(2026, 3, 10, tzinfo=LOS_ANGELES)
    assert [day.hour for day in changes.days] == [0] * 30
    assert changes.entered[-4:] == [1, 0, 1, 1]  # six hours ago it was still yesterday there
    assert changes.left[-4:] == [0, 0, 0, 1]
    assert (sum(changes.entered), changes.is_partial) == (3, False)


def test_only_the_newest_changes_are_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computation_pictures, "READ_MAX", 2)
    with store.unit_of_work() as work:
        for number in range(3):
            person = add_person(work, ("user_id", f"u-{number}"), at=NOW)
            set_traits(work, person, {"regulars": True}, at=NOW, computation="audience")
    with store.reading() as work:
        changes = count_daily_changes(work, "regulars", now=NOW, zone=LOS_ANGELES)
    assert changes is not None
    assert (sum(changes.entered), changes.is_partial) == (2, True)


@pytest.mark.parametrize(
    ("numbers", "bands"),
    [
        ([5], [Band(low=5, high=6, people=1)]),
        ([0, 0.4, 1, 2], [(0, 0.2, 1), (0.4, 0.6, 1), (1, 1.2, 1), (2, 2.2, 1)]),
        ([-15, 5, 85], [(-20, -10, 1), (0, 10, 1), (80, 90, 1)]),
        ([0, 119_999], [(0, 20_000, 1), (100_000, 120_000, 1)]),
    ],
)
def test_numbers_are_counted_in_round_bands(numbers: list[float], bands: list[Band | tuple[float, float, int]]) -> None:
    result = split_into_bands(numbers)
    expected = [band if isinstance(band, Band) else Band(low=band[0], high=band[1], people=band[2]) for band in bands]
    assert [band for band in result if band.people] == expected
    assert len(result) <= 12
    assert sum(band.people for band in result) == len(numbers)
    assert [band.high for band in result[:-1]] == [band.low for band in result[1:]]


def test_values_that_are_not_numbers_have_no_distribution(store: Store) -> None:
    with store.unit_of_work() as work:
        for number, value in enumerate((1, 2.5, 12)):
            person = add_person(work, ("user_id", f"u-{number}"), at=NOW)
            set_traits(
                work, person, {"spend": value, "plan": "gold", "vip": True}, at=NOW, computation="computed_trait"
            )
    with store.reading() as work:
        spend = read_distribution(work, "spend")
        others = [read_distribution(work, key) for key in ("plan", "vip", "nothing")]
    assert spend is not None
    assert (spend.people, spend.is_partial, sum(band.people for band in spend.bands)) == (3, False, 3)
    assert others == [None, None, None]


def test_pages_draw_them_with_tables(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("pictures")
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        now = server.clock.now()
        with server.store.unit_of_work() as work:
            person = add_person(work, ("email", "ann@example.com"), at=now)
            set_traits(work, person, {"regulars": True}, at=now, computation="audience")
            set_traits(work, person, {"lifetime_spend": 49.9}, at=now, computation="computed_trait")
        viewer = FormBrowser(server)
        viewer.sign_in("read_only@acme.example")
        audience, trait = viewer.get("/audiences/regulars").text, viewer.get("/audiences/lifetime_spend").text
    assert "Entries and exits by day" in audience
    assert "Distribution" in trait
    assert "49 to 50" in trait
