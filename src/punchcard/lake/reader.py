"""Find events in the lake with DuckDB.

Every row group of 16,384 events has a Bloom filter over its message ids (32 KB, one false positive in a thousand).
`IdFilters` checks those of all files, so DuckDB opens only files that hold the id. Processor time on 10 million events
of 1 KB (100 files, 610 row groups, 1.7 GB, page cache warm):

=====================================================  ==============
the files that may hold an id                          2.6 to 4.5 ms
the same by DuckDB, which opens every file             50 to 62 ms
the newest 51 events                                   4 to 8 ms
an event name that does not occur                      4 to 5 ms
the same in files without a filter of names            42 to 105 ms
=====================================================  ==============

So the cost depends on the number of files, not of events, and compaction keeps it low.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any

from punchcard.clock import to_micros
from punchcard.errors import LakeError, StorageError
from punchcard.events.sequence import EVENTS_PER_RECORD_MAX
from punchcard.lake.conditions import Value
from punchcard.lake.data_file import DataFile
from punchcard.lake.id_filters import IdFilters
from punchcard.lake.lake_event import LakeEvent, LakeResult, event_of_row, read_results
from punchcard.lake.lake_mismatch import refuse_lake_elsewhere
from punchcard.lake.lake_queries import LakeQueries
from punchcard.lake.listing import EventQuery, may_hold, where_clause
from punchcard.lake.location import LakeLocation
from punchcard.lake.newest_windows import NewestWindows
from punchcard.lake.opening import open_table
from punchcard.lake.person_query import PersonQuery, PersonSearches, statements
from punchcard.lake.schema import FAILED_ON_INGEST
from punchcard.lake.selection import (
    ROWS_PER_QUERY_MAX,
    EventSelection,
    Windows,
    after_place,
    files_at,
    files_of,
    overlapping,
    selected_where,
    split_positions,
)
from punchcard.lake.shared_table import SharedTable

__all__ = ["LakeEvent", "LakeReader", "LakeResult"]

_KEYS_PER_LIST = 50_000
# On an object store several files are waited for at once, as far as their message ids need no more than 50 MB.
_FILES_AT_ONCE = 8
_ROWS_AT_ONCE = 400_000
_LOG_POSITION = 9  # its index among the columns of `_EVENTS`

_EVENTS = """
    SELECT message_id, type, event, user_id, anonymous_id, email, source, epoch_us(received_at), epoch_us(timestamp),
           log_position, event_index, encode(payload), results, notes
    FROM read_parquet(?, hive_partitioning = false, union_by_name = true)
"""
_RESULTS = """
    SELECT log_position, event_index, results FROM read_parquet(?, hive_partitioning = false, union_by_name = true)
"""
_NAME_COUNTS = "SELECT type, event, count(*) FROM read_parquet(?, hive_partitioning = false, union_by_name = true)"
_NEWEST_FIRST = "ORDER BY log_position DESC, event_index DESC LIMIT ?"
_IN_ORDER = "ORDER BY log_position, event_index LIMIT ?"
_FIND = f"""
    {_EVENTS}
    WHERE message_id = ?
    ORDER BY log_position, event_index
"""
_KNOWN_KEYS = f"""
    SELECT coalesce(source, '') || ' ' || message_id FROM read_parquet(?, hive_partitioning = false)
    WHERE message_id IS NOT NULL AND NOT contains(results, '{FAILED_ON_INGEST}')
    ORDER BY log_position DESC, event_index DESC
    LIMIT ?
"""
_NAMED = f"""
    {_EVENTS}
    WHERE type = 'track' AND event IN (SELECT unnest(?)) AND source IN (SELECT unnest(?))
          AND epoch_us(received_at) >= ?
    {_NEWEST_FIRST}
