"""Records that routing could not process are kept, and the worker says whether the lake can be used."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the two tables."""
    op.create_table(
        "quarantined_records",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("event_index", sa.Integer()),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("quarantined_at", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(128)),
        sa.Column("destination", sa.String(128)),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("write_key", sa.Text(), nullable=False),
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("encoding", sa.Text(), nullable=False),
        sa.Column("ip", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_quarantined_records"),
    )
    op.create_index("ix_quarantined_records_at", "quarantined_records", ["quarantined_at"])
    op.create_table(
        "lake_status",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("failing_since", sa.BigInteger()),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("lost_events", sa.BigInteger(), nullable=False),
        sa.Column("lost_from", sa.BigInteger()),
        sa.Column("lost_until", sa.BigInteger()),
        sa.Column("lost_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_lake_status"),
    )
