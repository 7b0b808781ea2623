"""Delete what violations of tracking plans name of persons."""

from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, select

from punchcard.profiles.erasure import ErasedIds
from punchcard.store.text_scrubbing import scrub_columns
from punchcard.store.tracking_plans.schema import plan_violations, violation_events


def erase_from_violations(work: Connection, ids: ErasedIds, messages: Collection[tuple[str, str]]) -> int:
    """Replace the ids of subjects in texts, and delete what waits to be forwarded about them.

    Args:
        messages: Source and message id of each event of the subjects.

    Returns:
        Number of changed and deleted rows.
    """
    columns = violation_events.c
    deleted = [
        row_id
        for row_id, body in work.execute(select(columns.id, columns.body)).all()
        if _event_of(body) in messages or ids.mentions(body.decode())
    ]
    for row_id in deleted:
        work.execute(delete(violation_events).where(columns.id == row_id))
    return len(deleted) + scrub_columns(work, plan_violations, [plan_violations.c.description], ids)


def _event_of(body: bytes) -> tuple[str, str]:
    properties: dict[str, Any] = msgspec.json.decode(body)["properties"]
    return properties["sourceSlug"], properties["eventMessageID"]
