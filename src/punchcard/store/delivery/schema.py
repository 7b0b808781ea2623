"""The tables of effects, their attempts, orders, pauses, restores, and the counts of how events ended."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    text,
    true,
)

from punchcard.clock import from_micros
from punchcard.store.schema import Instant, RisingId, metadata

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
    # Account at the destination that it is planned for, and last sent to once it is sent: it is sent to no other. Null
    # for none, if an operator has chosen the one that the settings name, or for a row that is older than this column
    Column("account", Text),
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
# What is open, by its index. The second part is always true: SQLite has no statistics, and without it takes any index
# that begins with the destination, such as one of the whole ledger.
IS_OPEN = and_(effects.c.is_open == true(), effects.c.due_at >= from_micros(0))
Index("ix_effects_message", effects.c.message_id, effects.c.destination)
Index("ix_effects_customer", effects.c.destination, effects.c.customer, effects.c.id)
Index("ix_effects_destination", effects.c.destination, effects.c.id)
# Lists of one event or reason: without these, one that nothing matches would be looked for in the whole ledger.
# Their beginning: PostgreSQL refuses rows with entries over 2,704 bytes, and a source may send names of 32 KB.
NAME_CHARACTERS_MAX = 100
BEGIN_OF_EVENT_NAME = f"substr(event_name, 1, {NAME_CHARACTERS_MAX})"
Index("ix_effects_event_name", effects.c.destination, text(BEGIN_OF_EVENT_NAME), effects.c.id)
Index(
    "ix_effects_reason",
    effects.c.destination,
    effects.c.reason,
    effects.c.id,
    sqlite_where=text("reason IS NOT NULL"),
    postgresql_where=text("reason IS NOT NULL"),
)
# What waits for a customer to be known, of which there may be as many as an audience has members.
HAS_NO_CONNECTION = text("reason = 'no_connection'")  # this one too is word by word in a condition that asks for it
Index(
    "ix_effects_no_connection",
    effects.c.customer,
    effects.c.destination,
    effects.c.id,
    sqlite_where=HAS_NO_CONNECTION,
    postgresql_where=HAS_NO_CONNECTION,
)
IS_FAILED = text("state IN ('parked', 'rejected')")  # a condition that asks for the index below has it word by word
Index(
    "ix_effects_failed",
    effects.c.destination,
    effects.c.source,
    effects.c.id,
    sqlite_where=IS_FAILED,
    postgresql_where=IS_FAILED,
)
# All that alerts count of awards that were not sent, so that they read no row: thousands may lie all over the ledger.
# A condition that asks for the index is word by word one of these two. Beside a condition of the index that has both,
# PostgreSQL would take the state of a row for asked twice, and expect a hundredth of the rows.
IS_PARKED, IS_REJECTED = text("state = 'parked'"), text("state = 'rejected'")
_IS_UNDELIVERED = text(f"{IS_PARKED} OR {IS_REJECTED}")
Index(
    "ix_effects_undelivered",
    effects.c.state,
    effects.c.destination,
    effects.c.finished_at,
    effects.c.reason,
    effects.c.item,
    effects.c.customer,
    effects.c.quantity,
    effects.c.requested_quantity,
    sqlite_where=_IS_UNDELIVERED,
    postgresql_where=_IS_UNDELIVERED,
)
IS_CORRECTED = text("corrected_content IS NOT NULL")  # word by word as in the index, as above
Index(
    "ix_effects_corrected",
    effects.c.destination,
    effects.c.finished_at,
    sqlite_where=IS_CORRECTED,
    postgresql_where=IS_CORRECTED,
)
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
Index(
    "ix_effects_attributes",
    effects.c.destination,
    effects.c.source,
    effects.c.id,
    sqlite_where=text("attributes IS NOT NULL"),
    postgresql_where=text("attributes IS NOT NULL"),
)

effect_subjects = Table(  # the ledger knows a customer by email, and a regulation may name another id
    "effect_subjects",
    metadata,
    Column("digest", String(32), primary_key=True),  # keyed hash of a user id or anonymous id of the event
    Column("effect_id", ForeignKey("effects.id"), primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
Index("ix_effect_subjects_effect_id", effect_subjects.c.effect_id)

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

result_count_sums = Table(  # sums of `result_counts`, so that a page reads some thousand rows of a month, not a million
    "result_count_sums",
    metadata,
    Column("level", String(8), primary_key=True),  # hour, day (UTC), or total: by the hour without types and names
    Column("bucket", Instant, primary_key=True),  # where the hour or day begins
    Column("destination", String(128), primary_key=True),  # this and the rest as in `result_counts`
    Column("source", String(128), primary_key=True),
    Column("event_type", String(16), primary_key=True),
    Column("event_name", String(256), primary_key=True),
    Column("status", String(32), primary_key=True),
    Column("reason", String(64), primary_key=True),
    Column("count", BigInteger, nullable=False),
    sqlite_with_rowid=False,  # its rows are in the order of the key, in which they are read
)

unsummed_hours = Table(  # hours with counts that the sums do not hold yet: of these, pages read the counts
    "unsummed_hours",
    metadata,
    Column("bucket", Instant, primary_key=True, autoincrement=False),  # where the hour begins
)

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
