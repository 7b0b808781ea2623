"""A selection of past events, read in the order of the log: what a replay or a simulation plans again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from punchcard.lake.conditions import Value, beyond, joined, within
from punchcard.lake.data_file import DataFile

ROWS_PER_QUERY_MAX: Final = 20_000
"""How many events one query returns at most: at 1 KB an event, some 20 MB in memory."""

_FIRST_WINDOW_ROWS = 50_000
_WINDOW_ROWS_MAX = 1_000_000
_WINDOW_FACTOR_MAX = 8


@dataclass(frozen=True, kw_only=True)
class EventSelection:
    """Which past events are selected; an empty member selects all.

    Events that failed on ingest, and repetitions of a message id, are never selected: they count as not received.

    Attributes:
        sources: Slugs.
        types: Of the six calls.
        names: Of track calls.
        email: That the event carries; compared in lower case.
        destination: Together with `reasons` and `statuses` it names a result; None for any destination or none.
        statuses: Of a result as routing decided it.
        reasons: Stable codes, likewise.
        begin: Not received before this instant.
        end: Received before this instant.
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
    """The condition in SQL, with its values. Results are only narrowed down: the caller compares them exactly."""
    conditions: list[tuple[str, Sequence[Value]]] = [
        # Quotes inside a JSON string are escaped, so these texts cannot appear by accident.
        ("type <> '' AND timestamp IS NOT NULL AND NOT contains(fates, ?)", ['"fate":"failed_on_ingest"']),
        ("NOT contains(fates, ?)", ['"reason":"duplicate_message_id"']),
    ]
    for column, values in (
        ("source", selection.sources),
        ("type", selection.types),
        ("event", selection.names),
        ("message_id", selection.message_ids),
    ):
        if len(values) == 1:  # a single value is found by Bloom filter
            conditions.append((f"{column} = ?", [values[0]]))
        elif values:
            conditions.append((f"{column} IN (SELECT unnest(?))", [list(values)]))
    if selection.email is not None:
        conditions.append(("email = ?", [selection.email.lower()]))
    for member, values in (("fate", selection.statuses), ("reason", selection.reasons)):
        if values:
            alternatives = " OR ".join("contains(fates, ?)" for _ in values)
            conditions.append((f"({alternatives})", [f'"{member}":"{value}"' for value in values]))
    return joined([*conditions, *within("received_at", selection.begin, selection.end)])


def after_place(place: tuple[int, int]) -> tuple[str, list[Value]]:
    """The condition that an event lies behind a place in the log."""
    return joined(list(beyond(place, oldest_first=True)))


def files_of(files: Sequence[DataFile], selection: EventSelection) -> list[DataFile]:
    """The files that may hold selected events, by their first log position."""
    chosen = [
        file
        for file in files
        if (selection.begin is None or file.day >= selection.begin.date())
        and (selection.end is None or file.day <= selection.end.date())
    ]
    return sorted(chosen, key=lambda file: (file.first_position, file.last_position))


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
    total = _rows_between(waiting, first, through)
    borders = [first]
    for number in range(1, parts):
        low, high = borders[-1] + 1, through
        while low < high:
            middle = (low + high) // 2
            if _rows_between(waiting, first, middle) >= total * number / parts:
                high = middle
            else:
                low = middle + 1
        borders.append(low)
    borders.append(through)
    return [(begin, end) for begin, end in pairwise(borders) if end > begin]


class Windows:
    """Cuts the log into stretches of so many events that one query can return what is selected of each.

    Args:
        after: The log position behind which the first stretch begins.
        through: The last log position wanted.
    """

    def __init__(self, *, after: int, through: int) -> None:
        self.after = after
        self._through = through
        self._rows = _FIRST_WINDOW_ROWS

    def next_end(self, files: Sequence[DataFile]) -> int | None:
        """The last log position of the next stretch, None if there is nothing behind.

        Args:
            files: By their first position.
        """
        waiting = [file for file in files if file.last_position > self.after and file.first_position <= self._through]
        if not waiting:
            return None
        self.after = max(self.after, waiting[0].first_position - 1)
        ends = sorted({min(file.last_position, self._through) for file in waiting})
        for end in ends:
            if _rows_between(waiting, self.after, end) >= self._rows:
                return self._narrowed(waiting, end)
        return ends[-1]

    def note(self, rows: int) -> None:
        """Adapt the size of stretches to how many events the last one has given."""
        factor = min(_WINDOW_FACTOR_MAX, max(1.0, ROWS_PER_QUERY_MAX / 2 / max(1, rows)))
        if rows > ROWS_PER_QUERY_MAX / 2:
            factor = 0.5
        self._rows = int(min(_WINDOW_ROWS_MAX, max(1, self._rows * factor)))

    def shrink(self) -> None:
        """Take shorter stretches, at last of one position: the last one holds more than a query may return."""
        self._rows //= 8

    def _narrowed(self, files: Sequence[DataFile], end: int) -> int:
        """The position up to which the files hold about as many rows as wanted, taking them as evenly spread."""
        low, high = self.after + 1, end
        while low < high:
            middle = (low + high) // 2
            if _rows_between(files, self.after, middle) >= self._rows:
                high = middle
            else:
                low = middle + 1
        return low


def overlapping(files: Sequence[DataFile], after: int, through: int) -> Iterator[DataFile]:
    """The files that may hold positions of a stretch."""
    return (file for file in files if file.last_position > after and file.first_position <= through)


def _rows_between(files: Sequence[DataFile], after: int, through: int) -> float:
    rows = 0.0
    for file in files:
        span = file.last_position - file.first_position + 1
        covered = min(file.last_position, through) - max(file.first_position, after + 1) + 1
        if covered > 0:
            rows += file.rows * covered / span
    return rows
