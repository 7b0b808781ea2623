"""What people say of the sensitivity of properties and traits."""

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0039"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "property_classifications",
        sa.Column("section", sa.String(16), primary_key=True),
        sa.Column("path", sa.String(160), primary_key=True),
        sa.Column("classification", sa.String(16), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
    )
