"""The tables of tracking plans: counts of violations, and violations that are forwarded as events."""

from sqlalchemy import BigInteger, Column, LargeBinary, String, Table, Text

from punchcard.store.schema import Instant, RisingId, metadata

plan_violations = Table(  # by UTC day of receipt
    "plan_violations",
    metadata,
    Column("source", String(128), primary_key=True),
    Column("event_type", String(16), primary_key=True),
    Column("event_name", String(256), primary_key=True),  # of a track call; of page and screen calls the name
    Column("field", String(256), primary_key=True),  # path in the event, "" for the event itself
    Column("kind", String(32), primary_key=True),  # Segment's `violationType`
    Column("day", Instant, primary_key=True),  # where it begins
    Column("plan", String(128), nullable=False),  # slug of the plan that was violated last
    Column("description", Text, nullable=False),  # of the last one
    Column("count", BigInteger, nullable=False),
    Column("blocked", BigInteger, nullable=False),  # how many of them stopped their event
    Column("first_seen", Instant, nullable=False),
    Column("last_seen", Instant, nullable=False),
)

violation_events = Table(  # `Violation Generated` events that wait to be appended to the log
    "violation_events",
    metadata,
    Column("id", RisingId, primary_key=True),
    Column("source", String(128), nullable=False),  # slug of the source that receives it
    Column("body", LargeBinary, nullable=False),  # JSON of the track call
)
