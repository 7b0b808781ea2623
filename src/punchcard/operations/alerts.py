"""Alerts: what an operator must act on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection, func, select

from punchcard.operations.reconciliation_views import count_open_differences
from punchcard.store.counts import CountQuery, Dimension, read_counts
from punchcard.store.engage_tables import SYNC_FAILED, SYNC_REFUSED, Status, last_failure, queue_sizes, states
from punchcard.store.event_results import EventStatus
from punchcard.store.held import count_held
from punchcard.store.lake_status import read_lake_status
from punchcard.store.ledger import Backlog, backlog
from punchcard.store.pauses import PauseEnd, last_pause_of, pause_of
from punchcard.store.quarantine import count_quarantined
from punchcard.store.recoveries import RecoveryReason, count_in_doubt, newest_recovery
from punchcard.store.schema import EffectState, effects
from punchcard.store.sync_outcomes import failed_syncs, keys_of_failed_syncs
from punchcard.workspace.computations import OWN_SOURCES
from punchcard.workspace.snapshot import Snapshot

_RECENT = timedelta(days=7)
_UNMAPPED_IN_VOLUME = 20
_NAMES_MAX = 5


class AlertKind(StrEnum):
    """Kinds of alerts."""

    PAUSED = "paused"  # a destination that delivers nothing: its credentials are refused
    RESUMED = "resumed"  # a destination whose credentials were refused for a while of late, and that resumed by itself
    INVALID = "invalid"  # a part of the configuration that this version cannot use; of a destination, events are held
    HELD = "held"  # events that a destination could not plan; they wait for a correction
    PARKED = "parked"  # awards that are not tried any more until somebody says so
    CONFLICT = "conflict"  # orders that came a second time with other content, of late
    UNMAPPED = "unmapped"  # events in volume whose name is not mapped
    COMPUTATION = "computation"  # an audience or computed trait that cannot be computed, or was found wrong
    SYNC = "sync"  # values of an audience or computed trait that a destination does not have
    QUARANTINED = "quarantined"  # log records and events that could not be processed, of late
    LAKE = "lake"  # the lake cannot be read or written
    LAKE_LOSS = "lake_loss"  # events that a repair of the lake could not restore, of late
    RESTORED = "restored"  # the store was restored from an older copy; what may have been delivered is read back
    DIFFERENCES = "differences"  # the ledger and what a partner has booked differ
    UNKNOWN_SOURCE = "unknown_source"  # events whose write key no source has


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One thing that an operator must act on.

    Attributes:
        subject: A destination's slug, or an event's name.
        destination: Slug; "" if none is concerned.
        count: How many events or awards; 0 where that says nothing.
        detail: A sentence, "" if all is said.
        until: When it ended, None while it lasts.
        next_check_at: When Punchcard looks again by itself, None if it does not.
    """

    kind: AlertKind
    subject: str
    destination: str = ""
    count: int = 0
    reason: str = ""
    detail: str = ""
    since: datetime | None = None
    until: datetime | None = None
    next_check_at: datetime | None = None


