"""What is known of each time that the store was restored from an older copy, and which effects are in doubt since.

An effect in doubt may have been performed by a run of Punchcard that this store knows nothing of. It is read back from
the partner before anything is sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, func, insert, select, true, update

from punchcard.store.delivery.effects import NO_ANSWER, AttemptOutcome, EffectState
from punchcard.store.delivery.schema import delivery_attempts, effects, recoveries
from punchcard.store.stored_enum import StoredEnum

STORE_RESTORED = "store_restored"
"""The reason of an effect that is read back because the store was restored from an older copy."""

_DETAIL = (
    "the database was restored from an older copy, so this may have been delivered since the copy was made: "
    "it is read back before anything is sent"
)


class RecoveryReason(StoredEnum):
    """How the store was found to be older."""

    GENERATION = "generation"  # the log has reached a generation that the store knows nothing of
    LAKE = "lake"  # the lake holds events that the store has not routed
    UNBOUND = "unbound"  # the log belongs to a store already, and this one does not know it
    DECLARED = "declared"  # an operator says so: everything was put back together


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """A restore: the store was found to be older than log or lake.

    Attributes:
        from_position: Routed according to the store.
        through_position: Positions up to this one may have been routed by the run that the store does not know.
        read_back_from: When the last request of that run can no longer land.
        doubt_until: Events of that run are missing for good; until then every new effect is read back, as it may be
            theirs. None if all of them are in the log or in the lake.
        read_back: Open effects of the copy that are read back.
        planned: Effects that were missing and are planned again.
        not_planned: Effects that were missing and cannot be planned again.
        routed_at: When routing had passed `through_position`.
        finished_at: When Engage knew again what destinations were sent.
    """

    id: int
    noticed_at: datetime
    reason: RecoveryReason
    from_position: int
    through_position: int
    read_back_from: datetime
    doubt_until: datetime | None
    read_back: int
    planned: int
    not_planned: int
    routed_at: datetime | None
    finished_at: datetime | None

    def is_in_doubt(self, log_position: int, now: datetime) -> bool:
        """Whether an effect that is planned now from this log position may have been performed already."""
        return log_position <= self.through_position or (self.doubt_until is not None and now < self.doubt_until)

    def state_columns(self, log_position: int, now: datetime) -> Mapping[str, object]:
        """The columns of a new effect's state, for `outbox.add`: empty if nothing is in doubt."""
        return self.doubt(now) if self.is_in_doubt(log_position, now) else {}

    def doubt(self, now: datetime) -> Mapping[str, object]:
        """The columns of an effect's state that must be read back before anything is sent."""
        due_at = max(now, self.read_back_from)
        return {"state": EffectState.UNKNOWN, "reason": STORE_RESTORED, "detail": _DETAIL, "due_at": due_at}


def newest_recovery(work: Connection) -> Recovery | None:
    """The last time that the store was found to be older, None if it never was."""
    row = work.execute(select(recoveries).order_by(recoveries.c.id.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    values: dict[str, Any] = dict(row._mapping)
    return Recovery(**{**values, "reason": RecoveryReason(values["reason"])})


def start_recovery(
    work: Connection,
    *,
    reason: RecoveryReason,
    from_position: int,
    through_position: int,
    read_back_from: datetime,
    doubt_until: datetime | None,
    now: datetime,
) -> dict[str, int]:
    """Note that the store is older and put every open effect in doubt; returns how many by destination."""
    by_destination = _put_open_effects_in_doubt(work, read_back_from=read_back_from, now=now)
    work.execute(
        insert(recoveries).values(
            noticed_at=now,
            reason=reason,
            from_position=from_position,
            through_position=through_position,
            read_back_from=read_back_from,
            doubt_until=doubt_until,
            read_back=sum(by_destination.values()),
            planned=0,
            not_planned=0,
        )
    )
    return by_destination


def add_planned(work: Connection, recovery_id: int, *, planned: int, not_planned: int) -> None:
    """Count effects that were missing."""
    columns = recoveries.c
    work.execute(
        update(recoveries)
        .where(columns.id == recovery_id)
        .values(planned=columns.planned + planned, not_planned=columns.not_planned + not_planned)
    )


def mark_routed(work: Connection, recovery_id: int, *, now: datetime) -> bool:
    """Note that routing has passed everything that may be missing; False if that was noted before."""
    columns = recoveries.c
    marked = update(recoveries).where(columns.id == recovery_id, columns.routed_at.is_(None)).values(routed_at=now)
    return work.execute(marked).rowcount == 1


def mark_finished(work: Connection, recovery_id: int, *, now: datetime) -> None:
    """Note that nothing is left to be done but to read back."""
    work.execute(update(recoveries).where(recoveries.c.id == recovery_id).values(finished_at=now))


def count_in_doubt(work: Connection) -> int:
    """Return how many effects still wait to be read back after a restore."""
    columns = effects.c
    waiting = select(func.count()).where(columns.is_open == true(), columns.reason == STORE_RESTORED)
    return int(work.scalar(waiting) or 0)


def _put_open_effects_in_doubt(work: Connection, *, read_back_from: datetime, now: datetime) -> dict[str, int]:
    is_open = effects.c.is_open == true()
    by_destination = select(effects.c.destination, func.count()).where(is_open).group_by(effects.c.destination)
    counts = {slug: int(number) for slug, number in work.execute(by_destination)}
    sending = select(effects.c.id).where(and_(is_open, effects.c.state == EffectState.SENDING))
    work.execute(
        update(delivery_attempts)
        .where(delivery_attempts.c.outcome.is_(None), delivery_attempts.c.effect_id.in_(sending))
        .values(outcome=AttemptOutcome.UNKNOWN, finished_at=now, detail=NO_ANSWER)
    )
    work.execute(
        update(effects)
        .where(is_open)
        .values(
            state=EffectState.UNKNOWN, reason=STORE_RESTORED, detail=_DETAIL, due_at=read_back_from, lease_until=None
        )
    )
    return counts
