"""The table of conflicts: events with an effect key that is in the ledger with other content."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint, text

from punchcard.store.schema import Instant, RisingId, metadata
from punchcard.store.stored_enum import StoredEnum


class ConflictResolution(StoredEnum):
    """What an operator decided of a conflict."""

    KEPT = "kept"  # the first content counts
    CORRECTED = "corrected"  # the second content counts: the difference is sent


effect_conflicts = Table(  # events with an effect key that is in the ledger with other content: kept, shown, never sent
    "effect_conflicts",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("effect_id", ForeignKey("effects.id"), nullable=False),
    Column("message_id", String(128), nullable=False),
    Column("log_position", BigInteger, nullable=False),
    Column("event_index", Integer, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("content", Text, nullable=False),  # JSON of what differs
    Column("resolution", String(16)),  # what an operator decided, null while nobody has
    Column("resolved_at", Instant),
    Column("resolved_by", Text),
    UniqueConstraint("effect_id", "log_position", "event_index"),
)
Index("ix_effect_conflicts_message_id", effect_conflicts.c.message_id)
Index(
    "ix_effect_conflicts_unresolved",
    effect_conflicts.c.id,
    sqlite_where=text("resolution IS NULL"),
    postgresql_where=text("resolution IS NULL"),
)
