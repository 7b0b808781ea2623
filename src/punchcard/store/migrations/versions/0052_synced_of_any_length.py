"""PostgreSQL's index of synced values holds none of them: it refused values that were longer than an entry may be."""

import sqlalchemy as sa
from alembic import op

revision = "0052"
down_revision = "0051"


def upgrade() -> None:
    """Create the index again without the value. SQLite has no such limit, and counts by the value in the index."""
    if op.get_bind().dialect.name != "postgresql":
        return
    op.drop_index("ix_synced_value", "synced")
    op.create_index(
        "ix_synced_value",
        "synced",
        ["destination", "key", "profile_id"],
        postgresql_where=sa.text("value NOT IN ('false', 'null', '')"),
    )
