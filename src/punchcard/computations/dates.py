"""Dates and times in definitions and events: a plain date is a day, a time is an instant."""

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

PLAIN_DATE: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
"""Texts that are a day."""
ZONED_TIME: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}.*(Z|[+-][0-9]{2}:?[0-9]{2})$"
"""Texts that are an instant: ISO 8601 with a zone. In events, a time without a zone is ignored."""

_EPOCH: Final = date(1970, 1, 1)
_PLAIN: Final = re.compile(PLAIN_DATE)
_TIME: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?\s*(?:[Zz]|[+-]\d{2}(?::?\d{2})?)?"
)


def read_date(text: str) -> date | datetime | None:
    """Read a date of a definition: a day, or a time with or without a zone; None if it is neither."""
    try:
        if _PLAIN.fullmatch(text):
            return date.fromisoformat(text)
        if not _TIME.fullmatch(text):
            return None
        instant = datetime.fromisoformat(text.upper().replace(" Z", "Z"))
        instant.astimezone(UTC) if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return instant


def instant_of(time: datetime, zone: tzinfo) -> datetime:
    """Return the instant of a time; a time without a zone is in `zone`."""
    return (time if time.tzinfo is not None else time.replace(tzinfo=zone)).astimezone(UTC)


def day_number(day: date) -> int:
    """Return the days since 1970-01-01."""
    return (day - _EPOCH).days


def local_day(micros: int, zone: tzinfo) -> int:
    """Return the day of an instant in a zone, as days since 1970-01-01.

    Args:
        micros: Microseconds since 1970.
    """
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    return day_number(instant.astimezone(zone).date())
