"""The tables of alerts, their notices and what they are made of."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, String, Table, Text, text

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

config_file_status = Table(  # one row: why the config file was not applied the last time it was read
    "config_file_status",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("path", Text, nullable=False),
    Column("code", String(64), nullable=False),
    Column("detail", Text, nullable=False),
    Column("since", Instant, nullable=False),
)
