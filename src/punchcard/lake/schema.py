"""What the lake keeps of an event: the columns, and a container that routing fills cheaply."""

import datetime
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from punchcard.clock import EPOCH
from punchcard.events.commerce import NOTHING, commerce_of
from punchcard.events.emails import email_of
from punchcard.events.model import Event, message_key
from punchcard.events.notes import Note
from punchcard.events.notes import to_json as notes_to_json
from punchcard.lake import arrays

if TYPE_CHECKING:
    import pyarrow as pa

_log = structlog.get_logger("punchcard.lake")

PARTITION = "day"  # UTC day of receipt; stands in the table's log and the file's path, not in the file
EVENT_DAY = "event_day"

ROW_GROUP_ROWS = 16_384  # reading one event unpacks one group: at 1 KB an event that is some 16 MB
ROW_GROUP_PAYLOAD_BYTES = 32 * 1024 * 1024  # events may be 32 KB each; one group is held in memory to be written
_DAY_MICROS = 86_400_000_000

# What routing writes into an event's results if it never counted as received: its message id is free to come again.
# Inside another JSON string the quotes would be escaped, so this text cannot appear by accident.
FAILED_ON_INGEST = '"fate":"failed_on_ingest"'

COLUMNS = (
    "message_id",  # the sender's, or derived
    "type",  # one of the six calls, "" for what is no valid event
    "event",  # name of a track call
    "user_id",
    "anonymous_id",
    "email",  # that the event carries, lower-cased
    "order_id",  # this and the next ones: of a track call's properties, as the e-commerce spec names them
    "revenue",
    "value",
    "total",
    "currency",
    "product_ids",
    "source",  # slug, null if the write key was unknown
    "received_at",
    "timestamp",  # null for what is no valid event
    EVENT_DAY,  # UTC day of the timestamp, else of receipt: a late event is in the day on which it happened
    "log_position",
    "event_index",  # place in its log record, from 0
    "payload",  # JSON text as received
    "fates",  # JSON text: [{"destination", "fate", "reason", "detail", "effectKey"}, …]
    "notes",  # JSON text: ["userId was a number …", …], null if nothing was converted to read the event
)
LOOKED_UP = ("message_id", "user_id", "anonymous_id", "email")  # found among millions by a Bloom filter
BOUNDED = ("received_at", "timestamp", EVENT_DAY, "log_position")  # readers pass over what lies outside of their bounds
AMOUNTS = ("revenue", "value", "total")  # exact, with nine places
REPETITIVE = ("type", "event", "source", "fates", "notes")  # few distinct values: kept as dictionaries


class FailedItem(Protocol):
    """Something received that is no valid event."""

    @property
    def message_id(self) -> str:
        """Its id, derived if it has none."""

    @property
    def raw(self) -> bytes:
        """Its text as received."""

    @property
    def notes(self) -> tuple[Note, ...]:
        """What was converted before it failed."""


