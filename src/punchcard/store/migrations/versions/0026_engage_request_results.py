"""The result of a request to Engage is in the column `result`, no longer in `answer`."""

from alembic import op

revision = "0026"
down_revision = "0020"


def upgrade() -> None:
    """Rename the column; the statement is the same on both engines."""
    op.execute("ALTER TABLE engage_requests RENAME COLUMN answer TO result")
