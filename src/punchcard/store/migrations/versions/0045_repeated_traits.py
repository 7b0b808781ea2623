"""The traits that the newest identify call of a profile has repeated, in one row; room for updates in PostgreSQL."""

import sqlalchemy as sa
from alembic import op

revision = "0045"
down_revision = "0043"


def upgrade() -> None:
    """Add the columns. In PostgreSQL, leave room in new pages of tables with rows that are often updated."""
    op.add_column("profiles", sa.Column("repeated_at", sa.BigInteger()))
    op.add_column("profiles", sa.Column("repeated_seq", sa.BigInteger()))
    op.add_column("profiles", sa.Column("repeated_traits", sa.Text()))
    op.add_column("profile_traits", sa.Column("repeated_at", sa.BigInteger()))
    op.add_column(
        "profile_traits", sa.Column("repeated_seq", sa.BigInteger(), nullable=False, server_default=sa.text("0"))
    )
    if op.get_bind().dialect.name == "postgresql":
        for table in ("profiles", "profile_traits"):
            op.execute(f"ALTER TABLE {table} SET (fillfactor = 85)")
