"""`alerts`: what needs attention, on the command line."""

import json
import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from punchcard.cli.options import unknown_name
from punchcard.cli.trace_text import printable
from punchcard.clock import SystemClock, to_iso
from punchcard.operations.alert_actions import acknowledge, send_test
from punchcard.operations.alert_channels import ChannelError
from punchcard.runtime.alerting import base_url
from punchcard.runtime.assembly import open_keyring, open_store
from punchcard.runtime.settings import Settings
from punchcard.store.operations.alerts import AlertState, StoredAlert, list_alerts
from punchcard.workspace.snapshot import SnapshotWatch

_SHOWN_MAX = 1_000
_PLAIN_WIDTH = 200  # without a terminal nothing wraps, so that each alert stays on its line


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
    if as_json:
        for alert in matches:
            print(json.dumps(_plain(alert), ensure_ascii=False))
    elif not matches:
        print("No alerts")
    else:
        _show(matches)


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


def _show(alerts: list[StoredAlert]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PLAIN_WIDTH)
    table = Table("id", "state", "severity", "since", "alert", "what to do", box=None)
    for alert in alerts:
        content = alert.content
        cells = (
            str(alert.id),
            alert.state,
            content.severity,
            f"{content.since:%Y-%m-%d %H:%M} UTC",
            f"{content.title} {content.detail}".strip(),
            content.remedy,
        )
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in cells))
    console.print(table)


def _plain(alert: StoredAlert) -> dict[str, object]:
    content = alert.content
    return {
        "id": str(alert.id),
        "kind": content.kind,
        "state": alert.state,
        "severity": content.severity,
        "title": content.title,
        "detail": content.detail,
        "remedy": content.remedy,
        "destination": content.destination or None,
        "count": content.count,
        "since": to_iso(content.since),
        "raisedAt": to_iso(alert.raised_at),
        "resolvedAt": None if alert.resolved_at is None else to_iso(alert.resolved_at),
    }
