"""What lists and pages say of audiences and traits: sizes over time, and the outcomes of their syncs."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    and_,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    type_coerce,
    union_all,
)

from punchcard.clock import to_micros
from punchcard.store.delivery.effects import DISMISSED_REASONS, EffectState
from punchcard.store.delivery.ledger import sets_attribute
from punchcard.store.delivery.schema import effects
from punchcard.store.delivery.waiting import NO_CONNECTION
from punchcard.store.engage.schema import HAS_VALUE, computation_sizes, computation_states, synced

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


@dataclass(frozen=True, kw_only=True)
class SyncOutcome:
    """The outcome of the syncs of one computation to one destination.

    Attributes:
        synced: Profiles of which the last synced value is a membership, or a value.
        no_connection: Calls that wait for the partner to know the customer.
        retrying: Calls that have failed and are tried again.
        parked: Calls that need attention.
        rejected: Calls that the partner has refused for good.
        failed: The newest values that the destination does not have because of that, at most `FAILED_MAX`.
    """

    synced: int
    no_connection: int
    retrying: int
    parked: int
    rejected: int
    failed: Sequence[FailedSync] = ()


def outcome_of(work: Connection, key: str, *, destination: str, source: str) -> SyncOutcome:
    """Return the outcome of the syncs of a computation to a destination.

    Args:
        source: Of the calls: the destination's own.
    """
    people = select(func.count(synced.c.profile_id.distinct())).where(
        synced.c.destination == destination, synced.c.key == key, HAS_VALUE
    )
    own = (effects.c.destination == destination, effects.c.source == source, sets_attribute(key))
    parts = [
        select(effects.c.state, effects.c.reason, func.count().label("calls"))
        .where(*own, chosen)
        .group_by(effects.c.state, effects.c.reason)
        for chosen in (
            and_(effects.c.is_open == true(), effects.c.state == EffectState.RETRYING),
            effects.c.state.in_([EffectState.PARKED, EffectState.REJECTED]),
        )
    ]
    calls: Counter[str] = Counter()
    for row in work.execute(union_all(*parts)):
        is_waiting = row.reason == NO_CONNECTION and row.state != EffectState.REJECTED
        calls[NO_CONNECTION if is_waiting else row.state] += row.calls
    return SyncOutcome(
        synced=work.scalar(people) or 0,
        no_connection=calls[NO_CONNECTION],
        retrying=calls[EffectState.RETRYING],
        parked=calls[EffectState.PARKED],
        rejected=calls[EffectState.REJECTED],
        failed=failed_syncs(work, key, destination=destination, source=source)
        if calls[EffectState.PARKED] or calls[EffectState.REJECTED]
        else (),
    )


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
    chosen = select(effects.c.attributes).where(*_failed(destination, source)).order_by(effects.c.id.desc())
    rows = work.scalars(chosen.limit(FAILED_MAX)).all()
    return {name for attributes in rows if attributes for name in json.loads(attributes)}


def _failed(destination: str, source: str) -> tuple[ColumnElement[bool], ...]:
    columns = effects.c
    return (
        columns.state.in_([EffectState.PARKED, EffectState.REJECTED]),
        columns.destination == destination,
        columns.source == source,
        or_(columns.state == EffectState.REJECTED, columns.reason.is_distinct_from(NO_CONNECTION)),
        columns.reason.not_in(DISMISSED_REASONS) | columns.reason.is_(None),
    )


def sizes_of_all(
    work: Connection, *, since: datetime, until: datetime, step: timedelta
) -> Mapping[str, Sequence[tuple[datetime, int]]]:
    """The sizes of every computation by key, oldest first, in one statement.

    The first of each is the one that stood when the time began, if it is known. Of each stretch only the last is
    there: what is shown small needs no more.

    Args:
        since: Where the time begins.
        until: Where it ends; stretches are counted from here.
        step: How long a stretch is.
    """
    sizes = computation_sizes.c
    other = computation_sizes.alias()
    older_size = (
        select(func.max(other.c.bucket))
        .where(other.c.key == computation_states.c.key, other.c.bucket <= since)
        .scalar_subquery()
    )
    age = literal(to_micros(until), BigInteger) - type_coerce(sizes.bucket, BigInteger)
    stretch = age // literal(step // timedelta(microseconds=1), BigInteger)
    newest = func.row_number().over(partition_by=(sizes.key, stretch), order_by=sizes.bucket.desc())
    ranked = (
        select(sizes.key, sizes.bucket, sizes.size, newest.label("rank"))
        .select_from(computation_states)
        .outerjoin(  # so that SQLite begins with the few keys, and finds the sizes of each by the index
            computation_sizes,
            and_(
                sizes.key == computation_states.c.key,
                sizes.bucket >= func.coalesce(older_size, literal(since, sizes.bucket.type)),
            ),
        )
        .subquery()
    )
    query = select(ranked).where(ranked.c.rank == 1).order_by(ranked.c.key, ranked.c.bucket)
    sizes_by_key: dict[str, list[tuple[datetime, int]]] = {}
    for row in work.execute(query):
        if row.key is not None:
            sizes_by_key.setdefault(row.key, []).append((row.bucket, row.size))
    return sizes_by_key
