"""The Public API's calls about alerts, their rules and their channels. Punchcard's own."""

from dataclasses import replace
from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter

from punchcard.api import bodies
from punchcard.api.api_dependencies import REQUIRED_ROLE, Dependencies
from punchcard.api.errors import bad_request, unprocessable
from punchcard.api.paging import COUNT_DEFAULT, Count, Cursor, page, read_row_cursor
from punchcard.clock import to_iso
from punchcard.operations.alert_actions import acknowledge, send_test
from punchcard.operations.alert_channels import ChannelError
from punchcard.operations.executor import run_in_executor
from punchcard.operations.row_ids import is_row_id
from punchcard.store.access.token_store import Role
from punchcard.store.operations.alert_notices import ChannelHealth, read_channel_health
from punchcard.store.operations.alerts import AlertState, StoredAlert, count_alerts, find_alert, list_alerts
from punchcard.workspace.alert_editing import (
    add_alert_channel,
    change_alert_channel,
    change_alert_rule,
    find_channel,
    find_rule,
    remove_alert_channel,
)
from punchcard.workspace.alert_rules import EffectiveRule
from punchcard.workspace.alert_settings import channel_type, mask_channel
from punchcard.workspace.editing import NotFoundError, suggest_slug
from punchcard.workspace.model import AlertChannel, AlertRule


class AlertView(msgspec.Struct, rename="camel"):
    """An alert; `points` is decimal text, null if not known. Times of what has not happened are null."""

    id: str
    kind: str
    state: str
    severity: str
    title: str
    detail: str
    remedy: str
    path: str
    subject: str
    destination: str | None
    count: int
    customers: int
    points: str | None
    since: str
    raised_at: str
    updated_at: str
    acknowledged_at: str | None
    acknowledged_by: str | None
    resolved_at: str | None


class AlertPage(msgspec.Struct):
    """A page of alerts, newest first."""

    alerts: list[AlertView]
    pagination: bodies.Pagination


class ChannelView(msgspec.Struct, rename="camel"):
    """An alert channel; URL and secret are masked. `failingSince` and `error` are null while it takes notices."""

    id: str
    name: str
    type: str
    url: str
    secret: str
    severity: str
    quiet_hours: str
    enabled: bool
    pending: int
    failing_since: str | None
    error: str | None
    last_sent_at: str | None


class ChannelPage(msgspec.Struct, rename="camel"):
    """A page of alert channels."""

    alert_channels: list[ChannelView]
    pagination: bodies.Pagination


