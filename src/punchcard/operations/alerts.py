"""Alerts: what an operator must act on."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from punchcard.operations.alert_model import Alert, Condition
from punchcard.operations.delivery_alerts import (
    find_hung_attempts,
    find_low_success_rates,
    find_old_queues,
    find_parked,
    find_rejected,
    find_unreachable,
)
from punchcard.operations.destination_states import DestinationState, read_status
from punchcard.operations.personal_data_alerts import find_alarming_properties
from punchcard.operations.process_alerts import (
    find_config_file_alerts,
    find_failing_channels,
    find_machine_alerts,
    find_missing_processes,
)
from punchcard.operations.reconciliation_alerts import find_ledger_differences
from punchcard.operations.sentences import count_noun
from punchcard.store.delivery.conflicts import count_unresolved
from punchcard.store.delivery.counts import CountQuery, Dimension, read_counts
from punchcard.store.delivery.pauses import PauseEnd, last_pause_of
from punchcard.store.delivery.recoveries import RecoveryReason, count_in_doubt, newest_recovery
from punchcard.store.delivery.sync_results import failed_syncs, keys_of_failed_syncs
from punchcard.store.engage.engage_tables import SYNC_FAILED, SYNC_REFUSED, Status, last_failure, queue_sizes, states
from punchcard.store.routing.event_results import EventStatus
from punchcard.store.routing.held import count_held
from punchcard.store.routing.lake_status import read_lake_status
from punchcard.store.routing.quarantine import count_quarantined
from punchcard.workspace.alert_rules import AlertKind
from punchcard.workspace.computations import OWN_SOURCES
from punchcard.workspace.snapshot import Snapshot

_RECENT = timedelta(days=7)
_NAMES_MAX = 5
# What is counted is an alert only from the threshold of its rule on.
_COUNTED = frozenset(
    {
        *(AlertKind.PARKED, AlertKind.REJECTED, AlertKind.CONFLICT, AlertKind.UNMAPPED),
        *(AlertKind.QUARANTINED, AlertKind.UNKNOWN_SOURCE, AlertKind.LEDGER),
    }
)


def find_alerts(work: Connection, snapshot: Snapshot, *, now: datetime) -> list[Alert]:
    """Return the current alerts, those that stop awards first, without those that take long to find."""
    return [alert for condition in CONDITIONS for alert in find_by(condition, work, snapshot, now=now)]


def find_by(condition: Condition, work: Connection, snapshot: Snapshot, *, now: datetime) -> list[Alert]:
    """Return the alerts of one condition that the rules of the workspace ask for."""
    rules = snapshot.alert_rules
    kinds = [kind for kind in condition.kinds if rules[kind].enabled]
    if not kinds:
        return []
    return [
        alert
        for alert in condition.find(work, snapshot, now)
        if alert.kind in kinds and (alert.kind not in _COUNTED or alert.count >= rules[alert.kind].threshold)
    ]


def _stopped(work: Connection, snapshot: Snapshot, now: datetime) -> list[Alert]:
    """Return destinations that are paused or off."""
    since = now - _RECENT
    alerts = []
    for slug, routed in snapshot.destinations.items():
        status = read_status(work, routed.destination)
        if status.state is DestinationState.ON:
            continue
        recorded = 0
        if status.state is DestinationState.OFF:
            query = CountQuery(
                statuses=[EventStatus.DESTINATION_OFF], begin=since, end=since + 2 * _RECENT, destination=slug
            )
            recorded = sum(read_counts(work, query, by=[]).values())
        alerts.append(
            Alert(
                kind=AlertKind.PAUSED if status.state is DestinationState.PAUSED else AlertKind.OFF,
                subject=slug,
                destination=slug,
                count=recorded,
                reason=status.reason,
                detail=status.detail,
                since=status.since,
                until=status.until,
                next_check_at=status.next_check_at,
                actor=status.actor or "",
            )
        )
    return alerts


def _conflicts(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    for slug, count in sorted(count_unresolved(work).items()):
        if slug in snapshot.destinations:
            yield Alert(kind=AlertKind.CONFLICT, subject=slug, destination=slug, count=count)


def _unmapped(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    query = _lately(now, [EventStatus.REFUSED], reasons=["not_allowlisted"])
    counts = read_counts(work, query, by=[Dimension.DESTINATION, Dimension.EVENT_NAME])
    for (slug, name), count in sorted(counts.items(), key=lambda pair: -pair[1])[:_NAMES_MAX]:
        yield Alert(kind=AlertKind.UNMAPPED, subject=str(name), destination=str(slug), count=count)


def _unknown_sources(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    query = _lately(now, [EventStatus.FAILED_ON_INGEST], reasons=["unknown_source"])
    if count := sum(read_counts(work, query, by=[]).values()):
        yield Alert(kind=AlertKind.UNKNOWN_SOURCE, subject="", count=count)


def _lately(now: datetime, statuses: Sequence[str], *, reasons: Sequence[str] = ()) -> CountQuery:
    return CountQuery(statuses=statuses, reasons=reasons, begin=now - _RECENT, end=now + timedelta(days=1))


def _resumed(work: Connection, snapshot: Snapshot, now: datetime) -> list[Alert]:
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


def _invalid(work: Connection, snapshot: Snapshot, now: datetime) -> list[Alert]:
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


def _computations(work: Connection, snapshot: Snapshot, now: datetime) -> list[Alert]:
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


def _syncs(work: Connection, snapshot: Snapshot, now: datetime) -> list[Alert]:
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


def _storage(work: Connection, snapshot: Snapshot, now: datetime) -> list[Alert]:
    """Return alerts about quarantined log records and about the lake."""
    since = now - _RECENT
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


def _restored(work: Connection, snapshot: Snapshot, now: datetime) -> list[Alert]:
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
    sentences.append(
        "Persons who were deleted or suppressed after the copy was made are back: create these regulations again."
    )
    if recovery.reason not in set(RecoveryReason):
        sentences.append(f"The reason is stored as {recovery.reason}, which this version of Punchcard does not know.")
    detail = " ".join(sentences)
    return [
        Alert(kind=AlertKind.RESTORED, subject="database", count=in_doubt, detail=detail, since=recovery.noticed_at)
    ]


def _count_awards(count: int, predicate: str) -> str:
    return f"{count_noun(count, 'award')} {predicate}"


CONDITIONS: Final = (
    Condition(kinds=frozenset({AlertKind.INVALID, AlertKind.HELD}), find=_invalid),
    Condition(kinds=frozenset({AlertKind.PAUSED, AlertKind.OFF}), find=_stopped),
    Condition(kinds=frozenset({AlertKind.WORKER, AlertKind.ENGAGE}), find=find_missing_processes),
    Condition(kinds=frozenset({AlertKind.DISK, AlertKind.CERTIFICATE}), find=find_machine_alerts),
    Condition(kinds=frozenset({AlertKind.UNREACHABLE}), find=find_unreachable),
    Condition(kinds=frozenset({AlertKind.HUNG}), find=find_hung_attempts),
    Condition(kinds=frozenset({AlertKind.PARKED}), find=find_parked),
    Condition(kinds=frozenset({AlertKind.REJECTED}), find=find_rejected),
    Condition(kinds=frozenset({AlertKind.QUEUE_AGE}), find=find_old_queues),
    Condition(kinds=frozenset({AlertKind.SUCCESS_RATE}), find=find_low_success_rates),
    Condition(kinds=frozenset({AlertKind.QUARANTINED, AlertKind.LAKE, AlertKind.LAKE_LOSS}), find=_storage),
    Condition(kinds=frozenset({AlertKind.RESUMED}), find=_resumed),
    Condition(kinds=frozenset({AlertKind.RESTORED}), find=_restored),
    Condition(kinds=frozenset({AlertKind.RENAME, AlertKind.CONFIG_FILE}), find=find_config_file_alerts),
    Condition(kinds=frozenset({AlertKind.COMPUTATION}), find=_computations),
    Condition(kinds=frozenset({AlertKind.SYNC}), find=_syncs),
    Condition(kinds=frozenset({AlertKind.CONFLICT}), find=_conflicts),
    Condition(kinds=frozenset({AlertKind.LEDGER}), find=find_ledger_differences),
    Condition(kinds=frozenset({AlertKind.UNMAPPED}), find=_unmapped),
    Condition(kinds=frozenset({AlertKind.UNKNOWN_SOURCE}), find=_unknown_sources),
    Condition(kinds=frozenset({AlertKind.PERSONAL_DATA}), find=find_alarming_properties),
    Condition(kinds=frozenset({AlertKind.CHANNEL}), find=find_failing_channels),
)
"""What every page of alerts looks at, those that stop awards first."""
