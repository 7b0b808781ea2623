"""The columns that the lake has for an event, and a container that routing fills at low cost."""

import datetime
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from punchcard.clock import EPOCH
from punchcard.events.model import Event, message_key
from punchcard.events.notes import Note
from punchcard.events.notes import to_json as notes_to_json
from punchcard.lake import arrays
from punchcard.lake.extraction import EXTRACTED, NOTHING_EXTRACTED, extract_columns

if TYPE_CHECKING:
    import pyarrow as pa

PARTITION = "day"  # UTC day of receipt; in the table's log and the file's path, not in the file
EVENT_DAY = "event_day"

ROW_GROUP_ROWS = 16_384  # reading one event unpacks one group: about 16 MB at 1 KB an event
ROW_GROUP_PAYLOAD_BYTES = 32 * 1024 * 1024  # events may be 32 KB each; one group is held in memory to be written
_DAY_MICROS = 86_400_000_000

SCHEMA_VERSION = 2
"""Version of the data files that are written. Files of version 1 have the results in the column
`OLD_RESULTS`, in which the member `status` has another name. Readers convert them, and a merge writes the rows in the
current version."""
RESULTS = "results"
OLD_RESULTS = "fates"
# A quote inside a JSON string is escaped, so these texts are always the name of a member.
_OLD_STATUS, _STATUS = '"fate":', '"status":'

# The status of an event that does not count as received, so that its message id may be used again. The quotes would be
# escaped inside another JSON string, so this text cannot appear by accident.
FAILED_ON_INGEST = f'{_STATUS}"failed_on_ingest"'

COLUMNS = (
    "message_id",  # from the sender, or derived
    "type",  # one of the six types, "" for an invalid event
    "event",  # name of a track call
    "user_id",
    "anonymous_id",
    "email",  # lower-cased
    "order_id",  # this and the next columns: properties of a track call, named as in the e-commerce spec
    "revenue",
    "value",
    "total",
    "currency",
    "product_ids",
    "source",  # slug, null if the write key was unknown
    "received_at",
    "timestamp",  # null for an invalid event
    EVENT_DAY,  # UTC day of the timestamp, otherwise of receipt: a late event has the day on which it happened
    "log_position",
    "event_index",  # index in its log record, from 0
    "payload",  # JSON text as received
    RESULTS,  # JSON text: [{"destination", "status", "reason", "detail", "effectKey"}, …]
    "notes",  # JSON text: ["userId was a number …", …], null if nothing was converted to read the event
)
LOOKED_UP = ("message_id", "user_id", "anonymous_id", "email")  # found with a Bloom filter
BOUNDED = ("received_at", "timestamp", EVENT_DAY, "log_position")  # readers skip files and row groups by these bounds
AMOUNTS = ("revenue", "value", "total")  # exact, with nine places
REPETITIVE = ("type", "event", "source", RESULTS, "notes")  # few distinct values: stored as dictionaries


class FailedItem(Protocol):
    """An item of a request that is not a valid event."""

    @property
    def message_id(self) -> str:
        """The id, derived if the item has none."""

    @property
    def raw(self) -> bytes:
        """The text as received."""

    @property
    def notes(self) -> tuple[Note, ...]:
        """Values that were converted before the item failed."""


