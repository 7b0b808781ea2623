"""Indexes for lists of events by a status that they got after they were first routed."""

import sqlalchemy as sa
from alembic import op

revision = "0057"
down_revision = "0056"


def upgrade() -> None:
    """Add the indexes."""
    # A worker from before 0056 may still plan held events during an upgrade: it leaves their status empty.
    condition = sa.text("status IS NULL AND result IS NOT NULL")
    op.create_index(
        "ix_held_events_without_status",
        "held_events",
        ["log_position", "event_index"],
        sqlite_where=condition,
        postgresql_where=condition,
    )
    op.create_index("ix_replayed_events_status", "replayed_events", ["status", "original_position", "original_index"])
    op.create_index("ix_replayed_events_place", "replayed_events", ["log_position", "event_index"])