class NewChannel(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """An alert channel to create."""

    name: str
    url: str
    severity: str = "warning"
    quiet_hours: str = ""
    secret: str = ""
    enabled: bool = True


class ChannelUpdate(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What to change of an alert channel; what is left out stays."""

    name: str | None = None
    url: str | None = None
    severity: str | None = None
    quiet_hours: str | None = None
    secret: str | None = None
    enabled: bool | None = None


class RuleView(msgspec.Struct, rename="camel"):
    """An alert rule as it is applied; `threshold` is null if it has none."""

    rule: str
    title: str
    description: str
    enabled: bool
    severity: str
    threshold: float | None
    unit: str
    is_default: bool


class RuleUpdate(msgspec.Struct, forbid_unknown_fields=True):
    """What to change of an alert rule; what is left out stays, and null is the rule's default."""

    enabled: bool | msgspec.UnsetType = msgspec.UNSET
    severity: str | msgspec.UnsetType | None = msgspec.UNSET
    threshold: float | msgspec.UnsetType | None = msgspec.UNSET


@get("/alerts", summary="Alerts, newest first")
@run_in_executor
def list_alerts_call(
    dependencies: Dependencies,
    count: Count = COUNT_DEFAULT,
    cursor: Cursor = None,
    chosen_state: Annotated[str | None, QueryParameter(name="state")] = None,
) -> dict[str, AlertPage]:
    """Every alert, or those in a state: `raised`, `acknowledged` or `resolved`."""
    if chosen_state is not None and chosen_state not in set(AlertState):
        raise bad_request(f"The state is one of {', '.join(AlertState)}.", "state")
    states = [] if chosen_state is None else [chosen_state]
    before_id = read_row_cursor(cursor, "pagination[cursor]")
    with dependencies.store.reading() as work:
        alerts = list_alerts(work, states=states, limit=count + 1, before_id=before_id)
        total = count_alerts(work, states=states)
    shown = alerts[:count]
    following = str(shown[-1].id) if len(alerts) > count else None
    pagination = bodies.Pagination(current=cursor or "", total_entries=total, next=following)
    return {"data": AlertPage(alerts=[alert_view(alert) for alert in shown], pagination=pagination)}


@get("/alerts/{alert_id:str}", summary="One alert")
@run_in_executor
def get_alert(alert_id: FromPath[str], dependencies: Dependencies) -> dict[str, dict[str, AlertView]]:
    """The alert with this id."""
    number = int(alert_id) if is_row_id(alert_id) else 0
    with dependencies.store.reading() as work:
        alert = find_alert(work, number)
    if alert is None:
        raise NotFoundError(f"There is no alert {alert_id}.")
    return {"data": {"alert": alert_view(alert)}}


@post("/alerts/{alert_id:str}/acknowledge", status_code=200, summary="Acknowledge an alert")
@run_in_executor
def acknowledge_alert_call(alert_id: FromPath[str], dependencies: Dependencies) -> dict[str, dict[str, AlertView]]:
    """Nobody is reminded of the alert any more. One that is not raised stays as it is."""
    alert = acknowledge(dependencies.store, alert_id, actor=dependencies.actor, clock=dependencies.clock)
    return {"data": {"alert": alert_view(alert)}}


@get("/alert-rules", summary="Alert rules")
@run_in_executor
def list_alert_rules(dependencies: Dependencies) -> dict[str, dict[str, list[RuleView]]]:
    """Every rule with what the workspace has changed of it."""
    return {"data": {"alertRules": [_rule(rule) for rule in dependencies.current().alert_rules.values()]}}


@patch("/alert-rules/{rule:str}", summary="Change an alert rule")
@run_in_executor
def update_alert_rule(
    rule: FromPath[str], data: JSONBody[RuleUpdate], dependencies: Dependencies
) -> dict[str, dict[str, RuleView]]:
    """Whether it is enabled, its severity and its threshold."""

    def changed(current: AlertRule) -> AlertRule:
        if data.enabled is not msgspec.UNSET:
            current = replace(current, enabled=data.enabled)
        if data.severity is not msgspec.UNSET:
            current = replace(current, severity=data.severity or "")
        if data.threshold is not msgspec.UNSET:
            current = replace(current, threshold=data.threshold)
        return current

    find_rule(dependencies.workspace(), rule)
    dependencies.edit(change_alert_rule(rule, changed))
    rules = dependencies.current().alert_rules
    return {"data": {"alertRule": next(_rule(effective) for kind, effective in rules.items() if kind == rule)}}


@get("/alert-channels", summary="Alert channels")
@run_in_executor
def list_alert_channels(
    dependencies: Dependencies, count: Count = COUNT_DEFAULT, cursor: Cursor = None
) -> dict[str, ChannelPage]:
    """Where alerts are sent, and how it goes."""
    channels = sorted(dependencies.workspace().alert_channels, key=lambda channel: channel.slug)
    shown, pagination = page(channels, key=lambda channel: channel.slug, count=count, cursor=cursor)
    health = _health(dependencies, [channel.slug for channel in shown])
    views = [_channel(channel, health[channel.slug]) for channel in shown]
    return {"data": ChannelPage(alert_channels=views, pagination=pagination)}


@post("/alert-channels", status_code=200, summary="Create an alert channel", opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def create_alert_channel(data: JSONBody[NewChannel], dependencies: Dependencies) -> dict[str, dict[str, ChannelView]]:
    """A new channel; its id is made of its name."""
    channel = AlertChannel(
        slug=suggest_slug(data.name),
        name=data.name,
        url=data.url,
        severity=data.severity,
        quiet_hours=data.quiet_hours,
        secret=data.secret,
        enabled=data.enabled,
    )
    if not channel.slug:
        raise unprocessable("The name must have a letter from a to z or a digit.", "name")
    dependencies.edit(add_alert_channel(channel))
    return _saved(dependencies, channel.slug)


@get("/alert-channels/{channel_id:str}", summary="One alert channel")
@run_in_executor
def get_alert_channel(channel_id: FromPath[str], dependencies: Dependencies) -> dict[str, dict[str, ChannelView]]:
    """The channel with this id."""
    return _saved(dependencies, channel_id)


@patch("/alert-channels/{channel_id:str}", summary="Change an alert channel", opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def update_alert_channel(
    channel_id: FromPath[str], data: JSONBody[ChannelUpdate], dependencies: Dependencies
) -> dict[str, dict[str, ChannelView]]:
    """What is given is changed; a masked URL or secret keeps the stored one."""
    given = {
        name: value
        for name in ("name", "url", "severity", "quiet_hours", "secret", "enabled")
        if (value := getattr(data, name)) is not None
    }
    dependencies.edit(change_alert_channel(channel_id, lambda channel: replace(channel, **given)))
    return _saved(dependencies, channel_id)


@delete(
    "/alert-channels/{channel_id:str}",
    status_code=200,
    summary="Delete an alert channel",
    opt={REQUIRED_ROLE: Role.OWNER},
)
@run_in_executor
def delete_alert_channel(channel_id: FromPath[str], dependencies: Dependencies) -> dict[str, dict[str, str]]:
    """Notices that wait for it are canceled."""
    dependencies.edit(remove_alert_channel(channel_id))
    return {"data": {"status": "SUCCESS"}}


@post(
    "/alert-channels/{channel_id:str}/test",
    status_code=200,
    summary="Send a test notice",
    opt={REQUIRED_ROLE: Role.OWNER},
)
@run_in_executor
def test_alert_channel(
    request: Request[Any, Any, Any], channel_id: FromPath[str], dependencies: Dependencies
) -> dict[str, dict[str, str]]:
    """Send a notice of type `alert.test` at once; an error says why the channel has not taken it."""
    channel = find_channel(dependencies.workspace(), channel_id)
    public_url = dependencies.public_url or f"{request.url.scheme}://{request.url.netloc}"
    try:
        send_test(channel, dependencies.current(), public_url=public_url, clock=dependencies.clock)
    except ChannelError as error:
        raise unprocessable(error.message, "url") from error
    return {"data": {"status": "SUCCESS"}}


def alert_view(alert: StoredAlert) -> AlertView:
    """Return the body of an alert."""
    content = alert.content
    return AlertView(
        id=str(alert.id),
        kind=content.kind,
        state=alert.state,
        severity=content.severity,
        title=content.title,
        detail=content.detail,
        remedy=content.remedy,
        path=content.path,
        subject=content.subject,
        destination=content.destination or None,
        count=content.count,
        customers=content.customers,
        points=None if content.points is None else f"{content.points:f}",
        since=to_iso(content.since),
        raised_at=to_iso(alert.raised_at),
        updated_at=to_iso(alert.updated_at),
        acknowledged_at=None if alert.acknowledged_at is None else to_iso(alert.acknowledged_at),
        acknowledged_by=alert.acknowledged_by,
        resolved_at=None if alert.resolved_at is None else to_iso(alert.resolved_at),
    )


def _rule(rule: EffectiveRule) -> RuleView:
    definition = rule.definition
    threshold = None if definition.threshold is None else rule.threshold
    return RuleView(
        rule=definition.kind,
        title=definition.title,
        description=definition.description.replace("{threshold}", f"{rule.threshold:g}"),
        enabled=rule.enabled,
        severity=rule.severity,
        threshold=threshold,
        unit=definition.unit,
        is_default=rule.is_default,
    )


def _channel(channel: AlertChannel, health: ChannelHealth) -> ChannelView:
    masked = mask_channel(channel)
    return ChannelView(
        id=channel.slug,
        name=channel.name,
        type=channel_type(channel.url),
        url=masked.url,
        secret=masked.secret,
        severity=channel.severity,
        quiet_hours=channel.quiet_hours,
        enabled=channel.enabled,
        pending=health.pending,
        failing_since=None if health.failing_since is None else to_iso(health.failing_since),
        error=health.error or None,
        last_sent_at=None if health.last_sent_at is None else to_iso(health.last_sent_at),
    )


def _saved(dependencies: Dependencies, slug: str) -> dict[str, dict[str, ChannelView]]:
    channel = find_channel(dependencies.workspace(), slug)
    return {"data": {"alertChannel": _channel(channel, _health(dependencies, [slug])[slug])}}


def _health(dependencies: Dependencies, slugs: list[str]) -> dict[str, ChannelHealth]:
    with dependencies.store.reading() as work:
        return read_channel_health(work, slugs)


HANDLERS = (
    list_alerts_call,
    get_alert,
    acknowledge_alert_call,
    list_alert_rules,
    update_alert_rule,
    list_alert_channels,
    create_alert_channel,
    get_alert_channel,
    update_alert_channel,
    delete_alert_channel,
    test_alert_channel,
)
