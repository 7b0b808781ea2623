"""Alerts: those of the moment and of the past, the rules that raise them, and the channels that they are sent to."""

from dataclasses import replace
from typing import Final

from litestar import get, post
from litestar.params import FromPath

from punchcard.app.forms import FormErrors, form_errors_from
from punchcard.app.request_context import REQUIRED_ROLE, ContextDependency, Page, RequestContext, local_path
from punchcard.errors import ConfigurationError
from punchcard.operations.alert_actions import acknowledge, send_test
from punchcard.operations.alert_channels import ChannelError
from punchcard.operations.current_alerts import read_current_alerts
from punchcard.operations.executor import run_in_executor
from punchcard.operations.row_ids import is_row_id
from punchcard.store.access.token_store import Role
from punchcard.store.operations.alert_notices import list_notices, read_channel_health
from punchcard.store.operations.alerts import AlertState, list_alerts
from punchcard.workspace.alert_editing import (
    add_alert_channel,
    change_alert_channel,
    change_alert_rule,
    find_channel,
    remove_alert_channel,
)
from punchcard.workspace.alert_rules import Severity
from punchcard.workspace.alert_settings import channel_type, is_webhook, mask_channel
from punchcard.workspace.editing import suggest_slug
from punchcard.workspace.export import export_part
from punchcard.workspace.keyring import is_masked
from punchcard.workspace.model import AlertChannel, AlertRule

_RESOLVED_SHOWN: Final = 50
_NOTICES_SHOWN: Final = 20
_NEW: Final = AlertChannel(slug="", name="", url="")


@get("/alerts")
@run_in_executor
def show_alerts(context: ContextDependency) -> Page:
    """Show the alerts of the moment, and those that were resolved of late."""
    dependencies = context.dependencies
    before = context.query("before")
    with dependencies.store.reading() as work:
        current = read_current_alerts(
            work,
            dependencies.current(),
            now=dependencies.clock.now(),
            points_per_unit=context.mapping_choices.points_per_unit,
        )
        resolved = list_alerts(
            work,
            states=[AlertState.RESOLVED],
            limit=_RESOLVED_SHOWN + 1,
            before_id=int(before) if is_row_id(before) else None,
        )
    shown = resolved[:_RESOLVED_SHOWN]
    return context.page(
        "alerts.html",
        alerts=current,
        resolved=shown,
        following=str(shown[-1].id) if len(resolved) > _RESOLVED_SHOWN else "",
    )


@post("/alerts/{alert_id:str}/acknowledge", status_code=200)
@run_in_executor
def acknowledge_alert(context: ContextDependency, alert_id: FromPath[str]) -> Page:
    """Acknowledge an alert: it stays in the list, and nobody is reminded of it."""
    dependencies = context.dependencies
    acknowledge(dependencies.store, alert_id, actor=context.actor, clock=dependencies.clock)
    return context.redirect(local_path(context.field("back") or "/alerts"), notices=["The alert was acknowledged."])


@get("/alerts/rules")
@run_in_executor
def show_rules(context: ContextDependency) -> Page:
    """Show every rule with its severity and threshold."""
    return _rules(context, FormErrors(), status=200)


@post("/alerts/rules/{rule:str}", status_code=200)
@run_in_executor
def save_rule(context: ContextDependency, rule: FromPath[str]) -> Page:
    """Save what differs from a rule's defaults."""
    is_reset = bool(context.field("reset"))
    typed = "" if is_reset else context.field("threshold").replace(",", ".")
    try:
        threshold = float(typed) if typed else None
    except ValueError:
        return _rules(context, FormErrors(fields={rule: f"“{typed}” is not a number."}), status=422)
    default = context.dependencies.current().alert_rules

    def changed(current: AlertRule) -> AlertRule:
        if is_reset:
            return AlertRule(rule=current.rule)
        definition = next((effective.definition for kind, effective in default.items() if kind == rule), None)
        is_default = definition is not None and threshold == definition.threshold
        is_own = definition is not None and context.field("severity") == definition.severity
        return AlertRule(
            rule=current.rule,
            enabled=context.field("enabled") == "on",
            severity="" if is_own else context.field("severity"),
            threshold=None if is_default else threshold,
        )

    try:
        context.edit(change_alert_rule(rule, changed))
    except ConfigurationError as error:
        if error.code == "not_found":
            raise
        errors = form_errors_from(error)
        text = "; ".join([*errors.fields.values(), *errors.general])
        return _rules(context, FormErrors(fields={rule: text}), status=422)
    return context.redirect("/alerts/rules", notices=["The rule has its defaults again." if is_reset else "Saved."])


