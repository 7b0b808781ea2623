"""Delete old entries of the history of traits and memberships, and find profiles that were not seen for long."""

from datetime import datetime

from sqlalchemy import Connection, delete, select

from punchcard.store.engage.schema import profile_trait_changes, profiles
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


def find_old_profiles(work: Connection, *, before: datetime, after: int, limit: int) -> tuple[list[int], int | None]:
    """Return profiles among the next ones that were not seen since an instant, and the id through which that was.

    Args:
        limit: Number of profiles looked at.

    Returns:
        None for the id if there are no more.
    """
    columns = profiles.c
    rows = work.execute(
        select(columns.id, columns.updated_at, columns.merged_into)
        .where(columns.id > after)
        .order_by(columns.id)
        .limit(limit)
    ).all()
    old = [row.id for row in rows if row.merged_into is None and row.updated_at < before]
    return old, rows[-1].id if rows else None


def count_old_profiles(work: Connection, *, before: datetime) -> int:
    """Return the number of profiles that were not seen since an instant."""
    return count_rows(work, profiles, profiles.c.updated_at < before, profiles.c.merged_into.is_(None))
