"""What the lake keeps of an event: the columns, and a container that routing fills cheaply."""

import datetime
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from punchcard.clock import EPOCH
from punchcard.events.model import Event

if TYPE_CHECKING:
    import pyarrow as pa

PARTITION = "day"  # UTC day of receipt; stands in the table's log and the file's path, not in the file

ROW_GROUP_ROWS = 16_384  # reading one event unpacks one group: at 1 KB an event that is some 16 MB
ROW_GROUP_PAYLOAD_BYTES = 32 * 1024 * 1024  # events may be 32 KB each; one group is held in memory to be written
_DAY_MICROS = 86_400_000_000

# What routing writes into an event's fates if it never counted as received: its message id is free to come again.
# Inside another JSON string the quotes would be escaped, so this text cannot appear by accident.
FAILED_ON_INGEST = '"fate":"failed_on_ingest"'

# The values of COLUMNS, in order, but for times: `received_at` is microseconds, `timestamp` an aware datetime.
Row = tuple[
    str | None,
    str,
    str | None,
    str | None,
    str | None,
    str | None,
    int,
    datetime.datetime | None,
    int,
    int,
    bytes,
    str,
]
COLUMNS = (
    "message_id",  # the sender's, or derived
    "type",  # one of the six calls, "" for what is no valid event
    "event",  # name of a track call
    "user_id",
    "anonymous_id",
    "source",  # slug, null if the write key was unknown
    "received_at",
    "timestamp",  # null for what is no valid event
    "log_position",
    "event_index",  # place in its log record, from 0
    "payload",  # JSON text as received
    "fates",  # JSON text: [{"destination", "fate", "reason", "detail", "effectKey"}, …]
)
REPETITIVE = ("type", "event", "source", "fates")  # few distinct values: kept as dictionaries
_RECEIVED_AT: Final = 6
_LOG_POSITION: Final = 8
_PAYLOAD: Final = 10


class FailedItem(Protocol):
    """Something received that is no valid event."""

    @property
    def message_id(self) -> str:
        """Its id, derived if it has none."""

    @property
    def raw(self) -> bytes:
        """Its text as received."""


