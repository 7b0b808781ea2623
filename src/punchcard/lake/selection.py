"""A selection of past events, read in log order, for replays and simulations."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from punchcard.lake.conditions import Value, beyond_place, join_conditions, time_range
from punchcard.lake.data_file import DataFile
from punchcard.lake.schema import FAILED_ON_INGEST

ROWS_PER_QUERY_MAX: Final = 20_000
"""Maximum number of events of one query: about 20 MB in memory at 1 KB an event."""

_FIRST_WINDOW_ROWS = 50_000
_WINDOW_ROWS_MAX = 1_000_000
_WINDOW_FACTOR_MAX = 8


@dataclass(frozen=True, kw_only=True)
class EventSelection:
    """Selects past events; an empty member selects all.

    Events that failed on ingest and duplicates of a message id are never selected, because they do not count as
    received.

    Attributes:
        sources: Slugs.
        types: Types of events.
        names: Names of track calls.
        email: Email of the event; compared in lower case.
        destination: With `reasons` and `statuses` it selects a result; None for any destination or none.
        statuses: Statuses of a result as decided by routing.
        reasons: Stable codes of a result.
        begin: Only events received at or after this instant.
        end: Only events received before this instant.
    """

    sources: Sequence[str] = ()
    types: Sequence[str] = ()
    names: Sequence[str] = ()
    email: str | None = None
    message_ids: Sequence[str] = ()
    destination: str | None = None
    statuses: Sequence[str] = ()
    reasons: Sequence[str] = ()
    begin: datetime | None = None
    end: datetime | None = None


def selected_where(selection: EventSelection) -> tuple[str, list[Value]]:
    """Return the condition in SQL with its values. It only narrows results down; the caller compares them exactly."""
    conditions: list[tuple[str, Sequence[Value]]] = [
        # Quotes inside a JSON string are escaped, so these texts cannot appear by accident.
        ("type <> '' AND timestamp IS NOT NULL AND NOT contains(results, ?)", [FAILED_ON_INGEST]),
        ("NOT contains(results, ?)", ['"reason":"duplicate_message_id"']),
    ]
    for column, values in (
        ("source", selection.sources),
        ("type", selection.types),
        ("event", selection.names),
        ("message_id", selection.message_ids),
    ):
        if len(values) == 1:  # a single value is found with a Bloom filter
            conditions.append((f"{column} = ?", [values[0]]))
        elif values:
            conditions.append((f"{column} IN (SELECT unnest(?))", [list(values)]))
    if selection.email is not None:
        conditions.append(("email = ?", [selection.email.lower()]))
    for member, values in (("status", selection.statuses), ("reason", selection.reasons)):
        if values:
            alternatives = " OR ".join("contains(results, ?)" for _ in values)
            conditions.append((f"({alternatives})", [f'"{member}":"{value}"' for value in values]))
    return join_conditions([*conditions, *time_range("received_at", selection.begin, selection.end)])


def after_place(place: tuple[int, int]) -> tuple[str, list[Value]]:
    """Return the condition that an event comes after a place in the log."""
    return join_conditions(list(beyond_place(place, oldest_first=True)))


def files_of(files: Sequence[DataFile], selection: EventSelection) -> list[DataFile]:
    """Return the files that may hold selected events, by their first log position."""
    selected = [
        file
        for file in files
        if (selection.begin is None or file.day >= selection.begin.date())
        and (selection.end is None or file.day <= selection.end.date())
    ]
    return sorted(selected, key=lambda file: (file.first_position, file.last_position))


def split_positions(files: Sequence[DataFile], *, through: int, parts: int) -> list[tuple[int, int]]:
    """Cut the log into stretches with about as many events each, one behind the other.

    Args:
        files: By their first position.
        through: The last log position wanted.

    Returns:
        The position behind which each begins, and its last one.
    """
    waiting = [file for file in files if file.first_position <= through]
    if not waiting:
        return []
    first = waiting[0].first_position - 1
    total = rows_between(waiting, first, through)
    borders = [first]
    for number in range(1, parts):
        low, high = borders[-1] + 1, through
        while low < high:
            middle = (low + high) // 2
            if rows_between(waiting, first, middle) >= total * number / parts:
                high = middle
            else:
                low = middle + 1
        borders.append(low)
    borders.append(through)
    return [(begin, end) for begin, end in pairwise(borders) if end > begin]


class Windows:
    """Divides the log into windows from which one query can return all selected events.

    Args:
        after: The log position after which the first window begins.
        through: The last log position to search.
    """

    def __init__(self, *, after: int, through: int) -> None:
        self.after = after
        self._through = through
        self._rows = _FIRST_WINDOW_ROWS

    def next_end(self, files: Sequence[DataFile]) -> int | None:
        """Return the last log position of the next window, None if there are no more events.

        Args:
            files: The files by their first position.
        """
        remaining = [file for file in files if file.last_position > self.after and file.first_position <= self._through]
        # A file may reach beyond the last position that is selected.
        if not remaining or self.after >= self._through:
            return None
        self.after = max(self.after, remaining[0].first_position - 1)
        ends = sorted({min(file.last_position, self._through) for file in remaining})
        for end in ends:
            if rows_between(remaining, self.after, end) >= self._rows:
                return self._narrowed(remaining, end)
        return ends[-1]

    def adapt(self, rows: int) -> None:
        """Adapt the size of windows to the number of events of the last one."""
        factor = min(_WINDOW_FACTOR_MAX, max(1.0, ROWS_PER_QUERY_MAX / 2 / max(1, rows)))
        if rows > ROWS_PER_QUERY_MAX / 2:
            factor = 0.5
        self._rows = int(min(_WINDOW_ROWS_MAX, max(1, self._rows * factor)))

    def shrink(self) -> None:
        """Use smaller windows, down to one position: the last one has more events than a query may return."""
        self._rows //= 8

    def _narrowed(self, files: Sequence[DataFile], end: int) -> int:
        """Return the position up to which the files have about the intended number of rows, if spread evenly."""
        low, high = self.after + 1, end
        while low < high:
            middle = (low + high) // 2
            if rows_between(files, self.after, middle) >= self._rows:
                high = middle
            else:
                low = middle + 1
        return low


def overlapping(files: Sequence[DataFile], after: int, through: int) -> Iterator[DataFile]:
    """Return the files that may hold positions of a window."""
    return (file for file in files if file.last_position > after and file.first_position <= through)


def files_at(files: Sequence[DataFile], positions: Sequence[int]) -> list[DataFile]:
    """Return the files that may hold one of these positions, which are in order."""
    # The first position that a file may hold is one of these, if any is.
    firsts = ((file, bisect_left(positions, file.first_position)) for file in files)
    return [file for file, first in firsts if first < len(positions) and positions[first] <= file.last_position]


def rows_between(files: Sequence[DataFile], after: int, through: int) -> float:
    """Return about how many rows the files have after a log position up to another one, as if spread evenly."""
    rows = 0.0
    for file in files:
        span = file.last_position - file.first_position + 1
        covered = min(file.last_position, through) - max(file.first_position, after + 1) + 1
        if covered > 0:
            rows += file.rows * covered / span
    return rows
