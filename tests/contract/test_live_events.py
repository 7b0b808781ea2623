"""The promise of the live debugger: whatever comes is shown once, and again when something becomes of it."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from punchcard.log.port import EventLog
from punchcard.operations.live import LiveEvents
from punchcard.store.engine import Store
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.waiting import PATIENCE_SECONDS
from punchcard.traces.tail import Tail

pytestmark = pytest.mark.anyio

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website"]
[destinations.settings]
apiKey = "token"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Checked In" = "123457" }
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        yield server


class WatchedTail(Tail):
    """The log's end, which tells when it was first asked where the log ends."""

    def __init__(self, *, log: EventLog, store: Store) -> None:
        super().__init__(log=log, store=store)
        self.was_called = threading.Event()

    def last_position(self) -> int:
        position = super().last_position()
        self.was_called.set()
        return position


class Watcher:
    """What the debugger shows: per message id its results, in the order in which they were published."""

    def __init__(self, world: PublicApiServer) -> None:
        self._tail = WatchedTail(log=world.log, store=world.store)
        live = LiveEvents(tail=self._tail, browser=world.browser)
        self._stream = live.watch()
        self.seen: dict[str, list[str]] = {}

    async def until(self, message_id: str, status: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while status not in self.seen.get(message_id, []):
                for item in await anext(self._stream):
                    statement = ",".join(str(status.reason or status.status) for status in item.results)
                    self.seen.setdefault(item.event.message_id, []).append(statement)

    async def follows(self) -> None:
        """Return once everything that is sent from now on is new to it."""
        assert await asyncio.to_thread(self._tail.was_called.wait, PATIENCE_SECONDS)

    async def close(self) -> None:
        await self._stream.aclose()


def event(name: str, number: int = 0) -> dict[str, object]:
    return {"userId": "u", "event": name, "messageId": f"m-{number}", "properties": {"email": "ann@example.com"}}


async def test_an_event_is_shown_as_it_comes_and_again_with_each_turn(world: PublicApiServer) -> None:
    watcher = Watcher(world)
    first = asyncio.create_task(watcher.until("m-1", "not_routed_yet"))
    await watcher.follows()
    world.send(event("Checked In", 1))
    await first
    await asyncio.to_thread(world.route)
    await watcher.until("m-1", "pending")
    await asyncio.to_thread(world.deliver)
    await watcher.until("m-1", "delivered")
    await watcher.close()
    assert watcher.seen["m-1"] == ["not_routed_yet", "pending", "delivered"]


async def test_results_that_went_to_the_lake_between_two_looks_are_shown(world: PublicApiServer) -> None:
    watcher = Watcher(world)
    first = asyncio.create_task(watcher.until("m-2", "not_routed_yet"))
    await watcher.follows()
    world.send(event("Locker Opened", 2))
    await first

    def at_once() -> None:
        world.route()
        world.feed_lake()

    await asyncio.to_thread(at_once)
    await watcher.until("m-2", "not_allowlisted")
    await watcher.close()


async def test_an_event_that_is_in_the_lake_before_the_first_look_is_shown(world: PublicApiServer) -> None:
    watcher = Watcher(world)
    numbers = range(100, 105)
    first = asyncio.create_task(watcher.until("m-104", "not_allowlisted"))
    await watcher.follows()
    for number in numbers:
        # In one batch, so that no read falls between.
        world.send(event("Locker Opened", number))
        world.route()
        world.feed_lake()
    await first
    assert set(watcher.seen) == {f"m-{number}" for number in numbers}
    await watcher.close()


async def test_a_flood_is_sampled_and_what_comes_after_it_is_shown(world: PublicApiServer) -> None:
    watcher = Watcher(world)
    first = asyncio.create_task(watcher.until("m-0", "not_routed_yet"))
    await watcher.follows()
    world.send(event("Checked In"))
    await first
    await asyncio.to_thread(lambda: world.send(*(event("Flood", number) for number in range(10, 3_000))))
    await asyncio.to_thread(lambda: world.send(event("Last", 9_999)))
    await watcher.until("m-9999", "not_routed_yet")
    await watcher.close()
