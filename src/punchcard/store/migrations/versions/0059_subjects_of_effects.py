"""Keyed hashes of the user ids and anonymous ids behind effects, by which a deletion finds them."""

import sqlalchemy as sa
from alembic import op

revision = "0059"
down_revision = "0058"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "effect_subjects",
        sa.Column("digest", sa.String(32), primary_key=True),
        sa.Column(
            "effect_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.ForeignKey("effects.id", name="fk_effect_subjects_effect_id"),
            primary_key=True,
            autoincrement=False,
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_effect_subjects_effect_id", "effect_subjects", ["effect_id"])
