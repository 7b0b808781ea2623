"""An event in the lake."""

from datetime import datetime
from typing import Any

import msgspec

from punchcard.clock import from_micros
from punchcard.errors import LakeError


class LakeResult(msgspec.Struct, frozen=True, rename="camel"):
    """The result of an event at one destination, as decided by routing.

    Attributes:
        destination: Slug, None for a result before any destination.
        status: One of the API's status names (`filtered_at_destination`, `pending` …).
        reason: Stable code, None for a planned effect.
        detail: A sentence for a person.
        effect_key: The effect that the event planned or duplicates, if any.
    """

    destination: str | None
    status: str
    reason: str | None = None
    detail: str | None = None
    effect_key: str | None = None


class LakeEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A received event with its results.

    Attributes:
        type: One of the six types, "" for an invalid event.
        event: Name of a track call.
        email: The event's email, lower-cased; None also for rows written before the `email` column existed.
        source: Slug, None if the write key was unknown.
        timestamp: Time of the event, None for an invalid event.
        log_position: Position of its record in the log.
        event_index: Index in the record.
        payload: JSON text as received.
        notes: Values that were converted to read the event; empty for rows written before the `notes` column existed.
    """

    message_id: str
    type: str
    event: str | None
    user_id: str | None
    anonymous_id: str | None
    email: str | None
    source: str | None
    received_at: datetime
    timestamp: datetime | None
    log_position: int
    event_index: int
    payload: bytes
    results: tuple[LakeResult, ...]
    notes: tuple[str, ...] = ()


def event_of_row(row: tuple[Any, ...]) -> LakeEvent:
    """Return the event of a row with the columns in the order in which `LakeReader` selects them.

    Raises:
        LakeError: The results of the event are damaged.
    """
    received_at, timestamp, results, notes = row[7], row[8], row[12], row[13]
    return LakeEvent(
        message_id=row[0],
        type=row[1],
        event=row[2],
        user_id=row[3],
        anonymous_id=row[4],
        email=row[5],
        source=row[6],
        received_at=from_micros(received_at),
        timestamp=None if timestamp is None else from_micros(timestamp),
        log_position=row[9],
        event_index=row[10],
        payload=row[11],
        results=read_results(results),
        notes=() if notes is None else msgspec.json.decode(notes, type=tuple[str, ...]),
    )


def read_results(text: str) -> tuple[LakeResult, ...]:
    """Return the results in a row of the lake.

    Raises:
        LakeError: They are damaged.
    """
    try:
        return msgspec.json.decode(text, type=tuple[LakeResult, ...])
    except msgspec.DecodeError as error:
        raise LakeError(f"The data lake cannot be read: the results of an event are damaged: {error}.") from error
