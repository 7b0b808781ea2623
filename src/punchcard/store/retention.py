"""Walk through a table in the order of its ids, from its oldest rows on: how retention finds what is old enough."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, func, select

ROWS_PER_PORTION: Final = 1_000


@dataclass(frozen=True, kw_only=True)
class Portion:
    """What one unit of work has done.

    Attributes:
        deleted: Number of rows that were deleted or cleared.
        cursor: The id through which the table has been walked.
        is_last: True if no further row is old enough.
    """

    deleted: int
    cursor: int
    is_last: bool


def next_old_ids(
    work: Connection, table: Table, instant: ColumnElement[datetime], *, before: datetime, after: int, limit: int
) -> tuple[list[int], bool]:
    """Return the next ids of rows older than an instant, and whether they are the last ones.

    Ids rise with time, so the walk ends at the first row that is not old enough: a call reads `limit` rows at most, and
    needs no index on the instant.

    Args:
        table: With an `id`.
        after: The id through which the table has been walked.
    """
    rows = work.execute(
        select(table.c.id, instant.label("at")).where(table.c.id > after).order_by(table.c.id).limit(limit)
    ).all()
    ids: list[int] = []
    for row in rows:
        if row.at >= before:
            return ids, True
        ids.append(row.id)
    return ids, len(rows) < limit


def count_rows(work: Connection, table: Table, *where: ColumnElement[bool]) -> int:
    """Return the number of rows that match."""
    return work.scalar(select(func.count()).select_from(table).where(*where)) or 0


def execute_in(work: Connection, statement: Any, column: ColumnElement[int], ids: list[int]) -> int:
    """Execute a statement for rows with these ids; return the number of rows changed."""
    return int(work.execute(statement.where(column.in_(ids))).rowcount) if ids else 0
