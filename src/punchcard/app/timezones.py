"""Time zones to choose from."""

import zoneinfo
from typing import Final

TIMEZONES: Final = (
    "UTC",
    *sorted(name for name in zoneinfo.available_timezones() if "/" in name and "Etc/" not in name),
)
"""UTC and all zones named after a place, sorted."""
