"""The time zones that a page offers."""

import zoneinfo
from typing import Final

TIMEZONES: Final = (
    "UTC",
    *sorted(name for name in zoneinfo.available_timezones() if "/" in name and "Etc/" not in name),
)
"""Those that name a place, in order."""
