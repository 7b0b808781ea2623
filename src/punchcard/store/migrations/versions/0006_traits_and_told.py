"""Traits know the place in the log of the event that gave them; people who were told of are counted by an index."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column, what stands being older than whatever comes, and the index."""
    op.add_column("profile_traits", sa.Column("seq", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    told = sa.text("value NOT IN ('false', 'null', '')")
    op.create_index(
        "ix_synced_told",
        "synced",
        ["destination", "key", "profile_id", "value"],
        unique=False,
        sqlite_where=told,
        postgresql_where=told,
    )
