"""Delete old entries of the audit log."""

from datetime import datetime

from sqlalchemy import Connection, delete

from punchcard.store.access.schema import audit_events
from punchcard.store.retention import Portion, count_rows, execute_in, next_old_ids


def prune_audit_log(work: Connection, *, before: datetime, after: int, limit: int) -> Portion:
    """Delete the next entries older than an instant."""
    columns = audit_events.c
    ids, is_last = next_old_ids(work, audit_events, columns.at, before=before, after=after, limit=limit)
    deleted = execute_in(work, delete(audit_events), columns.id, ids)
    return Portion(deleted=deleted, cursor=ids[-1] if ids else after, is_last=is_last)


def count_old_audit_log(work: Connection, *, before: datetime) -> int:
    """Return the number of entries older than an instant."""
    return count_rows(work, audit_events, audit_events.c.at < before)
