"""Alerts of properties with values that nobody should send, such as card numbers."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection

from punchcard.operations.alert_model import Alert
from punchcard.operations.inventory import read_alarming
from punchcard.workspace.alert_rules import AlertKind
from punchcard.workspace.snapshot import Snapshot


def find_alarming_properties(work: Connection, snapshot: Snapshot, now: datetime) -> Iterable[Alert]:
    """Yield an alert for each property that needs attention. It names the property, never a value."""
    for item in read_alarming(work, [route.source for route in snapshot.by_write_key.values()]):
        yield Alert(
            kind=AlertKind.PERSONAL_DATA,
            subject=item.name,
            count=item.count,
            reason=" and ".join(item.alarming),
            sources=tuple(item.sources),
            since=item.first_seen,
        )
