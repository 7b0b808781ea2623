"""The source schema: events, their counts by day, and their properties."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "schema_events",
        sa.Column("source", sa.String(128), nullable=False),
        sa.Column("event_type", sa.String(16), nullable=False),
        sa.Column("event_name", sa.String(256), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("planned", sa.BigInteger(), nullable=False),
        sa.Column("sampled", sa.BigInteger(), nullable=False),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "event_type", "event_name", name="pk_schema_events"),
    )
    op.create_table(
        "schema_event_days",
        sa.Column("source", sa.String(128), nullable=False),
        sa.Column("event_type", sa.String(16), nullable=False),
        sa.Column("event_name", sa.String(256), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("planned", sa.BigInteger(), nullable=False),
        sa.Column("filtered", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "event_type", "event_name", "day", name="pk_schema_event_days"),
    )
    op.create_table(
        "schema_properties",
        sa.Column("source", sa.String(128), nullable=False),
        sa.Column("event_type", sa.String(16), nullable=False),
        sa.Column("event_name", sa.String(256), nullable=False),
        sa.Column("path", sa.String(160), nullable=False),
        sa.Column("occurrences", sa.BigInteger(), nullable=False),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.Column("types", sa.Text(), nullable=False),
        sa.Column("formats", sa.Text(), nullable=False),
        sa.Column("personal", sa.Text(), nullable=False),
        sa.Column("frequent", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("source", "event_type", "event_name", "path", name="pk_schema_properties"),
    )
