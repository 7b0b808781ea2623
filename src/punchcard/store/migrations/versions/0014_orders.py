"""Orders belong to destinations: found by their id from whatever source; refund ids and refused orders are kept."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the column and the table, and put the index of orders in the order in which it is asked."""
    op.add_column("effects", sa.Column("refund_id", sa.Text(), nullable=True))
    op.drop_index("ix_effects_order", table_name="effects")
    op.create_index(
        "ix_effects_order",
        "effects",
        ["destination", "order_id"],
        unique=False,
        sqlite_where=sa.text("order_id IS NOT NULL"),
        postgresql_where=sa.text("order_id IS NOT NULL"),
    )
    op.create_table(
        "refused_orders",
        sa.Column("destination", sa.String(length=128), nullable=False),
        sa.Column("order_id", sa.String(length=255), nullable=False),
        sa.Column("source", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("message_id", sa.String(length=128), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("destination", "order_id", "source", name="pk_refused_orders"),
    )
