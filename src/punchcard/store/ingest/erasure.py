"""Delete what ingest has stored of persons."""

from typing import Any, Final

from sqlalchemy import Connection, delete

from punchcard.profiles.erasure import ErasedIds
from punchcard.store.ingest.schema import deletion_requests, rejected_requests
from punchcard.store.text_scrubbing import delete_mentioning, rows_mentioning

_KEYS_PER_QUERY: Final = 400


def erase_requests(work: Connection, ids: ErasedIds) -> int:
    """Delete the rejected requests that name a subject, and its old deletion requests; return their number."""
    columns = rejected_requests.c
    named = [columns.path, columns.message, columns.user_agent, columns.body_start]
    deleted = delete_mentioning(work, rejected_requests, named, ids)
    user_ids = sorted(ids.user_ids)
    for begin in range(0, len(user_ids), _KEYS_PER_QUERY):
        chunk = user_ids[begin : begin + _KEYS_PER_QUERY]
        deleted += work.execute(delete(deletion_requests).where(deletion_requests.c.user_id.in_(chunk))).rowcount
    return deleted


def requests_about(work: Connection, ids: ErasedIds) -> list[dict[str, Any]]:
    """Return the rejected requests that name a subject."""
    columns = rejected_requests.c
    return rows_mentioning(work, rejected_requests, [columns.path, columns.message, columns.body_start], ids)
