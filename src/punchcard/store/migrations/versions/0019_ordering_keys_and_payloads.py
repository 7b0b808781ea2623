"""Effects have an ordering key beside their customer, the type of their event, and a payload of their destination."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Add the columns; the effects of before are ordered by their customer, as they were."""
    op.add_column("effects", sa.Column("ordering_key", sa.String(length=320), nullable=False, server_default=""))
    op.add_column("effects", sa.Column("event_type", sa.String(length=16), nullable=True))
    op.add_column("effects", sa.Column("payload", sa.Text(), nullable=True))
    op.add_column("effects", sa.Column("summary", sa.Text(), nullable=True))
    op.execute("UPDATE effects SET ordering_key = customer")
    op.drop_index("ix_effects_lane", table_name="effects")
    op.create_index(
        "ix_effects_lane",
        "effects",
        ["destination", "ordering_key", "kind", "is_open", "id"],
        unique=False,
        sqlite_where=sa.text("is_open = 1"),
        postgresql_where=sa.text("is_open"),
    )
