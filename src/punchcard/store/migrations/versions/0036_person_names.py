"""An index of the names of people, for the search; the version that each operator knows."""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"

_IS_NAME = "coalesce(name, '') IN ('name', 'firstName', 'lastName', 'first_name', 'last_name')"


def upgrade() -> None:
    """Add the index and the column."""
    op.add_column("operators", sa.Column("seen_version", sa.String(32)))
    op.create_index(
        "ix_profile_traits_person_name",
        "profile_traits",
        [sa.text("substr(lower(value), 1, 100)"), "profile_id"],
        sqlite_where=sa.text(_IS_NAME),
        postgresql_where=sa.text(_IS_NAME),
    )
