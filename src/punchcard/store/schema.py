"""The tables, once, for SQLite and PostgreSQL. Migrations in `migrations/` lead to exactly this; a test proves it."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeDecorator

from punchcard.clock import from_micros, to_micros
from punchcard.store.stored_enum import StoredEnum

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives rising ids without a second table only to a column declared INTEGER.
RisingId = BigInteger().with_variant(Integer(), "sqlite")


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, kept as microseconds since 1970 so that both engines compare and sort it alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """To microseconds."""
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """From microseconds."""
        return None if value is None else from_micros(value)


class EffectState(StoredEnum):
    """The states of an effect."""

    PENDING = "pending"  # waits for its first attempt
    SENDING = "sending"  # claimed by a worker; once its lease is over, its outcome is unknown
    RETRYING = "retrying"  # surely not performed yet; waits for its next attempt
    UNKNOWN = "unknown"  # perhaps performed; will be read back before anything is sent again
    PARKED = "parked"  # needs an operator: tries used up, or the outcome cannot be found out
    REJECTED = "rejected"  # surely not performed; the partner refused it for good
    DELIVERED = "delivered"  # performed once

    @property
    def is_open(self) -> bool:
        """True while the effect is still in the outbox."""
        return self in _OPEN


_OPEN = frozenset({EffectState.PENDING, EffectState.SENDING, EffectState.RETRYING, EffectState.UNKNOWN})

configuration_documents = Table(
    "configuration_documents",
    metadata,
    Column("kind", String(32), primary_key=True),  # workspace, source, destination
    Column("slug", String(128), primary_key=True),
    Column("body", Text, nullable=False),  # JSON; secrets encrypted inside
    Column("updated_at", Instant, nullable=False),
)

revisions = Table(
    "revisions",
    metadata,
    Column("name", String(32), primary_key=True),  # "configuration"
    Column("value", BigInteger, nullable=False),
)

log_positions = Table(
    "log_positions",
    metadata,
    Column("consumer", String(32), primary_key=True),  # "routing"
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

recoveries = Table(  # each time that the store was found to be older than what has happened since
    "recoveries",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("noticed_at", Instant, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("from_position", BigInteger, nullable=False),  # routed according to the copy
    Column("through_position", BigInteger, nullable=False),  # what may have been routed since
    Column("read_back_from", Instant, nullable=False),  # when the last earlier request can no longer land
    Column("doubt_until", Instant),  # until then every new effect is read back; null: nothing is missing
    Column("read_back", BigInteger, nullable=False),  # open effects of the copy
    Column("planned", BigInteger, nullable=False),  # effects that were missing
    Column("not_planned", BigInteger, nullable=False),  # effects that cannot be planned again
    Column("routed_at", Instant),  # when routing had passed `through_position`
    Column("finished_at", Instant),  # when Engage knew again what destinations were sent
)

result_batches = Table(  # results that routing has decided and the lake does not hold yet
    "result_batches",
    metadata,
    Column("first_position", BigInteger, primary_key=True, autoincrement=False),
    Column("last_position", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
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

effects = Table(  # the outbox while open, the ledger for ever
    "effects",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("destination", String(128), nullable=False),
    Column("effect_key", String(100), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("source", String(128), nullable=False),
    Column("message_id", String(128), nullable=False),
    Column("event_name", Text, nullable=False),
    Column("log_position", BigInteger, nullable=False),
    Column("event_index", Integer, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("customer", String(320), nullable=False),  # email lower-cased; "" if it is not about one
    Column("email", String(320), nullable=False),
    Column("item", Text),  # what the effect gives or takes, by its id at the destination; null if it has no quantity
    Column("requested_quantity", Text),  # decimal text, as the event asks; null: the ledger decides
    Column("quantity", Text),  # decimal text, as sent; null until decided
    Column("attributes", Text),  # JSON of user properties
    Column("order_id", Text),
    Column("is_refund", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    Column("is_open", Boolean, nullable=False),  # as the state says: still in the outbox
    Column("reason", String(64)),
    Column("detail", Text),
    Column("attempts", Integer, nullable=False),  # ever made
    Column("tries", Integer, nullable=False),  # made since it was last put in the queue
    Column("due_at", Instant, nullable=False),
    Column("lease_until", Instant),
    Column("partner_id", Text),
    Column("created_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("event_settings", Text),  # JSON of the settings that came with the event, no secrets; null if none came
    Column("refund_id", Text),  # the sender's own; null if it gave none, or for a row that is older than this column
    # Effects of one kind with the same key are performed in order. Beside the customer: not every effect has one.
    Column("ordering_key", String(320), nullable=False, server_default=""),
    Column("event_type", String(16)),  # one of the six calls; null for a row that is older than this column
    Column("payload", Text),  # the destination's own value as JSON; null if it needs none beside these columns
    Column("summary", Text),  # what lists show; null if they make it of the other columns
    Column("replay", String(36)),  # id of the replay that has made it, null for none
    Column("corrects", BigInteger),  # id of the effect that it corrects, null for none
    # JSON of the content that counts instead of the effect's own, as in `effect_conflicts`; null for its own
    Column("corrected_content", Text),
    UniqueConstraint("destination", "effect_key"),
)
# The open ones are few beside the ledger's millions: partial indexes keep claiming as fast after years as on day one.
Index(
    "ix_effects_due",
    effects.c.destination,
    effects.c.due_at,
    effects.c.id,
    sqlite_where=text("is_open = 1"),
    postgresql_where=text("is_open"),
)
Index(
    "ix_effects_ordering_key",
    effects.c.destination,
    effects.c.ordering_key,
    effects.c.kind,
    effects.c.is_open,  # always true here; named so that SQLite prefers this index to the key's whole history
    effects.c.id,
    sqlite_where=text("is_open = 1"),
    postgresql_where=text("is_open"),
)
Index("ix_effects_message", effects.c.message_id, effects.c.destination)
Index("ix_effects_customer", effects.c.destination, effects.c.customer, effects.c.id)
Index("ix_effects_destination", effects.c.destination, effects.c.id)
# Lists by time of receipt: the effects behind the numbers of an hour.
Index("ix_effects_received", effects.c.destination, effects.c.received_at, effects.c.id)
Index("ix_effects_state", effects.c.state, effects.c.destination, effects.c.id)
Index(
    "ix_effects_order",
    effects.c.destination,
    effects.c.order_id,
    sqlite_where=text("order_id IS NOT NULL"),
    postgresql_where=text("order_id IS NOT NULL"),
)

Index(
    "ix_effects_corrects",
    effects.c.corrects,
    sqlite_where=text("corrects IS NOT NULL"),
    postgresql_where=text("corrects IS NOT NULL"),
)

refused_orders = Table(  # orders that earned nothing as their event was refused: what a refund of them goes by
    "refused_orders",
    metadata,
    Column("destination", String(128), primary_key=True),
    Column("order_id", String(255), primary_key=True),
    Column("source", String(128), primary_key=True),
    Column("reason", String(64), nullable=False),  # of the newest refusal
    Column("message_id", String(128), nullable=False),
    Column("received_at", Instant, nullable=False),
)
Index("ix_refused_orders_received", refused_orders.c.received_at)

delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column("effect_id", ForeignKey("effects.id"), primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("action", String(16), nullable=False),  # send or read_back
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("status", Integer),
    Column("outcome", String(16)),  # null: no result, so unknown once the lease is over
    Column("detail", Text),
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
    UniqueConstraint("log_position", "event_index", "destination"),
)
Index(
    "ix_held_events_waiting",
    held_events.c.destination,
    held_events.c.id,
    sqlite_where=text("released_at IS NULL"),
    postgresql_where=text("released_at IS NULL"),
)

destination_pauses = Table(  # the last time that a destination was paused: one row per destination
    "destination_pauses",
    metadata,
    Column("destination", String(128), primary_key=True),
    Column("reason", String(64), nullable=False),
    Column("detail", Text, nullable=False),
    Column("since", Instant, nullable=False),
    Column("settings_fingerprint", String(64), nullable=False),  # other settings end the pause
    Column("checks", Integer, nullable=False, server_default=text("0")),  # of the credentials, in vain, since it began
    Column("next_check_at", Instant),
    Column("ended_at", Instant),  # null while nothing is delivered
    Column("ended_by", String(16)),  # check, settings, operator or schedule
    Column("actor", Text),  # who paused it; null if its credentials were refused
    Column("until", Instant),  # when it ends by itself; null if it does not
)

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

result_counts = (
    Table(  # how many events ended how, by the minute in which they were received; by the hour after two days
        "result_counts",
        metadata,
        Column("bucket", Instant, primary_key=True),  # where the minute or hour begins
        Column("source", String(128), primary_key=True),  # "" if unknown
        Column("destination", String(128), primary_key=True),  # "" for a result before any
        Column("event_type", String(16), primary_key=True),  # "" for what is not a valid event
        Column("event_name", String(256), primary_key=True),  # "" for a call without
        Column("status", String(32), primary_key=True),  # of routing, `received`, or how an effect has ended
        Column("reason", String(64), primary_key=True),  # "" for none
        Column("count", BigInteger, nullable=False),
    )
)
Index("ix_result_counts_destination", result_counts.c.destination, result_counts.c.bucket)

award_totals = Table(  # units delivered, by the hour in which their events were received
    "award_totals",
    metadata,
    Column("bucket", Instant, primary_key=True),
    Column("destination", String(128), primary_key=True),
    Column("item", String(256), primary_key=True),
    Column("hundredths", BigInteger, nullable=False),  # of units, signed
    Column("transactions", BigInteger, nullable=False),
)

delivery_latencies = Table(  # how long deliveries took from receipt on, as a histogram by hour
    "delivery_latencies",
    metadata,
    Column("bucket", Instant, primary_key=True),
    Column("destination", String(128), primary_key=True),
    Column("band", Integer, primary_key=True),  # n: up to 2 ** (n / 4) ms
    Column("count", BigInteger, nullable=False),
)

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

note_counts = Table(  # how many events of a source had something converted to be read, by UTC day of receipt
    "note_counts",
    metadata,
    Column("day", Instant, primary_key=True),  # where it begins
    Column("source", String(128), primary_key=True),
    Column("reason", String(64), primary_key=True),  # code of the note
    Column("count", BigInteger, nullable=False),
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
