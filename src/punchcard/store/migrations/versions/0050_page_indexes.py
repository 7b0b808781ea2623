"""Indexes for pages of a large store: awards that were not sent, who has a trait, and who has a value of it.

The index of event names holds their beginnings from now on: PostgreSQL refused awards of events with very long names.
"""

import sqlalchemy as sa
from alembic import op

revision = "0050"
down_revision = "0049"


def upgrade() -> None:
    """Create the indexes; one of them has all that the index of traits by name had."""
    op.drop_index("ix_effects_event_name", "effects")
    op.create_index("ix_effects_event_name", "effects", ["destination", sa.text("substr(event_name, 1, 100)"), "id"])
    failed = "state IN ('parked', 'rejected')"
    columns = ["state", "destination", "finished_at", "reason", "item", "customer", "quantity", "requested_quantity"]
    _create_partial_index("ix_effects_undelivered", "effects", columns, failed)
    is_corrected = "corrected_content IS NOT NULL"
    _create_partial_index("ix_effects_corrected", "effects", ["destination", "finished_at"], is_corrected)
    op.drop_index("ix_profile_traits_name", "profile_traits")
    op.create_index(
        "ix_profile_traits_value", "profile_traits", ["name", sa.text("substr(value, 1, 100)"), "profile_id"]
    )
    has_trait = "(computation = '' OR value <> 'false') AND value <> 'null'"
    _create_partial_index("ix_profile_traits_held", "profile_traits", ["name", "profile_id"], has_trait)


def _create_partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
