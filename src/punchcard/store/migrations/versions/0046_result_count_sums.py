"""Sums of the counts of results by hour and day, and indexes, so that pages read few rows of a large store."""

import sqlalchemy as sa
from alembic import op

revision = "0046"
down_revision = "0045"

_HOUR_MICROS = 3_600_000_000
_DAY_MICROS = 24 * _HOUR_MICROS
_LEVELS = (
    ("hour", _HOUR_MICROS, "event_type, event_name"),
    ("day", _DAY_MICROS, "event_type, event_name"),
    ("total", _HOUR_MICROS, "'', ''"),
)


def upgrade() -> None:
    """Create the table, and fill it from the counts there are; create the indexes."""
    op.create_table(
        "result_count_sums",
        sa.Column("level", sa.String(8), nullable=False),
        sa.Column("bucket", sa.BigInteger(), nullable=False),
        sa.Column("destination", sa.String(128), nullable=False),
        sa.Column("source", sa.String(128), nullable=False),
        sa.Column("event_type", sa.String(16), nullable=False),
        sa.Column("event_name", sa.String(256), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "level",
            "bucket",
            "destination",
            "source",
            "event_type",
            "event_name",
            "status",
            "reason",
            name="pk_result_count_sums",
        ),
        sqlite_with_rowid=False,
    )
    for level, width, names in _LEVELS:
        op.execute(
            "INSERT INTO result_count_sums "
            f"SELECT '{level}', bucket - bucket % {width}, destination, source, {names}, status, reason, sum(count) "
            "FROM result_counts GROUP BY 2, 3, 4, 5, 6, 7, 8"
        )
    op.drop_index("ix_result_counts_destination", "result_counts")  # whole hours are read from the sums
    op.create_index("ix_effects_event_name", "effects", ["destination", "event_name", "id"])
    _create_partial_index("ix_effects_reason", "effects", ["destination", "reason", "id"], "reason IS NOT NULL")
    failed = "state IN ('parked', 'rejected')"
    _create_partial_index("ix_effects_failed", "effects", ["destination", "source", "id"], failed)
    has_attributes = "attributes IS NOT NULL"
    _create_partial_index("ix_effects_attributes", "effects", ["destination", "source", "id"], has_attributes)
    _create_partial_index("ix_sync_queue_waiting", "sync_queue", ["destination", "key", "waits_for"], "waits_for <> ''")


def _create_partial_index(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