class LakeRows:
    """Rows to be written to the lake, in log order."""

    __slots__ = (
        "_anonymous_ids",
        "_events",
        "_extracted",
        "_indices",
        "_message_ids",
        "_notes",
        "_payloads",
        "_positions",
        "_received_at",
        "_results",
        "_sources",
        "_timestamps",
        "_types",
        "_user_ids",
    )

    def __init__(self) -> None:
        # One list per column: Arrow takes them unchanged, and the garbage collector has nothing to traverse.
        self._message_ids: list[str | None] = []
        self._types: list[str] = []
        self._events: list[str | None] = []
        self._user_ids: list[str | None] = []
        self._anonymous_ids: list[str | None] = []
        self._extracted: tuple[list[Any], ...] = tuple([] for _ in EXTRACTED)
        self._sources: list[str | None] = []
        self._received_at: list[int] = []
        self._timestamps: list[datetime.datetime | None] = []
        self._positions: list[int] = []
        self._indices: list[int] = []
        self._payloads: list[bytes] = []
        self._results: list[str] = []
        self._notes: list[str | None] = []

    def __len__(self) -> int:
        return len(self._positions)

    def add(
        self,
        item: Event | FailedItem,
        *,
        source: str | None,
        received_at: int,
        position: int,
        index: int,
        results: str,
    ) -> None:
        """Add one event, or an item that is not a valid event.

        Args:
            item: The event.
            source: Slug of its source, None if unknown.
            received_at: Microseconds since 1970-01-01 UTC.
            position: Position of its record in the log.
            index: Index in the record, from 0.
            results: JSON text of its results; passing the same object for the same text saves time.
        """
        if isinstance(item, Event):
            wire = item.wire
            self._types.append(item.type)
            self._events.append(wire.event)
            self._user_ids.append(wire.user_id)
            self._anonymous_ids.append(wire.anonymous_id)
            extracted = extract_columns(item)
            self._timestamps.append(item.timestamp)
        else:
            self._types.append("")
            self._events.append(None)
            self._user_ids.append(None)
            self._anonymous_ids.append(None)
            extracted = NOTHING_EXTRACTED
            self._timestamps.append(None)
        for column, value in zip(self._extracted, extracted, strict=True):
            column.append(value)
        self._message_ids.append(item.message_id)
        self._sources.append(source)
        self._received_at.append(received_at)
        self._positions.append(position)
        self._indices.append(index)
        self._payloads.append(item.raw)
        self._results.append(results)
        self._notes.append(notes_to_json(item.notes))

    def add_record(
        self,
        items: Sequence[Event | FailedItem],
        *,
        source: str | None,
        received_at: int,
        position: int,
        results: Sequence[str],
    ) -> None:
        """Add all events of one log record, in order; for many events this takes a third of the time of `add`.

        Args:
            items: The record's events.
            source: Slug of its source, None if unknown.
            received_at: Microseconds since 1970-01-01 UTC.
            position: Position of the record in the log.
            results: JSON text of each event's results.
        """
        events = [item for item in items if isinstance(item, Event)]
        if len(events) < len(items):
            for index, (item, text) in enumerate(zip(items, results, strict=True)):
                self.add(item, source=source, received_at=received_at, position=position, index=index, results=text)
            return
        wires = [event.wire for event in events]
        count = len(events)
        self._message_ids.extend([event.message_id for event in events])
        self._types.extend([event.type for event in events])
        self._events.extend([wire.event for wire in wires])
        self._user_ids.extend([wire.user_id for wire in wires])
        self._anonymous_ids.extend([wire.anonymous_id for wire in wires])
        extracted = zip(*map(extract_columns, events), strict=True)
        for column, values in zip(self._extracted, extracted, strict=False):  # of no events, there are no values
            column.extend(values)
        self._sources.extend([source] * count)
        self._received_at.extend([received_at] * count)
        self._timestamps.extend([event.timestamp for event in events])
        self._positions.extend([position] * count)
        self._indices.extend(range(count))
        self._payloads.extend([event.raw for event in events])
        self._results.extend(results)
        self._notes.extend([notes_to_json(event.notes) if event.notes else None for event in events])

    def extend(self, rows: "LakeRows") -> None:
        """Append all rows of another container."""
        for column, more in zip(self._columns(), rows._columns(), strict=True):
            column.extend(more)

    def positions(self) -> tuple[int, int]:
        """Return the log positions of the first and the last row; there must be at least one row."""
        return self._positions[0], self._positions[-1]

    def count_within(self, ranges: Sequence[tuple[int, int]]) -> int:
        """Return the number of rows with a log position in one of the ranges, which include both ends."""
        return sum(any(first <= position <= last for first, last in ranges) for position in self._positions)

    def known_message_keys(self) -> list[str]:
        """Return the `message_key`s that count as received: those of all rows that did not fail on ingest."""
        received = {results: FAILED_ON_INGEST not in results for results in set(self._results)}
        return [
            message_key(source, message_id)
            for source, message_id, results in zip(self._sources, self._message_ids, self._results, strict=True)
            if received[results] and message_id is not None
        ]

    def by_day(self) -> dict[datetime.date, "LakeRows"]:
        """Return the rows by UTC day of receipt, each in log order."""
        if not len(self):
            return {}
        first, last = min(self._received_at) // _DAY_MICROS, max(self._received_at) // _DAY_MICROS
        if first == last:
            return {_date(first): self}
        days = [received_at // _DAY_MICROS for received_at in self._received_at]
        return {_date(day): self._select([row_day == day for row_day in days]) for day in sorted(set(days))}

    def row_groups(self) -> Iterator["LakeRows"]:
        """Yield the rows in row groups of a size that is efficient to write and read."""
        begin = 0
        while begin < len(self):
            end = min(begin + ROW_GROUP_ROWS, len(self))
            while end - begin > 1 and sum(map(len, self._payloads[begin:end])) > ROW_GROUP_PAYLOAD_BYTES:
                end = (begin + end) // 2
            yield self._part(begin, end)
            begin = end

    def to_arrow(self) -> "pa.RecordBatch":
        """Return the rows as an Arrow batch of `file_schema`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        filled = [name for name in COLUMNS if name != EVENT_DAY]
        columns = {
            name: arrays.build(_ARRAY_OF[name], values, column=name)
            for name, values in zip(filled, self._columns(), strict=True)
        }
        happened = pc.coalesce(columns["timestamp"], columns["received_at"])
        columns[EVENT_DAY] = happened.cast(pa.date32())
        return pa.record_batch([columns[name] for name in COLUMNS], schema=file_schema())

    def _columns(self) -> tuple[list[Any], ...]:
        """Return the lists in the order of `COLUMNS`, without the one that is derived from others."""
        return (
            self._message_ids,
            self._types,
            self._events,
            self._user_ids,
            self._anonymous_ids,
            *self._extracted,
            self._sources,
            self._received_at,
            self._timestamps,
            self._positions,
            self._indices,
            self._payloads,
            self._results,
            self._notes,
        )

    def _part(self, begin: int, end: int) -> "LakeRows":
        part = LakeRows()
        for column, values in zip(part._columns(), self._columns(), strict=True):
            column.extend(values[begin:end])
        return part

    def _select(self, mask: list[bool]) -> "LakeRows":
        selected = LakeRows()
        for column, values in zip(selected._columns(), self._columns(), strict=True):
            column.extend(itertools.compress(values, mask))
        return selected


def file_schema() -> "pa.Schema":
    """Return the Arrow schema of a data file: `COLUMNS`, the repetitive ones as dictionaries."""
    import pyarrow as pa

    text = pa.string()
    repeated = pa.dictionary(pa.int32(), text)
    instant = pa.timestamp("us", tz="UTC")
    others = {
        "received_at": pa.field("received_at", instant, nullable=False),
        "timestamp": pa.field("timestamp", instant),
        EVENT_DAY: pa.field(EVENT_DAY, pa.date32()),
        "log_position": pa.field("log_position", pa.int64(), nullable=False),
        "event_index": pa.field("event_index", pa.int32(), nullable=False),
        **{name: pa.field(name, pa.decimal128(38, 9)) for name in AMOUNTS},
        "product_ids": pa.field("product_ids", pa.list_(text)),
    }
    return pa.schema([others.get(name) or pa.field(name, repeated if name in REPETITIVE else text) for name in COLUMNS])


def results_sql(versions: Collection[int]) -> str:
    """Return the SQL expression for the column `results` in files of these schema versions."""
    converted = f"replace({OLD_RESULTS}, '{_OLD_STATUS}', '{_STATUS}')"
    if 1 not in versions:
        return RESULTS
    return converted if set(versions) == {1} else f"coalesce({RESULTS}, {converted})"


def with_current_columns(table: "pa.Table") -> "pa.Table":
    """Convert the rows of a data file to the current schema version; columns that an older version lacks are null."""
    import pyarrow as pa

    columns = {name: table.column(name) for name in table.column_names}
    if (old_results := columns.pop(OLD_RESULTS, None)) is not None:
        columns[RESULTS] = _convert_results(old_results)
    schema = file_schema()
    present = [columns.get(field.name, pa.nulls(table.num_rows, field.type)) for field in schema]
    return pa.table(present, schema=schema)


def _convert_results(old_results: "pa.ChunkedArray") -> "pa.ChunkedArray":
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = old_results.cast(pa.string())
    return pc.replace_substring(texts, pattern=_OLD_STATUS, replacement=_STATUS).dictionary_encode()


def table_schema() -> "pa.Schema":
    """Return the Arrow schema of the table: a file's with plain strings, and the partition column."""
    import pyarrow as pa

    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in file_schema()
    ]
    return pa.schema([*fields, pa.field(PARTITION, pa.date32(), nullable=False)])


def _date(day: int) -> datetime.date:
    return (EPOCH + datetime.timedelta(days=day)).date()


_ARRAY_OF: dict[str, Callable[[Sequence[Any]], "pa.Array"]] = {
    **dict.fromkeys(COLUMNS, arrays.text),
    **dict.fromkeys(REPETITIVE, arrays.dictionary),
    "type": arrays.types,
    "received_at": arrays.micros,
    "timestamp": arrays.instants,
    "log_position": arrays.int64,
    "event_index": arrays.int32,
    **dict.fromkeys(AMOUNTS, arrays.amounts),
    "product_ids": arrays.lists,
}
