"""The period that a page shows, taken from its URL."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from punchcard.app.request_context import RequestContext

_LENGTHS = {
    "1h": (timedelta(hours=1), timedelta(minutes=1)),
    "24h": (timedelta(hours=24), timedelta(hours=1)),
    "7d": (timedelta(days=7), timedelta(hours=3)),
    "30d": (timedelta(days=30), timedelta(hours=12)),
}
_DEFAULT = "24h"


@dataclass(frozen=True, kw_only=True)
class Period:
    """A period.

    Attributes:
        key: Name in URLs.
        width: Width of one bucket of a chart.
    """

    key: str
    begin: datetime
    end: datetime
    width: timedelta

    def buckets(self) -> list[datetime]:
        """Return the start of each bucket."""
        first = self.begin - timedelta(seconds=self.begin.timestamp() % self.width.total_seconds())
        return [first + number * self.width for number in range(int((self.end - first) / self.width) + 1)]


def read_period(context: RequestContext, *, default: str = _DEFAULT) -> Period:
    """Return the period in the URL, ending now; the default if the URL has none."""
    key = context.query("time")
    if key not in _LENGTHS:
        key = default
    length, width = _LENGTHS[key]
    now = context.dependencies.clock.now()
    begin = now - length
    # Counts are stored by whole minutes or hours.
    step = 60 if key == "1h" else 3600
    begin -= timedelta(seconds=begin.timestamp() % step)
    return Period(key=key, begin=begin, end=now + timedelta(minutes=1), width=width)
