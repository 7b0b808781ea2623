"""Versions of the configuration."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    """Add the two tables."""
    op.create_table(
        "configuration_versions",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("restored_from", sa.BigInteger()),
        sa.PrimaryKeyConstraint("number", name="pk_configuration_versions"),
    )
    op.create_table(
        "configuration_version_parts",
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("slug", sa.String(128), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("body", sa.Text()),
        sa.PrimaryKeyConstraint("kind", "slug", "number", name="pk_configuration_version_parts"),
    )
    op.create_index("ix_configuration_version_parts_number", "configuration_version_parts", ["number"])
