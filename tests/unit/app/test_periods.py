"""Periods in URLs: those that end now, and whole days."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest

from punchcard.app.periods import read_period
from punchcard.app.request_context import RequestContext

NOW = datetime(2026, 11, 27, 18, 45, 30, tzinfo=UTC)


def context_with(zone: str = "UTC", form: dict[str, str] | None = None, **query: str) -> RequestContext:
    """Return as much of a request as periods are read from."""
    dependencies = SimpleNamespace(
        clock=SimpleNamespace(now=lambda: NOW), current=lambda: SimpleNamespace(zone=ZoneInfo(zone))
    )
    fields = form or {}
    context: Any = SimpleNamespace(
        dependencies=dependencies,
        query=lambda name: query.get(name.replace("from", "first"), ""),
        field=lambda name: fields.get(name, ""),
    )
    return cast(RequestContext, context)


@pytest.mark.parametrize(
    ("key", "begin", "points_max"),
    [
        ("1h", datetime(2026, 11, 27, 17, 45, tzinfo=UTC), 62),
        ("24h", datetime(2026, 11, 26, 18, tzinfo=UTC), 26),
        ("7d", datetime(2026, 11, 20, 18, tzinfo=UTC), 58),
        ("30d", datetime(2026, 10, 28, 18, tzinfo=UTC), 62),
        ("nonsense", datetime(2026, 11, 26, 18, tzinfo=UTC), 26),
        ("2026-13-40~2026-11-02", datetime(2026, 11, 26, 18, tzinfo=UTC), 26),
        ("0001-01-01~9999-12-31", datetime(2026, 11, 26, 18, tzinfo=UTC), 26),
    ],
)
def test_a_period_that_ends_now_begins_with_a_counted_bucket(key: str, begin: datetime, points_max: int) -> None:
    period = read_period(context_with(time=key))
    assert (period.begin, period.end) == (begin, NOW + timedelta(minutes=1))
    assert period.first_day is None
    assert len(period.buckets()) <= points_max
    assert period.previous_begin == begin - (period.end - begin)


@pytest.mark.parametrize(
    ("zone", "first", "last", "begin", "end"),
    [
        ("UTC", "2026-11-01", "2026-11-02", "2026-11-01T00", "2026-11-03T00"),
        ("UTC", "2026-11-02", "2026-11-01", "2026-11-01T00", "2026-11-03T00"),
        ("UTC", "2026-11-02", "", "2026-11-02T00", "2026-11-03T00"),
        ("America/Los_Angeles", "2026-11-01", "2026-11-01", "2026-11-01T07", "2026-11-02T08"),  # a day of 25 hours
        ("Asia/Kolkata", "2026-11-01", "2026-11-01", "2026-10-31T18", "2026-11-01T18"),  # counts are stored by the hour
    ],
)
def test_whole_days_are_days_of_the_workspace(zone: str, first: str, last: str, begin: str, end: str) -> None:
    posted = read_period(context_with(zone, first=first, to=last))
    linked = read_period(context_with(zone, time=posted.key))
    sent = read_period(context_with(zone, form={"time": posted.key}))
    for period in (posted, linked, sent):
        assert period.begin == datetime.fromisoformat(f"{begin}:00:00+00:00")
        assert period.end == datetime.fromisoformat(f"{end}:00:00+00:00")
        assert period.key == posted.key
    assert posted.first_day is not None


@pytest.mark.parametrize(("days", "width_hours"), [(1, 1), (2, 1), (7, 3), (30, 12), (60, 24), (365, 168), (731, 168)])
def test_a_long_period_has_wide_buckets(days: int, width_hours: int) -> None:
    last = datetime(2026, 11, 27, tzinfo=UTC)
    first = last - timedelta(days=days - 1)
    period = read_period(context_with(time=f"{first:%Y-%m-%d}~{last:%Y-%m-%d}"))
    assert period.width == timedelta(hours=width_hours)
    assert len(period.buckets()) <= 120