class LakeRows:
    """Rows on their way to the lake, in log order."""

    __slots__ = (
        "_anonymous_ids",
        "_commerce",
        "_emails",
        "_events",
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
        # A list a column: Arrow takes them as they are, and the garbage collector has nothing to look through.
        self._message_ids: list[str | None] = []
        self._types: list[str] = []
        self._events: list[str | None] = []
        self._user_ids: list[str | None] = []
        self._anonymous_ids: list[str | None] = []
        self._emails: list[str | None] = []
        self._commerce: tuple[list[Any], ...] = tuple([] for _ in NOTHING)
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
        """Add one event, or what was received in place of one.

        Args:
            item: The event.
            source: Slug of its source, None if unknown.
            received_at: Microseconds since 1970-01-01 UTC.
            position: Its record's place in the log.
            index: Its place in the record, from 0.
            results: JSON text of its results; the same text should be the same object, which saves time.
        """
        if isinstance(item, Event):
            wire = item.wire
            self._types.append(item.type)
            self._events.append(wire.event)
            self._user_ids.append(wire.user_id)
            self._anonymous_ids.append(wire.anonymous_id)
            email, commerce = readings_of(item)
            self._emails.append(email)
            self._timestamps.append(item.timestamp)
        else:
            self._types.append("")
            self._events.append(None)
            self._user_ids.append(None)
            self._anonymous_ids.append(None)
            self._emails.append(None)
            commerce = NOTHING
            self._timestamps.append(None)
        for column, value in zip(self._commerce, commerce, strict=True):
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
        """Add all events of one log record, in order: as `add`, at a third of the time if they are many.

        Args:
            items: The record's events.
            source: Slug of its source, None if unknown.
            received_at: Microseconds since 1970-01-01 UTC.
            position: Its place in the log.
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
        readings = list(map(readings_of, events))
        self._emails.extend([email for email, _ in readings])
        for column, values in zip(self._commerce, zip(*[row for _, row in readings], strict=True), strict=False):
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
        """Add all of the rows behind these."""
        for column, more in zip(self._columns(), rows._columns(), strict=True):
            column.extend(more)

    def positions(self) -> tuple[int, int]:
        """The log positions of the first and the last row; there must be one."""
        return self._positions[0], self._positions[-1]

    def count_within(self, ranges: Sequence[tuple[int, int]]) -> int:
        """How many rows have a log position in one of the ranges, which include both their ends."""
        return sum(any(first <= position <= last for first, last in ranges) for position in self._positions)

    def known_message_keys(self) -> list[str]:
        """The `message_key`s that count as received: those of all rows that did not fail on ingest."""
        received = {results: FAILED_ON_INGEST not in results for results in set(self._results)}
        return [
            message_key(source, message_id)
            for source, message_id, results in zip(self._sources, self._message_ids, self._results, strict=True)
            if received[results] and message_id is not None
        ]

    def by_day(self) -> dict[datetime.date, "LakeRows"]:
        """The rows by UTC day of receipt, each in log order."""
        if not len(self):
            return {}
        first, last = min(self._received_at) // _DAY_MICROS, max(self._received_at) // _DAY_MICROS
        if first == last:
            return {_date(first): self}
        days = [received_at // _DAY_MICROS for received_at in self._received_at]
        return {_date(day): self._picked([one == day for one in days]) for day in sorted(set(days))}

    def row_groups(self) -> Iterator["LakeRows"]:
        """The rows in parts of a size that is good to write and to read back."""
        begin = 0
        while begin < len(self):
            end = min(begin + ROW_GROUP_ROWS, len(self))
            while end - begin > 1 and sum(map(len, self._payloads[begin:end])) > ROW_GROUP_PAYLOAD_BYTES:
                end = (begin + end) // 2
            yield self._part(begin, end)
            begin = end

    def to_arrow(self) -> "pa.RecordBatch":
        """The rows as an Arrow batch of `file_schema`."""
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
        """The lists in the order of `COLUMNS`, but for the one that follows from others."""
        return (
            self._message_ids,
            self._types,
            self._events,
            self._user_ids,
            self._anonymous_ids,
            self._emails,
            *self._commerce,
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

    def _picked(self, wanted: list[bool]) -> "LakeRows":
        picked = LakeRows()
        for column, values in zip(picked._columns(), self._columns(), strict=True):
            column.extend(itertools.compress(values, wanted))
        return picked


def readings_of(event: Event) -> tuple[str | None, Sequence[Any]]:
    """The email and the e-commerce members; nothing where reading them fails: the row itself must not be lost."""
    try:
        return email_of(event), commerce_of(event)
    except Exception as error:  # noqa: BLE001  # whatever one event makes of our code, its row and the others are kept
        _log.warning("lake_columns_left_empty", message_id=event.message_id, error=repr(error))
        return None, NOTHING


def file_schema() -> "pa.Schema":
    """The Arrow schema of a data file: `COLUMNS`, the repetitive ones as dictionaries."""
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


def conformed(table: "pa.Table") -> "pa.Table":
    """The rows of a data file with all columns of today: what an older version has not written is null."""
    import pyarrow as pa

    for number, field in enumerate(file_schema()):
        if field.name not in table.column_names:
            table = table.add_column(number, field, pa.nulls(table.num_rows, field.type))
    return table


def table_schema() -> "pa.Schema":
    """The Arrow schema of the table: a file's with plain strings, and the partition column."""
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
