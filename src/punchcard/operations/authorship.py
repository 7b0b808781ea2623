"""Authors of audiences and computed traits, read from the audit log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from punchcard.clock import EPOCH
from punchcard.operations.computation_actions import RESYNC_CHANGES
from punchcard.operations.computation_status import ComputationStatus
from punchcard.store.access import audit
from punchcard.store.access.audit import AuditEvent
from punchcard.store.engine import Store

UNKNOWN_ACTOR: Final = "unknown"
"""Actor of changes that the audit log does not contain."""


@dataclass(frozen=True, kw_only=True)
class Authorship:
    """Creator and last editor of a computation. Its creation counts as a change."""

    created_by: str
    created_at: datetime
    updated_by: str
    updated_at: datetime


def read_authorships(store: Store, statuses: Sequence[ComputationStatus]) -> Mapping[str, Authorship]:
    """Return the authorship of each computation, by key.

    Raises:
        StorageError: The store is unavailable.
    """
    resources = [(status.computation.kind, status.computation.key) for status in statuses]
    with store.reading() as work:
        events = audit.newest_of_each(work, resources, passing_over=RESYNC_CHANGES)
    additions = {event.resource_id: event for event in events if event.kind == "add"}
    newest = {event.resource_id: event for event in events}
    return {
        status.computation.key: _authorship(
            status, additions.get(status.computation.key), newest.get(status.computation.key)
        )
        for status in statuses
    }


def _authorship(status: ComputationStatus, added: AuditEvent | None, newest: AuditEvent | None) -> Authorship:
    if added is not None:
        created_at = added.at
    elif status.state is not None:
        created_at = status.state.created_at  # when Engage first computed it
    else:
        created_at = newest.at if newest is not None else EPOCH
    created_by = UNKNOWN_ACTOR if added is None else added.actor
    return Authorship(
        created_by=created_by,
        created_at=created_at,
        updated_by=created_by if newest is None else newest.actor,
        updated_at=created_at if newest is None else newest.at,
    )
