"""What an effect gives or takes is an item, whatever its destination calls it."""

from alembic import op

revision = "0021"
down_revision = "0020"

_TABLES = ("effects", "award_totals")


def upgrade() -> None:
    """Rename the columns: no row is written, so a ledger of millions takes no longer than an empty one."""
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN perk TO item")
