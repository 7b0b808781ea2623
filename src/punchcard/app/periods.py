"""The stretch of time that a page shows, as its address names it."""

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
    """A stretch of time.

    Attributes:
        key: As the address names it.
        width: Of one bucket of a chart.
    """

    key: str
    begin: datetime
    end: datetime
    width: timedelta

    def buckets(self) -> list[datetime]:
        """Where each bucket begins."""
        first = self.begin - timedelta(seconds=self.begin.timestamp() % self.width.total_seconds())
        return [first + number * self.width for number in range(int((self.end - first) / self.width) + 1)]


def read_period(context: RequestContext, *, default: str = _DEFAULT) -> Period:
    """What the address asks for, up to now; the default if it names no period."""
    key = context.query("time")
    if key not in _LENGTHS:
        key = default
    length, width = _LENGTHS[key]
    now = context.dependencies.clock.now()
    begin = now - length
    # Whole minutes or hours, as counts are kept.
    step = 60 if key == "1h" else 3600
    begin -= timedelta(seconds=begin.timestamp() % step)
    return Period(key=key, begin=begin, end=now + timedelta(minutes=1), width=width)
