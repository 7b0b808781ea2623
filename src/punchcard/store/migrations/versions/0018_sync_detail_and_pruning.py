"""Why a profile's value could not be synced, and an index to prune refused orders by."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Add the column, as nothing is held yet, and the index."""
    op.add_column("sync_queue", sa.Column("detail", sa.Text(), nullable=False, server_default=""))
    op.create_index("ix_refused_orders_received", "refused_orders", ["received_at"], unique=False)
