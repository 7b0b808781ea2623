"""Clear the texts of old attempts. Effects stay, with what money needs: keys, orders, amounts, customers and dates."""

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.schema import delivery_attempts, effects
from punchcard.store.retention import Portion, count_rows, execute_in, next_old_ids

# A parked effect waits for an operator, who decides by these texts. An open one will have more attempts.
_COMPLETED: Final[tuple[ColumnElement[bool], ...]] = (
    effects.c.is_open.is_not(True),
    effects.c.state != EffectState.PARKED,
)


def clear_delivery_details(work: Connection, *, before: datetime, after: int, limit: int) -> Portion:
    """Clear the texts of the next completed effects that were planned before an instant, and of their attempts.

    An effect that is open or parked when the walk passes it keeps its texts.
    """
    ids, is_last = next_old_ids(work, effects, effects.c.created_at, before=before, after=after, limit=limit)
    completed = list(work.scalars(select(effects.c.id).where(effects.c.id.in_(ids), *_COMPLETED))) if ids else []
    attempts = update(delivery_attempts).where(delivery_attempts.c.detail.is_not(None)).values(detail=None)
    cleared = execute_in(work, attempts, delivery_attempts.c.effect_id, completed)
    cleared += execute_in(
        work, update(effects).where(effects.c.detail.is_not(None)).values(detail=None), effects.c.id, completed
    )
    return Portion(deleted=cleared, cursor=ids[-1] if ids else after, is_last=is_last)


def count_old_delivery_details(work: Connection, *, before: datetime) -> int:
    """Return the number of completed effects older than an instant with a text, or with an attempt that has one."""
    has_attempt = (
        select(delivery_attempts.c.effect_id)
        .where(delivery_attempts.c.effect_id == effects.c.id, delivery_attempts.c.detail.is_not(None))
        .exists()
    )
    return count_rows(
        work, effects, effects.c.created_at < before, *_COMPLETED, or_(effects.c.detail.is_not(None), has_attempt)
    )
