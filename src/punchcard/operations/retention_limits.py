"""How short and how long a data set may be kept: the same for settings, App and command line."""

from collections.abc import Mapping
from typing import Final

DAYS_MAX: Final = 36_500
"""So long ago there is still a date."""

_DAYS_MIN: Final[Mapping[str, int]] = {
    "history_retention_days": 30,
    "delivery_details_retention_days": 30,
    "profile_retention_days": 30,
    "audit_log_retention_days": 90,
}


def days_min(setting: str) -> int:
    """Return the shortest period of the data set with this setting, in days. 0 stands for ever."""
    return _DAYS_MIN.get(setting, 1)


def find_fault(days: int, shortest: int) -> str:
    """Return why a period in days is not allowed, "" if it is.

    Args:
        shortest: The shortest period of the data set.
    """
    if not 0 <= days <= DAYS_MAX:
        return f"Enter a whole number of days up to {DAYS_MAX:,}, or 0 to keep everything."
    if 0 < days < shortest:
        return f"This must be kept for at least {shortest} days. Enter more, or 0 for ever."
    return ""


def refuse_short_period(setting: str, value: object) -> None:
    """Refuse the value of a setting if it is a period that is too short; other settings have no shortest one.

    Raises:
        ValueError: It is too short.
    """
    if setting in _DAYS_MIN and isinstance(value, int) and (fault := find_fault(value, _DAYS_MIN[setting])):
        raise ValueError(fault)
