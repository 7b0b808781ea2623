"""Destinations are paused by people too, with an optional end."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Add who paused a destination, and until when."""
    op.add_column("destination_pauses", sa.Column("actor", sa.Text(), nullable=True))
    op.add_column("destination_pauses", sa.Column("until", sa.BigInteger(), nullable=True))
