"""Requests to delete what is known of a user, recorded once each until somebody acts on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select

from punchcard.store.ingest.schema import deletion_requests
from punchcard.store.values import storable


@dataclass(frozen=True, kw_only=True)
class DeletionRequest:
    """One request.

    Attributes:
        source: Slug of the source that it came through.
        message_id: The same for each repetition of it.
    """

    id: int
    source: str
    message_id: str
    user_id: str
    received_at: datetime


def record_deletion(work: Connection, *, source: str, message_id: str, user_id: str, received_at: datetime) -> bool:
    """Keep a request; False if it is kept already."""
    same_request = (deletion_requests.c.source == source, deletion_requests.c.message_id == storable(message_id))
    if work.scalar(select(deletion_requests.c.id).where(*same_request)) is not None:
        return False
    work.execute(
        insert(deletion_requests).values(
            source=source, message_id=storable(message_id), user_id=storable(user_id), received_at=received_at
        )
    )
    return True


def list_deletions(work: Connection, *, count: int, before_id: int | None = None) -> Sequence[DeletionRequest]:
    """Requests, newest first."""
    chosen = select(deletion_requests).order_by(deletion_requests.c.id.desc()).limit(count)
    if before_id is not None:
        chosen = chosen.where(deletion_requests.c.id < before_id)
    return [DeletionRequest(**row._mapping) for row in work.execute(chosen)]


def count_deletions(work: Connection) -> int:
    """How many requests there are."""
    return work.scalar(select(func.count()).select_from(deletion_requests)) or 0
