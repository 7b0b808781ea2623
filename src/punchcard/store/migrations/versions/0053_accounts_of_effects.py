"""The account at the destination that an effect was last sent to."""

import sqlalchemy as sa
from alembic import op

revision = "0053"
down_revision = "0052"


def upgrade() -> None:
    """Add the column."""
    op.add_column("effects", sa.Column("account", sa.Text()))
