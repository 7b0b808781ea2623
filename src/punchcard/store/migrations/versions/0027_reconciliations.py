"""Reconciliations of the ledger with what partners have booked, and simulations."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"

_RISING_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the five tables."""
    op.create_table(
        "reconciliations",
        sa.Column("id", _RISING_ID, autoincrement=True, nullable=False),
        sa.Column("destination", sa.String(128), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger()),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("cursor", sa.Text()),
        sa.Column("read", sa.BigInteger(), nullable=False),
        sa.Column("waiting_since", sa.BigInteger()),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("ledger_count", sa.BigInteger(), nullable=False),
        sa.Column("ledger_quantity", sa.Text(), nullable=False),
        sa.Column("partner_count", sa.BigInteger(), nullable=False),
        sa.Column("partner_quantity", sa.Text(), nullable=False),
        sa.Column("others_count", sa.BigInteger(), nullable=False),
        sa.Column("others_quantity", sa.Text(), nullable=False),
        sa.Column("not_compared", sa.BigInteger(), nullable=False),
        sa.Column("customers_unchecked", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_reconciliations"),
    )
    op.create_index("ix_reconciliations_destination", "reconciliations", ["destination", "id"])
    op.create_table(
        "reconciliation_transactions",
        sa.Column("reconciliation_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("partner_id", sa.String(128), nullable=False),
        sa.Column("effect_key", sa.String(255)),
        sa.Column("customer_ref", sa.String(128), nullable=False),
        sa.Column("mapping_value", sa.Text()),
        sa.Column("quantity", sa.Text()),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("status_text", sa.String(64), nullable=False),
        sa.Column("booked_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("reconciliation_id", "partner_id", name="pk_reconciliation_transactions"),
    )
    op.create_index(
        "ix_reconciliation_transactions_key", "reconciliation_transactions", ["reconciliation_id", "effect_key"]
    )
    _create_differences()
    _create_simulations()
    op.create_table(
        "partner_customers",
        sa.Column("destination", sa.String(128), nullable=False),
        sa.Column("customer_ref", sa.String(128), nullable=False),
        sa.Column("emails", sa.Text(), nullable=False),
        sa.Column("read_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("destination", "customer_ref", name="pk_partner_customers"),
    )


def _create_differences() -> None:
    op.create_table(
        "reconciliation_differences",
        sa.Column("id", _RISING_ID, autoincrement=True, nullable=False),
        sa.Column("reconciliation_id", _RISING_ID, nullable=False),
        sa.Column("destination", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("effect_key", sa.String(255), nullable=False),
        sa.Column("effect_id", sa.BigInteger()),
        sa.Column("email", sa.String(320), nullable=False),
        sa.Column("ours", sa.Text()),
        sa.Column("theirs", sa.Text()),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("resolved_at", sa.BigInteger()),
        sa.Column("resolved_by", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_reconciliation_differences"),
        sa.ForeignKeyConstraint(
            ["reconciliation_id"],
            ["reconciliations.id"],
            name="fk_reconciliation_differences_reconciliation_id",
        ),
    )
    op.create_index("ix_reconciliation_differences_run", "reconciliation_differences", ["reconciliation_id", "id"])
    op.create_index(
        "ix_reconciliation_differences_open",
        "reconciliation_differences",
        ["destination", "reconciliation_id"],
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_index("ix_reconciliation_differences_key", "reconciliation_differences", ["destination", "effect_key"])


def _create_simulations() -> None:
    op.create_table(
        "simulations",
        sa.Column("id", _RISING_ID, autoincrement=True, nullable=False),
        sa.Column("destination", sa.String(128), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("proposal", sa.Text(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text()),
        sa.Column("finished_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_simulations"),
    )
    op.create_index("ix_simulations_destination", "simulations", ["destination", "id"])
