"""The tables of operators and how they sign in, of tokens and of the audit log."""

from sqlalchemy import (
    BigInteger,
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
    Column("seen_version", String(32)),  # the newest one that they know the changes of
)

operator_sessions = Table(
    "operator_sessions",
    metadata,
    Column("digest", String(64), primary_key=True),  # SHA-256 of what the cookie holds
    Column("operator_id", ForeignKey("operators.id"), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("used_at", Instant, nullable=False),  # to the minute
    Column("expires_at", Instant, nullable=False),
    Column("method", String(16), nullable=False, server_default="password"),  # how the operator signed in
    Column("address", Text, nullable=False, server_default=""),  # of the client when the session began
    Column("user_agent", Text, nullable=False, server_default=""),
)

invitations = Table(  # links by which people become operators; deleted once used or revoked
    "invitations",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),  # SHA-256 of what the link holds
    Column("email", String(254), nullable=False, unique=True),  # lower-cased
    Column("role", String(16), nullable=False),
    Column("invited_by", Text, nullable=False),  # the actor of the audit log
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)

password_resets = Table(  # links by which operators choose a new password; deleted once used
    "password_resets",
    metadata,
    Column("digest", String(64), primary_key=True),  # SHA-256 of what the link holds
    Column("operator_id", ForeignKey("operators.id"), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)

second_factors = Table(  # the authenticator app of an operator
    "second_factors",
    metadata,
    Column("operator_id", ForeignKey("operators.id"), primary_key=True),
    Column("secret", Text, nullable=False),  # encrypted
    Column("created_at", Instant, nullable=False),
    Column("enabled_at", Instant),  # null until the first code was confirmed
    Column("last_step", BigInteger),  # number of the 30 seconds of the last accepted code, which is accepted once
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("operator_id", ForeignKey("operators.id"), primary_key=True),
    Column("digest", String(64), primary_key=True),  # SHA-256 of the code
)

passkeys = Table(  # WebAuthn credentials of operators
    "passkeys",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("operator_id", ForeignKey("operators.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("credential_id", String(1400), nullable=False, unique=True),  # base64url of at most 1,023 bytes
    Column("public_key", Text, nullable=False),  # COSE, base64url
    Column("sign_count", BigInteger, nullable=False),  # of the last use; many authenticators always send 0
    Column("user_handle", String(64), nullable=False),  # base64url; the operator as the authenticator knows them
    Column("rp_id", String(253), nullable=False),  # host name of the App at which the passkey was created
    Column("created_at", Instant, nullable=False),
    Column("last_used_at", Instant),
)
Index("ix_passkeys_operator_id", passkeys.c.operator_id)

used_challenges = Table(  # each challenge is accepted once; a row is deleted when its challenge has expired anyway
    "used_challenges",
    metadata,
    Column("digest", String(64), primary_key=True),  # SHA-256 of the challenge
    Column("expires_at", Instant, nullable=False),
)

access_settings = Table(  # how operators may sign in; only owners change it, so it is not part of the configuration
    "access_settings",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", Text, nullable=False),
)

sign_in_failures = Table(  # of late, by email and by address: too many make the next wait
    "sign_in_failures",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("subject", String(320), nullable=False),
    Column("at", Instant, nullable=False),
)
Index("ix_sign_in_failures_subject", sign_in_failures.c.subject, sign_in_failures.c.at)
