"""Tracking plans behind routing: violations stay with their events and are counted; blocked events can be replayed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from punchcard.lake.listing import EventQuery
from punchcard.lake.reader import LakeReader
from punchcard.operations.violation_forwarding import ViolationForwarder
from punchcard.profiles.erasure import ErasedIds
from punchcard.store.tracking_plans.erasure import erase_from_violations
from punchcard.store.tracking_plans.violations import count_violation_events, list_violations, next_violation_events
from punchcard.testing.partner.configuration import SLUG, WEBSITE_DESTINATION
from punchcard.testing.public_api import PublicApiServer

CONFIG = (
    """
[[sources]]
slug = "website"
write_key = "wk_website"
[sources.enforcement]
%s

[[sources]]
slug = "violations"
write_key = "wk_violations"

"""
    + WEBSITE_DESTINATION
    + """
[tracking_plans.shop]
name = "Shop plan"
sources = ["website"]
[[tracking_plans.shop.rules]]
key = "Order Completed"
jsonSchema = '%s'
"""
)
SCHEMA = {
    "properties": {
        "properties": {
            "required": ["order_id"],
            "properties": {
                "order_id": {"type": "string"},
                "total": {"type": "number"},
                "email": {"type": "string"},
            },
        }
    }
}
BLOCK = 'track = { violations = "BLOCK" }\nunplanned_events = "BLOCK"'


def config(enforcement: str = "", schema: dict[str, Any] = SCHEMA) -> str:
    return CONFIG % (enforcement, json.dumps(schema))


@pytest.fixture
def server(tmp_path: Path, store_url: str) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, store_url, config()) as opened:
        yield opened


def order(message_id: str, name: str = "Order Completed", **properties: Any) -> dict[str, Any]:
    own = {"order_id": message_id, "email": "ann@example.com", "total": 9.5, **properties}
    return {"event": name, "userId": "ann", "messageId": message_id, "properties": own}


def violations(server: PublicApiServer) -> list[tuple[str, str, str, int, int]]:
    with server.store.reading() as work:
        listed = list_violations(work, since=server.clock.now())
    return [(v.key.event_name, v.key.field, v.key.kind, v.count, v.blocked) for v in listed]


def trace(server: PublicApiServer, message_id: str) -> dict[str, Any]:
    body = server.request("GET", f"/api/events/{message_id}").json()
    return dict(body["data"])


def test_violations_stay_with_the_event_and_are_counted(server: PublicApiServer) -> None:
    server.send(order("m1", total="9.5"), order("m2", total="1", coupon="x"), order("m3"), order("m4", name="Odd"))
    server.route()
    assert sorted(violations(server)) == [
        ("Odd", "", "Unplanned Event", 1, 0),
        ("Order Completed", "properties.coupon", "Unplanned Property", 1, 0),
        ("Order Completed", "properties.total", "Invalid Type", 2, 0),
    ]
    note = "tracking plan shop: Invalid Type: properties.total must be number"
    for moment in ("in the log", "in the lake"):
        assert trace(server, "m1")["notes"] == [note], moment
        assert trace(server, "m3")["notes"] == [], moment
        page = server.browser.page(EventQuery(source="website", note=note), limit=10)
        assert [seen.event.message_id for seen in page.events] == ["m2", "m1"], moment
        server.feed_lake()
    results = [result["status"] for result in trace(server, "m1")["results"]]
    assert results == ["pending"], "allowed by default: the award is made"


def test_blocked_event_is_stored_whole_and_replayed_once_the_plan_is_corrected(server: PublicApiServer) -> None:
    server.configure(config(BLOCK))
    server.send(order("m1", total="9.5"), order("m2", name="Odd"), order("m3"))
    server.route()
    server.feed_lake()
    blocked = trace(server, "m1")
    assert blocked["event"]["properties"]["total"] == "9.5"
    assert [(r["destination"], r["status"], r["reason"], r["detail"]) for r in blocked["results"]] == [
        (None, "filtered_at_source", "schema_violation", "properties.total must be number (tracking plan shop)")
    ]
    assert trace(server, "m2")["results"][0]["reason"] == "unplanned"
    assert {row[:4]: row[4] for row in violations(server)} == {
        ("Order Completed", "properties.total", "Invalid Type", 1): 1,
        ("Odd", "", "Unplanned Event", 1): 1,
    }
    server.engage()
    (event,) = LakeReader(server.lake_location).find("m1")
    assert json.loads(event.payload)["properties"]["total"] == "9.5"

    relaxed = json.loads(json.dumps(SCHEMA))
    relaxed["properties"]["properties"]["properties"]["total"] = {"type": ["number", "string"]}
    server.configure(config(BLOCK, relaxed))
    request = {"since": "2000-01-01T00:00:00Z", "messageIds": ["m1", "m2"]}
    replay = server.request("POST", f"/api/destinations/{SLUG}/replays", json.dumps(request).encode())
    assert replay.status == 200, replay.body
    server.run_replays(slug=SLUG)
    server.route()
    assert trace(server, "m1")["results"][-1]["status"] in ("pending", "delivered")
    assert trace(server, "m2")["results"][0]["reason"] == "unplanned"


def test_omitted_property_is_gone_behind_routing(server: PublicApiServer) -> None:
    server.configure(config('track = { unplanned = "OMIT_PROPERTIES", violations = "OMIT_PROPERTIES" }'))
    server.send(order("m1", total="x", coupon={"code": 1}, value=3))
    server.route()
    for moment in ("in the log", "in the lake"):
        event = trace(server, "m1")
        assert event["event"]["properties"] == {"order_id": "m1", "email": "ann@example.com"}, moment
        assert "properties.coupon was omitted by tracking plan shop" in event["notes"], moment
        server.feed_lake()


def test_violations_that_are_too_many_to_forward_are_reported(
    server: PublicApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("punchcard.routing.violation_counts._QUEUED_MAX", 2)
    server.configure(config('forward_violations_to = "violations"'))
    for number in range(5):
        server.send(order(f"m{number}", total="9.5"))
    with capture_logs() as logged:
        server.route()
    assert [entry["violations"] for entry in logged if entry["event"] == "plan_violations_not_forwarded"] == [3]
    with server.store.reading() as work:
        assert count_violation_events(work) == 2
    assert [count for *_, count, _ in violations(server)] == [5]


def test_deletion_of_a_person_takes_only_her_violations_from_the_queue(server: PublicApiServer) -> None:
    server.configure(config('forward_violations_to = "violations"'))
    server.send(order("anns", total="9.5"), order("bobs", total="9.5"), order("named", name="Sold to Ann@example.com"))
    server.route()
    ann = ErasedIds(emails=frozenset({"ann@example.com"}))
    with server.store.unit_of_work() as work:
        assert count_violation_events(work) == 3
        erase_from_violations(work, ann, {("website", "anns"), ("another", "bobs")})
        (left,) = next_violation_events(work, limit=10)
    assert json.loads(left[2])["properties"]["eventMessageID"] == "bobs"


def test_violations_are_forwarded_once_and_never_loop(server: PublicApiServer) -> None:
    loop = config('forward_violations_to = "violations"').replace(
        'write_key = "wk_violations"\n',
        'write_key = "wk_violations"\n[sources.enforcement]\nforward_violations_to = "website"\n',
    )
    server.configure(loop.replace('sources = ["website"]', 'sources = ["website", "violations"]'))
    server.send(order("m1", total="9.5"))
    server.route()
    forwarder = ViolationForwarder(store=server.store, log=server.log, clock=server.clock, current=server.watch.newest)
    assert forwarder.step()
    assert not forwarder.step()
    server.route()
    assert not forwarder.step(), "a forwarded violation has no violations"
    (seen,) = server.browser.page(EventQuery(source="violations"), limit=10).events
    body = json.loads(seen.event.payload)
    assert (body["event"], body["userId"]) == ("Violation Generated", "schema-violations")
    properties = body["properties"]
    assert properties.pop("eventTimestamp")
    assert properties == {
        "appVersion": "",
        "eventMessageID": "m1",
        "eventName": "Order Completed",
        "eventSentAt": "",
        "eventType": "track",
        "sourceID": "website",
        "sourceName": "website",
        "sourceSlug": "website",
        "trackingPlanID": "shop",
        "trackingPlanName": "Shop plan",
        "violationDescription": "properties.total must be number",
        "violationField": "properties.total",
        "violationType": "Invalid Type",
    }


def test_invented_names_are_counted_together_beyond_the_limit(server: PublicApiServer) -> None:
    events = [{"type": "track", **order(f"m{number}", name=f"Odd {number}")} for number in range(600)]
    server.send({"batch": events}, call="batch")
    server.route()
    listed = violations(server)
    assert len(listed) == 501
    assert sum(count for _, _, _, count, _ in listed) == 600
    server.restart_routing()
    server.send(order("late", name="Odd late"))
    server.route()
    assert len(violations(server)) == 501
