"""Profiles, traits, audiences, and what destinations were told of them."""

import sqlalchemy as sa
from alembic import op

from punchcard.store.schema import RisingId

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the tables. They fill from the lake: every event of before is read again once."""
    op.create_table(
        "computation_sizes",
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("bucket", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", "bucket", name=op.f("pk_computation_sizes")),
    )
    op.create_table(
        "computation_states",
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("computed_at", sa.BigInteger(), nullable=True),
        sa.Column("checked_at", sa.BigInteger(), nullable=True),
        sa.Column("differences", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("told", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_computation_states")),
    )
    op.create_table(
        "engage_requests",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_engage_requests")),
    )
    op.create_table(
        "external_ids",
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=512), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(length=128), nullable=False),
        sa.Column("message_id", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("type", "value", name=op.f("pk_external_ids")),
    )
    op.create_index("ix_external_ids_profile", "external_ids", ["profile_id"], unique=False)
    op.create_table(
        "profile_conflicts",
        sa.Column("id", RisingId, autoincrement=True, nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=512), nullable=False),
        sa.Column("kept_by", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(length=128), nullable=False),
        sa.Column("message_id", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profile_conflicts")),
        sa.UniqueConstraint("profile_id", "type", "value", name=op.f("uq_profile_conflicts_profile_id_type_value")),
    )
    op.create_index("ix_profile_conflicts_kept_by", "profile_conflicts", ["kept_by"], unique=False)
    op.create_table(
        "profile_merges",
        sa.Column("id", RisingId, autoincrement=True, nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("merged_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profile_merges")),
    )
    op.create_index("ix_profile_merges_profile", "profile_merges", ["profile_id"], unique=False)
    op.create_table(
        "profile_trait_changes",
        sa.Column("id", RisingId, autoincrement=True, nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("computation", sa.String(length=16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profile_trait_changes")),
    )
    op.create_index("ix_profile_trait_changes_name", "profile_trait_changes", ["name", "id"], unique=False)
    op.create_index("ix_profile_trait_changes_profile", "profile_trait_changes", ["profile_id", "id"], unique=False)
    op.create_table(
        "profile_traits",
        sa.Column("profile_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("computation", sa.String(length=16), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(length=128), nullable=False),
        sa.Column("message_id", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("profile_id", "name", name=op.f("pk_profile_traits")),
    )
    op.create_index("ix_profile_traits_name", "profile_traits", ["name", "profile_id"], unique=False)
    op.create_table(
        "profiles",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("public_id", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("first_message_id", sa.String(length=128), nullable=False),
        sa.Column("first_source", sa.String(length=128), nullable=False),
        sa.Column("last_message_id", sa.String(length=128), nullable=False),
        sa.Column("last_source", sa.String(length=128), nullable=False),
        sa.Column("is_known", sa.Boolean(), nullable=False),
        sa.Column("merged_into", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_profiles")),
        sa.UniqueConstraint("public_id", name=op.f("uq_profiles_public_id")),
    )
    op.create_index(
        "ix_profiles_merged_into",
        "profiles",
        ["merged_into"],
        unique=False,
        sqlite_where=sa.text("merged_into IS NOT NULL"),
        postgresql_where=sa.text("merged_into IS NOT NULL"),
    )
    op.create_table(
        "sync_calls",
        sa.Column("message_id", sa.String(length=128), nullable=False),
        sa.Column("destination", sa.String(length=128), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_sync_calls")),
    )
    op.create_table(
        "sync_pauses",
        sa.Column("destination", sa.String(length=128), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("destination", name=op.f("pk_sync_pauses")),
    )
    op.create_table(
        "sync_queue",
        sa.Column("destination", sa.String(length=128), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("queued_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("waits_for", sa.String(length=16), server_default="", nullable=False),
        sa.Column("is_resync", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("destination", "key", "profile_id", name=op.f("pk_sync_queue")),
    )
    op.create_index("ix_sync_queue_due", "sync_queue", ["waits_for", "destination", "due_at"], unique=False)
    op.create_index("ix_sync_queue_profile", "sync_queue", ["profile_id"], unique=False)
    op.create_table(
        "synced",
        sa.Column("destination", sa.String(length=128), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("profile_id", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("destination", "key", "email", name=op.f("pk_synced")),
    )
    op.create_index("ix_synced_profile", "synced", ["profile_id"], unique=False)
    # ### end Alembic commands ###
