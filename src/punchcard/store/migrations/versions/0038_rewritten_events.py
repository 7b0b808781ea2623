"""The text of held events that the rules of their source have changed."""

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    """Add the column."""
    op.add_column("held_events", sa.Column("rewritten", sa.LargeBinary()))
