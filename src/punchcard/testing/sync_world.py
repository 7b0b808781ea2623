"""A small world around Engage's sync: real store, log, lake and facts, one destination, a controlled clock."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from punchcard.engage.sync_dispatch import SyncDispatcher
from punchcard.log.sqlite import SqliteEventLog
from punchcard.store.engage import engage_tables
from punchcard.store.engine import Store
from punchcard.store.routing.positions import ROUTING, advance, position_of
from punchcard.testing.engage_world import EngageWorld
from punchcard.testing.partner.configuration import SETTINGS, SLUG
from punchcard.workspace.apply import apply
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import Destination, Source, Workspace
from punchcard.workspace.persistence import load
from punchcard.workspace.snapshot import compile_snapshot

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
KEY = "order_completed_last_30days"
DEFINITION = "event('Order Completed').within(30 days).count() >= 1"


class SyncWorld:
    """A world with one destination, and the calls that enter the log for it.

    Args:
        folder: An empty folder.
        store: An empty store.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        self._keyring = Keyring("a secret")
        self.store = store
        self.world = EngageWorld(folder, store, BEGIN)
        self.configure_destination()
        self.log = SqliteEventLog(folder / "log.db")
        self.dispatcher = SyncDispatcher(store=store, log=self.log, clock=self.world.clock)
        self.number = 0

    def configure_destination(self, **settings: str) -> None:
        """Configure the destination with these settings; computations follow with the next one that is configured."""
        workspace = Workspace(
            sources=(Source(slug="web", name="Web", write_keys=("wk",)),),
            destinations=(Destination(slug=SLUG, type=SLUG, sources=("web",), settings={**SETTINGS, **settings}),),
        )
        apply(self.store, workspace, clock=self.world.clock, keyring=self._keyring, actor="test")
        self.world.destinations = compile_snapshot(load(self.store, self._keyring), keyring=self._keyring).destinations

    def audience(self, **more: Any) -> None:
        """Configure one audience under `KEY`, synced to the destination unless `more` replaces that."""
        more = {"destinations": (SLUG,), **more}
        self.world.configure(self.world.audience(KEY, more.pop("definition", DEFINITION), **more))

    def trait(self, key: str, definition: str, **more: Any) -> None:
        """Configure one computed trait."""
        self.world.configure(self.world.trait(key, definition, **{"destinations": (SLUG,), **more}))

    def order(self, user_id: str, **more: Any) -> None:
        """Receive an order of a person; `more` replaces members of the call."""
        self.number += 1
        call = {"type": "track", "event": "Order Completed", "userId": user_id, "messageId": f"m{self.number}"}
        self.world.receive([{**call, "properties": {"email": f"{user_id}@example.com"}, **more}])

    def identify(self, user_id: str, **traits: Any) -> None:
        """Receive traits of a person."""
        self.number += 1
        self.world.receive([{"type": "identify", "userId": user_id, "messageId": f"m{self.number}", "traits": traits}])

    def run_until_idle(self) -> None:
        """Compute and sync until there is nothing left to do."""
        self.world.run_until_idle()
        while self.dispatcher.step(self.world.current()):
            self._advance_routing()

    def restart_sync(self) -> None:
        """Restart the sync, like a restarted process."""
        self.dispatcher = SyncDispatcher(store=self.store, log=self.log, clock=self.world.clock)

    def _advance_routing(self) -> None:
        with self.store.unit_of_work() as work:
            advance(work, ROUTING, expected=position_of(work, ROUTING), to=max(1, self.log.last_position()))

    def calls(self) -> list[dict[str, Any]]:
        """Return everything that has entered the log, each message id once, like routing."""
        calls: dict[str, dict[str, Any]] = {}
        for body in self._bodies():
            for event in json.loads(body)["batch"]:
                calls.setdefault(event["messageId"], event)
        return list(calls.values())

    def call_sizes(self) -> list[int]:
        """Return the size of each call in the log, in bytes."""
        decoder = msgspec.json.Decoder(dict[str, list[msgspec.Raw]])
        return [len(bytes(raw)) for body in self._bodies() for raw in decoder.decode(body)["batch"]]

    def _bodies(self) -> Iterator[bytes]:
        for record in self.log.read(0, records_max=1_000, bytes_max=1_000_000_000):
            assert record.write_key == f"own-{SLUG}"
            is_compressed = record.encoding == "zstd"
            yield zstandard.ZstdDecompressor().decompress(record.body) if is_compressed else record.body

    def synced_values(self, key: str = KEY) -> list[tuple[str, object]]:
        """Return the values that the destination got by identify calls: email and value."""
        return [(call["traits"]["email"], call["traits"][key]) for call in self.calls() if call["type"] == "identify"]

    def tracked(self) -> list[tuple[str, str]]:
        """Return the track calls: event and email."""
        return [(call["event"], call["context"]["traits"]["email"]) for call in self.calls() if call["type"] == "track"]

    def queue(self) -> dict[tuple[str, str, str], int]:
        """Return the number of waiting people, by destination, key and what they wait for."""
        with self.store.reading() as work:
            return engage_tables.queue_sizes(work)
