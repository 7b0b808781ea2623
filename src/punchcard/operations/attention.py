"""What needs a person now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection, func, select

from punchcard.store.counts import CountQuestion, Dimension, read_counts
from punchcard.store.engage import Status, states
from punchcard.store.fates import FateKind
from punchcard.store.ledger import Backlog, backlog
from punchcard.store.pauses import pause_of
from punchcard.store.recoveries import count_in_doubt, newest_recovery
from punchcard.store.schema import EffectState, effects
from punchcard.workspace.snapshot import Snapshot

_LATELY = timedelta(days=7)
_UNMAPPED_IN_VOLUME = 20
_NAMES_MAX = 5


class Concern(StrEnum):
    """Kinds of things that need a person."""

    PAUSED = "paused"  # a destination that delivers nothing: its credentials were refused
    INVALID = "invalid"  # a destination whose settings this version cannot use
    PARKED = "parked"  # awards that are not tried any more until somebody says so
    CONFLICT = "conflict"  # orders that came a second time with other content, of late
    UNMAPPED = "unmapped"  # events in volume whose name no perk is mapped to
    COMPUTATION = "computation"  # an audience or computed trait that cannot be computed, or was found wrong
    RESTORED = "restored"  # the store was restored from an older copy; what may have been delivered is read back
    UNKNOWN_SOURCE = "unknown_source"  # events whose write key no source has


@dataclass(frozen=True, kw_only=True)
class Matter:
    """One thing that needs a person.

    Attributes:
        subject: A destination's slug, or an event's name.
        destination: Slug; "" if none is concerned.
        count: How many events or awards; 0 where that says nothing.
        detail: A sentence, "" if all is said.
    """

    concern: Concern
    subject: str
    destination: str = ""
    count: int = 0
    reason: str = ""
    detail: str = ""
    since: datetime | None = None


def find_matters(work: Connection, snapshot: Snapshot, *, now: datetime) -> list[Matter]:
    """What needs a person now, what stops awards first."""
    matters: list[Matter] = []
    for slug, destination in snapshot.destinations.items():
        if destination.invalid is not None:
            matters.append(Matter(concern=Concern.INVALID, subject=slug, destination=slug, detail=destination.invalid))
        if (pause := pause_of(work, slug)) is not None:
            matters.append(
                Matter(concern=Concern.PAUSED, subject=slug, destination=slug, detail=pause.detail, since=pause.since)
            )
    matters += _parked(work)
    matters += _restored(work, now)
    matters += _computations(work)
    begin, end = now - _LATELY, now + timedelta(days=1)
    conflicts = read_counts(
        work, CountQuestion(fates=[FateKind.CONFLICT], begin=begin, end=end), by=[Dimension.DESTINATION]
    )
    matters += [
        Matter(concern=Concern.CONFLICT, subject=str(slug), destination=str(slug), count=count)
        for (slug,), count in conflicts.items()
    ]
    unmapped = read_counts(
        work,
        CountQuestion(fates=[FateKind.REFUSED], reasons=["not_allowlisted"], begin=begin, end=end),
        by=[Dimension.DESTINATION, Dimension.EVENT_NAME],
    )
    most = sorted(unmapped.items(), key=lambda pair: -pair[1])
    matters += [
        Matter(concern=Concern.UNMAPPED, subject=str(name), destination=str(slug), count=count)
        for (slug, name), count in most[:_NAMES_MAX]
        if count >= _UNMAPPED_IN_VOLUME
    ]
    unknown = read_counts(
        work, CountQuestion(fates=[FateKind.FAILED_ON_INGEST], reasons=["unknown_source"], begin=begin, end=end), by=[]
    )
    if count := sum(unknown.values()):
        matters.append(Matter(concern=Concern.UNKNOWN_SOURCE, subject="", count=count))
    return matters


def read_backlog(work: Connection, snapshot: Snapshot) -> Sequence[Backlog]:
    """What is in the queue or parked, by destination and state."""
    return backlog(work, list(snapshot.destinations))


def _computations(work: Connection) -> list[Matter]:
    """Audiences and computed traits that do not say what they should."""
    failed = [
        Matter(concern=Concern.COMPUTATION, subject=one.key, detail=one.detail)
        for one in states(work)
        if one.status is Status.FAILED
    ]
    return failed + [
        Matter(concern=Concern.COMPUTATION, subject=one.key, count=one.differences)
        for one in states(work)
        if one.differences
    ]


def _restored(work: Connection, now: datetime) -> list[Matter]:
    """That the store was restored from an older copy: until all is read back, and some days longer."""
    recovery = newest_recovery(work)
    if recovery is None:
        return []
    in_doubt = count_in_doubt(work)
    doubts_all = recovery.doubt_until is not None and now < recovery.doubt_until
    if not in_doubt and not doubts_all and recovery.noticed_at < now - _LATELY:
        return []
    done = f"{recovery.read_back + recovery.planned:,} awards may have been delivered since that copy was made"
    done += f", and {in_doubt:,} of them are still to be read back" if in_doubt else "; all of them were read back"
    if recovery.not_planned:
        done += f"; {recovery.not_planned:,} cannot be planned again, see lost_effect_not_planned in the log"
    if recovery.doubt_until is not None and doubts_all:
        done += (
            "; some events are in no copy, so every new award is read back before it is sent until "
            f"{recovery.doubt_until:%Y-%m-%d}"
        )
    return [
        Matter(concern=Concern.RESTORED, subject="database", count=in_doubt, detail=done, since=recovery.noticed_at)
    ]


def _parked(work: Connection) -> list[Matter]:
    columns = effects.c
    rows = work.execute(
        select(columns.destination, columns.reason, func.count(), func.min(columns.settled_at))
        .where(columns.state == EffectState.PARKED)
        .group_by(columns.destination, columns.reason)
        .order_by(func.count().desc())
    )
    return [
        Matter(concern=Concern.PARKED, subject=slug, destination=slug, count=count, reason=reason or "", since=since)
        for slug, reason, count, since in rows
    ]
