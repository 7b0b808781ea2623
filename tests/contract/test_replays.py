"""A replay plans past events again and delivers what now earns something, once, to one destination and no other."""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from punchcard.clock import to_iso
from punchcard.lake.reader import LakeReader
from punchcard.routing.replay_record import REPLAY
from punchcard.store.delivery import ledger
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.replays import (
    BOOKED,
    CONFIG,
    MAPPED,
    REPLAYS,
    WORKSPACE,
    book,
    call,
    configure,
    counted,
    effects,
    get,
    replay,
    result,
    trace,
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", WORKSPACE + CONFIG) as server:
        add_operators(server)
        yield server


# --- what is replayed ---


def test_events_that_came_before_they_were_mapped_are_awarded_once(world: PublicApiServer) -> None:
    book(world, *(f"m{number}" for number in range(41)))
    hooks_before = effects(world, "hooks")
    assert result(world, "m0")["reason"] == "not_allowlisted"
    configure(world, MAPPED)
    planned = replay(world, events=["Class Booked"], dryRun=True)
    assert planned["status"] == "planned"
    plan = planned["plan"]
    assert (plan["events"], plan["awards"], plan["quantity"], plan["alreadyInLedger"]) == (41, 41, "41", 0)
    assert plan["refused"] == {}
    assert plan["sample"][0]["messageId"] == "m0"
    assert effects(world) == 0
    started = call(world, "POST", f"{REPLAYS}/{planned['id']}/start")["replay"]
    assert started["status"] == "running"
    world.run_replays()
    done = get(world, planned["id"])
    assert (done["status"], done["done"], done["replayed"], done["results"]) == ("completed", 41, 41, {"delivered": 41})
    assert len(world.partner.book) == 41
    shown = trace(world, "m7")
    assert [item["status"] for item in shown["results"] if item["destination"] == "perkville"] == ["delivered"]
    assert shown["replays"][0]["id"] == planned["id"]
    assert "copies" not in shown or shown["copies"] == []
    assert effects(world, "hooks") == hooks_before
    # The same replay again, and another one, add nothing.
    again = replay(world, events=["Class Booked"])
    assert (again["plan"]["awards"], again["plan"]["alreadyInLedger"]) == (0, 41)
    world.run_replays()
    assert effects(world) == 41
    assert len(world.partner.book) == 41


def test_a_replayed_event_keeps_its_id_its_times_and_its_key(world: PublicApiServer) -> None:
    world.send(
        {
            **BOOKED,
            "messageId": "m",
            "timestamp": to_iso(world.clock.now() - timedelta(days=3)),
            "properties": {"email": "Ann@Example.com", "order_id": "7", "revenue": "9.990"},
        }
    )
    world.route()
    world.feed_lake()
    before = trace(world, "m")
    world.clock.advance(86_400)
    configure(world, MAPPED)
    replay(world)
    world.run_replays()
    after = trace(world, "m")
    assert (after["receivedAt"], after["event"]) == (before["receivedAt"], before["event"])
    transaction = result(world, "m")["transaction"]
    assert transaction["effectKey"] == "SEG:perkville:ORDER:7:class-booked"
    assert (transaction["quantity"], transaction["email"]) == ("9.99", "Ann@Example.com")
    with world.store.reading() as work:
        (effect,) = ledger.page(work, ledger.LedgerQuery(destination="perkville"), count=10)
    assert to_iso(effect.received_at) == before["receivedAt"]


def test_a_replay_follows_todays_filters_and_says_why_events_earn_nothing(world: PublicApiServer) -> None:
    book(world, "a", "b")
    book(world, "staff", email="boss@gym.example")
    book(world, "none", email="")
    world.send({"event": "Order Completed", "messageId": "o", "userId": "x",
                "properties": {"email": "x@example.com", "order_id": "1", "revenue": "5"}})  # fmt: skip
    world.route()
    world.feed_lake()
    configure(
        world,
        MAPPED.replace(
            '[[destinations]]\nslug = "hooks"',
            """[[destinations.filters]]
title = "no staff"
if = "contains( properties.email, 'gym.example' )"
actions = [{ type = "DROP" }]

[[destinations]]
slug = "hooks\"""",
        ),
    )
    plan = replay(world, dryRun=True)["plan"]
    assert (plan["events"], plan["awards"], plan["alreadyInLedger"]) == (5, 2, 1)
    assert plan["refused"] == {"FILTERED_BY_RULES": 1, "invalid_email": 1} or plan["refused"] == {
        "FILTERED_BY_RULES": 1,
        "missing_email": 1,
    }


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"customer": "BOB@example.com"}, {"b1"}),
        ({"messageIds": ["a1", "b1"]}, {"a1", "b1"}),
        ({"events": ["Nothing"]}, set()),
        ({"reasons": ["not_allowlisted"]}, {"a1", "a2", "b1", "till"}),
        ({"reasons": ["zero_amount"]}, set()),
        ({}, {"a1", "a2", "b1", "till"}),
    ],
)
def test_only_what_was_chosen_is_replayed(
    world: PublicApiServer, chosen: Mapping[str, object], expected: set[str]
) -> None:
    book(world, "a1", "a2")
    book(world, "b1", email="bob@example.com")
    book(world, "till", source="till")
    configure(world, MAPPED)
    replay(world, **chosen)
    world.run_replays()
    with world.store.reading() as work:
        rows = ledger.page(work, ledger.LedgerQuery(destination="perkville"), count=100)
    assert {effect.message_id for effect in rows} == expected


