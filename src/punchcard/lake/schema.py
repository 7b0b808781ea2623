"""The columns that the lake has for an event, and a container that routing fills at low cost."""

import datetime
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from punchcard.clock import EPOCH
from punchcard.errors import InvariantError
from punchcard.events.model import Event, WireEvent, message_key
from punchcard.events.notes import Note
from punchcard.events.notes import to_json as notes_to_json
from punchcard.lake import arrays
from punchcard.lake.extraction import EXTRACTED, ExtractedColumns, extract_column_lists, part_columns

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

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
LOOKED_UP = ("message_id", "user_id", "anonymous_id", "email")  # found with a Bloom filter, nearly as many as rows
NAMED = ("event",)  # found with a Bloom filter, too: of the names of a row group, which are few
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


class _Record(NamedTuple):
    """Events of one log record.

    Attributes:
        begin: Index of the first of them in the record.
        results: JSON text of each event's results.
        extracted: The columns that are read from within the events, if that was done before.
    """

    items: Sequence[Event | FailedItem]
    source: str | None
    received_at: int
    position: int
    begin: int
    results: Sequence[str]
    extracted: ExtractedColumns | None = None


class LakeRows:
    """Rows to be written to the lake, in log order.

    They are kept as routing has them; their columns are made when they are written.
    """

    __slots__ = ("_count", "_records")

    def __init__(self) -> None:
        self._records: list[_Record] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

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
            results: JSON text of its results.
        """
        self._records.append(_Record((item,), source, received_at, position, index, (results,)))
        self._count += 1

    def add_record(
        self,
        items: Sequence[Event | FailedItem],
        *,
        source: str | None,
        received_at: int,
        position: int,
        results: Sequence[str],
        extracted: ExtractedColumns | None = None,
    ) -> None:
        """Add all events of one log record, in order.

        Args:
            items: The record's events; they are kept, and must not change.
            source: Slug of its source, None if unknown.
            received_at: Microseconds since 1970-01-01 UTC.
            position: Position of the record in the log.
            results: JSON text of each event's results; passing the same object for the same text saves time.
            extracted: What `extract_column_lists` returns of the items, if that was needed before.
        """
        if len(items) != len(results):
            raise InvariantError(f"{len(items)} events of log record {position} have {len(results)} results.")
        self._records.append(_Record(items, source, received_at, position, 0, results, extracted))
        self._count += len(items)

    def extend(self, rows: "LakeRows") -> None:
        """Append all rows of another container."""
        self._records += rows._records
        self._count += len(rows)

    def positions(self) -> tuple[int, int]:
        """Return the log positions of the first and the last row; there must be at least one row."""
        positions = [record.position for record in self._records if record.items]
        return positions[0], positions[-1]

    def count_within(self, ranges: Sequence[tuple[int, int]]) -> int:
        """Return the number of rows with a log position in one of the ranges, which include both ends."""
        return sum(
            len(record.items)
            for record in self._records
            if any(first <= record.position <= last for first, last in ranges)
        )

    def known_message_keys(self) -> list[str]:
        """Return the `message_key`s that count as received: those of all rows that did not fail on ingest."""
        return [
            message_key(record.source, item.message_id)
            for record in self._records
            for item, results in zip(record.items, record.results, strict=True)
            if FAILED_ON_INGEST not in results
        ]

    def by_day(self) -> dict[datetime.date, "LakeRows"]:
        """Return the rows by UTC day of receipt, each in log order."""
        days: dict[int, LakeRows] = {}
        for record in self._records:
            if record.items:
                rows = days.setdefault(record.received_at // _DAY_MICROS, LakeRows())
                rows._records.append(record)
                rows._count += len(record.items)
        return {_date(day): days[day] for day in sorted(days)}

    def row_groups(self) -> Iterator["LakeRows"]:
        """Yield the rows in row groups of a size that is efficient to write and read."""
        begin = 0
        while begin < len(self):
            group = self._part(begin, begin + ROW_GROUP_ROWS)
            while len(group) > 1 and group._payload_bytes() > ROW_GROUP_PAYLOAD_BYTES:
                group = group._part(0, len(group) // 2)
            yield group
            begin += len(group)

    def to_arrow(self) -> "pa.RecordBatch":
        """Return the rows as an Arrow batch of `file_schema`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        columns = {name: arrays.build(_ARRAY_OF[name], values, column=name) for name, values in self._columns().items()}
        happened = pc.coalesce(columns["timestamp"], columns["received_at"])
        columns[EVENT_DAY] = happened.cast(pa.date32())
        return pa.record_batch([columns[name] for name in COLUMNS], schema=file_schema())

    def _columns(self) -> dict[str, list[Any]]:
        """Return the values of `COLUMNS`, without the one that is derived from others."""
        records = self._records
        items = list(chain.from_iterable(record.items for record in records))
        events = [item if isinstance(item, Event) else _NO_EVENT for item in items]
        wires = [event.wire for event in events]
        return {
            "message_id": [item.message_id for item in items],
            "type": [event.type for event in events],
            "event": [wire.event for wire in wires],
            "user_id": [wire.user_id for wire in wires],
            "anonymous_id": [wire.anonymous_id for wire in wires],
            **dict(zip(EXTRACTED, self._extracted(items), strict=True)),
            "source": _repeated((record.source, record) for record in records),
            "received_at": _repeated((record.received_at, record) for record in records),
            "timestamp": [event.timestamp for event in events],
            "log_position": _repeated((record.position, record) for record in records),
            "event_index": [
                index for record in records for index in range(record.begin, record.begin + len(record.items))
            ],
            "payload": [item.raw for item in items],
            RESULTS: list(chain.from_iterable(record.results for record in records)),
            "notes": _note_texts(items),
        }

    def _extracted(self, items: Sequence[Event | FailedItem]) -> ExtractedColumns:
        """Return the columns that are read from within the events.

        Args:
            items: The events of all records.
        """
        records = self._records
        if all(record.extracted is None for record in records):
            return extract_column_lists(items)
        parts = [record.extracted or extract_column_lists(record.items) for record in records]
        return tuple([list(chain.from_iterable(lists)) for lists in zip(*parts, strict=True)])

    def _payload_bytes(self) -> int:
        return sum(len(item.raw) for record in self._records for item in record.items)

    def _part(self, begin: int, end: int) -> "LakeRows":
        """Return the rows from one index to another one."""
        part = LakeRows()
        passed = 0
        for record in self._records:
            first, last = max(begin - passed, 0), min(end - passed, len(record.items))
            passed += len(record.items)
            if first < last:
                part._records.append(
                    record
                    if last - first == len(record.items)
                    else record._replace(
                        items=record.items[first:last],
                        results=record.results[first:last],
                        begin=record.begin + first,
                        extracted=record.extracted and part_columns(record.extracted, (first, last))[0],
                    )
                )
                part._count += last - first
            if passed >= end:
                break
        return part


def _note_texts(items: Sequence[Event | FailedItem]) -> list[str | None]:
    """Return the notes of each item as JSON; items that share their notes share the text."""
    all_notes = [item.notes for item in items]
    texts = {id(notes): notes_to_json(notes) for notes in {id(notes): notes for notes in all_notes}.values()}
    return [texts[id(notes)] for notes in all_notes]


class _NoEvent(NamedTuple):
    """The values of the columns for an item that is not a valid event."""

    type: str = ""
    timestamp: datetime.datetime | None = None
    wire: WireEvent = WireEvent()


_NO_EVENT = _NoEvent()


def _repeated(values: Iterable[tuple[T, _Record]]) -> list[T]:
    """Return the value of each record once for each of its events."""
    return list(chain.from_iterable(repeat(value, len(record.items)) for value, record in values))


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
