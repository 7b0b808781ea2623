"""Alerts as they are stored."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, and_, exists, func, insert, select, update

from punchcard.store.operations.alert_notices import NoticeState
from punchcard.store.operations.schema import alert_notices, alerts
from punchcard.store.stored_enum import StoredEnum
from punchcard.store.values import storable


class AlertState(StoredEnum):
    """The state of an alert."""

    RAISED = "raised"  # its cause lasts, and nobody has acknowledged it
    ACKNOWLEDGED = "acknowledged"  # its cause lasts, and an operator has acknowledged it: no reminders
    RESOLVED = "resolved"  # its cause is gone


@dataclass(frozen=True, kw_only=True)
class AlertContent:
    """What an alert says at the moment.

    Attributes:
        cause: Digest that is the same as long as the cause is.
        points: None if not known.
    """

    cause: str
    kind: str
    subject: str
    destination: str
    reason: str
    severity: str
    title: str
    detail: str
    remedy: str
    path: str
    count: int
    customers: int
    points: Decimal | None
    since: datetime


@dataclass(frozen=True, kw_only=True)
class StoredAlert:
    """An alert."""

    id: int
    state: AlertState
    content: AlertContent
    raised_at: datetime
    updated_at: datetime
    reminded_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    acknowledged_count: int | None
    resolved_at: datetime | None


def open_alerts(work: Connection) -> dict[str, StoredAlert]:
    """Return every alert that is not resolved, by its cause."""
    rows = work.execute(select(alerts).where(alerts.c.is_open.is_(True)).order_by(alerts.c.id))
    return {row.cause: _alert_of(row._mapping) for row in rows}


def list_alerts(
    work: Connection, *, states: Collection[str] = (), limit: int, before_id: int | None = None
) -> list[StoredAlert]:
    """Return alerts, newest first."""
    chosen = _in_states(states).order_by(alerts.c.id.desc()).limit(limit)
    if before_id is not None:
        chosen = chosen.where(alerts.c.id < before_id)
    return [_alert_of(row._mapping) for row in work.execute(chosen)]


def count_alerts(work: Connection, *, states: Collection[str] = ()) -> int:
    """Return how many alerts there are."""
    return work.scalar(select(func.count()).select_from(_in_states(states).subquery())) or 0


def find_alert(work: Connection, alert_id: int) -> StoredAlert | None:
    """Return the alert with this id."""
    row = work.execute(select(alerts).where(alerts.c.id == alert_id)).one_or_none()
    return None if row is None else _alert_of(row._mapping)


def add_alert(work: Connection, content: AlertContent, *, now: datetime) -> int:
    """Raise an alert; returns its id."""
    inserted = work.execute(
        insert(alerts).values(
            **_columns_of(content),
            state=AlertState.RAISED,
            is_open=True,
            raised_at=now,
            updated_at=now,
            reminded_at=now,
        )
    )
    key = inserted.inserted_primary_key
    assert key is not None
    return int(key[0])


def update_alert(work: Connection, alert_id: int, content: AlertContent, *, now: datetime) -> None:
    """Write what an alert says now."""
    work.execute(update(alerts).where(alerts.c.id == alert_id).values(**_columns_of(content), updated_at=now))


def note_reminder(work: Connection, alert_id: int, *, now: datetime) -> None:
    """Write down that channels are reminded."""
    work.execute(update(alerts).where(alerts.c.id == alert_id).values(reminded_at=now))


def raise_again(work: Connection, alert_id: int, *, now: datetime) -> None:
    """Take back an acknowledgement, as the alert has become much worse since."""
    work.execute(
        update(alerts)
        .where(alerts.c.id == alert_id)
        .values(
            state=AlertState.RAISED,
            acknowledged_at=None,
            acknowledged_by=None,
            acknowledged_count=None,
            reminded_at=now,
        )
    )


def acknowledge_alert(work: Connection, alert_id: int, *, actor: str, now: datetime) -> bool:
    """Write down that somebody knows of a raised alert; False if it is not raised."""
    changed = work.execute(
        update(alerts)
        .where(alerts.c.id == alert_id, alerts.c.state == AlertState.RAISED)
        .values(
            state=AlertState.ACKNOWLEDGED,
            acknowledged_at=now,
            acknowledged_by=storable(actor),
            acknowledged_count=alerts.c.count,
        )
    )
    return changed.rowcount == 1


def resolve_alert(work: Connection, alert_id: int, *, now: datetime) -> None:
    """Close an alert after its cause is gone."""
    work.execute(
        update(alerts)
        .where(alerts.c.id == alert_id)
        .values(state=AlertState.RESOLVED, is_open=False, resolved_at=now, updated_at=now)
    )


def count_open_alerts(work: Connection) -> dict[tuple[str, str], int]:
    """Return how many alerts are open, by state and severity."""
    columns = alerts.c
    rows = work.execute(
        select(columns.state, columns.severity, func.count())
        .where(columns.is_open.is_(True))
        .group_by(columns.state, columns.severity)
    )
    return {(state, severity): number for state, severity, number in rows}


def prune_alerts(work: Connection, *, before: datetime, limit: int) -> int:
    """Delete alerts that were resolved before a time, with their notices; returns how many alerts."""
    pending = exists(
        select(alert_notices.c.id).where(
            alert_notices.c.alert_id == alerts.c.id, alert_notices.c.state == NoticeState.PENDING
        )
    )
    old = list(
        work.scalars(
            select(alerts.c.id)
            .where(and_(alerts.c.is_open.is_(False), alerts.c.resolved_at < before), ~pending)
            .order_by(alerts.c.id)
            .limit(limit)
        )
    )
    if old:
        work.execute(alert_notices.delete().where(alert_notices.c.alert_id.in_(old)))
        work.execute(alerts.delete().where(alerts.c.id.in_(old)))
    return len(old)


def _in_states(states: Collection[str]) -> Any:
    chosen = select(alerts)
    return chosen.where(alerts.c.state.in_(list(states))) if states else chosen


def _columns_of(content: AlertContent) -> dict[str, object]:
    return {
        "cause": content.cause,
        "kind": content.kind,
        "subject": storable(content.subject),
        "destination": content.destination,
        "reason": storable(content.reason),
        "severity": content.severity,
        "title": storable(content.title),
        "detail": storable(content.detail),
        "remedy": storable(content.remedy),
        "path": storable(content.path),
        "count": content.count,
        "customers": content.customers,
        "points": None if content.points is None else f"{content.points:f}",
        "since": content.since,
    }


def _alert_of(row: Mapping[Any, Any]) -> StoredAlert:
    return StoredAlert(
        id=row["id"],
        state=AlertState(row["state"]),
        content=AlertContent(
            cause=row["cause"],
            kind=row["kind"],
            subject=row["subject"],
            destination=row["destination"],
            reason=row["reason"],
            severity=row["severity"],
            title=row["title"],
            detail=row["detail"],
            remedy=row["remedy"],
            path=row["path"],
            count=row["count"],
            customers=row["customers"],
            points=None if row["points"] is None else Decimal(row["points"]),
            since=row["since"],
        ),
        raised_at=row["raised_at"],
        updated_at=row["updated_at"],
        reminded_at=row["reminded_at"],
        acknowledged_at=row["acknowledged_at"],
        acknowledged_by=row["acknowledged_by"],
        acknowledged_count=row["acknowledged_count"],
        resolved_at=row["resolved_at"],
    )
