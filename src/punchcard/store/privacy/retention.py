"""Retention periods that operators have set, and how far each data set has been pruned."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update

from punchcard.store.privacy.schema import retention_periods
from punchcard.store.upsert import insert_into


@dataclass(frozen=True, kw_only=True)
class StoredPeriod:
    """A row of `retention_periods`.

    Attributes:
        days: 0 for ever; None if nobody has set it.
        changed_by: An actor as in the audit log, "" if nobody has set it.
        cursor: The id through which the data set has been pruned.
        deleted: The number of rows deleted so far.
    """

    data_set: str
    days: int | None = None
    changed_at: datetime | None = None
    changed_by: str = ""
    cursor: int = 0
    deleted: int = 0
    deleted_at: datetime | None = None


def read_periods(work: Connection) -> dict[str, StoredPeriod]:
    """Return the rows by data set."""
    rows = work.execute(select(retention_periods)).all()
    return {row.data_set: StoredPeriod(**row._mapping) for row in rows}


def lock_period(work: Connection, data_set: str) -> StoredPeriod:
    """Return the row of a data set as it is now, and hold it against other processes until the unit of work ends."""
    _add(work, data_set)
    row = work.execute(
        select(retention_periods).where(retention_periods.c.data_set == data_set).with_for_update()
    ).one()
    return StoredPeriod(**row._mapping)


def write_period(work: Connection, data_set: str, days: int | None, *, actor: str, now: datetime) -> None:
    """Set the period of a data set that is locked; None to use the setting of the process again."""
    work.execute(
        update(retention_periods)
        .where(retention_periods.c.data_set == data_set)
        .values(days=days, changed_at=now, changed_by=actor)
    )


def record_deletion(work: Connection, data_set: str, *, deleted: int, cursor: int | None, now: datetime) -> None:
    """Record that rows were deleted.

    Args:
        cursor: The id through which the data set has been walked; None if it is not walked by id.
    """
    _add(work, data_set)
    columns = retention_periods.c
    values: dict[str, object] = {} if cursor is None else {"cursor": cursor}
    if deleted:
        values |= {"deleted": columns.deleted + deleted, "deleted_at": now}
    if values:
        work.execute(update(retention_periods).where(columns.data_set == data_set).values(**values))


def _add(work: Connection, data_set: str) -> None:
    row = {"data_set": data_set, "changed_by": "", "cursor": 0, "deleted": 0}
    work.execute(insert_into(work, retention_periods).values(row).on_conflict_do_nothing())
