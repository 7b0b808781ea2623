"""Events that are held: planned in their order, once, whatever happens meanwhile; shown to people."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from punchcard.destinations.catalog import CATALOG
from punchcard.events.model import Event
from punchcard.filters.destination_filters import DestinationFilters
from punchcard.lake.listing import EventQuery
from punchcard.operations.alerts import find_alerts
from punchcard.store.delivery import ledger
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.recoveries import RecoveryReason, start_recovery
from punchcard.store.delivery.schema import effects
from punchcard.store.routing.schema import held_events
from punchcard.testing.damage import (
    CONFIG,
    awarded,
    counted,
    damage,
    order,
    restore,
    results,
    with_condition,
)
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer
from punchcard.workspace.alert_rules import AlertKind


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, store_url, CONFIG) as server:
        yield server


@pytest.fixture
def sqlite_world(tmp_path: Path, sqlite_url: str) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, sqlite_url, CONFIG) as server:
        yield server


def test_held_events_are_planned_in_their_order_and_before_later_ones(world: PublicApiServer) -> None:
    whole = damage(world, with_condition("properties.staff = "))
    refund = {
        "messageId": "m2",
        "userId": "ann",
        "event": "Order Refunded",
        "properties": {"email": "ann@example.com", "order_id": "1", "revenue": 4},
    }
    world.send(order("m1", number="1"), refund, *[order(f"x{number}", number=f"x{number}") for number in range(1_200)])
    world.route()
    restore(world, whole)
    world.send(order("m3", number="3"))
    world.route()
    assert awarded(world, "perkville") == ["m1", "m2", *[f"x{number}" for number in range(1_200)], "m3"]
    assert awarded(world, "second") == awarded(world, "perkville")
    assert counted(world) == {("pending", ""): 1_203}


def test_a_replayed_event_keeps_its_replay_while_it_is_held(sqlite_world: PublicApiServer) -> None:
    world = sqlite_world
    paused = damage(world, with_condition("properties.staff = "))
    world.send(order("m1", number="1"))
    world.route()
    restore(world, paused)
    off = json.dumps({"enabled": False}).encode()
    assert world.request("PATCH", "/api/destinations/perkville", off).status == 200
    world.send(order("m2", number="2"))
    world.route()
    world.feed_lake()
    assert world.request("PATCH", "/api/destinations/perkville", json.dumps({"enabled": True}).encode()).status == 200
    replayed = world.request("POST", "/api/destinations/perkville/replays", b'{"messageIds": ["m2"]}')
    assert replayed.status == 200, replayed.body
    runner = world.replay_runner()
    for _ in range(3):  # it enters the log again, and is not routed yet
        assert runner.step()
    whole = damage(world, with_condition("properties.staff = "))
    world.route()
    assert results(world, "m2")["perkville"]["reason"] == "destination_on_hold"
    restore(world, whole)
    world.route()
    with world.store.reading() as work:
        own = select(effects.c.message_id, effects.c.replay).where(effects.c.destination == "perkville")
        marks = dict(work.execute(own).all())
    assert marks == {"m1": None, "m2": replayed.json()["data"]["replay"]["id"]}


def test_an_event_that_comes_while_earlier_ones_are_planned_waits_behind_them(world: PublicApiServer) -> None:
    whole = damage(world, with_condition("properties.staff = "))
    world.send(*[order(f"x{number}", number=f"x{number}") for number in range(600)])
    world.route()
    restore(world, whole)
    world.send(order("late", number="late"), {"messageId": "page", "userId": "ann", "event": "Page Opened"})
    world._router.step()  # plans some of the 600, and routes what is new
    assert results(world, "late")["perkville"]["reason"] == "behind_held_events"
    assert results(world, "page")["perkville"]["reason"] == "not_allowlisted"
    assert awarded(world, "second")[-1] == "late"
    world.route()
    assert awarded(world, "perkville")[-2:] == ["x599", "late"]
    assert counted(world) == {("pending", ""): 601, ("refused", "not_allowlisted"): 1}


def test_events_that_are_held_survive_a_restart_and_the_end_of_their_log_records(world: PublicApiServer) -> None:
    whole = damage(world, with_condition("properties.staff = "))
    world.send(order("m1", number="1"), order("m2", number="2"))
    world.route()
    world.feed_lake()
    world.log.trim(2, records_max=10)
    world.restart_routing()
    world.route()
    assert results(world, "m1")["perkville"]["reason"] == "destination_on_hold"
    restore(world, whole)
    world.route()
    assert awarded(world, "perkville") == ["m1", "m2"]
    assert results(world, "m1")["perkville"]["status"] == "pending"
    assert results(world, "m1")["perkville"]["transaction"]["effectKey"].startswith("SEG:")


def test_a_copy_of_a_held_event_is_a_duplicate(world: PublicApiServer) -> None:
    whole = damage(world, with_condition("properties.staff = "))
    world.send(order("m1", number="1"), order("m1", number="1"), order("m2", number="1"))
    world.route()
    restore(world, whole)
    world.route()
    assert awarded(world, "perkville") == ["m1"]
    # The copy by its message id, the other message by its order.
    assert counted(world) == {("pending", ""): 1, ("duplicate", "same_effect"): 1}
    assert results(world, "m2")["perkville"]["reason"] == "same_effect"


def test_what_is_held_stays_held_while_the_destination_is_switched_off(world: PublicApiServer) -> None:
    whole = damage(world, with_condition("properties.staff = "))
    world.send(order("m1", number="1"))
    world.route()
    off = json.loads(whole) | {"enabled": False}
    restore(world, json.dumps(off))
    world.route()
    world.send(order("m2", number="2"))
    world.route()
    assert awarded(world, "perkville") == []
    assert results(world, "m1")["perkville"]["status"] == "pending"
    assert results(world, "m2")["perkville"]["reason"] == "destination_off"
    restore(world, whole)
    world.route()
    assert awarded(world, "perkville") == ["m1"]


def listed(world: PublicApiServer, status: str, *, reason: str | None = None, limit: int = 50) -> list[str]:
    """Return the message ids in the list of events with a status, page by page."""
    query = EventQuery(source="website", destination="perkville", status=status, reason=reason)
    ids: list[str] = []
    before = None
    while True:
        page = world.browser.page(query, limit=limit, before=before)
        ids += [seen.event.message_id for seen in page.events]
        if (before := page.following) is None:
            return ids


def forget_statuses(world: PublicApiServer) -> None:
    """Leave the rows as a worker writes them that does not know the column, during an upgrade."""
    with world.store.unit_of_work() as work:
        assert work.execute(update(held_events).values(status=None)).rowcount > 0


@pytest.mark.parametrize("in_lake", [False, True], ids=["in the log", "in the lake"])
def test_lists_by_status_follow_what_came_of_held_events(world: PublicApiServer, *, in_lake: bool) -> None:
    whole = damage(world, with_condition("properties.staff = "))
    names = [f"staff{number}" for number in range(4)]
    unusable = [order(f"bad{number}", number=f"b{number}", email="nonsense") for number in range(3)]
    world.send(order("m1", number="1"), *[order(name, number=name, staff=True) for name in names], *unusable)
    world.route()
    if in_lake:
        world.feed_lake()
    assert len(listed(world, "pending", reason="destination_on_hold")) == 8
    restore(world, whole)
    world.route()
    assert listed(world, "pending", reason="destination_on_hold") == []
    for has_status in (True, False):
        if not has_status:
            forget_statuses(world)
        for limit in (1, 3, 50):
            assert listed(world, "pending", limit=limit) == ["m1"]
            assert listed(world, "filtered_at_destination", limit=limit) == names[::-1]
            assert listed(world, "refused", limit=limit) == ["bad2", "bad1", "bad0"]
            assert listed(world, "refused", reason="invalid_email", limit=limit) == ["bad2", "bad1", "bad0"]
    assert listed(world, "refused", reason="not_allowlisted") == []


def test_lists_by_status_follow_what_came_of_a_replayed_event_that_was_held(sqlite_world: PublicApiServer) -> None:
    world = sqlite_world
    off = json.dumps({"enabled": False}).encode()
    assert world.request("PATCH", "/api/destinations/perkville", off).status == 200
    world.send(order("m1", number="1"))
    world.route()
    world.feed_lake()
    assert listed(world, "destination_off") == ["m1"]
    assert world.request("PATCH", "/api/destinations/perkville", json.dumps({"enabled": True}).encode()).status == 200
    replayed = world.request("POST", "/api/destinations/perkville/replays", b'{"messageIds": ["m1"]}')
    assert replayed.status == 200, replayed.body
    runner = world.replay_runner()
    for _ in range(3):  # it enters the log again, and is not routed yet
        assert runner.step()
    damage(world, with_condition("properties.staff = "))
    world.route()
    assert listed(world, "pending") == ["m1"]
    damage(world, with_condition('type = "track"'))
    world.route()
    assert listed(world, "pending") == []
    assert listed(world, "filtered_at_destination") == ["m1"]
    forget_statuses(world)
    assert listed(world, "filtered_at_destination") == ["m1"]
    assert listed(world, "destination_off") == []


def test_a_destination_with_held_events_is_not_removed(sqlite_world: PublicApiServer) -> None:
    world = sqlite_world
    damage(world, with_condition("properties.staff = "))
    world.send(order("m1", number="1"))
    world.route()
    response = world.request("DELETE", "/api/destinations/perkville")
    assert response.status == 422
    assert "1 transaction of Perkville (perkville) is queued" in response.error["message"]


def test_what_a_restored_copy_holds_is_read_back_before_it_is_sent(world: PublicApiServer) -> None:
    whole = damage(world, with_condition("properties.staff = "))
    world.send(order("m1", number="1"))
    world.route()
    now = world.clock.now()
    with world.store.unit_of_work() as work:
        start_recovery(
            work,
            reason=RecoveryReason.GENERATION,
            from_position=1,
            through_position=1,
            read_back_from=now,
            doubt_until=None,
            now=now,
        )
    restore(world, whole)
    world.send(order("m2", number="2"))
    world.route()
    with world.store.reading() as work:
        rows = ledger.page(work, ledger.LedgerQuery(destination="perkville"), count=10)
    states = {row.message_id: (row.state, row.reason) for row in rows}
    assert states == {"m1": (EffectState.UNKNOWN, "store_restored"), "m2": (EffectState.PENDING, None)}


# --- exceptions that one event causes


def test_an_exception_in_a_filter_concerns_its_event_and_destination_alone(
    world: PublicApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = DestinationFilters.apply

    def fails_on_m2(self: DestinationFilters, event: Event) -> object:
        if event.message_id == "m2" and event.wire.event == "Order Completed":
            raise ZeroDivisionError("a defect")
        return apply(self, event)

    monkeypatch.setattr(DestinationFilters, "apply", fails_on_m2)
    world.send(order("m1", number="1"), order("m2", number="2"), order("m3", number="3"))
    world.route()
    assert awarded(world, "perkville") == ["m1", "m3"]
    held = results(world, "m2")["perkville"]
    assert (held["status"], held["reason"]) == ("pending", "planning_failed")
    assert "ZeroDivisionError('a defect')" in held["detail"]
    with world.store.reading() as work:
        alerts = find_alerts(work, world.watch.newest(), now=world.clock.now())
    assert {(alert.kind, alert.subject, alert.count) for alert in alerts} == {
        (AlertKind.HELD, "perkville", 1),
        (AlertKind.HELD, "second", 1),
    }
    # Nothing changes by waiting, nor does it hold up what comes later; a new version plans it at its start.
    world.send(order("m4", number="4"))
    world.route()
    assert awarded(world, "perkville") == ["m1", "m3", "m4"]
    monkeypatch.undo()
    world.restart_routing()
    world.route()
    assert awarded(world, "perkville") == ["m1", "m3", "m4", "m2"]


def test_an_exception_in_the_mapping_concerns_its_event_and_destination_alone(
    world: PublicApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    partner = CATALOG["perkville"]
    plan = type(partner).plan

    def fails_on_m1(self: object, event: Event, *arguments: Any, **more: Any) -> object:
        if event.message_id == "m1":
            raise KeyError("a defect")
        return plan(partner, event, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(type(partner), "plan", fails_on_m1)
    world.send(order("m1", number="1"), order("m2", number="2"))
    world.route()
    assert awarded(world, "perkville") == ["m2"]
    assert results(world, "m1")["perkville"]["reason"] == "planning_failed"


# --- what people see and can do


def test_a_held_destination_is_shown_and_corrected_in_the_app(sqlite_world: PublicApiServer) -> None:
    world = sqlite_world
    add_operators(world)
    owner = FormBrowser(world)
    assert owner.sign_in("owner@acme.example").status == 303
    damage(world, with_condition("properties.staff = "))
    world.send(order("m1", number="1"), order("m2", number="2"))
    world.route()
    home = owner.get("/").text
    assert "Perkville (perkville) cannot be used" in home
    assert "2 events are held" in home
    assert 'href="/destinations/perkville/filters"' in home
    page = owner.get("/destinations/perkville").text
    assert "This destination is on hold" in page
    assert "2 events are held" in page
    for path in ("/destinations", "/events", "/events/m1", "/audiences", "/sources", "/transactions"):
        assert owner.get(path).status in (200, 303, 404), path
    for part in ("settings", "map", "filters", "tester", "transactions"):
        assert owner.get(f"/destinations/perkville/{part}").status == 200, part
    (filter_id,) = re.findall(
        r"/destinations/perkville/filters/(flt_\w+)", owner.get("/destinations/perkville/filters").text
    )[:1]
    assert owner.get(f"/destinations/perkville/filters/{filter_id}").status == 200
    saved = owner.post(
        f"/destinations/perkville/filters/{filter_id}",
        **{"title": "no staff", "if": "properties.staff", "action": "DROP", "enabled": "on"},
    )
    assert saved.status in (200, 303), saved.text
    world.route()
    assert awarded(world, "perkville") == ["m1", "m2"]
    assert "held" not in owner.get("/").text


def test_anything_else_can_be_changed_while_a_part_cannot_be_used(sqlite_world: PublicApiServer) -> None:
    world = sqlite_world
    damage(world, with_condition("properties.staff = "))
    added = world.request(
        "POST", "/api/sources", json.dumps({"slug": "app", "enabled": True, "metadataId": "x"}).encode()
    )
    assert added.status in (200, 400, 422)
    renamed = world.request("PATCH", "/api/destinations/perkville", json.dumps({"name": "Points"}).encode())
    assert renamed.status == 200, renamed.body
    # What is wrong already may stay, but nothing wrong is added.
    refused = world.request(
        "POST",
        "/api/destination/second/filters",
        json.dumps({"if": "a =", "title": "x", "enabled": True, "actions": [{"type": "DROP"}]}).encode(),
    )
    assert refused.status == 422
    world.send(order("m1", number="1"))
    world.route()
    assert results(world, "m1")["perkville"]["reason"] == "destination_on_hold"


def test_what_is_left_of_an_unreadable_destination_is_never_saved_as_the_whole(sqlite_world: PublicApiServer) -> None:
    world = sqlite_world
    damage(world, lambda content: content.update(filters="none"))
    world.send(order("m1", number="1", staff=True))
    world.route()
    # Its filters cannot be read, so an edit would lose them, and staff would get points.
    refused = world.request("PATCH", "/api/destinations/perkville", json.dumps({"name": "Points"}).encode())
    assert refused.status == 422
    assert "cannot be changed partially" in refused.body.decode()
    world.configure(CONFIG)
    world.route()
    assert results(world, "m1")["perkville"]["reason"] == "FILTERED_BY_RULES"


def test_the_tester_says_that_an_event_would_be_held(sqlite_world: PublicApiServer) -> None:
    world = sqlite_world
    damage(world, with_condition("properties.staff = "))
    response = world.request("POST", "/api/events/test?source=website", json.dumps(order("m1", number="1")).encode())
    assert response.status == 200
    result = {item["destination"]: item for item in response.json()["data"]["results"]}
    assert (result["perkville"]["status"], result["perkville"]["reason"]) == ("pending", "destination_on_hold")
    assert result["second"]["request"] is not None
