"""`alerts`: what needs attention, on the command line."""

import sys

from punchcard.cli.listing import print_list
from punchcard.cli.options import unknown_name
from punchcard.cli.output import printable
from punchcard.clock import SystemClock
from punchcard.operations.alert_actions import acknowledge, send_test
from punchcard.operations.alert_channels import ChannelError
from punchcard.runtime.alerting import base_url
from punchcard.runtime.assembly import open_keyring, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.operations.alerts import AlertState, StoredAlert, list_alerts
from punchcard.workspace.snapshot import SnapshotWatch

_SHOWN_MAX = 1_000


def print_alerts(settings: Settings, *, include_resolved: bool, as_json: bool) -> None:
    """Print the alerts that are not resolved, or all, newest first.

    Raises:
        StorageError: the store is away.
    """
    states = [] if include_resolved else [AlertState.RAISED, AlertState.ACKNOWLEDGED]
    store = open_store(settings)
    try:
        with store.reading() as work:
            matches = list_alerts(work, states=states, limit=_SHOWN_MAX)
    finally:
        store.close()
    print_list(
        matches,
        columns={
            "id": lambda alert: alert.id,
            "state": lambda alert: alert.state,
            "severity": lambda alert: alert.content.severity,
            "since": lambda alert: f"{alert.content.since:%Y-%m-%d %H:%M} UTC",
            "alert": lambda alert: f"{alert.content.title} {alert.content.detail}".strip(),
            "what to do": lambda alert: alert.content.remedy,
        },
        body=_body,
        as_json=as_json,
        empty="No alerts",
    )


def acknowledge_one(settings: Settings, alert_id: str) -> None:
    """Acknowledge one alert.

    Raises:
        ConfigurationError: there is no such alert.
        StorageError: the store is away.
    """
    store = open_store(settings)
    try:
        alert = acknowledge(store, alert_id, actor="command line", clock=SystemClock())
    finally:
        store.close()
    print(f"{alert.state}: {printable(alert.content.title)}")


def test_channel(settings: Settings, name: str) -> int:
    """Send a test notice to a channel.

    Returns:
        0 if the channel has taken it, else 1.

    Raises:
        ConfigurationError: there is no such channel.
        StorageError: the store is away.
    """
    clock = SystemClock()
    store = open_store(settings)
    try:
        snapshot = SnapshotWatch(store, open_keyring(settings), clock=clock).current()
    finally:
        store.close()
    channels = snapshot.alert_channels
    channel = channels.get(name) or next((channel for channel in channels.values() if channel.name == name), None)
    if channel is None:
        raise unknown_name("", name, channels, kind="alert channel")
    try:
        send_test(channel, snapshot, public_url=base_url(settings), clock=clock)
    except ChannelError as error:
        print(f"{channel.name}: {printable(error.message)}", file=sys.stderr)
        return 1
    print(f"A test was sent to {channel.name}")
    return 0


def _body(alert: StoredAlert) -> object:
    from punchcard.api.alerts import alert_view

    return alert_view(alert)