class LakeRows:
    """Rows on their way to the lake, in log order."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Sequence[Row] = ()) -> None:
        # One tuple a row: cheaper to add than a value to each of twelve lists.
        self._rows: list[Row] = list(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        item: Event | FailedItem,
        *,
        source: str | None,
        received_at: int,
        position: int,
        index: int,
        fates: str,
    ) -> None:
        """Add one event, or what was received in place of one.

        Args:
            item: The event.
            source: Slug of its source, None if unknown.
            received_at: Microseconds since 1970-01-01 UTC.
            position: Its record's place in the log.
            index: Its place in the record, from 0.
            fates: JSON text of its fates; the same text should be the same object, which saves time.
        """
        if isinstance(item, Event):
            wire = item.wire
            row: Row = (
                item.message_id,
                item.type.value,
                wire.event,
                wire.user_id,
                wire.anonymous_id,
                source,
                received_at,
                item.timestamp,
                position,
                index,
                item.raw,
                fates,
            )
        else:
            row = (item.message_id, "", None, None, None, source, received_at, None, position, index, item.raw, fates)
        self._rows.append(row)

    def extend(self, rows: "LakeRows") -> None:
        """Add all of the rows behind these."""
        self._rows.extend(rows._rows)

    def positions(self) -> tuple[int, int]:
        """The log positions of the first and the last row; there must be one."""
        return self._rows[0][_LOG_POSITION], self._rows[-1][_LOG_POSITION]

    def known_message_ids(self) -> list[str]:
        """The message ids that count as received: those of all rows that did not fail on ingest."""
        known: dict[str, bool] = {}
        ids: list[str] = []
        for row in self._rows:
            fates = row[-1]
            received = known.get(fates)
            if received is None:
                received = known[fates] = FAILED_ON_INGEST not in fates
            if received and row[0] is not None:
                ids.append(row[0])
        return ids

    def by_day(self) -> dict[datetime.date, "LakeRows"]:
        """The rows by UTC day of receipt, each in log order."""
        days = {row[_RECEIVED_AT] // _DAY_MICROS for row in self._rows}
        if len(days) == 1:
            return {_date(days.pop()): self}
        return {
            _date(day): LakeRows([row for row in self._rows if row[_RECEIVED_AT] // _DAY_MICROS == day])
            for day in sorted(days)
        }

    def row_groups(self) -> Iterator["LakeRows"]:
        """The rows in parts of a size that is good to write and to read back."""
        begin = payload_bytes = 0
        for place, row in enumerate(self._rows):
            payload_bytes += len(row[_PAYLOAD])
            if payload_bytes > ROW_GROUP_PAYLOAD_BYTES or place - begin == ROW_GROUP_ROWS:
                yield LakeRows(self._rows[begin:place])
                begin, payload_bytes = place, len(row[_PAYLOAD])
        if begin < len(self._rows):
            yield LakeRows(self._rows[begin:])

    def to_arrow(self) -> "pa.RecordBatch":
        """The rows as an Arrow batch of `file_schema`."""
        import pyarrow as pa

        columns = zip(*self._rows, strict=True)
        arrays = [_ARRAY_OF.get(name, _text)(values) for name, values in zip(COLUMNS, columns, strict=True)]
        return pa.record_batch(arrays, schema=file_schema())


def file_schema() -> "pa.Schema":
    """The Arrow schema of a data file: `COLUMNS`, the repetitive ones as dictionaries."""
    import pyarrow as pa

    text = pa.string()
    repeated = pa.dictionary(pa.int32(), text)
    instant = pa.timestamp("us", tz="UTC")
    others = {
        "received_at": pa.field("received_at", instant, nullable=False),
        "timestamp": pa.field("timestamp", instant),
        "log_position": pa.field("log_position", pa.int64(), nullable=False),
        "event_index": pa.field("event_index", pa.int32(), nullable=False),
    }
    return pa.schema([others.get(name) or pa.field(name, repeated if name in REPETITIVE else text) for name in COLUMNS])


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


def _text(values: Sequence[str | bytes | None]) -> "pa.Array":
    import pyarrow as pa

    try:
        return pa.array(values, type=pa.string())
    except (pa.ArrowInvalid, UnicodeEncodeError):
        # Text that is not Unicode must not keep its neighbours out of the lake.
        return pa.array([_mended(value) for value in values], type=pa.string())


def _mended(value: str | bytes | None) -> str | None:
    if value is None:
        return None
    return (value.encode(errors="replace") if isinstance(value, str) else value).decode(errors="replace")


def _dictionary(values: Sequence[str | None]) -> "pa.Array":
    import pyarrow as pa

    # Python has the hash of a text at hand that occurs again; Arrow would read it each time.
    numbers: dict[str, int] = {}
    indices = [None if value is None else numbers.setdefault(value, len(numbers)) for value in values]
    return pa.DictionaryArray.from_arrays(pa.array(indices, type=pa.int32()), _text(list(numbers)))


def _instants(values: Sequence[datetime.datetime | None]) -> "pa.Array":
    import pyarrow as pa

    # Arrow takes differences four times as fast as aware datetimes.
    since = pa.array([None if value is None else value - EPOCH for value in values], type=pa.duration("us"))
    return since.view(pa.timestamp("us", tz="UTC"))


def _micros(values: Sequence[int]) -> "pa.Array":
    import pyarrow as pa

    return pa.array(values, type=pa.int64()).view(pa.timestamp("us", tz="UTC"))


def _int64(values: Sequence[int]) -> "pa.Array":
    import pyarrow as pa

    return pa.array(values, type=pa.int64())


def _int32(values: Sequence[int]) -> "pa.Array":
    import pyarrow as pa

    return pa.array(values, type=pa.int32())


_ARRAY_OF: dict[str, Callable[[Sequence[Any]], "pa.Array"]] = {  # all others are text
    "received_at": _micros,
    "timestamp": _instants,
    "log_position": _int64,
    "event_index": _int32,
    **dict.fromkeys(REPETITIVE, _dictionary),
}
