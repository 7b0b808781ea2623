"""Hours of which the sums of counts do not hold all counts yet."""

import sqlalchemy as sa
from alembic import op

revision = "0048"
down_revision = "0047"


def upgrade() -> None:
    """Create the table: empty, as the sums hold what was counted so far."""
    op.create_table("unsummed_hours", sa.Column("bucket", sa.BigInteger(), primary_key=True, autoincrement=False))
