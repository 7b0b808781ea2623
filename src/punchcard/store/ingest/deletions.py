"""Requests to delete a user, as an earlier version has listed them: each becomes a regulation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select

from punchcard.store.ingest.schema import deletion_requests


@dataclass(frozen=True, kw_only=True)
class DeletionRequest:
    """A request.

    Attributes:
        source: Slug of the source that it came through.
        message_id: The same for each repetition of it.
    """

    id: int
    source: str
    message_id: str
    user_id: str
    received_at: datetime


def list_deletions(work: Connection, *, count: int) -> Sequence[DeletionRequest]:
    """Return the newest requests, newest first."""
    chosen = select(deletion_requests).order_by(deletion_requests.c.id.desc()).limit(count)
    return [DeletionRequest(**row._mapping) for row in work.execute(chosen)]


def forget_deletion(work: Connection, id: int) -> None:
    """Remove a request that has become a regulation."""
    work.execute(delete(deletion_requests).where(deletion_requests.c.id == id))
