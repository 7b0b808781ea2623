"""A small world around what Engage sends: real store, log, lake and facts, one destination, a clock set by hand."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from punchcard.engage.sync_dispatch import SyncDispatcher
from punchcard.log.sqlite import SqliteEventLog
from punchcard.store import engage_tables
from punchcard.store.engine import Store
from punchcard.store.positions import ROUTING, advance, position_of
from punchcard.testing.engage_world import EngageWorld
from punchcard.workspace.apply import apply
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Destination, Source, Workspace
from punchcard.workspace.persistence import load
from punchcard.workspace.snapshot import compile_snapshot

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
KEY = "order_completed_last_30days"
DEFINITION = "event('Order Completed').within(30 days).count() >= 1"
SETTINGS = {"apiKey": "k", "businessId": "41", "locationId": "7", "sendEmail": False, "eventToPerkMap": {}}


class SyncWorld:
    """A world with one destination, and what enters the log on its behalf.

    Args:
        folder: Empty.
        store: Empty.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        keyring = Keyring("a secret")
        self.store = store
        self.world = EngageWorld(folder, store, BEGIN)
        workspace = Workspace(
            sources=(Source(slug="web", name="Web", write_keys=("wk",)),),
            destinations=(Destination(slug="perkville", type="perkville", sources=("web",), settings=SETTINGS),),
        )
        apply(store, workspace, clock=self.world.clock, keyring=keyring, actor="test")
        self.world.destinations = compile_snapshot(load(store, keyring), keyring=keyring).destinations
        self.log = SqliteEventLog(folder / "log.db")
        self.dispatcher = SyncDispatcher(store=store, log=self.log, clock=self.world.clock)
        self.number = 0

    def audience(self, **more: Any) -> None:
        """Configure one audience under `KEY`; told to the destination unless `more` says otherwise."""
        more = {"destinations": ("perkville",), **more}
        self.world.configure(self.world.audience(KEY, more.pop("definition", DEFINITION), **more))

    def trait(self, key: str, definition: str, **more: Any) -> None:
        """Configure one computed trait."""
        self.world.configure(self.world.trait(key, definition, **{"destinations": ("perkville",), **more}))

    def order(self, who: str, **more: Any) -> None:
        """Let somebody order; `more` takes the place of members of the call."""
        self.number += 1
        call = {"type": "track", "event": "Order Completed", "userId": who, "messageId": f"m{self.number}"}
        self.world.receive([{**call, "properties": {"email": f"{who}@example.com"}, **more}])

    def identify(self, who: str, **traits: Any) -> None:
        """Let somebody have these traits."""
        self.number += 1
        self.world.receive([{"type": "identify", "userId": who, "messageId": f"m{self.number}", "traits": traits}])

    def settle(self) -> None:
        """Compute and send until there is nothing to do."""
        self.world.settle()
        while self.dispatcher.step(self.world.current()):
            self._routed()

    def restart_sync(self) -> None:
        """Begin to sync anew, as a process that was started again does."""
        self.dispatcher = SyncDispatcher(store=self.store, log=self.log, clock=self.world.clock)

    def _routed(self) -> None:
        with self.store.unit_of_work() as work:
            advance(work, ROUTING, expected=position_of(work, ROUTING), to=max(1, self.log.last_position()))

    def calls(self) -> list[dict[str, Any]]:
        """Everything that has entered the log, each message id once, as routing takes it."""
        found: dict[str, dict[str, Any]] = {}
        for body in self._bodies():
            for event in json.loads(body)["batch"]:
                found.setdefault(event["messageId"], event)
        return list(found.values())

    def call_sizes(self) -> list[int]:
        """The size of each call in the log, in bytes."""
        decoder = msgspec.json.Decoder(dict[str, list[msgspec.Raw]])
        return [len(bytes(raw)) for body in self._bodies() for raw in decoder.decode(body)["batch"]]

    def _bodies(self) -> Iterator[bytes]:
        for record in self.log.read(0, records_max=1_000, bytes_max=1_000_000_000):
            assert record.write_key == "own-perkville"
            is_compressed = record.encoding == "zstd"
            yield zstandard.ZstdDecompressor().decompress(record.body) if is_compressed else record.body

    def told(self, key: str = KEY) -> list[tuple[str, object]]:
        """What the destination was told by identify calls: email and value."""
        return [(call["traits"]["email"], call["traits"][key]) for call in self.calls() if call["type"] == "identify"]

    def tracked(self) -> list[tuple[str, str]]:
        """The track calls: event and email."""
        return [(call["event"], call["context"]["traits"]["email"]) for call in self.calls() if call["type"] == "track"]

    def queue(self) -> dict[tuple[str, str, str], int]:
        """How many people wait, by destination, key and what they wait for."""
        with self.store.reading() as work:
            return engage_tables.queue_sizes(work)
