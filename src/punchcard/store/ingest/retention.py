"""Delete old rejected requests."""

from datetime import datetime

from sqlalchemy import Connection, delete

from punchcard.store.ingest.schema import rejected_requests
from punchcard.store.retention import Portion, count_rows, execute_in, next_old_ids


def prune_rejected_requests(work: Connection, *, before: datetime, after: int, limit: int) -> Portion:
    """Delete the next requests older than an instant."""
    columns = rejected_requests.c
    ids, is_last = next_old_ids(work, rejected_requests, columns.received_at, before=before, after=after, limit=limit)
    deleted = execute_in(work, delete(rejected_requests), columns.id, ids)
    return Portion(deleted=deleted, cursor=ids[-1] if ids else after, is_last=is_last)


def count_old_rejected_requests(work: Connection, *, before: datetime) -> int:
    """Return the number of requests older than an instant."""
    return count_rows(work, rejected_requests, rejected_requests.c.received_at < before)
