"""Results of events that replays have brought to the log again: written by routing, shown with the event."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import Connection, Select, func, insert, select

from punchcard.store.keys import key_in
from punchcard.store.routing.event_results import EventResult, EventStatus
from punchcard.store.routing.schema import replayed_events
from punchcard.store.values import storable

_KEYS_PER_QUERY = 200
_json = msgspec.json.Encoder()
_result = msgspec.json.Decoder(EventResult)

Place = tuple[int, int]
"""The place of an event in the log: position of its record, and its number in the record."""


@dataclass(frozen=True, kw_only=True)
class EventReplay:
    """The routing of an event by a replay.

    Attributes:
        original: The place of the event itself in the log.
        place: Its place in the replay's record.
        result: What it gave; one that was held got its result later.
    """

    replay: str
    destination: str
    source: str
    message_id: str
    original: Place
    place: Place
    replayed_at: datetime
    result: EventResult


def add_event_replays(work: Connection, events: Sequence[EventReplay]) -> None:
    """Keep the results of replayed events."""
    if not events:
        return
    work.execute(
        insert(replayed_events),
        [
            {
                "replay": event.replay,
                "destination": event.destination,
                "source": event.source,
                "message_id": storable(event.message_id),
                "original_position": event.original[0],
                "original_index": event.original[1],
                "log_position": event.place[0],
                "event_index": event.place[1],
                "replayed_at": event.replayed_at,
                "status": event.result.status,
                "result": storable(_json.encode(event.result).decode()),
            }
            for event in events
        ],
    )


def event_replays(work: Connection, places: Collection[Place]) -> dict[Place, list[EventReplay]]:
    """The replays of the events at these places, oldest first."""
    replays: dict[Place, list[EventReplay]] = {}
    columns = replayed_events.c
    ordered = sorted(places)
    for begin in range(0, len(ordered), _KEYS_PER_QUERY):
        chunk = ordered[begin : begin + _KEYS_PER_QUERY]
        rows = work.execute(
            select(replayed_events)
            .where(key_in([columns.original_position, columns.original_index], chunk))
            .order_by(columns.id)
        )
        for row in rows:
            original = (row.original_position, row.original_index)
            replays.setdefault(original, []).append(
                EventReplay(
                    replay=row.replay,
                    destination=row.destination,
                    source=row.source,
                    message_id=row.message_id,
                    original=original,
                    place=(row.log_position, row.event_index),
                    replayed_at=row.replayed_at,
                    result=_result.decode(row.result),
                )
            )
    return replays


def has_event_replays(work: Connection, destination: str) -> bool:
    """Whether any event was ever replayed for a destination."""
    query = select(replayed_events.c.id).where(replayed_events.c.destination == destination).limit(1)
    return work.scalar(query) is not None


def current_replays(replays: Sequence[EventReplay]) -> Mapping[str, EventReplay]:
    """By destination, the replay that has the current result of an event.

    A duplicate changes nothing: what the event is a duplicate of has its own result.
    """
    return {replay.destination: replay for replay in replays if replay.result.status is not EventStatus.DUPLICATE}


def count_replayed(work: Connection, replay: str) -> dict[EventStatus, int]:
    """Return how many events of a replay got which result from routing."""
    columns = replayed_events.c
    rows = work.execute(select(columns.status, func.count()).where(columns.replay == replay).group_by(columns.status))
    return {EventStatus(status): int(count) for status, count in rows}


def replayed_messages(replay: str) -> Select[tuple[str]]:
    """Return the statement that selects the message ids of a replay's events."""
    return select(replayed_events.c.message_id).where(replayed_events.c.replay == replay)
