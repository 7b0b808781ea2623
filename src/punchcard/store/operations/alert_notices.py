"""Notices of alerts: queued with each change of state, and sent afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, exists, func, insert, select, update

from punchcard.store.operations.schema import alert_notices
from punchcard.store.stored_enum import StoredEnum
from punchcard.store.values import storable


class NoticeState(StoredEnum):
    """The state of a notice."""

    PENDING = "pending"  # waits to be sent
    SENT = "sent"  # the channel has taken it
    FAILED = "failed"  # the channel has not taken it for days; it is not tried any more
    CANCELED = "canceled"  # its channel was removed or disabled


class NoticeType(StoredEnum):
    """What a notice says, as the generic webhook names it."""

    RAISED = "alert.raised"
    REMINDER = "alert.reminder"
    RESOLVED = "alert.resolved"
    TEST = "alert.test"


@dataclass(frozen=True, kw_only=True)
class StoredNotice:
    """A notice to one channel.

    Attributes:
        body: JSON of what it says.
        error: Of the last attempt, None if there was none or it succeeded.
    """

    id: int
    alert_id: int
    channel: str
    type: NoticeType
    body: str
    state: NoticeState
    attempts: int
    error: str | None
    created_at: datetime
    due_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class ChannelHealth:
    """How well notices reach a channel.

    Attributes:
        pending: How many notices wait.
        failing_since: When the oldest notice was written that waits after a failed attempt; None if none is failing.
        error: Of that notice.
    """

    pending: int = 0
    failing_since: datetime | None = None
    error: str = ""
    last_sent_at: datetime | None = None


def add_notice(
    work: Connection, *, alert_id: int, channel: str, type: NoticeType, body: str, now: datetime, due_at: datetime
) -> None:
    """Queue a notice, in the unit of work that changes its alert."""
    work.execute(
        insert(alert_notices).values(
            alert_id=alert_id,
            channel=channel,
            type=type,
            body=storable(body),
            state=NoticeState.PENDING,
            attempts=0,
            created_at=now,
            due_at=due_at,
        )
    )


def due_notices(work: Connection, *, channel: str, now: datetime, limit: int) -> list[StoredNotice]:
    """Return the notices of a channel to send now, oldest first.

    A notice waits for those of the same alert that were written before it: nobody is notified of the end first.
    """
    earlier = alert_notices.alias("earlier")
    waits = exists(
        select(earlier.c.id).where(
            earlier.c.alert_id == alert_notices.c.alert_id,
            earlier.c.channel == alert_notices.c.channel,
            earlier.c.state == NoticeState.PENDING,
            earlier.c.id < alert_notices.c.id,
        )
    )
    chosen = (
        select(alert_notices)
        .where(
            alert_notices.c.state == NoticeState.PENDING,
            alert_notices.c.channel == channel,
            alert_notices.c.due_at <= now,
            ~waits,
        )
        .order_by(alert_notices.c.id)
        .limit(limit)
    )
    return [_notice_of(row._mapping) for row in work.execute(chosen)]


def pending_channels(work: Connection) -> list[str]:
    """Return the channels for which notices wait, due or not."""
    columns = alert_notices.c
    return list(work.scalars(select(columns.channel).where(columns.state == NoticeState.PENDING).distinct()))


def settle_notice(work: Connection, notice_id: int, state: NoticeState, *, now: datetime, error: str | None) -> None:
    """Write down that a notice is not pending any more."""
    columns = alert_notices.c
    work.execute(
        update(alert_notices)
        .where(columns.id == notice_id)
        .values(
            state=state,
            finished_at=now,
            attempts=columns.attempts + 1,
            error=None if error is None else storable(error),
        )
    )


def postpone_notice(work: Connection, notice_id: int, *, due_at: datetime, error: str) -> None:
    """Write down that an attempt has failed, and when the next one is."""
    columns = alert_notices.c
    work.execute(
        update(alert_notices)
        .where(columns.id == notice_id)
        .values(due_at=due_at, attempts=columns.attempts + 1, error=storable(error))
    )


def cancel_notices(work: Connection, channel: str, *, now: datetime) -> int:
    """Give up the pending notices of a channel that is not there any more or disabled; returns how many."""
    columns = alert_notices.c
    changed = work.execute(
        update(alert_notices)
        .where(columns.state == NoticeState.PENDING, columns.channel == channel)
        .values(state=NoticeState.CANCELED, finished_at=now)
    )
    return changed.rowcount


def was_noticed(work: Connection, alert_id: int) -> frozenset[str]:
    """Return the channels that have a notice of an alert, sent or pending."""
    columns = alert_notices.c
    chosen = select(columns.channel).where(
        columns.alert_id == alert_id, columns.state.in_([NoticeState.PENDING, NoticeState.SENT])
    )
    return frozenset(work.scalars(chosen.distinct()))


def list_notices(work: Connection, *, limit: int) -> list[StoredNotice]:
    """Return the newest notices, newest first."""
    chosen = select(alert_notices).order_by(alert_notices.c.id.desc()).limit(limit)
    return [_notice_of(row._mapping) for row in work.execute(chosen)]


def read_channel_health(work: Connection, channels: Sequence[str]) -> dict[str, ChannelHealth]:
    """Return how it goes with each channel."""
    columns = alert_notices.c
    pending = count_pending_notices(work)
    failing: dict[str, tuple[datetime, str]] = {}
    rows = work.execute(
        select(columns.channel, columns.created_at, columns.error)
        .where(columns.state == NoticeState.PENDING, columns.error.is_not(None), columns.channel.in_(channels))
        .order_by(columns.id)
    )
    for slug, created_at, error in rows:
        failing.setdefault(slug, (created_at, error))
    newest = (
        select(func.max(columns.id))
        .where(columns.state == NoticeState.SENT, columns.channel.in_(channels))
        .group_by(columns.channel)
    )
    sent_at: dict[str, datetime | None] = {}
    for slug, finished_at in work.execute(select(columns.channel, columns.finished_at).where(columns.id.in_(newest))):
        sent_at[slug] = finished_at
    return {
        slug: ChannelHealth(
            pending=pending.get(slug, 0),
            failing_since=failing[slug][0] if slug in failing else None,
            error=failing[slug][1] if slug in failing else "",
            last_sent_at=sent_at.get(slug),
        )
        for slug in channels
    }


def count_pending_notices(work: Connection) -> dict[str, int]:
    """Return how many notices wait, by channel."""
    columns = alert_notices.c
    rows = work.execute(
        select(columns.channel, func.count().label("notices"))
        .where(columns.state == NoticeState.PENDING)
        .group_by(columns.channel)
    )
    return {row.channel: row.notices for row in rows}


def _notice_of(row: Mapping[Any, Any]) -> StoredNotice:
    return StoredNotice(
        id=row["id"],
        alert_id=row["alert_id"],
        channel=row["channel"],
        type=NoticeType(row["type"]),
        body=row["body"],
        state=NoticeState(row["state"]),
        attempts=row["attempts"],
        error=row["error"],
        created_at=row["created_at"],
        due_at=row["due_at"],
        finished_at=row["finished_at"],
    )
