"""Destinations that deliver nothing because their credentials were refused, and how the last such time ended."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update

from punchcard.store.effects import storable
from punchcard.store.schema import destination_pauses
from punchcard.store.stored_enum import StoredEnum

# Credentials that are refused again so soon after a check has accepted them are checked at the intervals reached.
_FLAPPING = timedelta(minutes=15)


class PauseEnd(StoredEnum):
    """What ended a pause."""

    CHECK = "check"  # the partner accepts the credentials again
    SETTINGS = "settings"  # the settings have changed
    OPERATOR = "operator"  # an operator retried it


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Why a destination delivers nothing, or delivered nothing the last time.

    It ends when a check finds that the partner accepts the credentials, when the settings have another fingerprint, or
    by an operator's retry.

    Attributes:
        checks: How many checks have failed since it began.
        next_check_at: When the credentials are checked next, None before that is planned.
        ended_at: None while it lasts.
        ended_by: None while it lasts.
    """

    destination: str
    reason: str
    detail: str
    since: datetime
    settings_fingerprint: str
    checks: int = 0
    next_check_at: datetime | None = None
    ended_at: datetime | None = None
    ended_by: PauseEnd | None = None

    @property
    def description(self) -> str:
        """The pause in a sentence without its end: since when, why, and when the next check is."""
        when = "is due" if self.next_check_at is None else f"at {self.next_check_at:%Y-%m-%d %H:%M:%S} UTC"
        return f"credentials refused since {self.since:%Y-%m-%d %H:%M:%S} UTC ({self.detail}); next check {when}"


def pause_of(work: Connection, destination: str) -> Pause | None:
    """The destination's pause, None if it delivers."""
    last = last_pause_of(work, destination)
    return last if last is not None and last.ended_at is None else None


def last_pause_of(work: Connection, destination: str) -> Pause | None:
    """The last pause of a destination, whether it lasts or has ended; None if there was none."""
    row = work.execute(select(destination_pauses).where(destination_pauses.c.destination == destination)).one_or_none()
    if row is None:
        return None
    values = dict(row._mapping)
    ended_by = values.pop("ended_by")
    return Pause(**values, ended_by=None if ended_by is None else PauseEnd(ended_by))


def pause(work: Connection, new: Pause) -> bool:
    """Pause a destination; False if it is paused already.

    If a check has ended the last pause only a while ago, that one goes on: the partner accepts the credentials when it
    is asked, and refuses them when it is to do something.
    """
    last = last_pause_of(work, new.destination)
    if last is not None and last.ended_at is None:
        return False
    since, checks = new.since, new.checks
    if last is not None and last.ended_by is PauseEnd.CHECK and new.since - (last.ended_at or new.since) < _FLAPPING:
        since, checks = last.since, last.checks + 1
    work.execute(delete(destination_pauses).where(destination_pauses.c.destination == new.destination))
    work.execute(
        insert(destination_pauses).values(
            destination=new.destination,
            reason=new.reason,
            detail=storable(new.detail),
            since=since,
            settings_fingerprint=new.settings_fingerprint,
            checks=checks,
        )
    )
    return True


def plan_check(
    work: Connection, pause: Pause, *, checks: int, next_check_at: datetime, detail: str | None = None
) -> bool:
    """Store when the next check is; False if another pause lasts now, or none.

    Args:
        checks: How many checks have failed.
        detail: Its response, None to leave the current one.
    """
    changed = update(destination_pauses).where(_is_still(pause)).values(checks=checks, next_check_at=next_check_at)
    if detail is not None:
        changed = changed.values(detail=storable(detail))
    return work.execute(changed).rowcount > 0


def end_pause(work: Connection, pause: Pause, *, by: PauseEnd, now: datetime) -> bool:
    """End this very pause; False if another one lasts now, or none."""
    return _end(work, _is_still(pause), by=by, now=now)


def resume(work: Connection, destination: str, *, by: PauseEnd, now: datetime) -> bool:
    """End a destination's pause, whichever it is; False if there is none."""
    is_lasting = and_(destination_pauses.c.destination == destination, destination_pauses.c.ended_at.is_(None))
    return _end(work, is_lasting, by=by, now=now)


def _is_still(pause: Pause) -> ColumnElement[bool]:
    return and_(
        destination_pauses.c.destination == pause.destination,
        destination_pauses.c.since == pause.since,
        destination_pauses.c.settings_fingerprint == pause.settings_fingerprint,
        destination_pauses.c.ended_at.is_(None),
    )


def _end(work: Connection, condition: ColumnElement[bool], *, by: PauseEnd, now: datetime) -> bool:
    ended = update(destination_pauses).where(condition).values(ended_at=now, ended_by=by, next_check_at=None)
    return work.execute(ended).rowcount > 0
