"""Statuses of events and transactions: names, labels and filters, the same for App, Public API and command line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from punchcard.errors import ConfigurationError
from punchcard.events.model import EventType
from punchcard.store.operations.reconciliation_differences import DifferenceKind
from punchcard.store.operations.reconciliations import ReconciliationStatus
from punchcard.store.operations.simulations import SimulationStatus
from punchcard.store.routing.event_results import EventStatus


class Tone(StrEnum):
    """How well an event is doing, shown as a color."""

    SUCCESS = "success"
    PROGRESS = "progress"  # continues without an operator
    NEUTRAL = "neutral"  # nothing to deliver
    WARNING = "warning"  # earned nothing: check the configuration or the sender
    ERROR = "error"  # an operator must act


@dataclass(frozen=True, kw_only=True)
class StatusInfo:
    """How a status is shown."""

    label: str
    tone: Tone


STATUSES: Final[Mapping[EventStatus, StatusInfo]] = MappingProxyType(
    {
        EventStatus.FAILED_ON_INGEST: StatusInfo(label="Failed on ingest", tone=Tone.WARNING),
        EventStatus.FILTERED_AT_SOURCE: StatusInfo(label="Filtered at source", tone=Tone.NEUTRAL),
        EventStatus.FILTERED_AT_DESTINATION: StatusInfo(label="Filtered at destination", tone=Tone.NEUTRAL),
        EventStatus.DESTINATION_OFF: StatusInfo(label="Destination off", tone=Tone.WARNING),
        EventStatus.REFUSED: StatusInfo(label="Refused", tone=Tone.WARNING),
        EventStatus.PENDING: StatusInfo(label="Pending", tone=Tone.PROGRESS),
        EventStatus.RETRYING: StatusInfo(label="Retrying", tone=Tone.PROGRESS),
        EventStatus.UNKNOWN: StatusInfo(label="Unknown", tone=Tone.PROGRESS),
        EventStatus.PARKED: StatusInfo(label="Parked", tone=Tone.ERROR),
        EventStatus.REJECTED: StatusInfo(label="Rejected", tone=Tone.ERROR),
        EventStatus.DELIVERED: StatusInfo(label="Delivered", tone=Tone.SUCCESS),
        EventStatus.DUPLICATE: StatusInfo(label="Duplicate", tone=Tone.NEUTRAL),
        EventStatus.CONFLICT: StatusInfo(label="Conflict", tone=Tone.ERROR),
    }
)
"""All statuses, in the order in which an event may get them."""

_TONES_OF_OPERATIONS: Final[Mapping[str, Tone]] = MappingProxyType(
    {
        ReconciliationStatus.QUEUED: Tone.PROGRESS,
        ReconciliationStatus.READING: Tone.PROGRESS,
        ReconciliationStatus.COMPARING: Tone.PROGRESS,
        ReconciliationStatus.FINISHED: Tone.SUCCESS,
        ReconciliationStatus.FAILED: Tone.ERROR,
        "waiting": Tone.WARNING,
        SimulationStatus.RUNNING: Tone.PROGRESS,
        DifferenceKind.MISSING_AT_PARTNER: Tone.ERROR,
        DifferenceKind.UNKNOWN_TO_US: Tone.WARNING,
        DifferenceKind.CONTENT_DIFFERS: Tone.ERROR,
        DifferenceKind.REVERSED: Tone.WARNING,
        DifferenceKind.PENDING_TOO_LONG: Tone.WARNING,
        DifferenceKind.DOUBLED: Tone.ERROR,
    }
)

LEDGER_STATUSES: Final = (
    EventStatus.PENDING,
    EventStatus.RETRYING,
    EventStatus.UNKNOWN,
    EventStatus.PARKED,
    EventStatus.REJECTED,
    EventStatus.DELIVERED,
)
"""Statuses of transactions in the ledger; all others are decided by routing."""

ROUTING_STATUSES: Final = tuple(
    status for status in EventStatus if status not in LEDGER_STATUSES or status is EventStatus.PENDING
)
"""Statuses of events as decided by routing: an award is pending then, whatever becomes of it."""

OPEN_STATUSES: Final = (EventStatus.PENDING, EventStatus.RETRYING, EventStatus.UNKNOWN)
"""Statuses of transactions that are still in delivery."""


def status_label(status: str) -> str:
    """Return the label of a status."""
    info = STATUSES.get(EventStatus(status)) if status in set(EventStatus) else None
    return status.replace("_", " ").capitalize() if info is None else info.label


def status_tone(status: str) -> Tone:
    """Return the tone of a status: of an event, a reconciliation or a simulation; or of the kind of a difference."""
    info = STATUSES.get(EventStatus(status)) if status in set(EventStatus) else None
    return _TONES_OF_OPERATIONS.get(status, Tone.NEUTRAL) if info is None else info.tone


def parse_event_type(text: str | None) -> str | None:
    """Return a type by which events are listed, None if they are not.

    Raises:
        ConfigurationError: The type is unknown.
    """
    if text is None or text in tuple(EventType):
        return text
    raise ConfigurationError(f"The type is one of {', '.join(EventType)}.", code="invalid_request", field="type")


def parse_routing_status(text: str | None, *, destination: str | None, reason: str | None) -> str | None:
    """Return a status by which events are listed, None if they are not.

    Args:
        destination: At which events must have the status, None for any.
        reason: That the status must have, None for any.

    Raises:
        ConfigurationError: Routing gives no such status; the later status of an award is in the ledger. Or there is no
            status, of which destination and reason are.
    """
    if text is None and (destination is not None or reason is not None):
        given = "destination" if reason is None else "reason"
        raise ConfigurationError(
            f"Events are listed by a {given} only together with a status, such as {EventStatus.REFUSED}.",
            code="invalid_request",
            field="status",
        )
    known = [status.value for status in ROUTING_STATUSES]
    if text is None or text in known:
        return text
    raise ConfigurationError(
        f'"{text}" is not a result of routing. Use {", ".join(known)}; transactions are listed by their state.',
        code="invalid_request",
        field="status",
    )


def parse_ledger_statuses(text: str) -> Sequence[EventStatus]:
    """Return the statuses in a comma-separated filter such as `retrying,parked`; none for an empty text.

    Raises:
        ConfigurationError: A name is not a status of transactions.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = {status.value: status for status in LEDGER_STATUSES}
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f'"{name}" is not a state of transactions. Use {", ".join(known)}, or several separated by commas.',
                code="invalid_request",
                field="state",
            )
    return tuple(known[name] for name in names)
