"""Turns what is wrong into alerts with a state, and queues a notice for every change of state.

Alerts and their notices are written in one unit of work, and notices are sent afterwards. A crash between the two
sends a notice again; none is lost.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection

from punchcard.clock import Clock, to_iso
from punchcard.errors import StorageError
from punchcard.operations.alert_model import Alert, Condition
from punchcard.operations.alert_texts import describe_alert
from punchcard.operations.alerts import CONDITIONS, find_by
from punchcard.operations.process_alerts import PROCESSES
from punchcard.operations.telemetry import AlertTelemetry
from punchcard.operations.volume_alerts import VOLUME_CONDITIONS
from punchcard.store.engine import Store
from punchcard.store.operations.alert_notices import NoticeType, add_notice, was_noticed
from punchcard.store.operations.alerts import (
    AlertContent,
    AlertState,
    StoredAlert,
    add_alert,
    note_reminder,
    open_alerts,
    raise_again,
    resolve_alert,
    update_alert,
)
from punchcard.workspace.alert_rules import AlertKind, Severity
from punchcard.workspace.alert_settings import parse_quiet_hours
from punchcard.workspace.computations import COMPUTATION_KINDS
from punchcard.workspace.model import AlertChannel
from punchcard.workspace.names_of_snapshot import destination_names, source_names
from punchcard.workspace.snapshot import Snapshot

REMINDED_EVERY: Final = timedelta(days=1)
_VOLUME_SECONDS: Final = 600.0
_BY_REASON: Final = frozenset(
    {
        *(AlertKind.INVALID, AlertKind.PARKED, AlertKind.REJECTED),
        *(AlertKind.VOLUME, AlertKind.CHANNEL, AlertKind.DISK),
    }
)
# They say that something is over, or has happened once: nobody need be reminded.
_NOT_REMINDED: Final = frozenset({AlertKind.RESUMED, AlertKind.RESTORED, AlertKind.LAKE_LOSS})
_WORSE: Final = 2  # times the count that was acknowledged: somebody should look again

PointsPerUnit = Callable[[str, str], Decimal | None]
"""What one unit of an item at a destination gives, None if not known."""


class NoticeBody(msgspec.Struct, frozen=True, rename="camel"):
    """What a notice says, whatever channel it goes to.

    Attributes:
        since: When the cause began, ISO text.
        points: Decimal text, None if not known.
        url: Where something can be done about it.
    """

    id: str
    kind: str
    severity: str
    state: str
    title: str
    detail: str
    remedy: str
    url: str
    since: str
    destination: str
    count: int
    customers: int
    points: str | None


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found at one time.

    Attributes:
        kinds: The kinds that were looked for; alerts of other kinds stay as they are.
    """

    contents: Sequence[AlertContent]
    kinds: AbstractSet[AlertKind]


def cause_digest(alert: Alert) -> str:
    """Return a digest that is the same as long as an alert has the same cause."""
    parts = (alert.kind.value, alert.subject, alert.destination, _reason_of(alert))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def build_content(
    alert: Alert, snapshot: Snapshot, *, now: datetime, points_per_unit: PointsPerUnit = lambda _slug, _item: None
) -> AlertContent:
    """Return what an alert says, with the severity that its rule has now."""
    text = describe_alert(_with_name(alert, snapshot), zone=snapshot.zone)
    return AlertContent(
        cause=cause_digest(alert),
        kind=alert.kind,
        subject=alert.subject,
        destination=alert.destination,
        reason=_reason_of(alert),
        severity=snapshot.alert_rules[alert.kind].severity,
        title=text.title,
        detail=text.detail,
        remedy=text.remedy,
        path=text.path,
        count=alert.count,
        customers=alert.customers,
        points=_points(alert, points_per_unit),
        since=alert.since or now,
    )


def _with_name(alert: Alert, snapshot: Snapshot) -> Alert:
    """Return the alert with the names of what it is about, for its texts only: an alert is known by the slug."""
    names = snapshot.part_names
    match alert.kind:
        case AlertKind.SOURCE_SILENT:
            return replace(alert, name=source_names(snapshot).get(alert.subject, ""))
        case AlertKind.VOLUME | AlertKind.PERSONAL_DATA:
            return replace(alert, sources=tuple(names.get(("source", slug), slug) for slug in alert.sources))
        case AlertKind.COMPUTATION | AlertKind.SYNC:
            keys = ((kind, alert.subject) for kind in COMPUTATION_KINDS)
            alert = replace(alert, name=next((names[key] for key in keys if key in names), ""))
        case AlertKind.INVALID:
            alert = replace(alert, name=names.get((alert.reason, alert.subject), ""))
    if alert.destination not in snapshot.destinations:
        return alert
    name = destination_names(snapshot)[alert.destination]
    subject = name if alert.subject == alert.destination else alert.subject
    return replace(alert, subject=subject, destination_name=name)


