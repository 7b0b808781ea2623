"""The status of events that were held and are planned, as a column: lists of events ask for one status."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0056"
down_revision = "0055"

_ROWS_AT_ONCE = 10_000


def upgrade() -> None:
    """Add the column with its index, and fill it."""
    op.add_column("held_events", sa.Column("status", sa.String(32)))
    connection = op.get_bind()
    held_events = sa.table("held_events", sa.column("id"), sa.column("status"), sa.column("result"))
    rows = connection.execute(
        sa.select(held_events.c.id, held_events.c.result).where(held_events.c.result.is_not(None))
    ).all()
    filling = (
        sa.update(held_events)
        .where(held_events.c.id == sa.bindparam("event_id"))
        .values(status=sa.bindparam("new_status"))
    )
    for begin in range(0, len(rows), _ROWS_AT_ONCE):
        chunk = rows[begin : begin + _ROWS_AT_ONCE]
        connection.execute(
            filling, [{"event_id": event_id, "new_status": json.loads(result)["status"]} for event_id, result in chunk]
        )
    condition = sa.text("status IS NOT NULL")
    op.create_index(
        "ix_held_events_status",
        "held_events",
        ["status", "log_position", "event_index"],
        sqlite_where=condition,
        postgresql_where=condition,
    )
