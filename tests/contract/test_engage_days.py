"""Days begin and end in the workspace's time zone, also on the days on which clocks change, and follow its change."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from punchcard.store.engine import Store
from punchcard.testing.engage_world import EngageWorld
from punchcard.workspace.export import export
from punchcard.workspace.file import read_content
from punchcard.workspace.model import Workspace

LOS_ANGELES = ZoneInfo("America/Los_Angeles")
BEGIN = datetime(2026, 3, 7, 20, tzinfo=UTC)  # noon of the day before clocks go forward in Los Angeles
KEY = "seen_lately"


@pytest.fixture
def world(tmp_path: Path, sqlite_url: str):
    store = Store(sqlite_url)
    made = EngageWorld(tmp_path, store, BEGIN, zone=LOS_ANGELES)
    yield made
    made.crash()
    store.close()


def see(world: EngageWorld, **seen: str) -> None:
    """Let people have the trait `seen`, by user id."""
    for person, value in seen.items():
        call = {
            "type": "identify",
            "userId": person,
            "messageId": f"{person}-{world.position}",
            "traits": {"seen": value},
        }
        world.receive([call])


def members(world: EngageWorld) -> set[str]:
    world.run_until_idle()
    inside = world.values(KEY)
    with world.store.reading() as work:
        rows = work.exec_driver_sql("SELECT value, profile_id FROM external_ids WHERE type = 'user_id'")
        return {value for value, profile in rows if profile in inside}


def wait_until(world: EngageWorld, *local: int) -> None:
    at = datetime(*local, tzinfo=LOS_ANGELES).astimezone(UTC)  # type: ignore[misc]  # year to second
    world.clock.advance((at - world.clock.now()).total_seconds())


def test_a_day_ends_at_midnight_of_the_workspace_also_when_it_has_23_hours(world: EngageWorld) -> None:
    world.configure(world.audience(KEY, "trait('seen').within_last(1 day)"))
    see(world, ann="2026-03-07", bea="2026-03-08", cid="2026-03-07T23:30:00-08:00", dan="2026-03-08T00:30:00-08:00")
    wait_until(world, 2026, 3, 7, 23, 59, 59)
    assert members(world) == {"ann", "cid"}
    wait_until(world, 2026, 3, 8, 0, 0, 0)
    assert members(world) == {"ann", "bea", "cid", "dan"}
    wait_until(world, 2026, 3, 8, 23, 59, 59)
    assert members(world) == {"ann", "bea", "cid", "dan"}
    wait_until(world, 2026, 3, 9, 0, 0, 0)
    assert members(world) == {"bea", "dan"}
    wait_until(world, 2026, 3, 10, 0, 0, 0)
    assert members(world) == set()


@pytest.mark.parametrize(
    ("definition", "inside"),
    [
        ("trait('seen').before_date('2026-03-08')", {"day", "evening", "noon"}),
        ("trait('seen').after_date(2026-03-09)", {"night", "later"}),
        ("trait('seen').before_date('2026-03-08T20:00:00Z')", {"day", "noon"}),
        ("trait('seen').before_date('2026-03-08 13:00')", {"day", "noon"}),
        ("trait('seen').after_date(2026-03-08T20:00:01Z)", {"day", "evening", "night", "later"}),
    ],
)
def test_plain_dates_are_days_of_the_workspace_and_times_are_instants(world, definition, inside) -> None:
    world.configure(world.audience(KEY, definition))
    see(
        world,
        day="2026-03-08",
        noon="2026-03-08T20:00:00Z",
        evening="2026-03-09T06:59:59Z",  # still the 8th in Los Angeles
        night="2026-03-09T07:00:00Z",
        later="2026-03-09",
        never="2026-02-30",
        nonsense="soon",
    )
    assert members(world) == inside


def test_another_time_zone_is_followed_at_once_by_those_that_ask_for_days(world: EngageWorld) -> None:
    world.configure(
        world.audience(KEY, "trait('seen').before_date('2026-03-08')"),
        world.audience("others", "trait('seen').exists()"),
    )
    see(world, ann="2026-03-09T06:59:59Z", bea="2026-03-08")
    assert members(world) == {"ann", "bea"}
    world.move_to("UTC")
    assert world.engine is not None
    assert world.engine.step()
    assert members(world) == {"bea"}
    world.move_to("Pacific/Auckland")
    see(world, cid="2026-03-08T10:59:59Z")
    assert members(world) == {"bea", "cid"}
    assert world.engine.check() == 0


def test_hours_are_followed_to_the_minute(world: EngageWorld) -> None:
    world.configure(world.audience(KEY, "trait('seen').within_last(12 hours)"))
    see(world, ann="2026-03-07T19:00:00Z", bea="2026-03-07T09:00:00Z", today="2026-03-07")
    assert members(world) == {"ann", "bea", "today"}
    world.advance(hours=1)
    assert members(world) == {"ann", "bea", "today"}, "it is exactly twelve hours"
    world.advance(seconds=61)
    assert members(world) == {"ann", "today"}
    assert world.engine is not None
    assert world.engine.check() == 0


def test_the_config_file_keeps_days_in_utc() -> None:
    text = b'[workspace]\ntimezone = "America/Los_Angeles"\nday_borders = "%s"\n'
    read = {word: read_content(text % word.encode(), "file", environment={}) for word in ("utc", "timezone")}
    assert read["utc"].day_zone(LOS_ANGELES) == ZoneInfo("UTC")
    assert read["timezone"].day_zone(LOS_ANGELES) == LOS_ANGELES
    assert Workspace(timezone="America/Los_Angeles").day_zone(LOS_ANGELES) == LOS_ANGELES
    for workspace in read.values():
        assert read_content(export(workspace).encode(), "file", environment={}) == workspace
    with pytest.raises(Exception, match=r'"Utc" is not known\. Use "timezone" or "utc"'):
        read_content(text % b"Utc", "file", environment={})
