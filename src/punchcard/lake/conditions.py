"""Conditions that several queries of the lake share, each as SQL with its values."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from punchcard.clock import to_micros

Value = str | int | float | Sequence[str] | Sequence[int]


def time_range(column: str, begin: datetime | None, end: datetime | None) -> Iterator[tuple[str, list[Value]]]:
    """Yield the conditions that the instant in a column is at or after `begin`, and before `end`."""
    # In the form in which DuckDB compares instants with a file's statistics, so that it skips whole row groups.
    for sign, instant in ((">=", begin), ("<", end)):
        if instant is not None:
            yield f"{column} {sign} to_timestamp(?)", [to_micros(instant) / 1e6]


def beyond_place(place: tuple[int, int] | None, *, oldest_first: bool = False) -> Iterator[tuple[str, list[Value]]]:
    """Yield the condition that an event comes after a place (log position and index) in the given order."""
    if place is not None:
        sign = ">" if oldest_first else "<"
        condition = f"log_position {sign}= ? AND (log_position {sign} ? OR event_index {sign} ?)"
        yield condition, [place[0], place[0], place[1]]


def join_conditions(conditions: Sequence[tuple[str, Sequence[Value]]]) -> tuple[str, list[Value]]:
    """Join conditions with AND; without any the result is always true."""
    return " AND ".join(sql for sql, _ in conditions) or "true", [value for _, values in conditions for value in values]
