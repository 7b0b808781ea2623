"""Destinations that are paused, by a person or because their credentials were refused, and how the last pause ended."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, insert, select, update

from punchcard.store.bulk import PreparedStatement
from punchcard.store.delivery.schema import destination_pauses
from punchcard.store.stored_enum import StoredEnum
from punchcard.store.values import storable

PAUSED_BY_OPERATOR: Final = "destination_paused"
"""The reason of a pause that a person has begun."""

# Credentials that are refused again so soon after a check has accepted them are checked at the intervals reached.
_FLAPPING = timedelta(minutes=15)


class PauseEnd(StoredEnum):
    """What ended a pause."""

    CHECK = "check"  # the partner accepts the credentials again
    SETTINGS = "settings"  # the settings have changed
    OPERATOR = "operator"  # an operator retried or resumed it
    SCHEDULE = "schedule"  # its scheduled end was reached


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Why a destination delivers nothing, or delivered nothing the last time.

    A pause for refused credentials ends when a check finds that the partner accepts them, when the settings have
    another fingerprint, or by an operator's retry. One that a person has begun ends by a person, or at its end.

    Attributes:
        detail: The partner's response, or the reason that the operator gave.
        settings_fingerprint: Of the refused credentials; "" for a pause by an operator.
        checks: How many checks have failed since it began.
        next_check_at: When the credentials are checked next, None before that is planned.
        ended_at: None while it lasts.
        ended_by: None while it lasts.
        actor: Who has begun it; None if it began by itself.
        until: When it ends by itself, None if it does not.
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
    actor: str | None = None
    until: datetime | None = None

    @property
    def is_by_operator(self) -> bool:
        """True if a person has paused the destination; False if its credentials were refused."""
        return self.actor is not None

    @property
    def description(self) -> str:
        """The pause in a sentence without its end: since when, why, and when it ends or the partner is asked next."""
        since = f"since {self.since:%Y-%m-%d %H:%M:%S} UTC"
        if self.is_by_operator:
            reason = f" ({self.detail})" if self.detail else ""
            until = "" if self.until is None else f", until {self.until:%Y-%m-%d %H:%M:%S} UTC"
            return f"paused by {self.actor} {since}{reason}{until}"
        when = "is due" if self.next_check_at is None else f"at {self.next_check_at:%Y-%m-%d %H:%M:%S} UTC"
        return f"credentials refused {since} ({self.detail}); next check {when}"


_LAST = PreparedStatement(
    select(destination_pauses).where(destination_pauses.c.destination == bindparam("b_destination"))
)


def pause_of(work: Connection, destination: str) -> Pause | None:
    """The destination's pause, None if it delivers."""
    last = last_pause_of(work, destination)
    return last if last is not None and last.ended_at is None else None


def last_pause_of(work: Connection, destination: str) -> Pause | None:
    """The last pause of a destination, whether it lasts or has ended; None if there was none."""
    rows = _LAST.rows(work, {"b_destination": destination})
    if not rows:
        return None
    values = rows[0]._asdict()
    ended_by = values.pop("ended_by")
    return Pause(**values, ended_by=None if ended_by is None else PauseEnd(ended_by))


def pause_by_operator(
    work: Connection, destination: str, *, actor: str, detail: str, until: datetime | None, now: datetime
) -> Pause:
    """Pause a destination in somebody's name; a pause that lasts is replaced, and keeps its beginning.

    While it lasts nothing is sent, so that refused credentials are noticed only after it.
    """
    current = pause_of(work, destination)
    since = current.since if current is not None and current.is_by_operator else now
    new = Pause(
        destination=destination,
        reason=PAUSED_BY_OPERATOR,
        detail=storable(detail),
        since=since,
        settings_fingerprint="",
        actor=storable(actor),
        until=until,
    )
    _replace(work, new)
    return new


def pause(work: Connection, new: Pause) -> bool:
    """Pause a destination because its credentials were refused; False if it is paused already.

    If a check has ended the last pause only a while ago, that one goes on: the partner accepts the credentials when it
    is asked, and refuses them when it is to do something.
    """
    last = last_pause_of(work, new.destination)
    if last is not None and last.ended_at is None:
        return False
    since, checks = new.since, new.checks
    if last is not None and last.ended_by is PauseEnd.CHECK and new.since - (last.ended_at or new.since) < _FLAPPING:
        since, checks = last.since, last.checks + 1
    _replace(work, replace(new, since=since, checks=checks))
    return True


def _replace(work: Connection, new: Pause) -> None:
    work.execute(delete(destination_pauses).where(destination_pauses.c.destination == new.destination))
    work.execute(
        insert(destination_pauses).values(
            destination=new.destination,
            reason=new.reason,
            detail=storable(new.detail),
            since=new.since,
            settings_fingerprint=new.settings_fingerprint,
            checks=new.checks,
            actor=new.actor,
            until=new.until,
        )
    )


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
