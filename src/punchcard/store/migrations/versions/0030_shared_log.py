"""Where the event log is, and an id of the database, by which a shared log knows it."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    """Add two columns."""
    op.add_column("log_binding", sa.Column("place", sa.Text()))
    op.add_column("log_binding", sa.Column("store_id", sa.String(36)))
