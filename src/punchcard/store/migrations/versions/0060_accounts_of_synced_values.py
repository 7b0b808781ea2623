"""The account at a partner that values were synced to, and the one that the addresses of customers were read in."""

import sqlalchemy as sa
from alembic import op

revision = "0060"
down_revision = "0059"

_KEY = ["destination", "key", "email", "account"]


def upgrade() -> None:
    """Add table and columns. What was synced before counts for the account that a destination names at first."""
    op.create_table(
        "sync_accounts",
        sa.Column("destination", sa.String(128), primary_key=True),
        sa.Column("first", sa.Text(), nullable=False),
        sa.Column("current", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(8), nullable=False),
    )
    op.add_column("partner_customers", sa.Column("account", sa.Text()))
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    op.drop_index("ix_synced_value", "synced")
    with op.batch_alter_table("synced", recreate="never" if is_postgresql else "always") as batch:
        batch.add_column(sa.Column("account", sa.String(8), nullable=False, server_default=""))
        batch.drop_constraint("pk_synced", type_="primary")
        batch.create_primary_key("pk_synced", _KEY)
    op.create_index(
        "ix_synced_value",
        "synced",
        ["destination", "key", "account", "profile_id", *([] if is_postgresql else ["value"])],
        sqlite_where=sa.text("value NOT IN ('false', 'null', '')"),
        postgresql_where=sa.text("value NOT IN ('false', 'null', '')"),
    )
