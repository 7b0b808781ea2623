"""A first result for many people delays nobody else; a computation that fails is held, alone."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import select

from punchcard.engage.computation_engine import ComputationEngine
from punchcard.store.engage.schema import profile_trait_changes
from punchcard.store.engine import Store
from punchcard.testing.engage_world import EngageWorld

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
BUYERS = "event('Order Completed').within(30 days).count() >= 1"
NUMBERS = count()
GUESTS = "event('Checked In').count() >= 1"


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[EngageWorld]:
    """Seven people have ordered something, at most two changes are written in a step; who checks in is a guest."""
    with closing(Store(store_url)) as store:
        made = EngageWorld(tmp_path, store, BEGIN, changes_max=2)
        made.configure(made.audience("guests", GUESTS))
        made.receive([call("Order Completed", f"u{number}") for number in range(7)])
        made.run_until_idle()
        yield made
        made.crash()


def call(event: str, person: str = "", **more: object) -> dict[str, object]:
    """A track call, with a message id of its own."""
    identity_resolution = {"userId": person} if person else {}
    return {"type": "track", "event": event, "messageId": f"m{next(NUMBERS)}", **identity_resolution, **more}


def also(world: EngageWorld, key: str, definition: str) -> None:
    world.configure(*world.computations.values(), world.audience(key, definition))


def history(world: EngageWorld, key: str) -> list[tuple[int, str]]:
    """Every value that was ever written down: profile and JSON."""
    changes = profile_trait_changes.c
    with world.store.reading() as work:
        rows = work.execute(select(changes.profile_id, changes.value).where(changes.name == key))
        return [(profile, value) for profile, value in rows]


def engine_of(world: EngageWorld) -> ComputationEngine:
    assert world.engine is not None
    return world.engine


def test_what_is_new_of_others_goes_on_while_a_large_answer_is_written(world: EngageWorld) -> None:
    also(world, "buyers", BUYERS)
    engine = engine_of(world)
    engine.step()
    state = engine.states.current["buyers"]
    assert (state.status, state.detail, state.size) == ("Preparing", "28 % of 7 profiles are saved.", 2)
    world.receive([call("Checked In", "u6"), call("Order Completed", "u7")])
    engine.step()
    assert len(world.values("guests")) == 1
    assert len(world.values("buyers")) == 4
    world.run_until_idle()
    state = engine.states.current["buyers"]
    assert (state.status, state.detail, state.size) == ("Live", "", 8)
    assert engine.check() == 0


def test_what_was_found_of_somebody_is_not_written_down_when_there_is_news_of_them(world: EngageWorld) -> None:
    also(world, "once", "event('Order Completed').count() = 1")
    engine = engine_of(world)
    engine.step()
    world.receive([call("Order Completed", f"u{number}") for number in range(7)])
    world.run_until_idle()
    assert world.values("once") == {}
    assert sorted(value for _, value in history(world, "once")) == ["false"] * 2 + ["true"] * 2
    assert engine.states.current["once"].size == 0
    assert engine.check() == 0


def test_who_becomes_another_person_meanwhile_is_written_down_as_that_one_alone(world: EngageWorld) -> None:
    world.receive([call("Order Completed", anonymousId=f"x{number}") for number in range(7)])
    world.run_until_idle()
    world.configure(world.audience("buyers", BUYERS, include_anonymous=True))
    engine = engine_of(world)
    engine.step()
    known = {profile for profile, _ in history(world, "buyers")}
    world.receive([call("Page", f"u{number}", anonymousId=f"x{number}") for number in range(7)])
    world.run_until_idle()
    assert len(world.values("buyers")) == engine.states.current["buyers"].size == 7
    written = {profile for profile, _ in history(world, "buyers")}
    assert written - known <= set(world.values("buyers")), "nobody who is another person by now"
    assert engine.check() == 0


def test_one_that_asks_for_it_waits_until_all_of_it_is_known(tmp_path: Path, sqlite_url: str) -> None:
    with closing(Store(sqlite_url)) as store:
        world = EngageWorld(tmp_path, store, BEGIN, changes_max=3)
        world.receive([call("Order Completed", f"u{number}") for number in range(4)])
        world.run_until_idle()
        world.configure(world.audience("buyers", BUYERS), world.audience("others", "NOT ( trait('buyers') = true )"))
        engine = engine_of(world)
        engine.step()
        # Of the second step one change is left to write; and of somebody there is news, so of the answer there is more.
        world.receive([call("Order Completed", "u9"), call("Checked In", "bea")])
        world.run_until_idle()
        assert len(world.values("buyers")) == 5
        assert [value for _, value in history(world, "others")] == ["true"], "only of Bea was anything ever said"
        assert engine.check() == 0
        world.crash()


@pytest.mark.parametrize("loses_facts", [False, True], ids=["facts kept", "facts lost"])
def test_after_a_crash_only_the_rest_is_written(world: EngageWorld, loses_facts: bool) -> None:
    also(world, "buyers", BUYERS)
    engine_of(world).step()
    world.crash(loses_facts=loses_facts)
    world.start()
    engine_of(world).step()
    state = engine_of(world).states.current["buyers"]
    assert (state.detail, state.size) == ("40 % of 5 profiles are saved.", 4)
    world.run_until_idle()
    assert len(world.values("buyers")) == engine_of(world).states.current["buyers"].size == 7
    assert engine_of(world).check() == 0


def test_two_crashes_in_a_row_leave_nobody_out(world: EngageWorld) -> None:
    also(world, "buyers", BUYERS)
    world.run_until_idle()
    world.receive([call("Order Completed", f"v{number}") for number in range(7)])
    world.crash(loses_facts=True)
    world.start()
    engine_of(world).step()
    assert len(world.values("buyers")) == 9, "the facts are made anew, so all of them are computed, and two written"
    world.crash()
    world.start()
    world.run_until_idle()
    assert len(world.values("buyers")) == 14
    assert engine_of(world).check() == 0


def test_an_result_of_an_old_request_is_forgotten(world: EngageWorld) -> None:
    also(world, "buyers", BUYERS)
    engine_of(world).step()
    world.configure(world.audience("guests", GUESTS), world.audience("buyers", "event('Order Completed').count() >= 2"))
    world.run_until_idle()
    assert world.values("buyers") == {}
    assert sorted(value for _, value in history(world, "buyers")) == ["false"] * 2 + ["true"] * 2
    assert engine_of(world).states.current["buyers"].size == 0
    assert engine_of(world).check() == 0


def test_what_cannot_be_computed_of_one_person_stops_nothing_else(world: EngageWorld) -> None:
    also(world, "spenders", "event('Order Completed').where(property('note') = 'x').count() >= 1")
    world.run_until_idle()
    engine, facts = engine_of(world), world.facts
    assert facts is not None
    # As in a damaged file: the column does not hold JSON.
    facts.run("UPDATE facts SET properties = '{' WHERE event = 'Order Completed'")
    world.receive([call("Checked In", "u0")])
    world.run_until_idle()
    assert len(world.values("guests")) == 1
    state = engine.states.current["spenders"]
    assert state.status == "Failed"
    assert "JSON" in state.detail
    assert engine.states.current["guests"].status == "Live"
    engine.check()
    world.run_until_idle()
    assert engine.states.current["spenders"].status == "Failed"
    facts.run("UPDATE facts SET properties = '{\"note\": \"x\"}' WHERE event = 'Order Completed'")
    engine.check()
    world.run_until_idle()
    assert engine.states.current["spenders"].status == "Live"
    assert len(world.values("spenders")) == 7
