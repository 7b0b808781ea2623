"""The tables of routing: positions, results, held and quarantined events, and the state of the lake."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from punchcard.store.schema import Instant, RisingId, metadata

log_positions = Table(
    "log_positions",
    metadata,
    Column("consumer", String(32), primary_key=True),  # "routing", of a divided log "routing/0", "routing/1" …
    Column("position", BigInteger, nullable=False),
)

log_binding = Table(  # which event log this store belongs to: one row, once a process has opened both
    "log_binding",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("log_id", String(36), nullable=False),
    Column("generation", BigInteger, nullable=False),  # rises all the time; the log knows the newest one too
    Column("bound_at", Instant, nullable=False),
    Column("place", Text),  # where the log is, without a password: for people
    Column("store_id", String(36)),  # of this database; a shared log knows it too
)

result_batches = Table(  # results that routing has decided and the lake does not hold yet
    "result_batches",
    metadata,
    Column("first_position", BigInteger, primary_key=True, autoincrement=False),
    Column("last_position", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("partition", Integer, nullable=False, server_default="0"),  # of the log; batches of several may overlap
)

partition_workers = Table(  # workers that are alive and route partitions of a divided log
    "partition_workers",
    metadata,
    Column("worker", String(36), primary_key=True),
    Column("seen_at", BigInteger, nullable=False),  # microseconds since 1970, by the clock of the database
    Column("feeds_lake", Boolean),  # it has less time to route; null: it has an earlier version
)

quarantined_records = Table(  # records and events that routing could not process, as they were received
    "quarantined_records",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("position", BigInteger, nullable=False),  # in the log
    Column("event_index", Integer),  # in its record; null: the record as a whole
    Column("message_id", Text, nullable=False),  # of its first event
    Column("received_at", Instant, nullable=False),
    Column("quarantined_at", Instant, nullable=False),
    Column("source", String(128)),  # null: unknown
    Column("destination", String(128)),  # where the event failed; null: before any destination
    Column("reason", String(64), nullable=False),
    Column("detail", Text, nullable=False),
    Column("write_key", Text, nullable=False),
    Column("call", Text, nullable=False),
    Column("encoding", Text, nullable=False),
    Column("ip", Text, nullable=False),
    Column(
        "body", LargeBinary, nullable=False
    ),  # as in the log, or one event's JSON text; cut where it is absurdly long
)
Index("ix_quarantined_records_at", quarantined_records.c.quarantined_at)

lake_status = Table(  # one row: whether the lake can be read and written, as the worker that feeds it sees it
    "lake_status",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("failing_since", Instant),  # null: all is well
    Column("detail", Text, nullable=False),  # the last error
    Column("lost_events", BigInteger, nullable=False),  # that a repair could not restore
    Column("lost_from", Instant),  # received
    Column("lost_until", Instant),
    Column("lost_at", Instant),  # when that was found
)

held_records = Table(  # log records of events that are held: they outlive the log's retention
    "held_records",
    metadata,
    Column("log_position", BigInteger, primary_key=True, autoincrement=False),
    Column("received_at", BigInteger, nullable=False),  # this and the rest as in the log
    Column("write_key", Text, nullable=False),
    Column("call", String(32), nullable=False),
    Column("encoding", String(16), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("ip", Text, nullable=False),
)

held_events = Table(  # events that one destination could not plan: planned once it can, in the order of the log
    "held_events",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("destination", String(128), nullable=False),
    Column("source", String(128), nullable=False),
    Column("message_id", String(128), nullable=False),
    Column("log_position", BigInteger, nullable=False),
    Column("event_index", Integer, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("reason", String(64), nullable=False),
    Column("detail", Text, nullable=False),
    Column("released_at", Instant),  # null while it waits
    Column("result", Text),  # JSON of the result that it got when it was planned
    Column("partition", Integer, nullable=False, server_default="0"),  # of the log: its router plans the event
    Column("rewritten", LargeBinary),  # JSON text of the event if rules of its source changed it; null: as received
    Column("status", String(32)),  # of the result, for lists by status
    UniqueConstraint("log_position", "event_index", "destination"),
)
Index(
    "ix_held_events_waiting",
    held_events.c.destination,
    held_events.c.id,
    sqlite_where=text("released_at IS NULL"),
    postgresql_where=text("released_at IS NULL"),
)
Index(
    "ix_held_events_status",
    held_events.c.status,
    held_events.c.log_position,
    held_events.c.event_index,
    sqlite_where=text("status IS NOT NULL"),
    postgresql_where=text("status IS NOT NULL"),
)

note_counts = Table(  # how many events of a source had something converted to be read, by UTC day of receipt
    "note_counts",
    metadata,
    Column("day", Instant, primary_key=True),  # where it begins
    Column("source", String(128), primary_key=True),
    Column("reason", String(64), primary_key=True),  # code of the note
    Column("count", BigInteger, nullable=False),
)

replayed_events = Table(  # each time that an event was routed again by a replay
    "replayed_events",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("replay", String(36), nullable=False),
    Column("destination", String(128), nullable=False),
    Column("source", String(128), nullable=False),
    Column("message_id", String(128), nullable=False),
    Column("original_position", BigInteger, nullable=False),  # the place of the event itself in the log
    Column("original_index", Integer, nullable=False),
    Column("log_position", BigInteger, nullable=False),  # where the replay's record stands
    Column("event_index", Integer, nullable=False),
    Column("replayed_at", Instant, nullable=False),
    Column("status", String(32), nullable=False),
    Column("result", Text, nullable=False),  # JSON of the result that routing gave it
)
Index(
    "ix_held_events_without_status",  # planned by a worker that does not know the column, during an upgrade
    held_events.c.log_position,
    held_events.c.event_index,
    sqlite_where=text("status IS NULL AND result IS NOT NULL"),
    postgresql_where=text("status IS NULL AND result IS NOT NULL"),
)
Index(
    "ix_replayed_events_status",
    replayed_events.c.status,
    replayed_events.c.original_position,
    replayed_events.c.original_index,
)
Index("ix_replayed_events_place", replayed_events.c.log_position, replayed_events.c.event_index)
Index("ix_replayed_events_original", replayed_events.c.original_position, replayed_events.c.original_index)
Index("ix_replayed_events_replay", replayed_events.c.replay, replayed_events.c.id)
