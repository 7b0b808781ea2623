"""What operators do with alerts: acknowledge one, and try a channel."""

from punchcard.clock import Clock
from punchcard.operations.alert_channels import SendingContext, check_notice, send_notice
from punchcard.store.access import audit
from punchcard.store.engine import Store
from punchcard.store.operations.alerts import StoredAlert, acknowledge_alert, find_alert
from punchcard.workspace.editing import NotFoundError
from punchcard.workspace.model import AlertChannel
from punchcard.workspace.snapshot import Snapshot


def acknowledge(store: Store, alert_id: str, *, actor: str, clock: Clock) -> StoredAlert:
    """Write down that somebody knows of an alert; returns the alert. One that is not raised stays as it is.

    Raises:
        NotFoundError: there is no such alert.
        StorageError: the store is away.
    """
    number = int(alert_id) if alert_id.isdecimal() and len(alert_id) < 19 else 0
    with store.unit_of_work() as work:
        if acknowledge_alert(work, number, actor=actor, now=clock.now()):
            audit.record(
                work,
                at=clock.now(),
                actor=actor,
                kind="change",
                resource_type="alert",
                resource_id=alert_id,
                changes=audit.changes_json(audit.ChangedValue("state", before="raised", after="acknowledged")),
            )
        alert = find_alert(work, number)
    if alert is None:
        raise NotFoundError(f"There is no alert {alert_id}.")
    return alert


def send_test(channel: AlertChannel, snapshot: Snapshot, *, public_url: str, clock: Clock) -> None:
    """Send a test notice to a channel, whatever its severity and quiet hours. Waits for the network.

    Raises:
        ChannelError: the channel has not taken it.
    """
    context = SendingContext(network=snapshot.network, zone=snapshot.zone, clock=clock)
    send_notice(channel, check_notice(channel, public_url=public_url, clock=clock), context)
