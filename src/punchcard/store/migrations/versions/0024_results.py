"""Results by their name: of requests to Engage in the column `result`, of events in the stored batches."""

from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Rename the column; the statement is the same on both engines. Result batches are re-encoded."""
    op.execute("ALTER TABLE engage_requests RENAME COLUMN answer TO result")
    connection = op.get_bind()
    batches = sa.table("result_batches", sa.column("first_position", sa.BigInteger), sa.column("body", sa.LargeBinary))
    for position, body in connection.execute(sa.select(batches.c.first_position, batches.c.body)).all():
        renamed = msgspec.msgpack.encode(_rename_members(msgspec.msgpack.decode(body)))
        connection.execute(sa.update(batches).where(batches.c.first_position == position).values(body=renamed))


def _rename_members(batch: dict[str, Any]) -> dict[str, object]:
    return {
        "distinct": [[_rename(result, "fate", "status") for result in results] for results in batch["distinct"]],
        "records": [_rename(record, "fates", "results") for record in batch["records"]],
    }


def _rename(members: dict[str, object], old: str, new: str) -> dict[str, object]:
    return {new if name == old else name: value for name, value in members.items()}
