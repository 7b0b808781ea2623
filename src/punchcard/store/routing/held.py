"""Events that wait for their destination to be usable: added and released by routing, shown to operators."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, exists, func, select, update

from punchcard.store.keys import key_in
from punchcard.store.routing.event_results import EventResult
from punchcard.store.routing.schema import held_events, held_records
from punchcard.store.upsert import insert_into
from punchcard.store.values import storable

_KEYS_PER_QUERY = 200
_GIVEN_LATER = ("id", "released_at", "result", "status")
_json = msgspec.json.Encoder()
_result = msgspec.json.Decoder(EventResult)

Place = tuple[int, int]
"""The place of an event in the log: position of its record, and its number in the record."""


@dataclass(frozen=True, kw_only=True)
class HeldRecord:
    """A log record that holds events which are held; its fields are the log's."""

    log_position: int
    received_at: int
    write_key: str
    call: str
    encoding: str
    body: bytes
    ip: str


@dataclass(frozen=True, kw_only=True)
class HeldEvent:
    """An event that one destination could not plan.

    Attributes:
        id: Rises in the order in which events were held; 0 before it is stored.
        reason: Stable code.
        detail: Why, in a sentence.
        rewritten: Its JSON text, if the rules of its source have changed that; None if it is as in its record.
        partition: Of the log: only its router plans the event.
    """

    destination: str
    source: str
    message_id: str
    log_position: int
    event_index: int
    received_at: datetime
    reason: str
    detail: str
    id: int = 0
    rewritten: bytes | None = None
    partition: int = 0


@dataclass(frozen=True, kw_only=True)
class HeldCount:
    """How many events are held for one destination.

    Attributes:
        oldest_received_at: When the oldest of them was received.
        detail: Why the oldest is held, in a sentence.
    """

    destination: str
    count: int
    oldest_received_at: datetime
    detail: str


def hold(work: Connection, events: Sequence[HeldEvent], records: Collection[HeldRecord]) -> None:
    """Store events with their records. What is held already stays as it is."""
    if not events:
        return
    work.execute(
        insert_into(work, held_records).on_conflict_do_nothing(),
        [{column.name: getattr(record, column.name) for column in held_records.columns} for record in records],
    )
    names = [column.name for column in held_events.columns if column.name not in _GIVEN_LATER]
    rows = [{name: getattr(event, name) for name in names} for event in events]
    for row in rows:
        row["message_id"], row["detail"] = storable(row["message_id"]), storable(row["detail"])
    work.execute(insert_into(work, held_events).on_conflict_do_nothing(), rows)


def waiting_destinations(work: Connection, *, partition: int = 0) -> list[str]:
    """The destinations with events of a partition that are held."""
    columns = held_events.c
    waiting = select(columns.destination).where(columns.released_at.is_(None), columns.partition == partition)
    return list(work.scalars(waiting.distinct()))


def newest_waiting(work: Connection, destination: str, *, partition: int = 0) -> int:
    """The id of the newest event of a partition that is held for a destination, 0 if none is."""
    columns = held_events.c
    chosen = select(func.max(columns.id)).where(
        columns.destination == destination, columns.released_at.is_(None), columns.partition == partition
    )
    return int(work.scalar(chosen) or 0)


def read_waiting(work: Connection, destination: str, *, after: int, limit: int, partition: int = 0) -> list[HeldEvent]:
    """The next events of a partition that are held for a destination, in their order, locked in the unit of work."""
    rows = work.execute(
        select(held_events)
        .where(
            held_events.c.destination == destination,
            held_events.c.released_at.is_(None),
            held_events.c.id > after,
            held_events.c.partition == partition,
        )
        .order_by(held_events.c.id)
        .limit(limit)
        .with_for_update()
    )
    return [_event_of(row) for row in rows]


def read_records(work: Connection, positions: Collection[int]) -> dict[int, HeldRecord]:
    """The records at these log positions."""
    records: dict[int, HeldRecord] = {}
    chosen_positions = sorted(positions)
    for begin in range(0, len(chosen_positions), _KEYS_PER_QUERY):
        chunk = chosen_positions[begin : begin + _KEYS_PER_QUERY]
        for row in work.execute(select(held_records).where(held_records.c.log_position.in_(chunk))):
            records[row.log_position] = HeldRecord(**row._mapping)
    return records


def release(work: Connection, results: Mapping[int, EventResult], *, now: datetime) -> None:
    """Store the results of events that were held, by their ids, and delete records that none needs any more."""
    for event_id, result in results.items():
        work.execute(
            update(held_events)
            .where(held_events.c.id == event_id)
            .values(released_at=now, result=storable(_json.encode(result).decode()), status=result.status.value)
        )
    waiting = exists().where(
        held_events.c.log_position == held_records.c.log_position, held_events.c.released_at.is_(None)
    )
    ids = sorted(results)
    for begin in range(0, len(ids), _KEYS_PER_QUERY):
        positions = select(held_events.c.log_position).where(held_events.c.id.in_(ids[begin : begin + _KEYS_PER_QUERY]))
        work.execute(delete(held_records).where(held_records.c.log_position.in_(positions), ~waiting))


def hold_again(work: Connection, event_id: int, *, reason: str, detail: str) -> None:
    """Say why an event is held still."""
    work.execute(update(held_events).where(held_events.c.id == event_id).values(reason=reason, detail=storable(detail)))


def results_at(work: Connection, places: Collection[Place]) -> dict[tuple[Place, str], EventResult]:
    """Return the results of events that were held and are released, by their place in the log and the destination."""
    results: dict[tuple[Place, str], EventResult] = {}
    chosen_places = sorted(places)
    columns = held_events.c
    for begin in range(0, len(chosen_places), _KEYS_PER_QUERY):
        chunk = chosen_places[begin : begin + _KEYS_PER_QUERY]
        rows = work.execute(
            select(columns.log_position, columns.event_index, columns.destination, columns.result).where(
                key_in([columns.log_position, columns.event_index], chunk), columns.result.is_not(None)
            )
        )
        for position, index, destination, result in rows:
            results[(position, index), destination] = _result.decode(result)
    return results


def count_held(work: Connection) -> list[HeldCount]:
    """Return how many events are held, by destination."""
    columns = held_events.c
    counts = work.execute(
        select(columns.destination, func.count(), func.min(columns.received_at), func.min(columns.id))
        .where(columns.released_at.is_(None))
        .group_by(columns.destination)
        .order_by(columns.destination)
    ).all()
    details = {
        row.id: row.detail
        for row in work.execute(select(columns.id, columns.detail).where(columns.id.in_([row[3] for row in counts])))
    }
    return [
        HeldCount(destination=destination, count=int(count), oldest_received_at=oldest, detail=details[first])
        for destination, count, oldest, first in counts
    ]


def count_held_with_key(work: Connection, write_keys: Collection[str]) -> int:
    """Return the number of held records that were received with one of these write keys."""
    return (
        work.scalar(
            select(func.count()).select_from(held_records).where(held_records.c.write_key.in_(sorted(write_keys)))
        )
        or 0
    )


def count_held_for(work: Connection, destination: str) -> int:
    """Return how many events are held for one destination."""
    columns = held_events.c
    chosen = select(func.count()).where(columns.destination == destination, columns.released_at.is_(None))
    return int(work.scalar(chosen) or 0)


def _event_of(row: Row[*tuple[Any, ...]]) -> HeldEvent:
    values = dict(row._mapping)
    return HeldEvent(**{name: value for name, value in values.items() if name not in _GIVEN_LATER[1:]})