def test_a_period_is_of_receipt_and_has_no_end_before_its_beginning(world: PublicApiServer) -> None:
    book(world, "early")
    world.clock.advance(3_600)
    middle = world.clock.now()
    book(world, "late")
    configure(world, MAPPED)
    assert replay(world, since=to_iso(middle), dryRun=True)["plan"]["events"] == 1
    assert replay(world, until=to_iso(middle), dryRun=True)["plan"]["events"] == 1
    refused = call(
        world, "POST", REPLAYS, {"since": to_iso(middle), "until": to_iso(middle - timedelta(1))}, status=400
    )
    assert refused["field"] == "until"
    assert call(world, "POST", REPLAYS, {"since": "yesterday"}, status=400)["field"] == "since"


def test_events_of_the_time_while_it_was_off_are_delivered_by_a_replay(world: PublicApiServer) -> None:
    configure(world, MAPPED)
    call(world, "PATCH", "/api/destinations/perkville", {"enabled": False})
    book(world, "m1", "m2")
    planned = replay(world, reasons=["destination_off"], dryRun=True)
    assert planned["plan"]["awards"] == 2
    assert call(world, "POST", f"{REPLAYS}/{planned['id']}/start", status=422)["type"] == "destination_off"
    call(world, "POST", REPLAYS, {}, status=422)
    call(world, "PATCH", "/api/destinations/perkville", {"enabled": True})
    call(world, "POST", f"{REPLAYS}/{planned['id']}/start")
    world.run_replays()
    assert result(world, "m1")["status"] == "delivered"


def test_a_source_that_reached_nobody_can_be_replayed_once_it_is_connected(world: PublicApiServer) -> None:
    configure(world, MAPPED.replace('["website", "till"]', '["website"]'))
    book(world, "m", source="till")
    assert trace(world, "m")["results"][0]["reason"] == "no_destination"
    configure(world, MAPPED)
    replay(world)
    world.run_replays()
    assert [item["status"] for item in trace(world, "m")["results"]] == ["delivered"]


def test_a_repeated_message_id_is_not_replayed_as_another_event(world: PublicApiServer) -> None:
    book(world, "m", "m", "m")
    configure(world, MAPPED)
    assert replay(world, dryRun=True)["plan"]["events"] == 1


# --- seen by nobody else, counted once ---


def test_counts_move_and_do_not_grow_and_the_lake_stays_as_it_is(world: PublicApiServer, tmp_path: Path) -> None:
    book(world, "m1", "m2", "m3")
    before, hooks = counted(world), counted(world, "hooks")
    assert before == {"refused": 3}
    in_lake = LakeReader(str(tmp_path / "lake")).between(0, 10**9)
    configure(world, MAPPED)
    for _ in range(2):
        replay(world)
        world.run_replays()
        world.feed_lake()
    after = counted(world)
    assert after["refused"] == 0
    assert (after["pending"], after["delivered"]) == (3, 3)
    assert counted(world, "hooks") == hooks
    assert counted(world, "") == {"received": 3}
    assert LakeReader(str(tmp_path / "lake")).between(0, 10**9) == in_lake
    page = call(world, "GET", "/api/destinations/perkville/pipeline")
    assert '"received": 3' in json.dumps(page)


def test_no_audience_sees_a_replayed_event_again(world: PublicApiServer) -> None:
    configure(
        world,
        CONFIG
        + """
[[computed_traits]]
name = "Bookings"
definition = "event('Class Booked').count()"
destinations = []
""",
    )
    book(world, "m1", "m2")
    world.engage()
    configure(world, MAPPED + world_traits())
    replay(world)
    world.run_replays()
    world.feed_lake()
    world.engage()
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    page = browser.get("/customers/ann@example.com?tab=profile").text
    assert ">2<" in page.replace(" ", "").replace("\n", "")
    assert ">4<" not in page.replace(" ", "").replace("\n", "")


def world_traits() -> str:
    return """
[[computed_traits]]
name = "Bookings"
definition = "event('Class Booked').count()"
destinations = []
"""


def test_lists_show_a_replayed_event_once_with_its_newest_result(world: PublicApiServer) -> None:
    book(world, "m1")
    configure(world, MAPPED)
    replay(world)
    world.run_replays()
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    for fed in (False, True):
        if fed:
            world.feed_lake()
        page = browser.get("/events").text
        assert page.count('href="/events/m1"') == 1
        assert "Delivered" in page


# --- nobody outside can do it ---


@pytest.mark.parametrize(
    "body",
    [
        {"call": "replay", "replay": "x", "destination": "perkville", "source": "website", "events": []},
        {"type": "replay", "event": "Class Booked", "userId": "ann", "messageId": "m"},
    ],
)
def test_a_request_cannot_claim_to_be_a_replay(world: PublicApiServer, body: dict[str, object]) -> None:
    configure(world, MAPPED)
    book(world, "m")
    world.send({**body, "properties": {"email": "ann@example.com"}}, call="batch")
    world.send({**body, "properties": {"email": "ann@example.com"}}, call="track")
    world.route()
    assert effects(world) == 1
    assert all(record.call != REPLAY for record in world.log.read(0, records_max=100, bytes_max=10**9))
