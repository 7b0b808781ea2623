"""Effects keep the settings that came with their event; a pause knows its checks of the credentials and its end."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("effects", sa.Column("event_settings", sa.Text(), nullable=True))
    op.add_column("destination_pauses", sa.Column("checks", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.add_column("destination_pauses", sa.Column("next_check_at", sa.BigInteger(), nullable=True))
    op.add_column("destination_pauses", sa.Column("ended_at", sa.BigInteger(), nullable=True))
    op.add_column("destination_pauses", sa.Column("ended_by", sa.String(length=16), nullable=True))
