"""Delete old entries of the history of traits and memberships."""

from datetime import datetime

from sqlalchemy import Connection, delete

from punchcard.store.engage.schema import profile_trait_changes
from punchcard.store.retention import Portion, count_rows, execute_in, next_old_ids


def prune_profile_history(work: Connection, *, before: datetime, after: int, limit: int) -> Portion:
    """Delete the next changes older than an instant; the current values are in another table."""
    columns = profile_trait_changes.c
    ids, is_last = next_old_ids(work, profile_trait_changes, columns.at, before=before, after=after, limit=limit)
    deleted = execute_in(work, delete(profile_trait_changes), columns.id, ids)
    return Portion(deleted=deleted, cursor=ids[-1] if ids else after, is_last=is_last)


def count_old_profile_history(work: Connection, *, before: datetime) -> int:
    """Return the number of changes older than an instant."""
    return count_rows(work, profile_trait_changes, profile_trait_changes.c.at < before)
