"""The tables of ingest: rejected requests, and requests to delete a user."""

from sqlalchemy import (
    Column,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from punchcard.store.schema import Instant, RisingId, metadata

deletion_requests = Table(  # one row per user to delete, as requested upstream
    "deletion_requests",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("source", String(128), nullable=False),
    Column("message_id", String(128), nullable=False),
    Column("user_id", Text, nullable=False),
    Column("received_at", Instant, nullable=False),
    UniqueConstraint("source", "message_id"),
)

rejected_requests = Table(  # the newest requests to the Tracking API that were answered with 4xx
    "rejected_requests",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("source", String(128), nullable=False),  # "" if no source has the write key, or there was none
    Column("received_at", Instant, nullable=False),
    Column("path", String(128), nullable=False),
    Column("status", Integer, nullable=False),
    Column("reason", String(64), nullable=False),  # the response's code
    Column("message", Text, nullable=False),  # of the response
    Column("network", String(64), nullable=False),  # of the sender's address: the first 24 bits of IPv4, 48 of IPv6
    Column("user_agent", Text, nullable=False),
    Column("library", String(128), nullable=False),  # name and version of `context.library`, "" if not seen
    Column("body_bytes", Integer, nullable=False),
    Column("body_start", Text, nullable=False),  # keys, emails and tokens masked
)
Index("ix_rejected_requests_source", rejected_requests.c.source, rejected_requests.c.id)
