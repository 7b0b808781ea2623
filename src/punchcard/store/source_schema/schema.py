"""The tables of the source schema: events, their counts by day, and their properties."""

from sqlalchemy import BigInteger, Column, String, Table, Text

from punchcard.store.schema import Instant, metadata

schema_events = Table(  # what a source sends: an event name, or one of the other calls
    "schema_events",
    metadata,
    Column("source", String(128), primary_key=True),
    Column("event_type", String(16), primary_key=True),
    Column("event_name", String(256), primary_key=True),  # "" for all calls but track
    Column("received", BigInteger, nullable=False),  # since it was first seen
    Column("planned", BigInteger, nullable=False),  # effects, at all destinations
    Column("sampled", BigInteger, nullable=False),  # events of which the properties were read
    Column("first_seen", Instant, nullable=False),  # to the minute
    Column("last_seen", Instant, nullable=False),
)

schema_event_days = Table(  # by UTC day of receipt
    "schema_event_days",
    metadata,
    Column("source", String(128), primary_key=True),
    Column("event_type", String(16), primary_key=True),
    Column("event_name", String(256), primary_key=True),
    Column("day", Instant, primary_key=True),  # where it begins
    Column("received", BigInteger, nullable=False),
    Column("planned", BigInteger, nullable=False),
    Column("filtered", BigInteger, nullable=False),  # results of destination filters
)

schema_properties = Table(  # properties or traits that sampled events have
    "schema_properties",
    metadata,
    Column("source", String(128), primary_key=True),
    Column("event_type", String(16), primary_key=True),
    Column("event_name", String(256), primary_key=True),
    Column("path", String(160), primary_key=True),
    Column("occurrences", BigInteger, nullable=False),  # sampled events that have it
    Column("first_seen", Instant, nullable=False),
    Column("last_seen", Instant, nullable=False),
    Column("types", Text, nullable=False),  # JSON: count by type
    Column("formats", Text, nullable=False),  # JSON: count by form of the text
    Column("personal", Text, nullable=False),  # JSON: count by kind of personal data
    Column("frequent", Text, nullable=False),  # JSON: [[value as JSON, count, error], …]; none if it is personal
)
