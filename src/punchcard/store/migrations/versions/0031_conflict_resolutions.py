"""How conflicts were resolved, and the effects that correct others."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    """Add the columns and their indexes."""
    op.add_column("effects", sa.Column("corrects", sa.BigInteger()))
    op.add_column("effects", sa.Column("corrected_content", sa.Text()))
    op.create_index(
        "ix_effects_corrects",
        "effects",
        ["corrects"],
        sqlite_where=sa.text("corrects IS NOT NULL"),
        postgresql_where=sa.text("corrects IS NOT NULL"),
    )
    op.add_column("effect_conflicts", sa.Column("resolution", sa.String(16)))
    op.add_column("effect_conflicts", sa.Column("resolved_at", sa.BigInteger()))
    op.add_column("effect_conflicts", sa.Column("resolved_by", sa.Text()))
    op.create_index("ix_effect_conflicts_message_id", "effect_conflicts", ["message_id"])
    op.create_index(
        "ix_effect_conflicts_unresolved",
        "effect_conflicts",
        ["id"],
        sqlite_where=sa.text("resolution IS NULL"),
        postgresql_where=sa.text("resolution IS NULL"),
    )
