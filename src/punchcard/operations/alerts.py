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

    PAUSED = "paused"  # a destination is paused: its credentials are refused
    RESUMED = "resumed"  # a destination was paused in the last 7 days and resumed by itself
    INVALID = "invalid"  # this version cannot use a part of the configuration; events for a destination are held
    HELD = "held"  # events could not be planned for a destination and are held until the cause is corrected
    PARKED = "parked"  # awards are not retried until an operator retries or dismisses them
    CONFLICT = "conflict"  # orders were received again with different content in the last 7 days
    UNMAPPED = "unmapped"  # many events have a name that is not mapped
    COMPUTATION = "computation"  # an audience or computed trait cannot be computed, or its check found differences
    SYNC = "sync"  # a destination lacks values of an audience or computed trait
    QUARANTINED = "quarantined"  # log records or events could not be processed in the last 7 days
    LAKE = "lake"  # the lake cannot be read or written
    LAKE_LOSS = "lake_loss"  # a repair of the lake in the last 7 days could not restore some events
    RESTORED = "restored"  # the store was restored from an older copy; awards since then are read back
    DIFFERENCES = "differences"  # the ledger and the partner's transactions differ
    UNKNOWN_SOURCE = "unknown_source"  # events were received with a write key that belongs to no source


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A condition that an operator must act on.

    Attributes:
        subject: What the alert is about: a destination's slug, an event name, a computation's key, …
        destination: Slug of the destination; "" if the alert is not about one.
        count: Number of events or awards; 0 if the kind has none.
        detail: Additional sentence, "" for none.
        until: When the condition ended, None while it lasts.
        next_check_at: When Punchcard checks again automatically, None if it does not.
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
    """Return the queued and parked effects by destination and state."""
    return backlog(work, list(snapshot.destinations))


def _resumed(work: Connection, snapshot: Snapshot, *, now: datetime) -> list[Alert]:
    """Return recent pauses that ended without an operator: no action is needed, but operators should know."""
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
    """Return the parts of the configuration that cannot be used, and the destinations with held events."""
    held_by_destination = {held.destination: held for held in count_held(work)}
    alerts = []
    for problem in snapshot.problems():
        if problem.kind == "computation":
            continue
        slug = problem.slug if problem.kind == "destination" else ""
        entry = held_by_destination.pop(slug, None)
        alerts.append(
            Alert(
                kind=AlertKind.INVALID,
                subject=problem.slug or "The workspace",
                destination=slug,
                count=0 if entry is None else entry.count,
                reason=problem.kind,
                detail=problem.message,
            )
        )
    for entry in held_by_destination.values():
        alerts.append(
            Alert(
                kind=AlertKind.HELD,
                subject=entry.destination,
                destination=entry.destination if entry.destination in snapshot.destinations else "",
                count=entry.count,
                detail=entry.detail,
                since=entry.oldest_received_at,
            )
        )
    return alerts


def _computations(work: Connection, snapshot: Snapshot) -> list[Alert]:
    """Return audiences and computed traits that failed, or that a check has found to be wrong."""
    invalid = snapshot.invalid_computations
    failed = [
        Alert(kind=AlertKind.COMPUTATION, subject=key, detail=message) for key, message in sorted(invalid.items())
    ]
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
    """Return computations with values that a destination rejected, refused or was never sent."""
    queues = queue_sizes(work)
    alerts = []
    for slug in snapshot.destinations:
        source = OWN_SOURCES + slug
        rejected = keys_of_failed_syncs(work, destination=slug, source=source)
        for key in snapshot.computations:
            values = failed_syncs(work, key, destination=slug, source=source) if key in rejected else []
            held = {cause: queues.get((slug, key, cause), 0) for cause in (SYNC_FAILED, SYNC_REFUSED)}
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
    """Return alerts about quarantined log records and about the lake."""
    alerts = [
        Alert(
            kind=AlertKind.QUARANTINED,
            subject=quarantined.reason,
            reason=quarantined.reason,
            count=quarantined.count,
            since=quarantined.newest,
        )
        for quarantined in count_quarantined(work, since=since)
    ]
    lake = read_lake_status(work)
    if lake.failing_since is not None:
        alerts.append(Alert(kind=AlertKind.LAKE, subject="lake", detail=lake.detail, since=lake.failing_since))
    if lake.lost_at is not None and lake.lost_at >= since:
        alerts.append(Alert(kind=AlertKind.LAKE_LOSS, subject="lake", count=lake.lost_events, since=lake.lost_from))
    return alerts


def _restored(work: Connection, now: datetime) -> list[Alert]:
    """Return the alert about a restored store, kept until every award is read back and for 7 days."""
    recovery = newest_recovery(work)
    if recovery is None:
        return []
    in_doubt = count_in_doubt(work)
    reads_back_new = recovery.doubt_until is not None and now < recovery.doubt_until
    if not in_doubt and not reads_back_new and recovery.noticed_at < now - _RECENT:
        return []
    affected = recovery.read_back + recovery.planned
    sentences = [_count_awards(affected, "may have been delivered since that copy was made.")]
    if in_doubt:
        sentences.append(
            _count_awards(in_doubt, "must still be looked up at the partner before anything is sent again.")
        )
    elif affected:
        sentences.append("All of them were looked up at the partner.")
    if recovery.not_planned:
        sentences.append(
            _count_awards(
                recovery.not_planned, "cannot be planned again; the log names each (lost_effect_not_planned)."
            )
        )
    if recovery.doubt_until is not None and reads_back_new:
        sentences.append(
            f"Some events are in no copy, so until {recovery.doubt_until:%Y-%m-%d} every new award is read back from "
            "the partner before it is sent."
        )
    if recovery.reason not in set(RecoveryReason):
        sentences.append(f"The reason is stored as {recovery.reason}, which this version of Punchcard does not know.")
    detail = " ".join(sentences)
    return [
        Alert(kind=AlertKind.RESTORED, subject="database", count=in_doubt, detail=detail, since=recovery.noticed_at)
    ]


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