@get("/alerts/channels")
@run_in_executor
def show_channels(context: ContextDependency) -> Page:
    """Show where alerts are sent, and how it goes."""
    return _channels(context, FormErrors(), _NEW, status=200)


@post("/alerts/channels", status_code=200, opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def add_channel(context: ContextDependency) -> Page:
    """Add a channel."""
    channel = _typed(context, replace(_NEW, slug=suggest_slug(context.field("name"))))
    if not channel.slug:
        errors = FormErrors(fields={"name": "Enter a name with letters or digits."})
        return _channels(context, errors, channel, status=422)
    try:
        context.edit(add_alert_channel(channel))
    except ConfigurationError as error:
        return _channels(context, form_errors_from(error), channel, status=422)
    return context.redirect("/alerts/channels", notices=[f"{channel.name} was added. Send a test."])


@get("/alerts/channels/{slug:str}", opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def show_channel(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Show the form of a channel."""
    channel = find_channel(context.dependencies.workspace(), slug)
    return _channel(context, mask_channel(channel), FormErrors(), status=200)


@post("/alerts/channels/{slug:str}", status_code=200, opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def save_channel(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Save a channel; a masked URL or secret keeps the stored one."""
    try:
        context.edit(change_alert_channel(slug, lambda channel: _typed(context, channel)))
    except ConfigurationError as error:
        if error.code == "not_found":
            raise
        typed = _typed(context, find_channel(context.dependencies.workspace(), slug))
        shown = replace(mask_channel(typed), url=context.field("url"), secret=context.field("secret"))
        return _channel(context, shown, form_errors_from(error), status=422)
    return context.redirect("/alerts/channels", notices=["Saved."])


@post("/alerts/channels/{slug:str}/remove", status_code=200, opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def remove_channel(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Remove a channel."""
    context.edit(remove_alert_channel(slug))
    return context.redirect("/alerts/channels", notices=["The channel was removed."])


@post("/alerts/channels/{slug:str}/test", status_code=200, opt={REQUIRED_ROLE: Role.OWNER})
@run_in_executor
def test_channel(context: ContextDependency, slug: FromPath[str]) -> Page:
    """Send a test notice."""
    dependencies = context.dependencies
    channel = find_channel(dependencies.workspace(), slug)
    try:
        send_test(channel, dependencies.current(), public_url=context.base_url, clock=dependencies.clock)
    except ChannelError as error:
        return _channels(context, FormErrors(general=[f"{channel.name}: {error.message}"]), _NEW, status=422)
    return context.redirect("/alerts/channels", notices=[f"A test was sent to {channel.name}."])


def _rules(context: RequestContext, errors: FormErrors, *, status: int) -> Page:
    rules = context.dependencies.current().alert_rules
    managed = {
        rule.rule: export_part(rule)
        for rule in context.dependencies.workspace().alert_rules
        if context.is_managed_by_file("alert_rule", rule.rule)
    }
    return context.page(
        "alert_rules.html",
        status=status,
        errors=errors,
        rules=list(rules.items()),
        severities=list(Severity),
        managed=managed,
    )


def _channels(context: RequestContext, errors: FormErrors, channel: AlertChannel, *, status: int) -> Page:
    channels = context.dependencies.workspace().alert_channels
    with context.dependencies.store.reading() as work:
        health = read_channel_health(work, [existing.slug for existing in channels])
        notices = list_notices(work, limit=_NOTICES_SHOWN)
    return context.page(
        "alert_channels.html",
        status=status,
        errors=errors,
        channel=channel,
        channels=channels,
        types={existing.slug: channel_type(existing.url) for existing in channels},
        health=health,
        sent_notices=notices,
        severities=list(Severity),
    )


def _channel(context: RequestContext, channel: AlertChannel, errors: FormErrors, *, status: int) -> Page:
    return context.page("alert_channel.html", status=status, errors=errors, channel=channel, severities=list(Severity))


def _typed(context: RequestContext, channel: AlertChannel) -> AlertChannel:
    """The channel as the form says; a mask stays a mask, for which the stored text is put when it is saved."""
    url, secret = context.field("url"), context.field("secret")
    return replace(
        channel,
        name=context.field("name"),
        url=url,
        secret=secret if is_webhook(url) or is_masked(url) else "",
        severity=context.field("severity") or channel.severity,
        quiet_hours=context.field("quiet_hours"),
        enabled=context.field("enabled") == "on",
    )


HANDLERS = (
    show_alerts,
    acknowledge_alert,
    show_rules,
    save_rule,
    show_channels,
    add_channel,
    show_channel,
    save_channel,
    remove_channel,
    test_channel,
)
