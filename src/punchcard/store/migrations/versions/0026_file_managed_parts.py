"""Which parts of the configuration the config file manages."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """One new table; what a config file names is noted when it is applied next."""
    op.create_table(
        "file_managed_parts",
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("slug", sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint("kind", "slug", name="pk_file_managed_parts"),
    )
