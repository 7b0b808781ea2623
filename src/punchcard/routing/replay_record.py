"""The log record of a replay: past events that enter the log again, for one destination only.

What makes it a replay is the record's `call`, which no request can choose: the Tracking API derives it from the path.
So nobody outside can let an event pass the check for repeated message ids.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from punchcard.clock import from_micros, to_micros
from punchcard.errors import UnreadableRecordError
from punchcard.events.model import Event
from punchcard.events.parse import IngestFailure
from punchcard.lake.reader import LakeEvent
from punchcard.log.bodies import decompress
from punchcard.log.port import LogRecord, NewRecord
from punchcard.routing.lake_events import restore_event
from punchcard.store.routing.event_results import EventResult

REPLAY: Final = "replay"
"""The call of the log record of a replay."""


class ReplayedEvent(msgspec.Struct, frozen=True, rename="camel"):
    """A past event in a replay's record.

    Attributes:
        position: Its own record's place in the log, and `index` its place in that.
        type: One of the six calls.
        received_at: When it was received, microseconds since 1970; `timestamp` when it happened.
        result: Its result at the destination before, None if it had none.
        event: Its JSON text as received.
    """

    position: int
    index: int
    type: str
    message_id: str
    received_at: int
    timestamp: int
    result: EventResult | None
    event: msgspec.Raw

    @property
    def place(self) -> tuple[int, int]:
        """The place of the event itself in the log."""
        return self.position, self.index


class ReplayBatch(msgspec.Struct, frozen=True, rename="camel"):
    """The content of a replay's record: some events of one source."""

    replay: str
    destination: str
    source: str
    events: tuple[ReplayedEvent, ...]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(ReplayBatch)


def replayed_event(row: LakeEvent, result: EventResult | None) -> ReplayedEvent:
    """The event of a row of the lake, which must be a valid replayed."""
    timestamp = row.received_at if row.timestamp is None else row.timestamp
    return ReplayedEvent(
        position=row.log_position,
        index=row.event_index,
        type=row.type,
        message_id=row.message_id,
        received_at=to_micros(row.received_at),
        timestamp=to_micros(timestamp),
        result=result,
        event=msgspec.Raw(row.payload),
    )


def replay_record(batch: ReplayBatch, *, now: datetime) -> NewRecord:
    """The batch as a record for the log."""
    return NewRecord(
        received_at=to_micros(now), write_key="", call=REPLAY, encoding="identity", body=_encoder.encode(batch), ip=""
    )


def read_replay(record: LogRecord) -> ReplayBatch:
    """The batch that a record holds.

    Raises:
        UnreadableRecordError: it is damaged.
    """
    try:
        return _decoder.decode(decompress(record))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableRecordError(f"The record of a replay cannot be read: {error}.") from error


def restore_events(batch: ReplayBatch) -> Sequence[Event | IngestFailure]:
    """The events of a batch as they were received."""
    return [_restore(event) for event in batch.events]


def _restore(replayed: ReplayedEvent) -> Event | IngestFailure:
    raw = bytes(replayed.event)
    event = restore_event(
        type=replayed.type,
        message_id=replayed.message_id,
        received_at=from_micros(replayed.received_at),
        timestamp=from_micros(replayed.timestamp),
        position=replayed.position,
        raw=raw,
    )
    detail = "This version of Punchcard cannot read the replayed event any more."
    return event or IngestFailure("internal_error", detail, replayed.message_id, raw)
