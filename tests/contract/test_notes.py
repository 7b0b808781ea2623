"""What is not quite the spec earns all the same, and each conversion is seen on the trace of its event."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import prometheus_client
import pytest

from punchcard.clock import to_iso
from punchcard.store.routing.note_counts import read_note_counts
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer

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
eventToPerkMap = { "Order Completed" = "123456", "Checked In" = "123457" }
[destinations.options]
oncePerDay = ["Checked In"]
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        yield server


def event(message_id: str, **members: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Checked In",
        "userId": "ann",
        "messageId": message_id,
        "context": {"traits": {"email": "ann@example.com"}},
        **members,
    }


def trace(world: PublicApiServer, message_id: str) -> Any:
    response = world.request("GET", f"/api/events/{message_id}")
    assert response.status == 200, response.body
    return response.json()["data"]


def test_one_event_with_nan_costs_no_neighbour_and_says_so_wherever_it_is_read(world: PublicApiServer) -> None:
    order = {"order_id": "1001", "revenue": 5, "margin": float("nan")}
    world.send(
        {"batch": [event("left"), event("odd", event="Order Completed", userId=7, properties=order), event("right")]},
        call="batch",
    )
    expected = [
        "properties.margin was NaN, which JSON does not allow, and is read as null",
        'userId was a number and is read as the text "7"',
    ]
    for step in (lambda: None, world.route, world.feed_lake, world.deliver):
        step()
        assert trace(world, "odd")["notes"] == expected
        assert [trace(world, neighbour)["notes"] for neighbour in ("left", "right")] == [[], []]
    event_trace = trace(world, "odd")
    assert event_trace["event"]["properties"] == {"order_id": "1001", "revenue": 5, "margin": None}
    assert event_trace["results"][0]["transaction"]["quantity"] == "5"
    owner = FormBrowser(world)
    owner.sign_in("owner@acme.example")
    page = owner.get("/events/odd").text
    assert "properties.margin was NaN" in page
    source = owner.get("/sources/website").text
    assert "NaN or Infinity: replaced by null" in source
    assert "Value of another type: converted" in source


def test_visits_with_times_as_numbers_are_of_their_days(world: PublicApiServer) -> None:
    """Three days of visits are three awards, however the sender writes times."""
    now = world.clock.now()
    days = [now - timedelta(days=number) for number in range(1, 4)]
    times = [int(days[0].timestamp()), int(days[1].timestamp() * 1000), f"{days[2]:%a, %d %b %Y %H:%M:%S} +0000"]
    for number, time in enumerate(times):
        world.send(event(f"visit-{number}", timestamp=time))
    world.route()
    results = [trace(world, f"visit-{number}")["results"][0]["status"] for number in range(3)]
    assert results == ["pending"] * 3
    for number in range(3):
        (note,) = trace(world, f"visit-{number}")["notes"]
        assert note.startswith("timestamp ")


def test_times_that_cannot_be_read_are_counted_for_their_source(world: PublicApiServer) -> None:
    world.send(event("a", timestamp="03/11/2025"))
    world.send(event("b", timestamp="yesterday"))
    world.send(event("c", timestamp=to_iso(world.clock.now() + timedelta(days=2))))
    world.send(event("d", timestamp=to_iso(world.clock.now() - timedelta(days=900))))
    world.route()
    with world.store.reading() as work:
        counts = read_note_counts(work, "website", since=world.clock.now() - timedelta(days=7))
        assert read_note_counts(work, "other", since=world.clock.now()) == {}
    assert counts == {"time_unreadable": 2, "time_not_believed": 1}
    metrics = prometheus_client.generate_latest().decode()
    assert 'punchcard_routing_notes_total{reason="time_unreadable",source="website"}' in metrics
    owner = FormBrowser(world)
    owner.sign_in("owner@acme.example")
    page = owner.get("/sources/website").text
    assert "Invalid time: time of receipt used" in page
    assert "2 events" in page
    assert trace(world, "d")["notes"] == []


def test_the_event_tester_tells_notes_too(world: PublicApiServer) -> None:
    body = b'{"event": "Checked In", "userId": 7, "properties": {"email": "ann@example.com"}, "context": []}'
    response = world.request("POST", "/api/events/test", body, headers={"Content-Type": "application/json"})
    assert response.status == 200, response.body
    assert len(response.json()["data"]["notes"]) == 2
    assert json.loads(response.body)["data"]["results"][0]["status"] == "pending"
