"""The alerts of the moment as pages show them: found now, with what is stored of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from sqlalchemy import Connection

from punchcard.operations.alert_evaluation import PointsPerUnit, build_content
from punchcard.operations.alerts import CONDITIONS, find_alerts
from punchcard.store.operations.alerts import AlertContent, AlertState, StoredAlert, open_alerts
from punchcard.workspace.alert_rules import AlertKind
from punchcard.workspace.snapshot import Snapshot

_LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        AlertKind.INVALID: "Fix",
        AlertKind.UNMAPPED: "Event map",
        AlertKind.CHANNEL: "Channels",
        AlertKind.CONFLICT: "Resolve",
    }
)


@dataclass(frozen=True, kw_only=True)
class CurrentAlert:
    """An alert with a cause that lasts.

    Attributes:
        stored: None until the loop of alerts has seen it, some seconds later.
    """

    content: AlertContent
    stored: StoredAlert | None

    @property
    def is_acknowledged(self) -> bool:
        """Whether an operator has acknowledged it."""
        return self.stored is not None and self.stored.state is AlertState.ACKNOWLEDGED

    @property
    def label(self) -> str:
        """What the link to where something can be done says."""
        return _LABELS.get(self.content.kind, "View")


def read_current_alerts(
    work: Connection, snapshot: Snapshot, *, now: datetime, points_per_unit: PointsPerUnit = lambda _slug, _item: None
) -> list[CurrentAlert]:
    """Return the alerts of the moment, acknowledged ones last.

    What takes long to find is taken from the store, as the loop of alerts has found it last.
    """
    stored = open_alerts(work)
    contents = {
        content.cause: content
        for alert in find_alerts(work, snapshot, now=now)
        for content in [build_content(alert, snapshot, now=now, points_per_unit=points_per_unit)]
    }
    found_now = {kind for condition in CONDITIONS for kind in condition.kinds}
    others = [alert.content for alert in stored.values() if alert.content.kind not in found_now]
    current = [
        CurrentAlert(content=content, stored=stored.get(content.cause)) for content in (*contents.values(), *others)
    ]
    return sorted(current, key=lambda alert: alert.is_acknowledged)
