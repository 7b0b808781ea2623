"""Retention periods by data set."""

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "retention_periods",
        sa.Column("data_set", sa.String(64), primary_key=True),
        sa.Column("days", sa.Integer()),
        sa.Column("changed_at", sa.BigInteger()),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger()),
    )
