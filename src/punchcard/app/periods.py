"""The period that a page shows, taken from its URL."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from punchcard.app.period_labels import PERIOD_LABELS
from punchcard.app.request_context import RequestContext

_LENGTHS = {
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
_DEFAULT = "24h"
_BETWEEN = "~"  # needs no quoting in a URL
_DAYS_MAX = 731
# A chart has the narrowest buckets that make at most this many points. Counts are stored by the minute for two days,
# then by the hour.
_POINTS_MAX = 70
_WIDTHS = (
    timedelta(minutes=1),
    timedelta(hours=1),
    timedelta(hours=3),
    timedelta(hours=12),
    timedelta(days=1),
    timedelta(days=7),
)


@dataclass(frozen=True, kw_only=True)
class Period:
    """A period.

    Attributes:
        key: Name in URLs: `24h`, or two days such as `2026-11-01~2026-11-07`, both included.
        label: Name for people, such as `24 hours`.
        width: Width of one bucket of a chart.
        first_day: First day of a period of whole days in the workspace's time zone, None if the period ends now.
        last_day: Last day likewise.
    """

    key: str
    label: str
    begin: datetime
    end: datetime
    width: timedelta
    first_day: date | None = None
    last_day: date | None = None

    def buckets(self) -> list[datetime]:
        """Return the start of each bucket."""
        first = self.begin - timedelta(seconds=self.begin.timestamp() % self.width.total_seconds())
        return [first + number * self.width for number in range(int((self.end - first) / self.width) + 1)]

    @property
    def previous_begin(self) -> datetime:
        """Start of the period of the same length before this one; it ends where this one begins."""
        return self.begin - (self.end - self.begin)


def read_period(context: RequestContext) -> Period:
    """Return the period in the URL; the default if the URL has none.

    The parameter `time` has the key of a period. A form sends the two days of a period as `from` and `to`.
    """
    zone = context.dependencies.current().zone
    key = context.query("time") or context.field("time")
    days = _parse_days(context.query("from"), context.query("to")) or _parse_days(*key.split(_BETWEEN)[:2])
    now = context.dependencies.clock.now()
    if days is not None:
        return _whole_days(*days, zone=zone)
    if key not in _LENGTHS:
        key = _DEFAULT
    length = _LENGTHS[key]
    begin = now - length
    # Counts are stored by whole minutes or hours.
    step = 60 if key == "1h" else 3600
    begin -= timedelta(seconds=begin.timestamp() % step)
    return Period(
        key=key, label=PERIOD_LABELS[key], begin=begin, end=now + timedelta(minutes=1), width=_bucket_width(length)
    )


def _parse_days(first: str, last: str = "") -> tuple[date, date] | None:
    """Return two days in order, None if the texts are no days; the last day is the first one if it is missing."""
    try:
        begin = date.fromisoformat(first)
        end = date.fromisoformat(last) if last else begin
    except ValueError:
        return None
    begin, end = min(begin, end), max(begin, end)
    # A day at the edges of the calendar has no midnight in every time zone.
    if not 1970 < begin.year <= end.year < 9999 or end - begin > timedelta(days=_DAYS_MAX):
        return None
    return begin, end


def _whole_days(first: date, last: date, *, zone: ZoneInfo) -> Period:
    begin, end = (_midnight(day, zone) for day in (first, last + timedelta(days=1)))
    label = f"{first:%b} {first.day}, {first.year}"
    if last != first:
        label += f" to {last:%b} {last.day}, {last.year}"
    return Period(
        key=f"{first}{_BETWEEN}{last}",
        label=label,
        begin=begin,
        end=end,
        width=_bucket_width(end - begin),
        first_day=first,
        last_day=last,
    )


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return when a day begins; in a zone that is off by half an hour, its hour's start, as counts are stored by it."""
    midnight = datetime.combine(day, time(), zone).astimezone(UTC)
    return midnight.replace(minute=0, second=0, microsecond=0)


def _bucket_width(length: timedelta) -> timedelta:
    # A period of a day is drawn by the hour: counts of its first minutes may have been merged.
    widths = _WIDTHS if length <= timedelta(hours=1) else _WIDTHS[1:]
    return next((width for width in widths if length / width <= _POINTS_MAX), _WIDTHS[-1])
