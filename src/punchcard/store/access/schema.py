"""The tables of operators, their sessions, tokens and the audit log."""

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    String,
    Table,
    Text,
)

from punchcard.store.schema import Instant, RisingId, metadata

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", String(64), nullable=False, unique=True),  # SHA-256 of the token; the token itself is shown once
    Column("created_at", Instant, nullable=False),
    Column("role", String(16), nullable=False, server_default="owner"),
    Column("last_used_at", Instant),  # to the minute
)

audit_events = Table(  # every change of the configuration and of tokens: who, when, what before and after
    "audit_events",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("at", Instant, nullable=False),
    Column("actor", Text, nullable=False),
    Column("kind", String(16), nullable=False),  # add, change or remove
    Column("resource_type", String(32), nullable=False),
    Column("resource_id", String(128), nullable=False),
    Column("changes", Text, nullable=False),  # JSON [{"path", "before", "after"}], secrets masked
)
Index("ix_audit_events_resource", audit_events.c.resource_type, audit_events.c.resource_id, audit_events.c.id)

operators = Table(  # people who sign in to the App
    "operators",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("email", String(254), nullable=False, unique=True),  # lower-cased
    Column("name", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("password", Text, nullable=False),  # argon2id, with its parameters and salt
    Column("created_at", Instant, nullable=False),
    Column("last_signed_in_at", Instant),
)

operator_sessions = Table(
    "operator_sessions",
    metadata,
    Column("digest", String(64), primary_key=True),  # SHA-256 of what the cookie holds
    Column("operator_id", ForeignKey("operators.id"), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("used_at", Instant, nullable=False),  # to the minute
    Column("expires_at", Instant, nullable=False),
)

sign_in_failures = Table(  # of late, by email and by address: too many make the next wait
    "sign_in_failures",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("subject", String(320), nullable=False),
    Column("at", Instant, nullable=False),
)
Index("ix_sign_in_failures_subject", sign_in_failures.c.subject, sign_in_failures.c.at)
