"""Counts of violations by source, event, field, kind and UTC day."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, case, delete, func, select, tuple_

from punchcard.clock import from_micros, to_micros
from punchcard.store.tracking_plans.schema import plan_violations, violation_events
from punchcard.store.upsert import insert_into
from punchcard.store.values import storable

PRUNED_PER_UNIT: Final = 1_000
"""Rows deleted in one unit of work."""

DAY_MICROS: Final = 86_400_000_000
NAME_CHARACTERS_MAX: Final = 256
_KEY: Final = ("source", "event_type", "event_name", "field", "kind")


class ViolationKey(NamedTuple):
    """What is counted together."""

    source: str
    event_type: str
    event_name: str
    field: str
    kind: str


def violation_key(source: str, event_type: str, event_name: str, field: str, kind: str) -> ViolationKey:
    """Return a key as both engines can store it; longer texts are cut."""
    name, path = (storable(text[:NAME_CHARACTERS_MAX]) for text in (event_name, field))
    return ViolationKey(source, event_type, name, path, kind)


@dataclass(slots=True)
class ViolationDelta:
    """Violations of one key on one day in a batch; instants in microseconds since 1970."""

    plan: str
    description: str
    first_seen: int
    last_seen: int
    count: int = 0
    blocked: int = 0


@dataclass(frozen=True, kw_only=True)
class ListedViolation:
    """Violations of one event, field and kind in a period.

    Attributes:
        plan: Slug of the plan that was violated last.
        description: Description of the last one.
        count: How many there were.
        blocked: How many of them stopped their event.
    """

    key: ViolationKey
    plan: str
    description: str
    count: int
    blocked: int
    first_seen: datetime
    last_seen: datetime


def read_violation_keys(work: Connection, source: str, *, since: datetime) -> set[ViolationKey]:
    """Return what was counted for a source since an instant."""
    columns = plan_violations.c
    rows = work.execute(
        select(*(columns[name] for name in _KEY)).where(columns.source == source, columns.day >= since).distinct()
    )
    return {ViolationKey(*row) for row in rows}


def add_violations(work: Connection, deltas: Mapping[tuple[ViolationKey, int], ViolationDelta]) -> None:
    """Add to the counts.

    Args:
        deltas: By key, and the begin of the UTC day in microseconds since 1970.
    """
    if not deltas:
        return
    adding = insert_into(work, plan_violations)
    columns = plan_violations.c
    excluded = adding.excluded
    work.execute(
        adding.on_conflict_do_update(
            index_elements=[*_KEY, "day"],
            set_={
                "plan": excluded.plan,
                "description": excluded.description,
                "count": columns["count"] + excluded["count"],
                "blocked": columns.blocked + excluded.blocked,
                "last_seen": case(
                    (columns.last_seen > excluded.last_seen, columns.last_seen), else_=excluded.last_seen
                ),
            },
        ),
        # In one order everywhere: two processes that add to the same rows must not wait for each other.
        [
            {
                **key._asdict(),
                "day": from_micros(day),
                "plan": delta.plan,
                "description": storable(delta.description),
                "count": delta.count,
                "blocked": delta.blocked,
                "first_seen": from_micros(delta.first_seen),
                "last_seen": from_micros(delta.last_seen),
            }
            for (key, day), delta in sorted(deltas.items(), key=lambda item: item[0])
        ],
    )


def list_violations(
    work: Connection,
    *,
    since: datetime,
    source: str = "",
    limit: int = 1_000,
) -> list[ListedViolation]:
    """Return the violations of a period, most frequent first.

    Args:
        since: The period begins with the UTC day of this instant.
        source: Slug; "" for all sources.
    """
    columns = plan_violations.c
    begin = to_micros(since)
    conditions = [columns.day >= from_micros(begin - begin % DAY_MICROS)]
    if source:
        conditions.append(columns.source == source)
    number = func.sum(columns["count"])
    keys = [columns[name] for name in _KEY]
    rows = work.execute(
        select(
            *keys,
            number.label("number"),
            func.sum(columns.blocked).label("blocked_number"),
            func.min(columns.first_seen).label("first"),
            func.max(columns.last_seen).label("last"),
            func.max(columns.day).label("newest"),
        )
        .where(*conditions)
        .group_by(*keys)
        .order_by(number.desc(), *keys)
        .limit(limit)
    ).all()
    return [_listed(row, texts) for row, texts in zip(rows, _texts(work, rows), strict=True)]


def count_violations(work: Connection, *, since: datetime) -> dict[str, int]:
    """Return the number of violations of a period by source."""
    columns = plan_violations.c
    begin = to_micros(since)
    rows = work.execute(
        select(columns.source, func.sum(columns["count"]))
        .where(columns.day >= from_micros(begin - begin % DAY_MICROS))
        .group_by(columns.source)
    )
    return {source: int(number) for source, number in rows}


def prune_violations(work: Connection, *, before: datetime, limit: int = PRUNED_PER_UNIT) -> int:
    """Delete at most `limit` counts of days that began before an instant; returns how many."""
    keys = list(plan_violations.primary_key)
    chosen = select(*keys).where(plan_violations.c.day < before).order_by(*keys).limit(limit)
    return work.execute(delete(plan_violations).where(tuple_(*keys).in_(chosen))).rowcount


def add_violation_events(work: Connection, events: Iterable[tuple[str, bytes]]) -> None:
    """Queue `Violation Generated` events, each with the slug of the source that receives it."""
    rows = [{"source": source, "body": body} for source, body in events]
    if rows:
        work.execute(violation_events.insert(), rows)


def next_violation_events(work: Connection, *, limit: int) -> Sequence[tuple[int, str, bytes]]:
    """Return the first queued events: id, receiving source and body."""
    columns = violation_events.c
    rows = work.execute(select(columns.id, columns.source, columns.body).order_by(columns.id).limit(limit))
    return [(row.id, row.source, row.body) for row in rows]


def count_violation_events(work: Connection) -> int:
    """Return the number of queued events."""
    return work.scalar(select(func.count()).select_from(violation_events)) or 0


def delete_violation_events(work: Connection, ids: Iterable[int]) -> None:
    """Delete events that were appended to the log."""
    for row_id in ids:
        work.execute(delete(violation_events).where(violation_events.c.id == row_id))


def _texts(work: Connection, rows: Sequence[Row[*tuple[Any, ...]]]) -> list[tuple[str, str]]:
    """Return plan and description of the newest day of each row."""
    columns = plan_violations.c
    texts = []
    for row in rows:
        match = work.execute(
            select(columns.plan, columns.description).where(
                *(columns[name] == getattr(row, name) for name in _KEY), columns.day == row.newest
            )
        ).first()
        texts.append(("", "") if match is None else (match.plan, match.description))
    return texts


def _listed(row: Row[*tuple[Any, ...]], texts: tuple[str, str]) -> ListedViolation:
    plan, description = texts
    return ListedViolation(
        key=ViolationKey(*(getattr(row, name) for name in _KEY)),
        plan=plan,
        description=description,
        count=int(row.number),
        blocked=int(row.blocked_number),
        first_seen=row.first,
        last_seen=row.last,
    )
