"""Delete what the audit log names of persons."""

from typing import Any, Final

from sqlalchemy import Connection

from punchcard.profiles.erasure import ErasedIds
from punchcard.store.access.schema import audit_events
from punchcard.store.text_scrubbing import rows_mentioning, scrub_columns

_TEXTS: Final = (audit_events.c.resource_id, audit_events.c.changes)


def erase_from_audit_log(work: Connection, ids: ErasedIds) -> int:
    """Replace the ids of subjects in the audit log; return the number of changed rows."""
    return scrub_columns(work, audit_events, _TEXTS, ids)


def audit_events_about(work: Connection, ids: ErasedIds) -> list[dict[str, Any]]:
    """Return the entries of the audit log that name a subject."""
    return rows_mentioning(work, audit_events, _TEXTS, ids)