def find_alerts(work: Connection, snapshot: Snapshot, *, now: datetime) -> list[Alert]:
    """Return the current alerts, those that stop awards first."""
    alerts = _invalid(work, snapshot)
    for slug in snapshot.destinations:
        if (pause := pause_of(work, slug)) is not None:
            alerts.append(
                Alert(
                    kind=AlertKind.PAUSED,
                    subject=slug,
                    destination=slug,
                    detail=pause.detail,
                    since=pause.since,
                    next_check_at=pause.next_check_at,
                )
            )
    alerts += _parked(work)
    alerts += _storage(work, now - _RECENT)
    alerts += _resumed(work, snapshot, now=now)
    alerts += _differences(work, snapshot)
    alerts += _restored(work, now)
    alerts += _computations(work, snapshot)
    alerts += _syncs(work, snapshot)
    begin, end = now - _RECENT, now + timedelta(days=1)
    conflicts = read_counts(
        work, CountQuery(statuses=[EventStatus.CONFLICT], begin=begin, end=end), by=[Dimension.DESTINATION]
    )
    alerts += [
        Alert(kind=AlertKind.CONFLICT, subject=str(slug), destination=str(slug), count=count)
        for (slug,), count in conflicts.items()
    ]
    unmapped = read_counts(
        work,
        CountQuery(statuses=[EventStatus.REFUSED], reasons=["not_allowlisted"], begin=begin, end=end),
        by=[Dimension.DESTINATION, Dimension.EVENT_NAME],
    )
    most = sorted(unmapped.items(), key=lambda pair: -pair[1])
    alerts += [
        Alert(kind=AlertKind.UNMAPPED, subject=str(name), destination=str(slug), count=count)
        for (slug, name), count in most[:_NAMES_MAX]
        if count >= _UNMAPPED_IN_VOLUME
    ]
    unknown = read_counts(
        work,
        CountQuery(statuses=[EventStatus.FAILED_ON_INGEST], reasons=["unknown_source"], begin=begin, end=end),
        by=[],
    )
    if count := sum(unknown.values()):
        alerts.append(Alert(kind=AlertKind.UNKNOWN_SOURCE, subject="", count=count))
    return alerts


def read_backlog(work: Connection, snapshot: Snapshot) -> Sequence[Backlog]:
    """What is in the queue or parked, by destination and state."""
    return backlog(work, list(snapshot.destinations))


def _resumed(work: Connection, snapshot: Snapshot, *, now: datetime) -> list[Alert]:
    """Refusals of credentials that ended by themselves: nobody need act, but somebody should know."""
    lasts = [last for slug in snapshot.destinations if (last := last_pause_of(work, slug)) is not None]
    return [
        Alert(
            kind=AlertKind.RESUMED,
            subject=last.destination,
            destination=last.destination,
            detail=last.detail,
            since=last.since,
            until=last.ended_at,
        )
        for last in lasts
        if last.ended_by is PauseEnd.CHECK and last.ended_at is not None and now - last.ended_at < _RECENT
    ]


def _invalid(work: Connection, snapshot: Snapshot) -> list[Alert]:
    """Parts of the configuration that cannot be used, and events that are held for whatever reason."""
    held = {one.destination: one for one in count_held(work)}
    alerts = []
    for problem in snapshot.problems():
        if problem.kind == "computation":
            continue
        slug = problem.slug if problem.kind == "destination" else ""
        waiting = held.pop(slug, None)
        alerts.append(
            Alert(
                kind=AlertKind.INVALID,
                subject=problem.slug or "The workspace",
                destination=slug,
                count=0 if waiting is None else waiting.count,
                reason=problem.kind,
                detail=problem.message,
            )
        )
    for waiting in held.values():
        alerts.append(
            Alert(
                kind=AlertKind.HELD,
                subject=waiting.destination,
                destination=waiting.destination if waiting.destination in snapshot.destinations else "",
                count=waiting.count,
                detail=waiting.detail,
                since=waiting.oldest_received_at,
            )
        )
    return alerts


def _computations(work: Connection, snapshot: Snapshot) -> list[Alert]:
    """Audiences and computed traits that do not say what they should."""
    invalid = snapshot.invalid_computations
    failed = [Alert(kind=AlertKind.COMPUTATION, subject=key, detail=why) for key, why in sorted(invalid.items())]
    failed += [
        Alert(kind=AlertKind.COMPUTATION, subject=state.key, detail=state.detail)
        for state in states(work)
        if state.status is Status.FAILED and state.key not in invalid
    ]
    return failed + [
        Alert(kind=AlertKind.COMPUTATION, subject=state.key, count=state.differences)
        for state in states(work)
        if state.differences
    ]


