"""The results of calls that set the value of a computation at a destination."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, TextClause, and_, exists, func, or_, select, true, union_all

from punchcard.store.delivery.effects import DISMISSED_REASONS, EffectState
from punchcard.store.delivery.ledger import sets_attribute
from punchcard.store.delivery.schema import IS_FAILED, effects
from punchcard.store.delivery.undelivered import has_failed
from punchcard.store.delivery.unknown_customers import NO_CONNECTION

FAILED_MAX = 1_000
"""How many values that failed are read; more are not counted one by one."""


@dataclass(frozen=True, kw_only=True)
class FailedSync:
    """A value that a destination rejected, or that is parked, and that no later one has replaced.

    Attributes:
        value: JSON text.
        state: `rejected` or `parked`.
    """

    email: str
    value: str
    state: str
    reason: str
    detail: str
    at: datetime | None


def count_failing_calls(work: Connection, key: str, *, destination: str, source: str) -> Mapping[str, int]:
    """Return how many calls about a computation failed, by state; as `NO_CONNECTION`, those that wait for a customer.

    Args:
        source: Of the calls: the destination's own.
    """
    own = (effects.c.destination == destination, effects.c.source == source, sets_attribute(key))
    parts = [
        select(effects.c.state, effects.c.reason, func.count().label("calls"))
        .where(*own, chosen)
        .group_by(effects.c.state, effects.c.reason)
        for chosen in (
            and_(effects.c.is_open == true(), effects.c.state == EffectState.RETRYING),
            IS_FAILED,
        )
    ]
    calls: Counter[str] = Counter()
    for row in work.execute(union_all(*parts)):
        is_waiting = row.reason == NO_CONNECTION and row.state != EffectState.REJECTED
        calls[NO_CONNECTION if is_waiting else row.state] += row.calls
    return calls


def failed_syncs(work: Connection, key: str, *, destination: str, source: str) -> list[FailedSync]:
    """Return the newest values of a computation that a destination rejected or that are parked, and none came later.

    Args:
        source: Of the calls: the destination's own.
    """
    columns, later = effects.c, effects.alias()
    is_replaced = exists().where(
        later.c.destination == columns.destination,
        later.c.customer == columns.customer,
        later.c.id > columns.id,
        sets_attribute(key, later),
    )
    chosen = (
        select(columns.attributes, columns.email, columns.state, columns.reason, columns.detail, columns.finished_at)
        .where(*_failed(destination, source), sets_attribute(key), ~is_replaced)
        .order_by(columns.id.desc())
        .limit(FAILED_MAX)
    )
    return [
        FailedSync(
            email=row.email,
            value=json.dumps(json.loads(row.attributes)[key], ensure_ascii=False),
            state=row.state,
            reason=row.reason or "",
            detail=row.detail or "",
            at=row.finished_at,
        )
        for row in work.execute(chosen)
    ]


def keys_of_failed_syncs(work: Connection, *, destination: str, source: str) -> set[str]:
    """The keys of the newest calls that a destination rejected or that are parked."""
    if not has_failed(work, destination):
        return set()
    chosen = select(effects.c.attributes).where(*_failed(destination, source)).order_by(effects.c.id.desc())
    rows = work.scalars(chosen.limit(FAILED_MAX)).all()
    return {name for attributes in rows if attributes for name in json.loads(attributes)}


def _failed(destination: str, source: str) -> tuple[ColumnElement[bool] | TextClause, ...]:
    columns = effects.c
    return (
        IS_FAILED,
        columns.destination == destination,
        columns.source == source,
        or_(columns.state == EffectState.REJECTED, columns.reason.is_distinct_from(NO_CONNECTION)),
        columns.reason.not_in(DISMISSED_REASONS) | columns.reason.is_(None),
    )
