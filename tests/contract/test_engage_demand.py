"""Engage is started when it has work, and not before."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from punchcard.engage.demand import has_engage_work, request_engage
from punchcard.engage.requests import NoResultError, PreviewRequest, request_preview
from punchcard.store.engine import Store
from punchcard.testing.engage_world import EngageWorld

BUYERS = "event('Order Completed').count() >= 1"


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[EngageWorld]:
    with closing(Store(store_url)) as store:
        made = EngageWorld(tmp_path, store, datetime(2026, 3, 1, tzinfo=UTC))
        yield made
        made.crash()


def has_work(world: EngageWorld) -> bool:
    with world.store.reading() as work:
        return has_engage_work(work, world.current())


def define(world: EngageWorld) -> None:
    world.configure(world.audience("buyers", BUYERS))


def define_what_cannot_be_read(world: EngageWorld) -> None:
    world.configure(world.audience("buyers", "no definition"))


def preview(world: EngageWorld) -> None:
    with pytest.raises(NoResultError):
        request_preview(
            world.store, PreviewRequest(kind="audience", definition=BUYERS), clock=world.clock, sleep=lambda _: None
        )


def ask_for_profiles(world: EngageWorld) -> None:
    request_engage(world.store)
    request_engage(world.store)


def run_once(world: EngageWorld) -> None:
    world.receive([{"type": "track", "event": "Order Completed", "messageId": "m1", "userId": "ann"}])
    world.run_until_idle()


def test_there_is_no_work_on_a_new_store(world: EngageWorld) -> None:
    assert not has_work(world)


@pytest.mark.parametrize("begin", [define, define_what_cannot_be_read, preview, ask_for_profiles, run_once])
def test_work_begins(begin: Callable[[EngageWorld], None], world: EngageWorld) -> None:
    begin(world)
    assert has_work(world)


@pytest.mark.parametrize("begin", [preview, ask_for_profiles, run_once])
def test_work_that_began_goes_on_without_a_computation(
    begin: Callable[[EngageWorld], None], world: EngageWorld
) -> None:
    """Promise: profiles do not fall behind, and the end of a removed audience is synced."""
    define(world)
    begin(world)
    world.configure()
    assert has_work(world)