"""


class LakeReader:
    """Reads the table at `url` while it is being written. Thread-safe.

    Args:
        url: A folder, `file:///folder` or `s3://bucket/prefix`.
        written_through: Returns the log position through which the lake was written, as its writer has recorded it:
            reading the events of a lake that ends before it raises LakeError, see `refuse_lake_elsewhere`.
    """

    def __init__(self, url: str, *, written_through: Callable[[], int] | None = None) -> None:
        self._written_through = written_through
        self._location = LakeLocation(url)
        self.url = self._location.url
        self._table = SharedTable(open_table(self._location))
        self._queries = LakeQueries(self._location)
        self._id_filters = IdFilters(self._location)

    def find(self, message_id: str) -> list[LakeEvent]:
        """Return every event received with this message id, oldest first.

        Raises:
            StorageError: The lake cannot be read.
        """
        try:
            rows = self._find(message_id)
        except StorageError:
            # A file of the list may have been merged and deleted meanwhile; the current list has the merged file.
            rows = self._find(message_id)
        return [event_of_row(row) for row in rows]

    def _find(self, message_id: str) -> list[tuple[Any, ...]]:
        (files,) = self._id_filters.files_with(self._files(), [("message_id", message_id)])
        return self._queries.rows(_FIND, files, message_id)

    def recent_message_keys(
        self, limit: int, *, on_damage: Callable[[LakeError], None] | None = None
    ) -> Iterator[list[str]]:
        """Yield the newest `limit` `message_key`s of events that did not fail on ingest, roughly newest first.

        Args:
            on_damage: Called for each file that cannot be read and is skipped; None raises instead.

        Raises:
            StorageError: The lake cannot be read.
        """
        remaining = limit
        waiting = deque(self._files())  # newest first
        reading: deque[tuple[int, Future[list[tuple[Any, ...]]]]] = deque()
        files_max = 1 if self._location.objects is None else _FILES_AT_ONCE
        with ThreadPoolExecutor(files_max) as pool:
            while remaining > 0 and (waiting or reading):
                rows_max = min(remaining, _ROWS_AT_ONCE)
                while waiting and len(reading) < files_max and sum(rows for rows, _ in reading) < rows_max:
                    file = waiting.popleft()
                    reading.append((file.rows, pool.submit(self._queries.rows, _KNOWN_KEYS, [file], remaining)))
                try:
                    keys = [row[0] for row in reading.popleft()[1].result()[:remaining]]
                except LakeError as error:
                    if on_damage is None:
                        raise
                    on_damage(error)
                    continue
                remaining -= len(keys)
                for begin in range(0, len(keys), _KEYS_PER_LIST):
                    yield keys[begin : begin + _KEYS_PER_LIST]

    def release(self) -> None:
        """Free what queries have opened; the next query opens it again."""
        self._queries = LakeQueries(self._location)

    def recent_events(
        self, *, names: Sequence[str], sources: Sequence[str], since: datetime, limit: int
    ) -> Iterator[LakeEvent]:
        """Yield the newest track events with these names and sources, roughly newest first.

        Args:
            since: Only events received at or after this instant.

        Raises:
            StorageError: The lake cannot be read.
        """
        remaining = limit
        for file in self._files():  # newest first
            if remaining <= 0:
                return
            if file.day < since.date() or not self._id_filters.files_with_any([file], "event", names):
                continue
            rows = self._queries.rows(_NAMED, [file], list(names), list(sources), to_micros(since), remaining)
            remaining -= len(rows)
            yield from map(event_of_row, rows)

    def page(self, query: EventQuery, *, limit: int, before: tuple[int, int] | None = None) -> list[LakeEvent]:
        """Return the newest matching events, newest first.

        Args:
            before: Log position and index of an event; only earlier events are returned.

        Raises:
            StorageError: The lake cannot be read.
        """
        return [event_of_row(row) for row in self._newest(_EVENTS, query, limit=limit, before=before)]

    def results(
        self, query: EventQuery, *, limit: int, before: tuple[int, int]
    ) -> list[tuple[tuple[int, int], tuple[LakeResult, ...]]]:
        """Return places and results of the newest matching events, newest first: much less than the events.

        Raises:
            StorageError: The lake cannot be read.
        """
        rows = self._newest(_RESULTS, query, limit=limit, before=before)
        return [((position, index), read_results(results)) for position, index, results in rows]

    def _newest(
        self, select: str, query: EventQuery, *, limit: int, before: tuple[int, int] | None
    ) -> list[tuple[Any, ...]]:
        where, values = where_clause(query, before)
        files = [file for file in self._files() if may_hold(file, query, before)]
        windows = NewestWindows(files, through=None if before is None else before[0])
        sql = f"{select} WHERE {where} AND log_position > ? AND log_position <= ? {_NEWEST_FIRST}"
        rows: list[tuple[Any, ...]] = []
        while len(rows) < limit and (window := windows.next_window()) is not None:
            bounds = [window.after, window.through, limit - len(rows)]
            searched = window.files
            if query.name is not None:  # of each window by itself: most names are in the newest files
                searched = self._id_filters.files_with_any(searched, "event", [query.name])
            rows += self._queries.rows(sql, searched, *values, *bounds)
        return rows

    def events_of_person(
        self, query: PersonQuery, *, limit: int, beyond: tuple[int, int] | None = None
    ) -> list[LakeEvent]:
        """Return the first events of a person in the order of the query. Uses Bloom filters, where a file has them.

        Args:
            beyond: Log position and index of an event; only later events in that order are returned.

        Raises:
            StorageError: The lake cannot be read.
        """
        searches = PersonSearches(self._files(), query, beyond=beyond, files_with=self._id_filters.files_with)
        events: dict[tuple[int, int], LakeEvent] = {}
        places: list[tuple[int, int]] = []
        while next_searches := searches.next_searches(places[limit - 1] if len(places) >= limit else None):
            for files, ids in next_searches:
                paths = self._queries.paths(files)
                for sql, values in statements(query, _EVENTS, ids=ids, paths=paths, limit=limit, place=beyond):
                    for event in map(event_of_row, self._queries.run(sql, files, values)):
                        events[event.log_position, event.event_index] = event
            places = sorted(events, reverse=not query.oldest_first)
        return [events[place] for place in places[:limit]]

    def between(self, first_position: int, last_position: int) -> list[LakeEvent]:
        """Return the events of a range of the log, in its order.

        Raises:
            StorageError: The lake cannot be read.
        """
        files = list(overlapping(self._files(), first_position - 1, last_position))
        sql = f"{_EVENTS} WHERE log_position BETWEEN ? AND ? ORDER BY log_position, event_index"
        return [event_of_row(row) for row in self._queries.rows(sql, files, first_position, last_position)]

    def at(self, positions: Sequence[int]) -> list[LakeEvent]:
        """Return the events at these positions of the log, which are in order, with one query for all of them.

        Raises:
            StorageError: The lake cannot be read.
        """
        files = files_at(self._files(), positions)
        sql = f"{_EVENTS} WHERE log_position IN (SELECT unnest(?)) ORDER BY log_position, event_index"
        return [event_of_row(row) for row in self._queries.rows(sql, files, positions)]

    def after(self, position: int, *, limit: int) -> list[LakeEvent]:
        """Return the next events after a log position, in log order; the events of a log record stay together.

        Args:
            limit: Approximate number of events.

        Raises:
            StorageError: The lake cannot be read.
        """
        later = sorted(
            (file for file in self._files() if file.last_position > position), key=lambda file: file.first_position
        )
        selected: list[DataFile] = []
        while later and sum(file.rows for file in selected) < limit:
            selected.append(later.pop(0))
        # Files of two days may overlap at midnight, so events after the beginning of a later file wait for that file.
        through = later[0].first_position - 1 if later else max((file.last_position for file in selected), default=0)
        if through <= position:
            selected = [*selected, *later]
            through = max((file.last_position for file in selected), default=0)
        rows = self._next_rows(selected, position, through, limit)
        if len(rows) > limit and rows[-1][_LOG_POSITION] > rows[0][_LOG_POSITION]:
            cut = rows[-1][_LOG_POSITION]  # this record may be incomplete
            rows = [row for row in rows if row[_LOG_POSITION] < cut]
        elif len(rows) > limit:
            rows = self._next_rows(selected, position, rows[0][_LOG_POSITION], EVENTS_PER_RECORD_MAX)
        return [event_of_row(row) for row in rows]

    def select(
        self, selection: EventSelection, *, after: tuple[int, int] = (0, -1), through: int
    ) -> Iterator[tuple[int, list[LakeEvent]]]:
        """Yield the selected events in log order, in batches; the events of a log record stay together.

        Args:
            after: Log position and index of the event after which to begin.
            through: The last log position to search.

        Yields:
            The log position up to which the lake was searched, and the events found since the previous batch.

        Raises:
            StorageError: The lake cannot be read.
        """
        where, values = selected_where(selection)
        begin, place = after_place(after)
        sql = f"{_EVENTS} WHERE {where} AND {begin} AND log_position > ? AND log_position <= ? {_IN_ORDER}"
        windows = Windows(after=after[0] - 1, through=through)
        while True:
            files = files_of(self._files(), selection)
            if (end := windows.next_end(files)) is None:
                return
            selected = list(overlapping(files, windows.after, end))
            bounds: list[Value] = [windows.after, end]
            limit = ROWS_PER_QUERY_MAX if end > windows.after + 1 else EVENTS_PER_RECORD_MAX
            rows = self._queries.rows(sql, selected, *values, *place, *bounds, limit + 1)
            if len(rows) > limit:
                windows.shrink()
                continue
            windows.after = end
            windows.adapt(len(rows))
            yield end, [event_of_row(row) for row in rows]

    def count_names(self, selection: EventSelection, *, through: int) -> dict[tuple[str, str | None], int]:
        """Return how many of the selected events have each type and name.

        Args:
            through: The last log position wanted.

        Raises:
            StorageError: the lake cannot be read.
        """
        where, values = selected_where(selection)
        files = [file for file in files_of(self._files(), selection) if file.first_position <= through]
        if not files:
            return {}
        sql = f"{_NAME_COUNTS} WHERE {where} AND log_position <= ? GROUP BY type, event"
        return {(type_, event): number for type_, event, number in self._queries.rows(sql, files, *values, through)}

    def split(self, selection: EventSelection, *, through: int, parts: int) -> list[tuple[int, int]]:
        """Cut the log, as far as selected events may lie in it, into stretches that several processes can read.

        Args:
            through: The last log position wanted.

        Returns:
            The position behind which each begins, and its last one.
        """
        return split_positions(files_of(self._files(), selection), through=through, parts=parts)

    def _next_rows(self, files: Sequence[DataFile], after: int, through: int, limit: int) -> list[tuple[Any, ...]]:
        """Return up to `limit` + 1 rows of a range of the log; fewer than half of that only if it has no more.

        Only as many positions are read as may hold them, so that a file of a million events is not scanned for every
        twenty thousand of them.
        """
        held = sum(file.rows for file in files)
        span = sum(file.last_position - file.first_position + 1 for file in files)
        step = max(1, 2 * limit * span // max(1, held))
        sql = f"{_EVENTS} WHERE log_position > ? AND log_position <= ? ORDER BY log_position, event_index LIMIT ?"
        while True:
            end = min(through, after + step)
            rows = self._queries.rows(sql, files, after, end, limit + 1)
            if end == through or len(rows) > limit // 2:
                return rows
            step *= 4

    def first_position(self) -> int:
        """Return the first log position that the lake holds events of.

        Raises:
            StorageError: The lake cannot be read.
        """
        files = self._files()
        return min(file.first_position for file in files) if files else self.last_position() + 1

    def last_position(self) -> int:
        """Return the highest log position that the lake holds, 0 if none.

        Raises:
            StorageError: The lake cannot be read.
        """
        with self._table.newest() as table:
            return 0 if table is None else table.last_position()

    def refuse_other_lake(self) -> None:
        """Raise LakeError for a lake that is not the one that is written, StorageError for one that cannot be read."""
        self._files()

    def _files(self) -> list[DataFile]:
        # In this order: the lake is written before its position is recorded.
        expected = 0 if self._written_through is None else self._written_through()
        with self._table.newest() as table:
            last = 0 if table is None else table.last_position()
            refuse_lake_elsewhere(self._location.url, last=last, expected=expected)
            return [] if table is None else table.files()
