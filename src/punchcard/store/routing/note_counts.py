"""How many events of a source had something converted so that they could be read, by the UTC day of their receipt."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, delete, func, select, tuple_

from punchcard.clock import from_micros, to_micros
from punchcard.store.routing.schema import note_counts
from punchcard.store.upsert import insert_into

_DAY_MICROS = 86_400_000_000
PRUNED_PER_UNIT = 1_000
"""Rows deleted in one unit of work: others that write wait no longer than for so many."""


def add_note_counts(work: Connection, counts: Mapping[tuple[int, str, str], int]) -> None:
    """Add to the counts.

    Args:
        counts: By the instant of receipt (microseconds since 1970), source and reason of the note.
    """
    by_day: dict[tuple[int, str, str], int] = {}
    for (received_at, source, reason), number in counts.items():
        key = (received_at - received_at % _DAY_MICROS, source, reason)
        by_day[key] = by_day.get(key, 0) + number
    if not by_day:
        return
    adding = insert_into(work, note_counts)
    work.execute(
        adding.on_conflict_do_update(
            index_elements=["day", "source", "reason"],
            set_={"count": note_counts.c.count + adding.excluded["count"]},
        ),
        # In one order everywhere: two processes that add to the same rows must not wait for each other.
        [
            {"day": from_micros(day), "source": source, "reason": reason, "count": number}
            for (day, source, reason), number in sorted(by_day.items())
        ],
    )


def prune_note_counts(work: Connection, *, before: datetime, limit: int = PRUNED_PER_UNIT) -> int:
    """Delete at most `limit` counts of days that began before an instant; returns how many."""
    keys = list(note_counts.primary_key)
    chosen = select(*keys).where(note_counts.c.day < before).order_by(*keys).limit(limit)
    return work.execute(delete(note_counts).where(tuple_(*keys).in_(chosen))).rowcount


def read_note_counts(work: Connection, source: str, *, since: datetime) -> dict[str, int]:
    """The counts of a source by reason, from the day of `since` on."""
    columns = note_counts.c
    begin = to_micros(since)
    rows = work.execute(
        select(columns.reason, func.sum(columns.count))
        .where(columns.source == source, columns.day >= from_micros(begin - begin % _DAY_MICROS))
        .group_by(columns.reason)
    )
    return {reason: int(number) for reason, number in rows}
