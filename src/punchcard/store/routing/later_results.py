"""Places of events that got a result after they were first routed: planned after they were held, or replayed."""

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, func, select, tuple_

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
    planned = select(held.log_position, held.event_index).where(held.status == query.status)
    planned = planned.where(*_conditions(query, held, held.result))
    # A replayed event may have been held itself.
    own = and_(
        held.log_position == replayed.log_position,
        held.event_index == replayed.event_index,
        held.destination == replayed.destination,
    )
    again = select(replayed.original_position, replayed.original_index).select_from(
        replayed_events.outerjoin(held_events, own)
    )
    again = again.where(func.coalesce(held.status, replayed.status) == query.status)
    again = again.where(*_conditions(query, replayed, func.coalesce(held.result, replayed.result)))
    places: set[Place] = set()
    for chosen, position, index in (
        (planned, held.log_position, held.event_index),
        (again, replayed.original_position, replayed.original_index),
    ):
        if before is not None:
            chosen = chosen.where(tuple_(position, index) < before)
        rows = work.execute(chosen.distinct().order_by(position.desc(), index.desc()).limit(limit))
        places.update((row[0], row[1]) for row in rows)
    return sorted(places, reverse=True)[:limit]


def _conditions(query: LaterResultQuery, columns: Any, result: ColumnElement[str]) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if query.reason is not None:
        # Quotes inside a JSON string are escaped, so this text cannot appear by accident.
        reason = msgspec.json.encode(query.reason or None).decode()
        conditions.append(result.contains(f'"reason":{reason}', autoescape=True))
    if query.destination is not None:
        conditions.append(columns.destination == query.destination)
    if query.source is not None:
        conditions.append(columns.source == query.source)
    return conditions
