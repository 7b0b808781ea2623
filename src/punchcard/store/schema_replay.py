"""The tables of replays: what was asked for, how far each has come, and the result of every replayed event."""

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from punchcard.store.schema import Instant, RisingId, metadata

replays = Table(
    "replays",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("destination", String(128), nullable=False),
    Column("status", String(16), nullable=False),
    Column("selection", Text, nullable=False),  # JSON: which events
    Column("plan", Text, nullable=False),  # JSON: what it was to give when it was planned
    Column("actor", Text, nullable=False),  # who has planned it
    Column("created_at", Instant, nullable=False),
    Column("events", BigInteger, nullable=False),  # selected by the plan
    Column("done", BigInteger, nullable=False),  # of them, looked at
    Column("appended", BigInteger, nullable=False),  # of them, brought to the log again
    Column("through_position", BigInteger, nullable=False),  # the lake's last log position when it was planned
    Column("after_position", BigInteger, nullable=False),  # the place of the last event that was looked at
    Column("after_index", Integer, nullable=False),
    Column("appended_position", BigInteger, nullable=False),  # of its last record in the log, 0 before the first
    Column("started_at", Instant),  # null until it is confirmed
    Column("resumed_at", Instant),  # when it went on the last time, for the time that is left
    Column("done_at_resume", BigInteger, nullable=False),
    Column("ended_at", Instant),
    Column("detail", Text, nullable=False),  # what it waits for, or why it failed
)
Index("ix_replays_destination", replays.c.destination, replays.c.created_at)
Index("ix_replays_status", replays.c.status)

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
Index("ix_replayed_events_original", replayed_events.c.original_position, replayed_events.c.original_index)
Index("ix_replayed_events_replay", replayed_events.c.replay, replayed_events.c.id)
