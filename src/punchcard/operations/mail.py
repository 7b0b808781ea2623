"""Mail to operators, sent by the mail server of an alert channel."""

from typing import Final

from punchcard.operations.alert_channels import ChannelError, notify_service
from punchcard.workspace.alert_settings import url_scheme
from punchcard.workspace.model import AlertChannel
from punchcard.workspace.snapshot import Snapshot

_SCHEMES: Final = ("mailto", "mailtos")


def find_mail_channel(snapshot: Snapshot) -> AlertChannel | None:
    """Return the first enabled alert channel that sends mail, None if there is none."""
    channels = (channel for _, channel in sorted(snapshot.alert_channels.items()))
    return next((channel for channel in channels if channel.enabled and url_scheme(channel.url) in _SCHEMES), None)


def send_mail(channel: AlertChannel, *, to: str, subject: str, text: str) -> None:
    """Send a mail to one address, from the sender and by the server of an alert channel. Waits for the network.

    Args:
        text: Plain text.

    Raises:
        ChannelError: The server did not take the mail; the message says why.
    """
    import apprise  # takes a second and 40 MB: not before a mail needs it
    from apprise.plugins import url_to_dict

    parsed: dict[str, object] | None = url_to_dict(channel.url.strip())  # type: ignore[no-untyped-call]
    if parsed is None:
        raise ChannelError(f"The URL of the alert channel {channel.name} cannot be used for mail.")
    # The recipients of alerts do not get it.
    parsed = {name: value for name, value in parsed.items() if name not in ("cc", "bcc", "reply_to")}
    service = apprise.Apprise()
    if not service.add({**parsed, "targets": [to]}):
        raise ChannelError(f"The URL of the alert channel {channel.name} cannot be used for mail to {to}.")
    notify_service(service, title=f"[Punchcard] {subject}", text=text, scheme=url_scheme(channel.url))
