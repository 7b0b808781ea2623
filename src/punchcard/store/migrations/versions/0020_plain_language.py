"""Tables and columns in plain language: results instead of fates, the last sync of a computation, managed parts."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"

_TABLES = (("fate_batches", "result_batches"), ("fate_counts", "result_counts"))
_COLUMNS = (("result_counts", "fate", "status"), ("computation_states", "told", "last_sync"))


def upgrade() -> None:
    """Rename; the statements for columns are the same on both engines. Values in stored documents follow."""
    op.drop_index("ix_fate_counts_destination", table_name="fate_counts")
    op.drop_index("ix_effects_lane", table_name="effects")
    op.drop_index("ix_synced_told", table_name="synced")
    for old, new in _TABLES:
        op.rename_table(old, new)
        if op.get_bind().dialect.name == "postgresql":
            op.execute(f"ALTER TABLE {new} RENAME CONSTRAINT pk_{old} TO pk_{new}")
        else:
            _rename_primary_key(new, f"pk_{old}", f"pk_{new}")
    for table, old, new in _COLUMNS:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    op.create_index("ix_result_counts_destination", "result_counts", ["destination", "bucket"])
    op.create_index(
        "ix_effects_ordering_key",
        "effects",
        ["destination", "ordering_key", "kind", "is_open", "id"],
        sqlite_where=sa.text("is_open = 1"),
        postgresql_where=sa.text("is_open"),
    )
    op.create_index(
        "ix_synced_value",
        "synced",
        ["destination", "key", "profile_id", "value"],
        sqlite_where=sa.text("value NOT IN ('false', 'null', '')"),
        postgresql_where=sa.text("value NOT IN ('false', 'null', '')"),
    )
    # A quote within a JSON string is escaped, so this text is always a member's name.
    op.execute("UPDATE configuration_documents SET body = replace(body, '\"is_kept\":', '\"is_managed\":')")


def _rename_primary_key(table: str, old: str, new: str) -> None:
    """SQLite cannot rename a constraint: the table is written again."""
    columns = sa.inspect(op.get_bind()).get_pk_constraint(table)["constrained_columns"]
    with op.batch_alter_table(table, recreate="always") as batch:
        batch.drop_constraint(old, type_="primary")
        batch.create_primary_key(new, columns)
