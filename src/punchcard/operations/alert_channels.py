"""Sends one notice to one alert channel: a signed webhook, or whatever Apprise knows."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import msgspec

from punchcard.clock import Clock, to_iso
from punchcard.destinations.network import NetworkPolicy
from punchcard.destinations.webhooks.settings import read_settings
from punchcard.errors import ConfigurationError, DeliveryError, PunchcardError
from punchcard.events.times import read_time
from punchcard.operations.alert_evaluation import NoticeBody
from punchcard.operations.alert_texts import format_moment
from punchcard.operations.sentences import count_noun
from punchcard.store.operations.alert_notices import NoticeType
from punchcard.store.operations.alerts import AlertState
from punchcard.workspace.alert_rules import Severity
from punchcard.workspace.alert_settings import channel_type, is_webhook
from punchcard.workspace.model import AlertChannel

if TYPE_CHECKING:
    import apprise

_SIGNATURE: Final = {"signature": "standard-webhooks"}
_HEADINGS: Final = {NoticeType.REMINDER: "Still open", NoticeType.RESOLVED: "Resolved", NoticeType.TEST: "Test"}


class ChannelError(PunchcardError):
    """The alert channel did not take the notice."""

    code = "channel_failed"


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A notice to send.

    Attributes:
        id: The same in every try, so that receivers can drop repeats.
        timestamp: When it was written.
    """

    id: str
    type: NoticeType
    body: NoticeBody
    timestamp: datetime


@dataclass(frozen=True, kw_only=True)
class SendingContext:
    """What every notice is sent with.

    Attributes:
        network: To which addresses webhooks may connect.
        zone: The workspace's time zone, for times in texts.
    """

    network: NetworkPolicy
    zone: ZoneInfo
    clock: Clock


def send_notice(channel: AlertChannel, notice: Notice, context: SendingContext) -> None:
    """Send a notice; returns once the channel has taken it. Waits for the network.

    Raises:
        ChannelError: the channel has not taken it; the message says why.
    """
    if is_webhook(channel.url):
        asyncio.run(_post(channel, notice, context))
    else:
        _notify(channel, notice, context)


def check_notice(channel: AlertChannel, *, public_url: str, clock: Clock) -> Notice:
    """Return a notice by which people can see whether a channel works."""
    now = clock.now()
    return Notice(
        id=f"alert_test_{clock.new_id()}",
        type=NoticeType.TEST,
        timestamp=now,
        body=NoticeBody(
            id="",
            kind="test",
            severity=Severity.INFO,
            state="",
            title=f"This is a test of the alert channel {channel.name}.",
            detail="Alerts of Punchcard are sent here.",
            remedy="",
            url=f"{public_url.rstrip('/')}/alerts/channels",
            since=to_iso(now),
            destination="",
            count=0,
            customers=0,
            points=None,
        ),
    )


def webhook_body(notice: Notice) -> bytes:
    """Return what the generic webhook is sent: the same bytes in every try."""
    return msgspec.json.encode(
        {"type": notice.type, "timestamp": to_iso(notice.timestamp), "data": msgspec.to_builtins(notice.body)}
    )


def notice_subject(notice: Notice) -> str:
    """Return the heading of a notice for people."""
    heading = _HEADINGS.get(notice.type) or notice.body.severity.capitalize()
    return f"[Punchcard] {heading}: {notice.body.title}"


def notice_text(notice: Notice, zone: ZoneInfo) -> str:
    """Return a notice as plain text for people."""
    body = notice.body
    lines = [body.detail] if body.detail else []
    if notice.type is not NoticeType.TEST:
        since = read_time(body.since)
        lines += ["", f"Since: {format_moment(since, zone)}"]
        if body.customers:
            affected = [count_noun(body.count, "award"), count_noun(body.customers, "customer")]
            affected += [f"{body.points} points"] if body.points is not None else []
            lines.append(f"Affected: {', '.join(affected)}")
    if body.remedy and body.state != AlertState.RESOLVED:
        lines += ["", f"What to do: {body.remedy}"]
    return "\n".join([*lines, "", body.url]).strip()


async def _post(channel: AlertChannel, notice: Notice, context: SendingContext) -> None:
    try:
        settings = read_settings(
            {"url": channel.url.strip(), "sharedSecret": channel.secret}, _SIGNATURE if channel.secret else {}
        )
    except ConfigurationError as error:
        raise ChannelError(error.message) from error
    from punchcard.destinations.webhooks.client import WebhooksClient  # an HTTP client: not before a channel needs it

    client = WebhooksClient(settings, network=context.network, clock=context.clock)
    try:
        await client.post(webhook_body(notice), request_id=notice.id)
    except DeliveryError as error:
        raise ChannelError(error.message) from error
    finally:
        await client.close()


def _notify(channel: AlertChannel, notice: Notice, context: SendingContext) -> None:
    import apprise  # takes a second and 40 MB: not before a channel needs it

    service = apprise.Apprise()
    if not service.add(channel.url.strip()):
        raise ChannelError(f"Apprise cannot use this {channel_type(channel.url)} URL")
    kinds = {Severity.WARNING.value: apprise.NotifyType.WARNING, Severity.CRITICAL.value: apprise.NotifyType.FAILURE}
    notify_service(
        service,
        title=notice_subject(notice),
        text=notice_text(notice, context.zone),
        scheme=channel_type(channel.url),
        kind=apprise.NotifyType.SUCCESS
        if notice.type is NoticeType.RESOLVED
        else kinds.get(notice.body.severity, apprise.NotifyType.INFO),
    )


def notify_service(
    service: "apprise.Apprise", *, title: str, text: str, scheme: str, kind: "apprise.NotifyType | None" = None
) -> None:
    """Send a plain text by what Apprise has opened.

    Args:
        scheme: Scheme of its URL, for the message of an error.
        kind: Kind of the message, None for information.

    Raises:
        ChannelError: It was not taken; the message says why.
    """
    import apprise

    logging.getLogger(apprise.LOGGER_NAME).propagate = False  # its results say what it logs
    result = service.notify(
        title=title, body=text, notify_type=kind or apprise.NotifyType.INFO, body_format=apprise.NotifyFormat.TEXT
    )
    if not result:
        lines = [entry.message for service in result.results for attempt in service.attempts for entry in attempt.logs]
        raise ChannelError("; ".join(dict.fromkeys(lines)) or f"{scheme}:// did not take the notice")
