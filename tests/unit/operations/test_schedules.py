"""Times of day are read strictly, and the last occurrence follows the clocks of the workspace."""

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest

from punchcard.operations.schedules import last_occurrence, parse_time_of_day

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(("text", "expected"), [("", None), ("03:00", time(3)), ("23:59", time(23, 59))])
def test_a_time_of_day_is_read(text: str, expected: time | None) -> None:
    assert parse_time_of_day(text) == expected


@pytest.mark.parametrize("text", ["3:00", "24:00", "03:60", "03:00:00", "noon"])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time of day"):
        parse_time_of_day(text)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param("2026-11-27T02:30:00", "2026-11-27T02:00:00", id="just-past"),
        pytest.param("2026-11-27T01:59:00", "2026-11-26T02:00:00", id="not-yet"),
        pytest.param("2026-11-27T02:00:00", "2026-11-27T02:00:00", id="to-the-second"),
        pytest.param("2026-07-27T02:30:00", "2026-07-27T01:00:00", id="summer"),
    ],
)
def test_the_last_occurrence_is_of_the_zones_clocks(now: str, expected: str) -> None:
    instant = datetime.fromisoformat(now).replace(tzinfo=UTC)
    occurrence = last_occurrence(time(3), zone=BERLIN, now=instant)
    assert occurrence.astimezone(UTC) == datetime.fromisoformat(expected).replace(tzinfo=UTC)
