"""The tables of alerts, replays, simulations and reconciliations, and of what processes report of themselves."""

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
    text,
)

from punchcard.store.schema import Instant, RisingId, metadata

alerts = Table(  # every alert that was raised; while it is open, one row per cause
    "alerts",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("cause", String(64), nullable=False),  # digest of kind, subject, destination and reason
    Column("kind", String(32), nullable=False),
    Column("subject", Text, nullable=False),
    Column("destination", String(128), nullable=False),  # "" if none is concerned
    Column("reason", Text, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("state", String(16), nullable=False),  # raised, acknowledged or resolved
    Column("is_open", Boolean, nullable=False),  # as the state says: not resolved
    Column("title", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("remedy", Text, nullable=False),
    Column("path", Text, nullable=False),  # in the App, "" if nothing can be done there
    Column("count", BigInteger, nullable=False),
    Column("customers", BigInteger, nullable=False),
    Column("points", Text),  # decimal text; null if not known
    Column("since", Instant, nullable=False),  # when the cause began, as far as that is known
    Column("raised_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("reminded_at", Instant, nullable=False),  # when the last notice of it was written
    Column("acknowledged_at", Instant),
    Column("acknowledged_by", Text),
    Column("acknowledged_count", BigInteger),  # the count then; a much higher one raises the alert again
    Column("resolved_at", Instant),
)
Index(
    "ix_alerts_open",
    alerts.c.cause,
    unique=True,
    sqlite_where=text("is_open = 1"),
    postgresql_where=text("is_open"),
)

alert_notices = Table(  # what channels are sent: written with the change of state, sent afterwards
    "alert_notices",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("alert_id", ForeignKey("alerts.id"), nullable=False),
    Column("channel", String(64), nullable=False),  # slug
    Column("type", String(32), nullable=False),  # alert.raised, alert.reminder or alert.resolved
    Column("body", Text, nullable=False),  # JSON of what it says
    Column("state", String(16), nullable=False),  # pending, sent, failed or canceled
    Column("attempts", Integer, nullable=False),
    Column("error", Text),  # of the last attempt; null after a success
    Column("created_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("finished_at", Instant),
)
Index(
    "ix_alert_notices_pending",
    alert_notices.c.due_at,
    alert_notices.c.id,
    sqlite_where=text("state = 'pending'"),
    postgresql_where=text("state = 'pending'"),
)
Index("ix_alert_notices_channel", alert_notices.c.channel, alert_notices.c.id)
Index("ix_alert_notices_alert", alert_notices.c.alert_id)

process_heartbeats = Table(  # when each process was alive last, and what it saw of its machine
    "process_heartbeats",
    metadata,
    Column("process", String(16), primary_key=True),  # serve, worker or engage
    Column("host", String(255), primary_key=True),
    Column("seen_at", Instant, nullable=False),
    Column("disk_free_bytes", BigInteger),  # of the disk with the least space that it writes to
    Column("disk_total_bytes", BigInteger),
    Column("disk_path", Text),
    Column("certificate_expires_at", Instant),
)

reconciliations = Table(
    "reconciliations",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("destination", String(128), nullable=False),
    Column("requested_by", Text, nullable=False),  # an actor as in the audit log, or "schedule"
    Column("requested_at", Instant, nullable=False),
    Column("since", Instant, nullable=False),  # awards for events received from here on are compared
    Column("until", Instant),  # when reading began: what was delivered later is not compared
    Column("status", String(16), nullable=False),
    Column("cursor", Text),  # where the next page begins; null before the first one
    Column("read", BigInteger, nullable=False),  # transactions of the partner so far
    Column("waiting_since", Instant),  # null while it goes on
    Column("detail", Text, nullable=False),  # why it waits or has failed, or what it is at
    Column("ledger_count", BigInteger, nullable=False),
    Column("ledger_quantity", Text, nullable=False),  # decimal text, as all quantities
    Column("partner_count", BigInteger, nullable=False),
    Column("partner_quantity", Text, nullable=False),
    Column("others_count", BigInteger, nullable=False),  # transactions that are not of this destination
    Column("others_quantity", Text, nullable=False),
    Column("not_compared", BigInteger, nullable=False),  # awards that the partner lists elsewhere
    Column("customers_unchecked", BigInteger, nullable=False),  # for whom the address was not read
    Column("finished_at", Instant),
    Column("account", Text),  # at the destination; null before it has begun, and for one that is older than this column
)
Index("ix_reconciliations_destination", reconciliations.c.destination, reconciliations.c.id)

reconciliation_transactions = Table(  # what a partner has shown so far; emptied when its reconciliation has ended
    "reconciliation_transactions",
    metadata,
    Column("reconciliation_id", BigInteger, primary_key=True, autoincrement=False),
    Column("partner_id", String(128), primary_key=True),
    Column("effect_key", String(255)),  # null: booked without one
    Column("customer_ref", String(128), nullable=False),
    Column("mapping_value", Text),
    Column("quantity", Text),
    Column("status", String(16), nullable=False),
    Column("status_text", String(64), nullable=False),
    Column("booked_at", Instant),
)
Index(
    "ix_reconciliation_transactions_key",
    reconciliation_transactions.c.reconciliation_id,
    reconciliation_transactions.c.effect_key,
)

reconciliation_differences = Table(
    "reconciliation_differences",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("reconciliation_id", ForeignKey("reconciliations.id"), nullable=False),
    Column("destination", String(128), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("effect_key", String(255), nullable=False),
    Column("effect_id", BigInteger),  # null: the ledger has no row
    Column("email", String(320), nullable=False),
    Column("ours", Text),  # JSON of the ledger's side, null if it has none
    Column("theirs", Text),  # JSON of the partner's side, null if it has none
    Column("detail", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("resolved_at", Instant),
    Column("resolved_by", Text),
)
Index(
    "ix_reconciliation_differences_run",
    reconciliation_differences.c.reconciliation_id,
    reconciliation_differences.c.id,
)
Index(
    "ix_reconciliation_differences_open",
    reconciliation_differences.c.destination,
    reconciliation_differences.c.reconciliation_id,
    sqlite_where=text("state = 'open'"),
    postgresql_where=text("state = 'open'"),
)
Index(
    "ix_reconciliation_differences_key",
    reconciliation_differences.c.destination,
    reconciliation_differences.c.effect_key,
)

partner_customers = Table(  # the addresses of customers, as partners have shown them
    "partner_customers",
    metadata,
    Column("destination", String(128), primary_key=True),
    Column("customer_ref", String(128), primary_key=True),
    Column("emails", Text, nullable=False),  # JSON list, lower-cased
    Column("read_at", Instant, nullable=False),
    Column("account", Text),  # at the destination, in which they were read
)

simulations = Table(  # what another configuration would have earned: asked for, under way, or answered
    "simulations",
    metadata,
    Column("id", RisingId, primary_key=True, autoincrement=True),
    Column("destination", String(128), nullable=False),
    Column("requested_by", Text, nullable=False),  # an actor as in the audit log
    Column("requested_at", Instant, nullable=False),
    Column("since", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("proposal", Text, nullable=False),  # JSON of settings and filters, no secrets
    Column("status", String(16), nullable=False),
    Column("done", BigInteger, nullable=False),  # parts of the period that were planned
    Column("total", BigInteger, nullable=False),
    Column("detail", Text, nullable=False),  # why it has failed
    Column("outcome", Text),  # JSON, null until it is finished
    Column("finished_at", Instant),
)
Index("ix_simulations_destination", simulations.c.destination, simulations.c.id)

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
