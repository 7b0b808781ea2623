"""The tables of reconciliations and simulations: what a partner has booked, what was decided of it, what would be."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, String, Table, Text, text

from punchcard.store.schema import Instant, RisingId, metadata

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
