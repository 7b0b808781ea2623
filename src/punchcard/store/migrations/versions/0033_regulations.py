"""Regulations, their subjects, and what is suppressed."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    """Add the tables."""
    rising_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "subject_keys",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "regulations",
        sa.Column("id", rising_id, primary_key=True, autoincrement=True),
        sa.Column("type", sa.String(40), nullable=False),
        sa.Column("subject_type", sa.String(16), nullable=False),
        sa.Column("subject_count", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(128), nullable=False),
        sa.Column("message_id", sa.String(128)),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger()),
        sa.Column("status", sa.String(24), nullable=False),
        sa.Column("stage", sa.String(24), nullable=False),
        sa.Column("log_position", sa.BigInteger(), nullable=False),
        sa.Column("identity", sa.Text()),
        sa.Column("progress", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.UniqueConstraint("source", "message_id", name="uq_regulations_source_message_id"),
    )
    op.create_index("ix_regulations_status", "regulations", ["status", "id"])
    op.create_table(
        "regulation_subjects",
        sa.Column(
            "regulation_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.ForeignKey("regulations.id", name="fk_regulation_subjects_regulation_id"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("digest", sa.String(32), nullable=False),
        sa.Column("value", sa.Text()),
    )
    op.create_table(
        "suppressed_subjects",
        sa.Column("digest", sa.String(32), primary_key=True),
        sa.Column("source", sa.String(128), primary_key=True),
        sa.Column("subject_type", sa.String(16), nullable=False),
        sa.Column("value", sa.Text()),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("regulation_id", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_suppressed_subjects_revision", "suppressed_subjects", ["revision"])
    op.create_table(
        "suppressed_records",
        sa.Column("log_position", sa.BigInteger(), primary_key=True, autoincrement=False),
    )
