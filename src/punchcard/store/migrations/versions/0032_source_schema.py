"""The source schema: events, their counts by day, and their properties. Names that were counted before are listed."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"


def upgrade() -> None:
    """Add the tables, and list the 300 most frequent names of each source."""
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
    name = "CASE WHEN event_type = 'track' THEN event_name ELSE '' END"
    received = "status = 'received' AND destination = '' AND source <> '' AND event_type <> ''"
    op.execute(
        "INSERT INTO schema_events "
        "(source, event_type, event_name, received, planned, sampled, first_seen, last_seen) "
        "SELECT source, event_type, name, received, 0, 0, first_seen, last_seen FROM ("
        " SELECT source, event_type, name, received, first_seen, last_seen,"
        " row_number() OVER (PARTITION BY source ORDER BY received DESC, event_type, name) AS place FROM ("
        f"  SELECT source, event_type, {name} AS name, CAST(sum(count) AS BIGINT) AS received,"
        "  min(bucket) AS first_seen, max(bucket) AS last_seen"
        f"  FROM result_counts WHERE {received} GROUP BY source, event_type, {name}"
        " ) AS counted) AS placed WHERE place <= 300"
    )
    day = "bucket - bucket % 86400000000"
    op.execute(
        "INSERT INTO schema_event_days (source, event_type, event_name, day, received, planned, filtered) "
        "SELECT listed.source, listed.event_type, listed.event_name, counted.day, counted.received, 0, 0 FROM ("
        f" SELECT source, event_type, {name} AS name, {day} AS day, CAST(sum(count) AS BIGINT) AS received"
        f" FROM result_counts WHERE {received} GROUP BY source, event_type, {name}, {day}"
        ") AS counted JOIN schema_events AS listed ON listed.source = counted.source"
        " AND listed.event_type = counted.event_type AND listed.event_name = counted.name"
    )
