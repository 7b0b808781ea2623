"""Partitions of a log: which one results and held events belong to, and the workers that route partitions."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    """Add the columns and the table; everything that is stored belongs to partition 0."""
    for table in ("result_batches", "held_events"):
        op.add_column(table, sa.Column("partition", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "partition_workers",
        sa.Column("worker", sa.String(36), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("worker", name="pk_partition_workers"),
    )