def _syncs(work: Connection, snapshot: Snapshot) -> list[Alert]:
    """Values of audiences and traits that their destinations do not have."""
    queues = queue_sizes(work)
    alerts = []
    for slug in snapshot.destinations:
        source = OWN_SOURCES + slug
        rejected = keys_of_failed_syncs(work, destination=slug, source=source)
        for key in snapshot.computations:
            values = failed_syncs(work, key, destination=slug, source=source) if key in rejected else []
            held = {why: queues.get((slug, key, why), 0) for why in (SYNC_FAILED, SYNC_REFUSED)}
            count = len(values) + sum(held.values())
            if not count:
                continue
            if values:
                reason, detail = values[0].reason, values[0].detail
            else:
                reason = SYNC_FAILED if held[SYNC_FAILED] else SYNC_REFUSED
                detail = last_failure(work, destination=slug, key=key, waits_for=reason)
            alerts.append(
                Alert(kind=AlertKind.SYNC, subject=key, destination=slug, count=count, reason=reason, detail=detail)
            )
    return alerts


def _differences(work: Connection, snapshot: Snapshot) -> list[Alert]:
    """What the newest reconciliation of each destination has found and nobody has decided."""
    alerts = []
    for slug, counts in count_open_differences(work, list(snapshot.destinations)).items():
        if counts:
            kinds = ", ".join(f"{number:,} {kind.replace('_', ' ')}" for kind, number in counts.items())
            alerts.append(
                Alert(
                    kind=AlertKind.DIFFERENCES,
                    subject=slug,
                    destination=slug,
                    count=sum(counts.values()),
                    detail=kinds,
                )
            )
    return alerts


def _storage(work: Connection, since: datetime) -> list[Alert]:
    """What is wrong with the log's records and with the lake."""
    alerts = [
        Alert(kind=AlertKind.QUARANTINED, subject=one.reason, reason=one.reason, count=one.count, since=one.newest)
        for one in count_quarantined(work, since=since)
    ]
    lake = read_lake_status(work)
    if lake.failing_since is not None:
        alerts.append(Alert(kind=AlertKind.LAKE, subject="lake", detail=lake.detail, since=lake.failing_since))
    if lake.lost_at is not None and lake.lost_at >= since:
        alerts.append(Alert(kind=AlertKind.LAKE_LOSS, subject="lake", count=lake.lost_events, since=lake.lost_from))
    return alerts


def _restored(work: Connection, now: datetime) -> list[Alert]:
    """That the store was restored from an older copy: until all is read back, and some days longer."""
    recovery = newest_recovery(work)
    if recovery is None:
        return []
    in_doubt = count_in_doubt(work)
    doubts_all = recovery.doubt_until is not None and now < recovery.doubt_until
    if not in_doubt and not doubts_all and recovery.noticed_at < now - _RECENT:
        return []
    in_question = recovery.read_back + recovery.planned
    sentences = [_count_awards(in_question, "may have been delivered since that copy was made.")]
    if in_doubt:
        sentences.append(
            _count_awards(in_doubt, "must still be looked up at the partner before anything is sent again.")
        )
    elif in_question:
        sentences.append("All of them were looked up at the partner.")
    if recovery.not_planned:
        sentences.append(
            _count_awards(
                recovery.not_planned, "cannot be planned again; the log names each (lost_effect_not_planned)."
            )
        )
    if recovery.doubt_until is not None and doubts_all:
        sentences.append(
            f"Some events are in no copy, so until {recovery.doubt_until:%Y-%m-%d} every new award is read back from "
            "the partner before it is sent."
        )
    if recovery.reason not in set(RecoveryReason):
        sentences.append(f"The reason is stored as {recovery.reason}, which this version of Punchcard does not know.")
    done = " ".join(sentences)
    return [Alert(kind=AlertKind.RESTORED, subject="database", count=in_doubt, detail=done, since=recovery.noticed_at)]


def _count_awards(count: int, predicate: str) -> str:
    return f"{count:,} {'award' if count == 1 else 'awards'} {predicate}"


def _parked(work: Connection) -> list[Alert]:
    columns = effects.c
    rows = work.execute(
        select(columns.destination, columns.reason, func.count(), func.min(columns.settled_at))
        .where(columns.state == EffectState.PARKED)
        .group_by(columns.destination, columns.reason)
        .order_by(func.count().desc())
    )
    return [
        Alert(kind=AlertKind.PARKED, subject=slug, destination=slug, count=count, reason=reason or "", since=since)
        for slug, reason, count, since in rows
    ]
