"""Traits know the place in the log of the event that gave them, so that calls of one instant have an order."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; what stands is older than whatever comes."""
    op.add_column("profile_traits", sa.Column("seq", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
