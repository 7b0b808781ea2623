"""Instants as people write them: on the command line, and in calls of the Public API."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from punchcard.errors import ConfigurationError

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
# Nothing was received before; of an instant near the year 1, no other can be derived that is a day earlier.
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_DISTANCE = re.compile(r"(\d{1,6})\s*([mhdw])")
_FORMS = "a date (2026-11-01), a time (2026-11-01T09:30, in the workspace's time zone; or with an offset or Z), or a "


def read_instant(text: str, *, option: str, now: datetime, zone: ZoneInfo, is_past: bool) -> datetime:
    """Return the instant that a text names.

    Args:
        option: Names the option in an error, such as `--since`.
        zone: Of a date or time without an offset.
        is_past: Whether a distance such as `30d` lies before now; else behind.

    Raises:
        ConfigurationError: it names none.
    """
    text = text.strip()
    if distance := _DISTANCE.fullmatch(text.lower()):
        span = int(distance[1]) * _UNITS[distance[2]]
        try:
            return max(now - span if is_past else now + span, _EARLIEST)
        except OverflowError:
            if is_past:
                return _EARLIEST
            raise _refused(text, option) from None
    try:
        instant = datetime.fromisoformat(text)
        instant = instant if instant.tzinfo is not None else instant.replace(tzinfo=zone)
        return max(instant.astimezone(UTC), _EARLIEST)
    except (ValueError, OverflowError):
        raise _refused(text, option) from None


def _refused(text: str, option: str) -> ConfigurationError:
    message = f'{option} {text}: Write {_FORMS}distance such as "30d", "12h" or "45m".'
    return ConfigurationError(message, code="invalid_request", field=option.lstrip("-"))
