"""The index of awards that were not sent, with a condition of which each state by itself is a part.

PostgreSQL expected a hundredth of the rows, and so read them from the table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0054"
down_revision = "0053"


def upgrade() -> None:
    """Create the index again."""
    op.drop_index("ix_effects_undelivered", "effects")
    columns = ["state", "destination", "finished_at", "reason", "item", "customer", "quantity", "requested_quantity"]
    condition = sa.text("state = 'parked' OR state = 'rejected'")
    op.create_index("ix_effects_undelivered", "effects", columns, sqlite_where=condition, postgresql_where=condition)
