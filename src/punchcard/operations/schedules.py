"""Times of day at which something is done every day, in the workspace's time zone."""

import re
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


def parse_time_of_day(text: str) -> time | None:
    """The time of day in `03:00`; None for "".

    Raises:
        ValueError: it is neither.
    """
    if not text:
        return None
    match = _TIME_OF_DAY.fullmatch(text)
    if match is None:
        raise ValueError(f"expected a time of day such as 03:00, or nothing, not {text!r}")
    return time(int(match[1]), int(match[2]))


def last_occurrence(time_of_day: time, *, zone: ZoneInfo, now: datetime) -> datetime:
    """The last instant at which clocks of the zone showed this time; an hour off where a change of clocks skips it."""
    local = now.astimezone(zone)
    today = datetime.combine(local.date(), time_of_day, zone)
    return today if today <= local else datetime.combine(local.date() - timedelta(days=1), time_of_day, zone)
