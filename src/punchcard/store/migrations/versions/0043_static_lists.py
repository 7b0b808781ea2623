"""Static lists: uploaded files and their entries."""

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0039"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "list_uploads",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("list_key", sa.String(128), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("id_type", sa.String(16), nullable=False),
        sa.Column("column_name", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("saved_at", sa.BigInteger()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("entry_count", sa.BigInteger(), nullable=False),
        sa.Column("duplicate_count", sa.BigInteger(), nullable=False),
        sa.Column("invalid_count", sa.BigInteger(), nullable=False),
        sa.Column("known_count", sa.BigInteger(), nullable=False),
        sa.Column("without_email_count", sa.BigInteger(), nullable=False),
        sa.Column("added_count", sa.BigInteger(), nullable=False),
        sa.Column("removed_count", sa.BigInteger(), nullable=False),
        sa.Column("problems", sa.Text(), nullable=False),
    )
    op.create_index("ix_list_uploads_list_key", "list_uploads", ["list_key"])
    op.create_table(
        "list_entries",
        sa.Column("upload_id", sa.String(32), primary_key=True),
        sa.Column("value", sa.String(512), primary_key=True),
        sa.Column("line", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_list_entries_value", "list_entries", ["value"])
