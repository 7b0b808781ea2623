"""Invitations, links for new passwords, second factors, and where a session comes from."""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    """Add the tables, and three columns of sessions."""
    op.create_table(
        "invitations",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("invited_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("digest", name="uq_invitations_digest"),
        sa.UniqueConstraint("email", name="uq_invitations_email"),
    )
    op.create_table(
        "password_resets",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column(
            "operator_id",
            sa.String(36),
            sa.ForeignKey("operators.id", name="fk_password_resets_operator_id"),
            nullable=False,
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "second_factors",
        sa.Column(
            "operator_id",
            sa.String(36),
            sa.ForeignKey("operators.id", name="fk_second_factors_operator_id"),
            primary_key=True,
        ),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("enabled_at", sa.BigInteger()),
        sa.Column("last_step", sa.BigInteger()),
    )
    op.create_table(
        "recovery_codes",
        sa.Column(
            "operator_id",
            sa.String(36),
            sa.ForeignKey("operators.id", name="fk_recovery_codes_operator_id"),
            primary_key=True,
        ),
        sa.Column("digest", sa.String(64), primary_key=True),
    )
    op.create_table(
        "access_settings",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
    )
    op.add_column("operator_sessions", sa.Column("method", sa.String(16), nullable=False, server_default="password"))
    op.add_column("operator_sessions", sa.Column("address", sa.Text(), nullable=False, server_default=""))
    op.add_column("operator_sessions", sa.Column("user_agent", sa.Text(), nullable=False, server_default=""))
