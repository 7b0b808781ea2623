"""The attempts of an effect as the API and `trace` show them."""

from dataclasses import dataclass
from datetime import datetime

from punchcard.store.delivery.ledger import StoredAttempt


@dataclass(frozen=True, kw_only=True)
class AttemptTrace:
    """An HTTP call: sending, or reading back."""

    number: int
    action: str
    started_at: datetime
    status: int | None
    outcome: str | None
    duration_ms: int | None
    detail: str | None


def attempt_trace(attempt: StoredAttempt) -> AttemptTrace:
    """Return an attempt as the API and `trace` show it."""
    duration = None
    if attempt.finished_at is not None:
        # Not below zero, though the clock may have been set back meanwhile.
        duration = max(0, round((attempt.finished_at - attempt.started_at).total_seconds() * 1000))
    return AttemptTrace(
        number=attempt.number,
        action=attempt.action,
        started_at=attempt.started_at,
        status=attempt.status,
        outcome=attempt.outcome,
        duration_ms=duration,
        detail=attempt.detail,
    )
