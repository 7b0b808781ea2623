"""A store with a configuration and the loop of alerts, moved by hand; and rows that are causes of alerts."""

import base64
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import insert

from punchcard.operations.alert_channels import ChannelError, Notice, SendingContext
from punchcard.operations.alert_evaluation import AlertEvaluator
from punchcard.operations.alert_notices import NoticeDispatcher
from punchcard.store.delivery.schema import effects
from punchcard.store.engine import Store
from punchcard.store.operations.alert_notices import NoticeState, list_notices
from punchcard.store.operations.alerts import AlertState, StoredAlert, list_alerts, open_alerts
from punchcard.testing.clock import ManualClock
from punchcard.workspace.apply import apply
from punchcard.workspace.file import read_content
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import AlertChannel
from punchcard.workspace.snapshot import SnapshotWatch

CONFIG = """
[workspace]
timezone = "America/Los_Angeles"
webhookAllowedNetworks = ["127.0.0.0/8"]
[[sources]]
slug = "website"
write_key = "wk_website"
[[destinations]]
slug = "perkville"
type = "perkville"
source = "website"
enabled = {enabled}
[destinations.settings]
apiKey = "a-token"
businessId = "41"
locationId = "7"
eventToPerkMap = {{ "Checked In" = "123457" }}
"""
CHANNEL = """
[[alert_channels]]
name = "{name}"
url = "{url}"
severity = "{severity}"
"""
SECRET = "whsec_" + base64.b64encode(b"twenty-four secret bytes").decode()


class ProcessEnd(BaseException):
    """The process ends here, as by SIGKILL."""


@dataclass
class Taken:
    """A channel's other end, played: what it took, and what happens after it took something."""

    notices: list[tuple[str, Notice]] = field(default_factory=list)
    fails: set[str] = field(default_factory=set)
    ends_after: int = -1

    def __call__(self, channel: AlertChannel, notice: Notice, context: SendingContext) -> None:
        if channel.slug in self.fails:
            raise ChannelError("no connection")
        self.notices.append((channel.slug, notice))
        if self.ends_after == len(self.notices):
            raise ProcessEnd

    def types(self, channel: str = "ops") -> list[tuple[str, str]]:
        return [(notice.type.value, notice.body.kind) for slug, notice in self.notices if slug == channel]


class World:
    """A store with a configuration, and the two halves of the loop of alerts, moved by hand."""

    def __init__(self, url: str) -> None:
        self.clock = ManualClock()
        self.store = Store(url)
        self._keyring = Keyring("k")
        self.watch = SnapshotWatch(self.store, self._keyring, clock=self.clock)
        self.taken = Taken()
        self.channels = CHANNEL.format(name="ops", url="https://hooks.example.com/x", severity="info")
        self.configure()
        self.restart()

    def configure(self, *, enabled: bool = True, more: str = "") -> None:
        text = CONFIG.format(enabled=str(enabled).lower()) + self.channels + more
        workspace = read_content(text.encode(), "punchcard.toml", environment={})
        apply(self.store, workspace, clock=self.clock, keyring=self._keyring, actor="test")

    def restart(self) -> None:
        self.evaluator = AlertEvaluator(
            self.store, clock=self.clock, current=self.watch.newest, public_url="https://points.example.com/"
        )
        self.dispatcher = NoticeDispatcher(self.store, clock=self.clock, current=self.watch.newest, send=self.taken)

    def look(self) -> None:
        self.evaluator.step()

    def send(self, *channels: str) -> None:
        for slug in channels or ("ops",):
            self.dispatcher.send_due(slug, self.watch.newest())

    def alerts(self, *states: AlertState) -> list[StoredAlert]:
        with self.store.reading() as work:
            return list_alerts(work, states=states, limit=100)

    def open_kinds(self) -> set[str]:
        with self.store.reading() as work:
            return {alert.content.kind for alert in open_alerts(work).values()}

    def notice_states(self) -> list[NoticeState]:
        with self.store.reading() as work:
            return [notice.state for notice in reversed(list_notices(work, limit=100))]


def add_effects(work: Any, count: int, *, state: str, reason: str | None = None, begin: int = 0, **values: Any) -> None:
    now = ManualClock().now()
    for number in range(begin, begin + count):
        row = {
            "destination": "perkville",
            "effect_key": f"key-{number}",
            "kind": "transaction",
            "source": "website",
            "message_id": f"m{number}",
            "event_name": "Checked In",
            "log_position": number,
            "event_index": 0,
            "received_at": now,
            "customer": f"c{number}@example.com",
            "email": f"c{number}@example.com",
            "item": "123457",
            "quantity": "1.50",
            "is_refund": False,
            "state": state,
            "is_open": state in ("pending", "retrying", "unknown", "sending"),
            "reason": reason,
            "attempts": 1,
            "tries": 1,
            "due_at": now,
            "created_at": now,
            "finished_at": None if state in ("pending", "retrying", "unknown") else now,
            "ordering_key": f"c{number}@example.com",
        }
        work.execute(insert(effects).values(**{**row, **values}))
