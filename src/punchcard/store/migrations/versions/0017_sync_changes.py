"""What was sent within the last minute, which value a track call has brought, and how many entries a list has lost."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0015"


def upgrade() -> None:
    """Add the columns; what destinations have by now counts as brought by track too, so that nobody enters again."""
    op.add_column("synced", sa.Column("changes", sa.Text(), nullable=False, server_default=""))
    op.add_column("synced", sa.Column("tracked", sa.Text(), nullable=False, server_default=""))
    op.add_column("synced", sa.Column("track_sequence", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.add_column("synced", sa.Column("entries_cut", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.execute("UPDATE synced SET tracked = value, track_sequence = sequence")
    cut = sa.text("entries_cut > 0")
    op.create_index(
        "ix_synced_cut", "synced", ["destination", "key"], unique=False, sqlite_where=cut, postgresql_where=cut
    )
