"""The promise of the live debugger: whatever comes is shown once, and again when something becomes of it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from punchcard.operations.live import LiveEvents
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.waiting import PATIENCE_SECONDS

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


def live_events(world: PublicApiServer) -> LiveEvents:
    return LiveEvents(tail=world.browser.tail, browser=world.browser)


class Watcher:
    """What the debugger shows: per message id its results, in the order in which they were published."""

    def __init__(self, world: PublicApiServer, *, live: LiveEvents | None = None, after: int | None = None) -> None:
        live = live or live_events(world)
        self._stream = live.watch(after=live.position() if after is None else after)
        self.seen: dict[str, list[str]] = {}

    async def until(self, message_id: str, status: str) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while status not in self.seen.get(message_id, []):
                for item in await anext(self._stream):
                    statement = ",".join(str(status.reason or status.status) for status in item.results)
                    self.seen.setdefault(item.event.message_id, []).append(statement)

    async def close(self) -> None:
        await self._stream.aclose()


def event(name: str, number: int = 0) -> dict[str, object]:
    return {"userId": "u", "event": name, "messageId": f"m-{number}", "properties": {"email": "ann@example.com"}}


async def test_an_event_is_shown_as_it_comes_and_again_with_each_turn(world: PublicApiServer) -> None:
    watcher = Watcher(world)
    first = asyncio.create_task(watcher.until("m-1", "not_routed_yet"))
    world.send(event("Checked In", 1))
    await first
    await asyncio.to_thread(world.route)
    await watcher.until("m-1", "pending")
    await asyncio.to_thread(world.deliver)
    await watcher.until("m-1", "delivered")
    await watcher.close()
    assert watcher.seen["m-1"] == ["not_routed_yet", "pending", "delivered"]


async def test_an_event_is_shown_with_its_source_although_nothing_routes(world: PublicApiServer) -> None:
    live = live_events(world)
    stream = live.watch(after=live.position())
    first = asyncio.create_task(anext(stream))
    world.send(event("Checked In", 1))
    async with asyncio.timeout(PATIENCE_SECONDS):
        seen = await first
    assert [(item.event.message_id, item.event.source) for item in seen] == [("m-1", "website")]
    await stream.aclose()


async def test_results_that_went_to_the_lake_between_two_looks_are_shown(world: PublicApiServer) -> None:
    watcher = Watcher(world)
    first = asyncio.create_task(watcher.until("m-2", "not_routed_yet"))
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
    world.send(event("Checked In"))
    await first
    await asyncio.to_thread(lambda: world.send(*(event("Flood", number) for number in range(10, 3_000))))
    await asyncio.to_thread(lambda: world.send(event("Last", 9_999)))
    await watcher.until("m-9999", "not_routed_yet")
    await watcher.close()


async def test_events_between_page_and_stream_are_shown_to_the_first_and_to_further_watchers(
    world: PublicApiServer,
) -> None:
    live = live_events(world)
    page = live.position()
    world.send(event("Checked In", 1))
    first = Watcher(world, live=live, after=page)
    await first.until("m-1", "not_routed_yet")
    world.send(event("Checked In", 2))
    await first.until("m-2", "not_routed_yet")
    second = Watcher(world, live=live, after=page)
    await second.until("m-1", "not_routed_yet")
    await second.until("m-2", "not_routed_yet")
    await asyncio.to_thread(world.route)
    for watcher in (first, second):
        await watcher.until("m-2", "pending")
        await watcher.close()


async def test_events_that_a_page_shows_unrouted_are_shown_again_once_they_are_routed(world: PublicApiServer) -> None:
    world.send(event("Checked In", 1))
    watcher = Watcher(world)
    await watcher.until("m-1", "not_routed_yet")
    await asyncio.to_thread(world.route)
    await watcher.until("m-1", "pending")
    await watcher.close()
