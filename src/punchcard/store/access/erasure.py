"""Delete what the audit log names of persons."""

from sqlalchemy import Connection

from punchcard.profiles.erasure import ErasedIds
from punchcard.store.access.schema import audit_events
from punchcard.store.text_scrubbing import scrub_columns


def erase_from_audit_log(work: Connection, ids: ErasedIds) -> int:
    """Replace the ids of subjects in the audit log; return the number of changed rows."""
    return scrub_columns(work, audit_events, [audit_events.c.resource_id, audit_events.c.changes], ids)