class AlertEvaluator:
    """Looks for what is wrong, and writes down what has changed since.

    Args:
        points_per_unit: What one unit of an item gives, as far as it is known.
        public_url: Where the App is reached, for links in notices.
        start_seconds: How long processes that start together with this one may take until they report. Until then
            none is newly missing: what it reported last was before a stop.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        current: Callable[[], Snapshot],
        points_per_unit: PointsPerUnit = lambda _slug, _item: None,
        public_url: str = "",
        start_seconds: float = 0.0,
    ) -> None:
        self._started_at = clock.monotonic() + start_seconds
        self._store = store
        self._clock = clock
        self._current = current
        self._points_of = points_per_unit
        self._public_url = public_url.rstrip("/")
        self._telemetry = AlertTelemetry()
        self._volume_at = 0.0

    def step(self) -> int:
        """Look once; returns how many alerts have changed their state.

        Raises:
            StorageError: the store is away.
        """
        snapshot = self._current()
        findings = self.find(snapshot)
        return self.record(findings, snapshot)

    def find(self, snapshot: Snapshot) -> Findings:
        """Look for everything that is due; a condition that fails stops no other and leaves its alerts as they are."""
        conditions: list[Condition] = [*CONDITIONS]
        if self._clock.monotonic() >= self._volume_at:
            self._volume_at = self._clock.monotonic() + _VOLUME_SECONDS
            conditions += VOLUME_CONDITIONS
        contents: dict[str, AlertContent] = {}
        kinds: set[AlertKind] = set()
        now = self._clock.now()
        for condition in conditions:
            try:
                with self._store.reading() as work:
                    for alert in find_by(condition, work, snapshot, now=now):
                        content = build_content(alert, snapshot, now=now, points_per_unit=self._points_of)
                        contents.setdefault(content.cause, content)
            except StorageError as error:
                self._telemetry.storage_failed(error=error.message)
                continue
            except Exception as error:  # noqa: BLE001  # one condition that cannot be evaluated must not hide the others
                self._telemetry.condition_failed(kinds=sorted(condition.kinds), error=error)
                continue
            kinds |= condition.kinds
        if self._clock.monotonic() < self._started_at:
            contents = self._without_newly_missing(contents)
        return Findings(contents=[content for content in contents.values() if content.kind in kinds], kinds=kinds)

    def _without_newly_missing(self, contents: Mapping[str, AlertContent]) -> dict[str, AlertContent]:
        with self._store.reading() as work:
            existing = open_alerts(work)
        return {
            cause: content for cause, content in contents.items() if content.kind not in PROCESSES or cause in existing
        }

    def record(self, findings: Findings, snapshot: Snapshot) -> int:
        """Write down what has changed, with the notices of it; returns how many alerts have changed their state."""
        now = self._clock.now()
        with self._store.reading() as work:
            if not self._has_changes(open_alerts(work), findings, now=now):
                return 0
        with self._store.unit_of_work() as work:
            recorder = _Recorder(work, snapshot=snapshot, now=now, public_url=self._public_url)
            changed = recorder.record(findings)
        for state, content in changed:
            self._telemetry.alert_changed(
                state=state, kind=content.kind, severity=content.severity, title=content.title
            )
        return len(changed)

    def _has_changes(self, existing: Mapping[str, StoredAlert], findings: Findings, *, now: datetime) -> bool:
        causes = {content.cause for content in findings.contents}
        has_resolved = any(
            alert.content.kind in findings.kinds and cause not in causes for cause, alert in existing.items()
        )
        return has_resolved or any(
            (alert := existing.get(content.cause)) is None
            or _differs(alert.content, content)
            or _is_reminder_due(alert, now)
            for content in findings.contents
        )


class _Recorder:
    """Writes what has changed within one unit of work."""

    def __init__(self, work: Connection, *, snapshot: Snapshot, now: datetime, public_url: str) -> None:
        self._work = work
        self._now = now
        self._public_url = public_url
        self._zone = snapshot.zone
        self._channels = [channel for channel in snapshot.alert_channels.values() if channel.enabled]

    def record(self, findings: Findings) -> list[tuple[AlertState, AlertContent]]:
        changed: list[tuple[AlertState, AlertContent]] = []
        existing = open_alerts(self._work)
        causes = {content.cause for content in findings.contents}
        for content in findings.contents:
            alert = existing.get(content.cause)
            if alert is None:
                alert_id = add_alert(self._work, content, now=self._now)
                self._notify(alert_id, content, NoticeType.RAISED)
                changed.append((AlertState.RAISED, content))
            elif self._continue(alert, content):
                changed.append((AlertState.RAISED, content))
        for cause, alert in existing.items():
            if alert.content.kind in findings.kinds and cause not in causes:
                resolve_alert(self._work, alert.id, now=self._now)
                self._notify(alert.id, alert.content, NoticeType.RESOLVED)
                changed.append((AlertState.RESOLVED, alert.content))
        return changed

    def _continue(self, alert: StoredAlert, content: AlertContent) -> bool:
        """Write what an open alert says now; True if it is raised again."""
        # What began earlier than was known at first stays so: its beginning is not written again each time.
        content = replace(content, since=min(alert.content.since, content.since))
        if _differs(alert.content, content):
            update_alert(self._work, alert.id, content, now=self._now)
        acknowledged = alert.acknowledged_count
        if alert.state is AlertState.ACKNOWLEDGED and acknowledged and content.count > _WORSE * acknowledged:
            raise_again(self._work, alert.id, now=self._now)
            self._notify(alert.id, content, NoticeType.RAISED)
            return True
        if _is_reminder_due(alert, self._now):
            note_reminder(self._work, alert.id, now=self._now)
            self._notify(alert.id, content, NoticeType.REMINDER)
        return False

    def _notify(self, alert_id: int, content: AlertContent, type_: NoticeType) -> None:
        notified = was_noticed(self._work, alert_id)
        for channel in self._channels:
            if not self._takes(channel, content) or (type_ is NoticeType.RESOLVED and channel.slug not in notified):
                continue
            add_notice(
                self._work,
                alert_id=alert_id,
                channel=channel.slug,
                type=type_,
                body=msgspec.json.encode(self._body(alert_id, content, type_)).decode(),
                now=self._now,
                due_at=send_time(channel, content.severity, now=self._now, zone=self._zone),
            )

    def _takes(self, channel: AlertChannel, content: AlertContent) -> bool:
        if content.kind == AlertKind.CHANNEL and content.reason == channel.slug:
            return False  # a channel cannot say that it is failing
        lowest = Severity(channel.severity) if channel.severity in set(Severity) else Severity.WARNING
        return Severity(content.severity).rank >= lowest.rank

    def _body(self, alert_id: int, content: AlertContent, type_: NoticeType) -> NoticeBody:
        return NoticeBody(
            id=str(alert_id),
            kind=content.kind,
            severity=content.severity,
            state=AlertState.RESOLVED if type_ is NoticeType.RESOLVED else AlertState.RAISED,
            title=content.title,
            detail=content.detail,
            remedy=content.remedy,
            url=self._public_url + (content.path or "/alerts"),
            since=to_iso(content.since),
            destination=content.destination,
            count=content.count,
            customers=content.customers,
            points=None if content.points is None else f"{content.points:f}",
        )


def send_time(channel: AlertChannel, severity: str, *, now: datetime, zone: ZoneInfo) -> datetime:
    """Return when a channel may be sent something: now, or at the end of its quiet hours if it is not critical."""
    quiet = parse_quiet_hours(channel.quiet_hours)
    if quiet is None or severity == Severity.CRITICAL:
        return now
    begin, end = quiet
    local = now.astimezone(zone)
    is_quiet = begin <= local.time() < end if begin < end else local.time() >= begin or local.time() < end
    if not is_quiet:
        return now
    ends = local.replace(hour=end.hour, minute=end.minute, second=0, microsecond=0)
    if ends <= local:
        ends = (ends.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=zone)
    return ends.astimezone(now.tzinfo)


def _reason_of(alert: Alert) -> str:
    # The reason is part of the cause only where several alerts of one subject differ by it.
    return alert.reason if alert.kind in _BY_REASON else ""


def _points(alert: Alert, points_per_unit: PointsPerUnit) -> Decimal | None:
    total = Decimal(0)
    for item, units in alert.amounts.items():
        each = points_per_unit(alert.destination, item)
        if each is None:
            return None
        total += units * abs(each)
    return total if alert.amounts else None


def _differs(stored: AlertContent, content: AlertContent) -> bool:
    # An alert without a known beginning is found with the present one each time.
    return replace(content, since=stored.since) != stored


def _is_reminder_due(alert: StoredAlert, now: datetime) -> bool:
    is_due = alert.state is AlertState.RAISED and now - alert.reminded_at >= REMINDED_EVERY
    return is_due and alert.content.kind not in _NOT_REMINDED
