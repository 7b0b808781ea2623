"""The account at the destination of which a reconciliation reads what is booked."""

import sqlalchemy as sa
from alembic import op

revision = "0058"
down_revision = "0057"


def upgrade() -> None:
    """Add the column."""
    op.add_column("reconciliations", sa.Column("account", sa.Text()))
