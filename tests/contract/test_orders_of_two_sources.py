"""A shop that tracks in its browser and on its server, seen from outside: what API and pages show."""

import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from punchcard.testing.operators import FormBrowser, add_operators, signed_in
from punchcard.testing.public_api import PublicApiServer

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[sources]]
slug = "server"
write_key = "wk_server"

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website", "server"]
[destinations.settings]
apiKey = "token"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Order Completed" = "1", "Order Cancelled" = "1", "Order Refunded" = "2", "Checked In" = "3" }
[destinations.options]
orderIdScope = "destination"
"""
EMAIL = "ann@example.com"
KEYS = {"website": "wk_website", "server": "wk_server"}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        yield server


@pytest.fixture
def owner(api: PublicApiServer) -> FormBrowser:
    return signed_in(api, "owner")


def track(api: PublicApiServer, source: str, message_id: str, event: str, **properties: object) -> None:
    body = {"messageId": message_id, "userId": "ann", "event": event, "properties": {"email": EMAIL, **properties}}
    api.send(body, write_key=KEYS[source])
    api.route()


def data(api: PublicApiServer, target: str, *, status: int = 200) -> Any:
    response = api.request("GET", target)
    assert response.status == status, response.body
    return response.json().get("data")


def result(api: PublicApiServer, message_id: str, source: str) -> Any:
    (item,) = data(api, f"/api/events/{message_id}?source={source}")["results"]
    return item


def test_one_order_of_two_sources_is_awarded_and_refunded_once(api: PublicApiServer) -> None:
    track(api, "website", "b1", "Order Completed", order_id="1001", revenue=50)
    track(api, "server", "s1", "Order Completed", orderId=1001, Revenue="50.00")
    track(api, "server", "s2", "Order Completed", order_id="1001", revenue=60)
    track(api, "server", "s3", "Order Refunded", order_id="1001", products=[{"price": 10, "quantity": 2}])
    track(api, "website", "b3", "Order Refunded", order_id="1001", total=-20)
    track(api, "website", "b4", "Order Refunded", order_id="1001", total=500)
    api.deliver(rounds=10)
    assert [f"{item.effect.quantity}" for item in api.partner.book] == ["50", "-20", "-30"]
    again = result(api, "s1", "server")
    assert (again["status"], again["reason"]) == ("duplicate", "same_effect")
    assert "from source website" in again["detail"]
    assert again["transaction"]["effectKey"] == "SEG:perkville:ORDER:1001:order-completed"
    assert result(api, "s2", "server")["status"] == "conflict"
    copy = result(api, "b3", "website")
    assert (copy["status"], copy["reason"]) == ("rejected", "refund_tracked_twice")
    assert "Source server" in copy["detail"]


@pytest.mark.parametrize("in_lake", [False, True], ids=["in the log", "in the lake"])
def test_two_sources_number_their_events_alike_and_both_earn(
    api: PublicApiServer, owner: FormBrowser, *, in_lake: bool
) -> None:
    for source in KEYS:
        track(api, source, "1", "Checked In", club=source)
        track(api, source, "1", "Checked In", club=source)
    if in_lake:
        api.feed_lake()
    api.deliver(rounds=4)
    assert sorted(item.effect.effect_key for item in api.partner.book) == ["SEG:server:EVENT:1", "SEG:website:EVENT:1"]
    first = data(api, "/api/events/1")
    assert (first["source"], len(first["copies"])) == ("website", 1)
    (other,) = first["others"]
    assert (other["source"], other["results"][0]["status"], len(other["copies"])) == ("server", "delivered", 1)
    chosen = data(api, "/api/events/1?source=server")
    assert (chosen["source"], chosen["event"]["properties"]["club"]) == ("server", "server")
    assert [item["source"] for item in chosen["others"]] == ["website"]
    data(api, "/api/events/1?source=nowhere", status=404)
    page = owner.get("/events/1")
    assert 'href="/events/1?source=server"' in page.text
    assert 'href="/events/1?source=website"' in owner.get("/events/1?source=server").text


def test_an_event_of_one_source_has_no_others(api: PublicApiServer) -> None:
    track(api, "website", "1", "Checked In")
    assert "others" not in data(api, "/api/events/1")


def test_each_till_counts_its_own_orders_if_configured(api: PublicApiServer) -> None:
    api.configure(CONFIG.replace('"destination"', '"source"'))
    for source in KEYS:
        track(api, source, f"o-{source}", "Order Completed", order_id=1, revenue=5)
        track(api, source, f"r-{source}", "Order Refunded", order_id=1)
    api.deliver(rounds=8)
    assert sorted(f"{item.effect.quantity}" for item in api.partner.book) == ["-5", "-5", "5", "5"]
    # One destination again: what both have awarded is not awarded once more, whatever the source.
    api.configure(CONFIG)
    track(api, "server", "again", "Order Completed", order_id=1, revenue=5)
    assert result(api, "again", "server")["status"] == "duplicate"


def test_a_refund_shows_until_when_it_waits_and_is_done_after_its_order(
    api: PublicApiServer, owner: FormBrowser
) -> None:
    track(api, "website", "early", "Order Refunded", order_id="77")
    api.deliver(rounds=3)
    waiting = result(api, "early", "website")
    assert (waiting["status"], waiting["reason"]) == ("retrying", "waiting_for_order")
    assert "Waiting for order 77 until" in waiting["detail"]
    assert "Waiting for order 77 until" in owner.get("/events/early").text
    assert "Waiting for order 77 until" in owner.get("/destinations/perkville/transactions").text
    track(api, "server", "late", "Order Completed", order_id="77", total=30)
    api.deliver(rounds=6)
    assert [f"{item.effect.quantity}" for item in api.partner.book] == ["30", "-30"]


def test_a_refund_of_an_order_that_was_refused_takes_nothing(api: PublicApiServer) -> None:
    track(api, "website", "order", "Order Completed", order_id="5", revenue=0)
    track(api, "server", "refund", "Order Refunded", order_id="5", total=20)
    api.deliver(rounds=4)
    assert api.partner.book == []
    ended = result(api, "refund", "server")
    assert (ended["status"], ended["reason"]) == ("rejected", "order_earned_nothing")
    assert "zero_amount" in ended["detail"]


def test_what_looks_like_an_order_says_so_and_is_counted_on_the_map(api: PublicApiServer, owner: FormBrowser) -> None:
    track(api, "website", "like", "Order Completed", orderNumber="7", revenue=50)
    track(api, "website", "visit", "Checked In", minutes=45)
    api.deliver(rounds=3)
    matches = result(api, "like", "website")
    assert (matches["status"], matches["reason"], matches["transaction"]["quantity"]) == ("delivered", None, "1")
    assert "properties.orderNumber" in matches["detail"] or "properties.revenue" in matches["detail"]
    assert result(api, "visit", "website")["detail"] is None
    page = html.unescape(owner.get("/destinations/perkville/map").text)
    assert page.count("looks like an order") == 1
    link = "/events?time=30d&destination=perkville&status=pending&reason=looks_like_order&name=Order%20Completed"
    assert link in page
    assert "like" in owner.get(link).text


def test_a_tested_event_says_that_it_looks_like_an_order(api: PublicApiServer) -> None:
    event = {"event": "Checked In", "userId": "ann", "properties": {"email": EMAIL, "cart_id": "c"}}
    response = api.request("POST", "/api/events/test?source=website", json.dumps(event).encode())
    (tested,) = response.json()["data"]["results"]
    assert (tested["status"], tested["reason"]) == ("pending", "looks_like_order")
    assert "properties.cart_id" in tested["detail"]


def test_map_page_and_api_warn_of_a_map_that_will_surprise(api: PublicApiServer, owner: FormBrowser) -> None:
    warnings = data(api, "/api/destinations/perkville")["destination"]["warnings"]
    assert any('"Order Completed" and "Order Cancelled"' in warning and "earns 100" in warning for warning in warnings)
    page = html.unescape(owner.get("/destinations/perkville/map").text)
    assert all(warning in page for warning in warnings)
    api.configure(CONFIG.replace('"Order Cancelled" = "1", ', ""))
    assert data(api, "/api/destinations/perkville")["destination"]["warnings"] == []


def test_the_map_page_names_near_spellings_that_came_in(api: PublicApiServer, owner: FormBrowser) -> None:
    track(api, "website", "1", "checked_in")
    refused = result(api, "1", "website")
    assert '"Checked In" is mapped, and names must be the same' in refused["detail"]
    page = html.unescape(owner.get("/destinations/perkville/map").text)
    assert "“checked_in” was received and is not mapped" in page
