"""Alerts about Punchcard itself: its processes, disks, certificate, config file and alert channels."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from punchcard.operations.alert_model import Alert
from punchcard.store.operations.alert_notices import read_channel_health
from punchcard.store.operations.heartbeats import read_heartbeats
from punchcard.store.workspace.config_file_status import read_config_file_problem
from punchcard.workspace.alert_rules import AlertKind
from punchcard.workspace.renames import UNCONFIRMED
from punchcard.workspace.snapshot import Snapshot

# What a process reported longer ago says nothing about its machine any more.
_RECENT: Final = timedelta(hours=1)
PROCESSES: Final = {AlertKind.WORKER: "worker", AlertKind.ENGAGE: "engage"}


def find_missing_processes(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    """Find kinds of processes of which none has reported for a while; none is missed before one is expected."""
    newest: dict[str, datetime] = {}
    for heartbeat in read_heartbeats(work):
        newest[heartbeat.process] = max(heartbeat.seen_at, newest.get(heartbeat.process, heartbeat.seen_at))
    for kind, process in PROCESSES.items():
        seen_at = newest.get(process)
        patience = timedelta(minutes=snapshot.alert_rules[kind].threshold)
        if seen_at is not None and now - seen_at >= patience:
            yield Alert(kind=kind, subject=process, since=seen_at)


def find_machine_alerts(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    """Find disks that are nearly full and certificates that expire soon, on every machine that reports."""
    least = snapshot.alert_rules[AlertKind.DISK].threshold
    days = timedelta(days=snapshot.alert_rules[AlertKind.CERTIFICATE].threshold)
    disks: dict[tuple[str, str], float] = {}
    expiries: dict[str, datetime] = {}
    for heartbeat in read_heartbeats(work):
        if now - heartbeat.seen_at > _RECENT:
            continue
        if heartbeat.disk_free_bytes is not None and heartbeat.disk_total_bytes:
            share = 100 * heartbeat.disk_free_bytes / heartbeat.disk_total_bytes
            place = (heartbeat.host, heartbeat.disk_path or "")
            disks[place] = min(share, disks.get(place, share))
        if heartbeat.certificate_expires_at is not None:
            expiries[heartbeat.host] = heartbeat.certificate_expires_at
    for (host, path), share in disks.items():
        if share < least:
            yield Alert(kind=AlertKind.DISK, subject=host, reason=path, value=share)
    for host, expires_at in expiries.items():
        if expires_at - now < days:
            yield Alert(kind=AlertKind.CERTIFICATE, subject=host, until=expires_at)


def find_config_file_alerts(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    """Find out whether the config file waits for a confirmation, or is not valid."""
    problem = read_config_file_problem(work)
    if problem is not None:
        kind = AlertKind.RENAME if problem.code == UNCONFIRMED else AlertKind.CONFIG_FILE
        yield Alert(kind=kind, subject=problem.path, reason=problem.code, detail=problem.detail, since=problem.since)


def find_failing_channels(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    """Find alert channels that have not taken a notice for a while."""
    patience = timedelta(minutes=snapshot.alert_rules[AlertKind.CHANNEL].threshold)
    enabled = {slug: channel for slug, channel in snapshot.alert_channels.items() if channel.enabled}
    for slug, health in read_channel_health(work, list(enabled)).items():
        if health.failing_since is not None and now - health.failing_since >= patience:
            yield Alert(
                kind=AlertKind.CHANNEL,
                subject=enabled[slug].name,
                reason=slug,
                count=health.pending,
                detail=health.error,
                since=health.failing_since,
            )
