"""Places of events that got a result after they were first routed: planned after they were held, or replayed."""

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, select, tuple_

from punchcard.store.routing.event_results import EventStatus
from punchcard.store.routing.held import Place
from punchcard.store.routing.schema import held_events, replayed_events


@dataclass(frozen=True, kw_only=True)
class LaterResultQuery:
    """Selects results; None selects all.

    Attributes:
        reason: Stable code, "" for a result without one.
    """

    status: str
    reason: str | None = None
    destination: str | None = None
    source: str | None = None


def places_with_later_result(
    work: Connection, query: LaterResultQuery, *, before: Place | None, limit: int
) -> list[Place]:
    """Return the places of events that later got a result, newest first; some may have got yet another since.

    Args:
        before: Only events before this place.
    """
    held, replayed = held_events.c, replayed_events.c
    own_place = (held.log_position, held.event_index)
    original_place = (replayed.original_position, replayed.original_index)
    # A replayed event may have been held itself.
    own = and_(
        held.log_position == replayed.log_position,
        held.event_index == replayed.event_index,
        held.destination == replayed.destination,
    )
    # One statement for each index: one condition on both tables would read every replayed event.
    again = select(*original_place).select_from(replayed_events.outerjoin(held_events, own))
    again = again.where(replayed.status == query.status, held.result.is_(None))
    selected = [(again.where(*_conditions(query, replayed, replayed.result)), original_place)]
    statuses = [held.status == query.status]
    # Planned by a worker that does not know the column, during an upgrade: seldom any.
    unset = and_(held.status.is_(None), held.result.is_not(None))
    if work.scalar(select(held.id).where(unset).limit(1)) is not None:
        statuses.append(and_(unset, _has(held.result, "status", query.status)))
    for has_status in statuses:
        conditions = (has_status, *_conditions(query, held, held.result))
        selected.append((select(*own_place).where(*conditions), own_place))
        replays = select(*original_place).select_from(held_events.join(replayed_events, own))
        selected.append((replays.where(*conditions), original_place))
    places: set[Place] = set()
    for chosen, (position, index) in selected:
        if before is not None:
            chosen = chosen.where(tuple_(position, index) < before)
        rows = work.execute(chosen.distinct().order_by(position.desc(), index.desc()).limit(limit))
        places.update((row[0], row[1]) for row in rows)
    return sorted(places, reverse=True)[:limit]


def replaced_results(work: Connection, first: int, last: int) -> set[tuple[Place, str]]:
    """Return which results of a range of the log were replaced later, by the place of the event and the destination."""
    held, replayed = held_events.c, replayed_events.c
    planned = select(held.log_position, held.event_index, held.destination)
    planned = planned.where(held.log_position.between(first, last), held.result.is_not(None))
    # A duplicate changes nothing: what the event is a duplicate of has its own result.
    again = select(replayed.original_position, replayed.original_index, replayed.destination)
    again = again.where(replayed.original_position.between(first, last), replayed.status != EventStatus.DUPLICATE.value)
    return {
        ((position, index), destination)
        for statement in (planned, again)
        for position, index, destination in work.execute(statement)
    }


def _has(result: ColumnElement[Any], member: str, value: str | None) -> ColumnElement[bool]:
    # Quotes inside a JSON string are escaped, so this text cannot appear by accident.
    return result.contains(f'"{member}":{msgspec.json.encode(value).decode()}', autoescape=True)


def _conditions(query: LaterResultQuery, columns: Any, result: ColumnElement[str]) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if query.reason is not None:
        conditions.append(_has(result, "reason", query.reason or None))
    if query.destination is not None:
        conditions.append(columns.destination == query.destination)
    if query.source is not None:
        conditions.append(columns.source == query.source)
    return conditions
