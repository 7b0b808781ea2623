"""A checksum of each suppressed subject, by which most ids are known not to be suppressed before they are hashed."""

import sqlalchemy as sa
from alembic import op

revision = "0055"
down_revision = "0054"


def upgrade() -> None:
    """Add the column."""
    op.add_column("suppressed_subjects", sa.Column("checksum", sa.BigInteger()))
