"""Who made an audience or computed trait and who changed it last, as the audit log has it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from punchcard.clock import EPOCH
from punchcard.operations.engagement import RESYNC_CHANGES, ComputationStatus
from punchcard.store import audit
from punchcard.store.audit import AuditEvent
from punchcard.store.engine import Store

UNKNOWN_ACTOR: Final = "unknown"
"""Who did what the log does not have."""


@dataclass(frozen=True, kw_only=True)
class Authorship:
    """Who made a computation and when, and who changed it last; made is changed, too."""

    created_by: str
    created_at: datetime
    updated_by: str
    updated_at: datetime


def read_authorships(store: Store, some: Sequence[ComputationStatus]) -> Mapping[str, Authorship]:
    """Of each computation, by key.

    Raises:
        StorageError: the store is away.
    """
    resources = [(one.computation.kind, one.computation.key) for one in some]
    with store.reading() as work:
        events = audit.newest_of_each(work, resources, passing_over=RESYNC_CHANGES)
    additions = {event.resource_id: event for event in events if event.kind == "add"}
    newest = {event.resource_id: event for event in events}
    return {
        one.computation.key: _authorship(one, additions.get(one.computation.key), newest.get(one.computation.key))
        for one in some
    }


def _authorship(one: ComputationStatus, added: AuditEvent | None, newest: AuditEvent | None) -> Authorship:
    if added is not None:
        created_at = added.at
    elif one.state is not None:
        created_at = one.state.created_at  # when Engage saw it first
    else:
        created_at = newest.at if newest is not None else EPOCH
    created_by = UNKNOWN_ACTOR if added is None else added.actor
    return Authorship(
        created_by=created_by,
        created_at=created_at,
        updated_by=created_by if newest is None else newest.actor,
        updated_at=created_at if newest is None else newest.at,
    )
