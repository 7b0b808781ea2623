"""Names of the periods that end now."""

from typing import Final

PERIOD_LABELS: Final = {"1h": "1 hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days"}
"""Labels by the key in URLs."""
