"""Fates and reasons in the words of a page."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from punchcard.store.fates import FateKind

_LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        FateKind.FAILED_ON_INGEST: "Failed on ingest",
        FateKind.FILTERED_AT_SOURCE: "Filtered at source",
        FateKind.FILTERED_AT_DESTINATION: "Filtered at destination",
        FateKind.REFUSED: "Refused",
        FateKind.PENDING: "Pending",
        FateKind.RETRYING: "Retrying",
        FateKind.UNKNOWN: "Checking",
        FateKind.PARKED: "Parked",
        FateKind.REJECTED: "Rejected",
        FateKind.DELIVERED: "Delivered",
        FateKind.DUPLICATE: "Duplicate",
        FateKind.CONFLICT: "Conflict",
    }
)
# Tabler's colours: what is well, what goes on by itself, what was decided against, what needs a person.
_TONES: Final[Mapping[str, str]] = MappingProxyType(
    {
        FateKind.DELIVERED: "green",
        FateKind.PENDING: "azure",
        FateKind.RETRYING: "azure",
        FateKind.UNKNOWN: "azure",
        FateKind.DUPLICATE: "secondary",
        FateKind.FILTERED_AT_SOURCE: "secondary",
        FateKind.FILTERED_AT_DESTINATION: "secondary",
        FateKind.REFUSED: "orange",
        FateKind.FAILED_ON_INGEST: "orange",
        FateKind.CONFLICT: "red",
        FateKind.PARKED: "red",
        FateKind.REJECTED: "red",
    }
)


def fate_label(fate: str) -> str:
    """A fate as a heading says it."""
    return _LABELS.get(fate, fate.replace("_", " ").capitalize())


def fate_tone(fate: str) -> str:
    """The colour of a fate."""
    return _TONES.get(fate, "secondary")
