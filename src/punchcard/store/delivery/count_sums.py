"""Sums of the counts of results by hour and day, so that a page reads some thousand rows of a month, not a million.

Who counts only marks the hours that changed, which costs little; the process that leads routing adds these up once they
are over. A page reads the sums of all other hours, and the counts themselves of the marked ones: numbers are exact at
any moment.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, Insert, bindparam, delete, func, select, text

from punchcard.clock import from_micros, to_micros
from punchcard.store.bulk import BulkStatement, PreparedStatement
from punchcard.store.delivery.schema import result_count_sums, unsummed_hours
from punchcard.store.upsert import insert_in

HOUR_MICROS = 3_600_000_000
DAY_MICROS = 24 * HOUR_MICROS

# How far back processes of a version without sums may have counted while machines are upgraded one by one.
_RENEWED = timedelta(hours=48)


class Level(StrEnum):
    """The sums of counts."""

    HOUR = "hour"
    DAY = "day"  # of UTC
    TOTAL = "total"  # by the hour, of all types and names


class Stretch(NamedTuple):
    """A part of a period, and where its counts are read: a level of the sums, None for the counts themselves."""

    level: Level | None
    begin: int
    end: int


def _marking(engine: str) -> Insert:
    marking: Insert = insert_in(engine, unsummed_hours).on_conflict_do_nothing()
    return marking


_MARK = BulkStatement(_marking, ["bucket"])
_MARKED = PreparedStatement(
    select(unsummed_hours.c.bucket)
    .where(unsummed_hours.c.bucket >= bindparam("b_begin"), unsummed_hours.c.bucket < bindparam("b_end"))
    .order_by(unsummed_hours.c.bucket)
)


def mark_changed(work: Connection, buckets: Collection[int]) -> None:
    """Mark the hours of which counts were changed in this unit of work.

    To be called after the change: `sum_next_hour` waits for all who have changed counts, and then sees their marks.

    Args:
        buckets: Where the minutes or hours of the counts begin, microseconds since 1970.
    """
    hours = {bucket - bucket % HOUR_MICROS for bucket in buckets}
    _MARK.execute(work, [{"bucket": from_micros(hour)} for hour in sorted(hours)])


def mark_last_days(work: Connection, *, now: datetime) -> None:
    """Mark all hours of the last days that have counts: a process of an older version marks none."""
    work.execute(
        text(
            f"INSERT INTO unsummed_hours SELECT DISTINCT bucket - bucket % {HOUR_MICROS} FROM result_counts"
            " WHERE bucket >= :begin ON CONFLICT DO NOTHING"
        ),
        {"begin": _hour(to_micros(now - _RENEWED))},
    )


def sum_next_hour(work: Connection, *, now: datetime) -> bool:
    """Add up the counts of the oldest marked hour that is over, and of its day if no other hour of that is marked.

    Returns:
        False if there is no such hour.
    """
    marked = unsummed_hours.c.bucket
    oldest = work.scalar(select(func.min(marked)).where(marked < from_micros(_hour(to_micros(now)))))
    if oldest is None:
        return False
    if work.dialect.name == "postgresql":
        # Who has counted and not committed yet is waited for; who counts from now on waits, and marks the hour again.
        work.execute(text("LOCK TABLE result_counts IN SHARE ROW EXCLUSIVE MODE"))
    hour = to_micros(oldest)
    work.execute(delete(unsummed_hours).where(marked == oldest))
    for level in (Level.HOUR, Level.TOTAL):
        _sum(work, level, hour, hour + HOUR_MICROS)
    day = hour - hour % DAY_MICROS
    if not marked_hours(work, day, day + DAY_MICROS):
        _sum(work, Level.DAY, day, day + DAY_MICROS)
    return True


def _sum(work: Connection, level: Level, begin: int, end: int) -> None:
    """Replace the sums of one hour or day by those of its counts; a day is made of the sums of its hours."""
    sums = result_count_sums.c
    work.execute(delete(result_count_sums).where(sums.level == level.value, sums.bucket == from_micros(begin)))
    names = "'', ''" if level is Level.TOTAL else "event_type, event_name"
    table = "result_count_sums WHERE level = 'hour' AND" if level is Level.DAY else "result_counts WHERE"
    work.execute(
        text(
            f"INSERT INTO result_count_sums SELECT '{level}', {begin}, destination, source, {names}, status, reason,"
            f" sum(count) FROM {table} bucket >= :begin AND bucket < :end GROUP BY 3, 4, 5, 6, 7, 8"
        ),
        {"begin": begin, "end": end},
    )


def marked_hours(work: Connection, begin: int, end: int) -> list[int]:
    """Return the hours from `begin` to `end`, microseconds since 1970, of which the sums do not hold all counts."""
    rows = _MARKED.rows(work, {"b_begin": from_micros(begin), "b_end": from_micros(end)})
    return [to_micros(row.bucket) for row in rows]


def stretches(work: Connection, begin: int, end: int, *, width_micros: int, is_named: bool) -> list[Stretch]:
    """Divide a period so that each part is read from the sums with the fewest rows.

    Args:
        begin: The first microsecond since 1970.
        end: The first one behind.
        width_micros: How wide the buckets are by which counts are grouped; a day if they are not.
        is_named: True if types or names of events are distinguished.
    """
    first_hour, last_hour = -(-begin // HOUR_MICROS) * HOUR_MICROS, _hour(end)
    if width_micros % HOUR_MICROS or first_hour >= last_hour:
        return [Stretch(None, begin, end)]
    first_day, last_day = -(-begin // DAY_MICROS) * DAY_MICROS, end - end % DAY_MICROS
    if not is_named:
        hours = [Stretch(Level.TOTAL, first_hour, last_hour)]
    elif width_micros % DAY_MICROS or first_day >= last_day:
        hours = [Stretch(Level.HOUR, first_hour, last_hour)]
    else:
        hours = [
            Stretch(Level.HOUR, first_hour, first_day),
            Stretch(Level.DAY, first_day, last_day),
            Stretch(Level.HOUR, last_day, last_hour),
        ]
    marked = marked_hours(work, first_hour, last_hour)
    summed = [part for stretch in hours for part in _without_marked(stretch, marked)]
    parts = [Stretch(None, begin, first_hour), *summed, Stretch(None, last_hour, end)]
    return _joined(part for part in parts if part.begin < part.end)


def _without_marked(stretch: Stretch, marked: Sequence[int]) -> Iterator[Stretch]:
    """Divide a stretch of sums so that the counts themselves are read of the marked hours."""
    at = stretch.begin
    for hour in marked:
        if not at <= hour < stretch.end:
            continue
        if stretch.level is Level.DAY:
            day = hour - hour % DAY_MICROS
            yield Stretch(Level.DAY, at, day)
            at = day + DAY_MICROS
            yield from _without_marked(Stretch(Level.HOUR, day, at), marked)
        else:
            yield Stretch(stretch.level, at, hour)
            at = hour + HOUR_MICROS
            yield Stretch(None, hour, at)
    yield Stretch(stretch.level, at, stretch.end)


def _joined(parts: Iterator[Stretch]) -> list[Stretch]:
    """Make one stretch of neighbours that are read from the same place."""
    joined: list[Stretch] = []
    for part in parts:
        if joined and joined[-1].level is part.level and joined[-1].end == part.begin:
            part = joined.pop()._replace(end=part.end)
        joined.append(part)
    return joined


def _hour(micros: int) -> int:
    return micros - micros % HOUR_MICROS
