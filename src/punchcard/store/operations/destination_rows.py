"""Rows of what operators start at a destination: how reconciliations, simulations and replays are found and listed."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table, func, select


def find_row(work: Connection, table: Table, destination: str, row_id: int | str) -> Row[Any] | None:
    """Return a destination's row, None if it has none with this id."""
    chosen = select(table).where(table.c.id == row_id, table.c.destination == destination)
    return work.execute(chosen).one_or_none()


def list_rows(
    work: Connection,
    table: Table,
    destination: str,
    *,
    count: int,
    before: int | None = None,
    newest_by: str = "id",
) -> Sequence[Row[Any]]:
    """Return a page of a destination's rows, newest first.

    Args:
        before: Only rows with a lower value in the column `newest_by`.
        newest_by: Name of the column that rises from row to row; rows with equal values are ordered by id.
    """
    column = table.c[newest_by]
    chosen = select(table).where(table.c.destination == destination)
    if before is not None:
        chosen = chosen.where(column < before)
    order = [column.desc()] if newest_by == "id" else [column.desc(), table.c.id.desc()]
    return work.execute(chosen.order_by(*order).limit(count)).all()


def count_rows(work: Connection, table: Table, destination: str) -> int:
    """Return how many rows of a destination there are."""
    return work.scalar(select(func.count()).select_from(table).where(table.c.destination == destination)) or 0
