"""Conditions that the questions to the lake share, each as SQL with its values."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from punchcard.clock import to_micros

Value = str | int | float | Sequence[str]


def within(column: str, begin: datetime | None, end: datetime | None) -> Iterator[tuple[str, list[Value]]]:
    """That the instant in a column is not before `begin`, and before `end`."""
    # As DuckDB compares instants with a file's statistics: whole row groups are passed over unread.
    for sign, instant in ((">=", begin), ("<", end)):
        if instant is not None:
            yield f"{column} {sign} to_timestamp(?)", [to_micros(instant) / 1e6]


def beyond(place: tuple[int, int] | None, *, oldest_first: bool = False) -> Iterator[tuple[str, list[Value]]]:
    """That an event lies behind a place (log position and index) in the order asked for."""
    if place is not None:
        sign = ">" if oldest_first else "<"
        condition = f"log_position {sign}= ? AND (log_position {sign} ? OR event_index {sign} ?)"
        yield condition, [place[0], place[0], place[1]]


def joined(conditions: Sequence[tuple[str, Sequence[Value]]]) -> tuple[str, list[Value]]:
    """All of the conditions as one; of none, one that holds."""
    return " AND ".join(one for one, _ in conditions) or "true", [value for _, some in conditions for value in some]
