"""The components of a worker on a folder and a store, one step at a time: for tests of routing and of the lake."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

from punchcard.clock import to_micros
from punchcard.destinations.port import Intent
from punchcard.events.model import Event
from punchcard.lake.reader import LakeEvent, LakeReader
from punchcard.lake.writer import LakeWriter
from punchcard.log.port import NewRecord
from punchcard.log.sqlite import SqliteEventLog
from punchcard.routing.dedupe import MessageIndex
from punchcard.routing.lake_feed import LakeFeed
from punchcard.routing.router import Router
from punchcard.store.delivery import ledger
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.testing.partner.scripted import ScriptedPartner, ScriptedSettings
from punchcard.testing.s3_server import lake_folder
from punchcard.traces.trace import EventTrace, TraceReader
from punchcard.workspace.model import Destination, Source
from punchcard.workspace.snapshot import RoutedDestination, Snapshot, SourceRoute

WRITE_KEY = "wk"
SOURCE = "website"


class FailingPartner(ScriptedPartner):
    """A partner with a mapping that fails on some events.

    Attributes:
        faults: An exception to raise, or a change of the intent, by the property `fault` of the event.
    """

    def __init__(self, *, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.faults: dict[str, Exception | Callable[[Intent], Intent]] = {}

    def plan(self, event: Event, settings: object, *, source: str, destination: str, timezone: ZoneInfo) -> Intent:
        """Plan like every scripted partner, with the faults."""
        intent = super().plan(event, settings, source=source, destination=destination, timezone=timezone)
        fault = json.loads(bytes(event.wire.properties)).get("fault")
        if fault is None:
            return intent
        act = self.faults[fault]
        if isinstance(act, Exception):
            raise act
        return act(intent)


@dataclass
class Installation:
    """A log, a store, a lake, and routing between them.

    Args:
        folder: Folder of log and lake.
        lake_url: Location of the lake if it is elsewhere.
    """

    folder: Path
    store: Store
    destinations: tuple[str, ...] = ("partner",)
    lake_url: str = ""
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.lake_url = self.lake_url or str(self.folder / "lake")
        self.partner = FailingPartner(clock=self.clock)
        self._lake = LakeReader(self.lake_url)
        self.log = SqliteEventLog(self.folder / "log.db")
        self.snapshot = self._snapshot()
        self.start()

    @property
    def lake_folder(self) -> Path:
        """The folder of the lake."""
        return lake_folder(self.lake_url)

    def start(self) -> None:
        """Start as a worker that has just become the leader."""
        lake = LakeWriter(self.lake_url, clock=self.clock)
        self.feed = LakeFeed(lake=lake, log=self.log, store=self.store, clock=self.clock, rows_max=10**6)
        self.router = Router(
            log=self.log,
            store=self.store,
            clock=self.clock,
            current=lambda: self.snapshot,
            index=MessageIndex(1_000),
            feed=self.feed,
            on_effects=lambda slugs: None,
            batch_bytes=1_000_000,
        )

    def send(self, *events: Mapping[str, object], call: str = "batch", write_key: str = WRITE_KEY) -> int:
        """Append one request; return its position."""
        body = json.dumps({"batch": events} if call == "batch" else events[0]).encode()
        return self.append(body, call=call, write_key=write_key)

    def append(
        self, body: bytes, *, call: str = "batch", encoding: str = "identity", write_key: str = WRITE_KEY
    ) -> int:
        """Append one record; return its position."""
        received_at = to_micros(self.clock.now())
        return self.log.append([NewRecord(received_at, write_key, call, encoding, body, "")])[0]

    def damage(self, sql: str, *values: object) -> None:
        """Change the log's file directly."""
        with sqlite3.connect(self.folder / "log.db") as connection:
            connection.execute(sql, values)
        connection.close()

    def route(self) -> int:
        """Route everything; return the number of records."""
        total = 0
        while routed := self.router.step():
            total += routed
        return total

    def effect_keys(self, destination: str = "partner") -> list[str]:
        """Return the keys in the ledger, oldest first."""
        with self.store.reading() as work:
            rows = ledger.page(work, ledger.LedgerQuery(destination=destination), count=10**6)
        return [row.effect_key for row in rows][::-1]

    def trace(self, message_id: str) -> EventTrace | None:
        """Return the trace that `punchcard trace` shows."""
        return TraceReader(log=self.log, lake=self._lake, store=self.store).trace(message_id)

    def in_lake(self) -> list[LakeEvent]:
        """Return everything in the lake, in log order."""
        return self._lake.between(0, 10**9)

    def close(self) -> None:
        """Close everything but the store."""
        self.log.close()

    def _snapshot(self) -> Snapshot:
        source = Source(slug=SOURCE, name="Website", write_keys=(WRITE_KEY,))
        routed = tuple(
            RoutedDestination(
                slug=slug,
                name=self.partner.definition.name,
                partner=self.partner,
                settings=ScriptedSettings(),
                supported=self.partner.definition.supported,
                fingerprint="good",
                destination=Destination(slug=slug, type="scripted", sources=(SOURCE,)),
            )
            for slug in self.destinations
        )
        route = SourceRoute(source=source, destinations=routed)
        return Snapshot(
            revision=1,
            zone=ZoneInfo("UTC"),
            by_write_key={WRITE_KEY: route},
            routes={WRITE_KEY: route},
            destinations={destination.slug: destination for destination in routed},
            known_names=frozenset({self.partner.definition.name}),
        )


def award(message_id: str, **properties: object) -> dict[str, object]:
    """Return a track event that earns one unit."""
    return {
        "type": "track",
        "event": "Checked In",
        "userId": "ann",
        "messageId": message_id,
        "properties": {"email": "ann@example.com", "quantity": 1, **properties},
    }
