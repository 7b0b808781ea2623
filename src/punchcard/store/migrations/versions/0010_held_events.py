"""Events that wait for their destination to be usable, with the log records that hold them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0006"


def upgrade() -> None:
    """Create the two tables."""
    rising = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "held_records",
        sa.Column("log_position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("write_key", sa.Text(), nullable=False),
        sa.Column("call", sa.String(length=32), nullable=False),
        sa.Column("encoding", sa.String(length=16), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("ip", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("log_position", name=op.f("pk_held_records")),
    )
    op.create_table(
        "held_events",
        sa.Column("id", rising, autoincrement=True, nullable=False),
        sa.Column("destination", sa.String(length=128), nullable=False),
        sa.Column("source", sa.String(length=128), nullable=False),
        sa.Column("message_id", sa.String(length=128), nullable=False),
        sa.Column("log_position", sa.BigInteger(), nullable=False),
        sa.Column("event_index", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_held_events")),
        sa.UniqueConstraint(
            "log_position",
            "event_index",
            "destination",
            name=op.f("uq_held_events_log_position_event_index_destination"),
        ),
    )
    waiting = sa.text("released_at IS NULL")
    op.create_index(
        "ix_held_events_waiting",
        "held_events",
        ["destination", "id"],
        unique=False,
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
