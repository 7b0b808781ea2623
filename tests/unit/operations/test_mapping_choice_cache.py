"""Titles of what destinations award: read in the background, so that pages need not wait for a partner."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

from punchcard.destinations.definition import Capability
from punchcard.destinations.port import MappingChoice
from punchcard.errors import RetryableError
from punchcard.operations.partner_queries import MappingChoiceCache
from punchcard.testing.clock import ManualClock
from punchcard.workspace.snapshot import RoutedDestination

PERK = MappingChoice(value="7", title="Checked In", points=Decimal(10))


class FakeClient:
    """A client that returns its perks when the test releases them."""

    def __init__(self, *, is_up: bool) -> None:
        self.released = asyncio.Event()
        self.is_up = is_up
        self.reads = 0

    async def mapping_choices(self) -> Sequence[MappingChoice]:
        """Return the perk once the test has released it."""
        self.reads += 1
        await self.released.wait()
        if not self.is_up:
            raise RetryableError("Down for maintenance.", status=503)
        return [PERK]

    async def close(self) -> None:
        """Do nothing."""


def routed(client: FakeClient) -> RoutedDestination:
    partner = SimpleNamespace(
        definition=SimpleNamespace(capabilities=frozenset({Capability.VALUE_CHOICES})),
        client=lambda settings, *, network: client,
    )
    destination: Any = SimpleNamespace(
        slug="perkville", fingerprint="f", settings=object(), partner=partner, invalid=None, network=None
    )
    return cast(RoutedDestination, destination)


def test_a_page_waits_shortly_for_titles_and_a_later_one_has_them() -> None:
    async def run() -> None:
        client = FakeClient(is_up=True)
        cache, destination = MappingChoiceCache(ManualClock()), routed(client)
        await cache.load([destination], wait_seconds=0.01)
        assert cache.choice("perkville", "7") is None  # the partner is slow: the page shows the id
        await cache.load([destination], wait_seconds=3600)  # and no second page waits for the same
        assert client.reads == 1
        client.released.set()
        await asyncio.wait([task for task in asyncio.all_tasks() if task is not asyncio.current_task()])
        assert cache.choice("perkville", "7") == PERK
        assert cache.choice("perkville", "8") is None
        assert cache.choice("other", "7") is None
        await cache.load([destination], wait_seconds=3600)
        assert client.reads == 1

    asyncio.run(run())


def test_old_titles_are_shown_while_they_are_read_again() -> None:
    async def run() -> None:
        clock, client = ManualClock(), FakeClient(is_up=True)
        cache, destination = MappingChoiceCache(clock), routed(client)
        client.released.set()
        await cache.load([destination], wait_seconds=3600)
        clock.advance(3600)
        client.released.clear()
        await cache.load([destination], wait_seconds=3600)  # returns at once
        assert cache.choice("perkville", "7") == PERK

    asyncio.run(run())


def test_pages_do_not_wait_for_a_partner_that_is_down() -> None:
    async def run() -> None:
        client = FakeClient(is_up=False)
        client.released.set()
        cache, destination = MappingChoiceCache(ManualClock()), routed(client)
        await cache.load([destination], wait_seconds=0.01)
        for _ in range(3):
            await cache.load([destination], wait_seconds=3600)
        assert client.reads == 1

    asyncio.run(run())
