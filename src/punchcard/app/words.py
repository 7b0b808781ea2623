"""Results and reasons in the words of a page."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from punchcard.store.event_results import EventStatus

_LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        EventStatus.FAILED_ON_INGEST: "Failed on ingest",
        EventStatus.FILTERED_AT_SOURCE: "Filtered at source",
        EventStatus.FILTERED_AT_DESTINATION: "Filtered at destination",
        EventStatus.REFUSED: "Refused",
        EventStatus.PENDING: "Pending",
        EventStatus.RETRYING: "Retrying",
        EventStatus.UNKNOWN: "Unknown",
        EventStatus.PARKED: "Parked",
        EventStatus.REJECTED: "Rejected",
        EventStatus.DELIVERED: "Delivered",
        EventStatus.DUPLICATE: "Duplicate",
        EventStatus.CONFLICT: "Conflict",
    }
)
# Tabler's colours: what is well, what goes on by itself, what was decided against, what needs a person.
_TONES: Final[Mapping[str, str]] = MappingProxyType(
    {
        EventStatus.DELIVERED: "green",
        EventStatus.PENDING: "azure",
        EventStatus.RETRYING: "azure",
        EventStatus.UNKNOWN: "azure",
        EventStatus.DUPLICATE: "secondary",
        EventStatus.FILTERED_AT_SOURCE: "secondary",
        EventStatus.FILTERED_AT_DESTINATION: "secondary",
        EventStatus.REFUSED: "orange",
        EventStatus.FAILED_ON_INGEST: "orange",
        EventStatus.CONFLICT: "red",
        EventStatus.PARKED: "red",
        EventStatus.REJECTED: "red",
        # Of reconciliations and their differences.
        "finished": "green",
        "queued": "azure",
        "reading": "azure",
        "comparing": "azure",
        "waiting": "orange",
        "failed": "red",
        "missing_at_partner": "red",
        "doubled": "red",
        "content_differs": "red",
        "unknown_to_us": "orange",
        "reversed": "orange",
        "pending_too_long": "orange",
    }
)


def status_label(status: str) -> str:
    """A result as a heading says it."""
    return _LABELS.get(status, status.replace("_", " ").capitalize())


def status_tone(status: str) -> str:
    """The colour of a result."""
    return _TONES.get(status, "secondary")
