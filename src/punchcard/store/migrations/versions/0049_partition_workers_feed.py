"""Which of the workers that share partitions feeds the lake."""

import sqlalchemy as sa
from alembic import op

revision = "0049"
down_revision = "0048"


def upgrade() -> None:
    """Add the column: null for workers of earlier versions."""
    op.add_column("partition_workers", sa.Column("feeds_lake", sa.Boolean()))
