"""The length of a destination's queue, by which others decide whether to add to it."""

from datetime import datetime

from sqlalchemy import Connection, func, select, true

from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.schema import effects
from punchcard.store.delivery.waiting import NO_CONNECTION


def count_due(work: Connection, destination: str, *, now: datetime, count_max: int) -> int:
    """How many effects of a destination wait to be sent now, `count_max` at most."""
    waiting = (
        select(effects.c.id)
        .where(effects.c.destination == destination, effects.c.is_open == true(), effects.c.due_at <= now)
        .limit(count_max)
    )
    return int(work.scalar(select(func.count()).select_from(waiting.subquery())) or 0)


def has_overdue_awards(work: Connection, destination: str, *, due_before: datetime) -> bool:
    """Return whether a destination has awards that have waited for their first attempt since an instant."""
    waiting = select(effects.c.id).where(
        effects.c.destination == destination,
        effects.c.is_open,
        effects.c.item.is_not(None),
        effects.c.state == EffectState.PENDING,
        effects.c.due_at < due_before,
    )
    return work.execute(waiting.limit(1)).first() is not None


def count_open_calls(work: Connection, destination: str, *, source: str) -> int:
    """Return how many calls of a source wait for their turn; those that wait for a customer are not counted."""
    query = select(func.count()).where(
        effects.c.destination == destination,
        effects.c.is_open,
        effects.c.source == source,
        effects.c.item.is_(None),  # a call of any destination but what gives or takes units
        effects.c.reason.is_distinct_from(NO_CONNECTION),
    )
    return int(work.scalar(query) or 0)
