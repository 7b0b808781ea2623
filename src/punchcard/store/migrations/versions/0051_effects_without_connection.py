"""An index of what waits for a customer to be known, so that an award does not read all that waits."""

import sqlalchemy as sa
from alembic import op

revision = "0051"
down_revision = "0050"


def upgrade() -> None:
    """Create the index."""
    condition = sa.text("reason = 'no_connection'")
    op.create_index(
        "ix_effects_no_connection",
        "effects",
        ["customer", "destination", "id"],
        sqlite_where=condition,
        postgresql_where=condition,
    )
