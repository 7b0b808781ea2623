"""Standard names: `finished_at`, `owner_id`, and `item` in the stored results of simulations and reconciliations.

A destination's own name for its items is added where these results are shown.
"""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"

_FINISHED = ("effects", "delivery_attempts", "alert_notices")
_DIFFERENCE_MEMBERS = {"perk": "item", "settledAt": "finishedAt"}
_ROWS_AT_ONCE = 1_000


def upgrade() -> None:
    """Rename the columns, which writes no row, and the members of the stored documents."""
    for table in _FINISHED:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN settled_at TO finished_at")
    op.drop_index("ix_profile_conflicts_kept_by", "profile_conflicts")
    op.execute("ALTER TABLE profile_conflicts RENAME COLUMN kept_by TO owner_id")
    op.create_index("ix_profile_conflicts_owner_id", "profile_conflicts", ["owner_id"])
    connection = op.get_bind()
    _rename_in_differences(connection)
    _rename_in_simulations(connection)


def _rename_in_differences(connection: sa.Connection) -> None:
    """Both sides are compared as text with those of later runs, so they are written as the product writes them."""
    table = sa.table(
        "reconciliation_differences",
        sa.column("id", sa.BigInteger),
        sa.column("ours", sa.Text),
        sa.column("theirs", sa.Text),
    )
    after = 0
    while True:
        chosen = sa.select(table).where(table.c.id > after).order_by(table.c.id).limit(_ROWS_AT_ONCE)
        rows = connection.execute(chosen).all()
        for row in rows:
            sides = {"ours": _renamed_side(row.ours), "theirs": _renamed_side(row.theirs)}
            connection.execute(sa.update(table).where(table.c.id == row.id).values(sides))
        if len(rows) < _ROWS_AT_ONCE:
            return
        after = rows[-1].id


def _rename_in_simulations(connection: sa.Connection) -> None:
    table = sa.table("simulations", sa.column("id", sa.BigInteger), sa.column("outcome", sa.Text))
    for id, text in connection.execute(sa.select(table).where(table.c.outcome.is_not(None))).all():
        outcome = json.loads(text)
        outcome["byEvent"] = [_renamed(row, {"perk": "item"}) for row in outcome["byEvent"]]
        renamed = json.dumps(outcome, ensure_ascii=False)
        connection.execute(sa.update(table).where(table.c.id == id).values(outcome=renamed))


def _renamed_side(text: str | None) -> str | None:
    return None if text is None else json.dumps(_renamed(json.loads(text), _DIFFERENCE_MEMBERS), sort_keys=True)


def _renamed(members: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in members.items()}
