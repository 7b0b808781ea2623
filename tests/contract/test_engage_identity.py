"""Who is who by rules that a workspace gives itself: ids of its own, their order, and rules that change."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from punchcard.profiles.rules import IdentityRules
from punchcard.store.engage import profiles
from punchcard.store.engine import Store
from punchcard.testing.engage_world import EngageWorld

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
BY_CARD = IdentityRules(
    priority=("user_id", "card"), limits={"user_id": 1, "card": 2}, properties={"card": "properties.cardNumber"}
)


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[EngageWorld]:
    with closing(Store(store_url)) as store:
        world = EngageWorld(tmp_path, store, BEGIN)
        yield world
        world.crash()


def visit(number: int, *, card: str | None = None, **ids: str) -> dict:
    properties = {} if card is None else {"cardNumber": card}
    return {"type": "track", "event": "Checked In", "messageId": f"m{number}", "properties": properties, **ids}


def owner(world: EngageWorld, type_: str, value: str) -> int | None:
    with world.store.reading() as work:
        return profiles.owners_of(work, [(type_, value)]).get((type_, value))


def test_an_id_of_ones_own_joins_what_till_and_app_know(world: EngageWorld) -> None:
    world.identify_by(BY_CARD)
    world.receive([visit(1, card="C-7", anonymousId="till-1"), visit(2, card="C-7", userId="ann")])
    world.run_until_idle()
    assert owner(world, "card", "C-7") == owner(world, "user_id", "ann") == owner(world, "anonymous_id", "till-1")


def test_order_and_limits_decide_which_id_is_left_out(world: EngageWorld) -> None:
    world.identify_by(BY_CARD)
    world.receive([visit(number, card=f"C-{number}", userId="ann") for number in (1, 2, 3)])
    world.run_until_idle()
    assert owner(world, "card", "C-2") == owner(world, "user_id", "ann")
    assert owner(world, "card", "C-3") is None  # a third card is one too many, and the user id is stronger


@pytest.mark.parametrize("loses_facts", [False, True])
def test_rules_that_change_hold_for_what_comes_and_leave_what_was_with_its_people(
    world: EngageWorld, loses_facts: bool
) -> None:
    audience = world.audience("visitors", "event('Checked In').count() >= 2", include_anonymous=True)
    world.configure(audience)
    world.receive([visit(1, card="C-7", anonymousId="till-1"), visit(2, card="C-7", anonymousId="till-1")])
    world.run_until_idle()
    assert owner(world, "card", "C-7") is None
    world.identify_by(BY_CARD)
    world.receive([visit(3, card="C-7", userId="ann")])
    world.run_until_idle()
    assert owner(world, "card", "C-7") == owner(world, "user_id", "ann") != owner(world, "anonymous_id", "till-1")
    world.identify_by(IdentityRules())
    world.receive([visit(4, card="C-7", userId="bea")])
    if loses_facts:
        world.crash(loses_facts=True)
    world.run_until_idle()
    assert owner(world, "user_id", "bea") != owner(world, "card", "C-7")
    assert world.values("visitors") == {owner(world, "anonymous_id", "till-1"): "true"}
    assert world.engine is not None
    assert world.engine.check() == 0


def test_who_has_an_id_that_the_workspace_names_is_no_stranger(world: EngageWorld) -> None:
    world.identify_by(BY_CARD)
    world.configure(world.audience("visitors", "event('Checked In').count() >= 1"))
    world.receive([visit(1, card="C-7", anonymousId="till-1"), visit(2, anonymousId="till-2")])
    world.run_until_idle()
    assert world.values("visitors") == {owner(world, "card", "C-7"): "true"}


def test_a_blocked_value_is_nobodys(world: EngageWorld) -> None:
    world.identify_by(IdentityRules(blocked=("/^guest[0-9]*$/", "Walk-In")))
    world.receive([visit(1, userId="Guest12"), visit(2, userId="walk-in"), visit(3, userId="-1")])
    world.run_until_idle()
    assert [owner(world, "user_id", item) for item in ("Guest12", "walk-in")] == [None, None]
    assert owner(world, "user_id", "-1") is not None


def test_facts_follow_a_store_that_is_put_back_from_an_older_copy(tmp_path: Path) -> None:
    path, copy = tmp_path / "store.db", tmp_path / "copy.db"
    with closing(Store(f"sqlite:///{path}")) as store:
        world = EngageWorld(tmp_path, store, BEGIN)
        world.configure(world.audience("visitors", "event('Checked In').count() >= 2", include_anonymous=True))
        world.receive([visit(1, anonymousId="x"), visit(2, anonymousId="y")])
        world.run_until_idle()
        with closing(sqlite3.connect(path)) as running, closing(sqlite3.connect(copy)) as stored:
            running.backup(stored)
        world.receive([visit(3, anonymousId="x", userId="ann"), visit(4, anonymousId="y", userId="ann")])
        world.run_until_idle()
        assert len(world.values("visitors")) == 1, "both are Ann"
        world.crash()
    path.with_name("store.db-wal").unlink(missing_ok=True)
    copy.replace(path)
    with closing(Store(f"sqlite:///{path}")) as store:
        world.store = store
        world.identify_by(IdentityRules(blocked=("ann",)))
        world.run_until_idle()
        owners = {owner(world, "anonymous_id", item) for item in ("x", "y")}
        assert set(world.values("visitors")) == owners
        assert len(owners) == 2
        assert world.engine is not None
        assert world.engine.check() == 0
        world.crash()
