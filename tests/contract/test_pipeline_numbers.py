"""Numbers and their events: the stages of a pipeline add up, and each opens exactly as many events as it counts."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from punchcard.errors import LakeError
from punchcard.lake.listing import EventQuery
from punchcard.operations.overview import Pipeline, read_pipeline
from punchcard.testing.partner.scripted import Step
from punchcard.testing.public_api import PublicApiServer
from punchcard.traces.customer_events import CustomerIds

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
eventToPerkMap = { "Checked In" = "123457", "Order Completed" = "123456" }
[[destinations.filters]]
title = "no staff"
if = "contains( properties.email, '@staff.example' )"
actions = [{ type = "DROP" }]
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        yield server


def event(number: int, **members: Any) -> dict[str, object]:
    properties = {"email": f"m{number}@example.com", **members.pop("properties", {})}
    return {
        "type": "track",
        "event": "Checked In",
        "userId": f"u{number}",
        "messageId": f"m-{number}",
        "properties": properties,
        **members,
    }


def fill(world: PublicApiServer) -> None:
    world.send(*(event(number) for number in range(4)))  # delivered
    world.send(event(10, properties={"email": "x@staff.example"}))
    world.send(event(11, event="Locker Opened"), event(12, event="Locker Opened"))
    world.send(event(13, properties={"email": "nonsense"}))
    world.send(event(0))  # the same once more
    world.send(event(14, userId="", anonymousId=""))
    order = {"order_id": "o-1", "revenue": 5}
    world.send(event(15, event="Order Completed", properties=order))
    world.send(event(16, event="Order Completed", properties={**order, "revenue": 6, "email": "m15@example.com"}))
    world.send(event(17), write_key="wk_nobody")
    world.partner.script("SEG:website:EVENT:m-3", [Step.REJECT])
    world.route()
    world.deliver(rounds=3)
    world.send(event(20))
    world.route()


def pipeline(world: PublicApiServer) -> Pipeline:
    now = world.clock.now()
    with world.store.reading() as work:
        return read_pipeline(
            work,
            destination="perkville",
            sources=["website"],
            begin=now - timedelta(hours=1),
            end=now + timedelta(hours=1),
        )


def test_the_stages_of_a_pipeline_add_up(world: PublicApiServer) -> None:
    fill(world)
    result = pipeline(world)
    stages = {
        (item.destination, item.status): item.count for item in (*result.upstream, *result.stopped, *result.completed)
    }
    assert {place: count for place, count in stages.items() if count} == {
        (None, "failed_on_ingest"): 1,
        ("perkville", "filtered_at_destination"): 1,
        ("perkville", "refused"): 3,
        ("perkville", "duplicate"): 1,
        ("perkville", "conflict"): 1,
        ("perkville", "delivered"): 4,
        ("perkville", "rejected"): 1,
    }
    assert result.received == sum(stages.values()) + result.in_delivery
    assert result.in_delivery == 1
    refused = next(item for item in result.stopped if item.status == "refused")
    assert list(refused.reasons) == [("not_allowlisted", 2), ("invalid_email", 1)]


@pytest.mark.parametrize("in_lake", [False, True], ids=["in the log", "in the lake"])
def test_every_number_opens_exactly_so_many_events(world: PublicApiServer, *, in_lake: bool) -> None:
    fill(world)
    if in_lake:
        world.feed_lake()
    for stage in (*pipeline(world).upstream, *pipeline(world).stopped):
        for reason, count in stage.reasons:
            query = EventQuery(
                source="website", destination=stage.destination or "", status=stage.status, reason=reason
            )
            assert len(world.browser.page(query, limit=100).events) == count, (stage.status, reason)


def test_events_of_a_result_that_never_occurred_are_listed_without_opening_a_file(
    world: PublicApiServer, tmp_path: Path
) -> None:
    fill(world)
    world.feed_lake()
    for file in (tmp_path / "lake").rglob("*.parquet"):
        file.write_bytes(b"damaged")
    refused = EventQuery(source="website", destination="perkville", status="refused")
    for never in (
        replace(refused, reason="not_whole"),
        replace(refused, status="consent"),
        replace(refused, source="app"),
        replace(refused, type="page"),
        replace(refused, begin=world.clock.now() + timedelta(days=1)),
    ):
        assert world.browser.page(never, limit=100).events == []
    with pytest.raises(LakeError):
        world.browser.page(refused, limit=100)


def test_a_list_of_events_is_paged_without_a_gap_over_log_and_lake(world: PublicApiServer) -> None:
    world.send(*(event(number) for number in range(7)))
    world.route()
    world.feed_lake()
    world.send(*(event(number) for number in range(7, 12)))
    world.route()
    seen: list[str] = []
    before = None
    while True:
        page = world.browser.page(EventQuery(), limit=3, before=before)
        seen += [item.event.message_id for item in page.events]
        if page.following is None:
            break
        before = page.following
    assert seen == [f"m-{number}" for number in range(11, -1, -1)]


@pytest.mark.parametrize("in_lake", [False, True], ids=["in the log", "in the lake"])
def test_a_customer_is_found_by_email_and_by_the_user_ids_that_came_with_it(
    world: PublicApiServer, *, in_lake: bool
) -> None:
    without = {"type": "track", "event": "Checked In", "userId": "u1", "messageId": "without-email"}
    world.send(event(1), event(2), without)
    world.route()
    if in_lake:
        world.feed_lake()
    customer = world.browser.find_customer(" M1@Example.com ", known=CustomerIds(), limit=10)
    person = customer.ids
    assert (list(person.emails), list(person.user_ids)) == (["m1@example.com"], ["u1"])
    events = world.browser.events_of(person, limit=10, late=customer.late).events
    assert [(item.event.message_id, [result.reason for result in item.results]) for item in events] == [
        ("without-email", ["missing_email"]),
        ("m-1", [None]),
    ]
    other = world.browser.find_customer("u2", known=CustomerIds(), limit=10)
    listed = world.browser.events_of(other.ids, limit=10, late=other.late).events
    assert [item.event.message_id for item in listed] == ["m-2"]


@pytest.mark.parametrize("in_lake", [False, True], ids=["in the log", "in the lake"])
def test_what_a_customer_did_before_signing_in_is_listed_and_what_another_did_on_the_same_device_is_not(
    world: PublicApiServer, *, in_lake: bool
) -> None:
    visit = {"type": "track", "event": "Checked In", "anonymousId": "device"}
    world.send(
        {**visit, "messageId": "before"},
        {**visit, "messageId": "ann", "userId": "ann"},
        {**visit, "messageId": "bea", "userId": "bea"},
        {**visit, "messageId": "guest", "properties": {"email": "guest@example.com"}},
    )
    world.route()
    if in_lake:
        world.feed_lake()
    ann = CustomerIds(emails=(), user_ids=("ann",), anonymous_ids=("device",))
    assert [item.event.message_id for item in world.browser.events_of(ann, limit=10).events] == ["ann", "before"]


def ask(world: PublicApiServer, path: str) -> Any:
    response = world.request("GET", path)
    return response.status, json.loads(response.body)


def overview(world: PublicApiServer, stage: str, more: str = "") -> Any:
    now = world.clock.now()
    begin, end = quote((now - timedelta(hours=1)).isoformat()), quote((now + timedelta(hours=1)).isoformat())
    path = f"/api/delivery-overview/{stage}?sourceId=website&destinationConfigId=perkville&startTime={begin}"
    return ask(world, f"{path}&endTime={end}&granularity=MINUTE{more}")


@pytest.mark.parametrize(
    ("stage", "total"),
    [
        ("successfully-received", 12),
        ("failed-on-ingest", 1),
        ("filtered-at-source", 0),
        ("filtered-at-destination", 3),
        ("failed-delivery", 4),
        ("successful-delivery", 4),
    ],
)
def test_the_delivery_overview_tells_each_stage(world: PublicApiServer, stage: str, total: int) -> None:
    fill(world)
    status, content = overview(world, stage)
    assert status == 200, content
    assert content["data"]["total"] == total
    assert sum(item["total"] for item in content["data"]["dataset"]) == total
    assert all(sum(point["count"] for point in item["series"]) == item["total"] for item in content["data"]["dataset"])


def test_the_delivery_overview_is_grouped_and_filtered_as_segments_client_asks(world: PublicApiServer) -> None:
    fill(world)
    _, content = overview(world, "failed-delivery", "&groupBy%5B0%5D=eventName&groupBy%5B1%5D=discardReason")
    result = {(item["eventName"], item["discardReason"]): item["total"] for item in content["data"]["dataset"]}
    assert result[("Locker Opened", "not_allowlisted")] == 2
    _, content = overview(world, "failed-delivery", "&filter%5BdiscardReason%5D%5B0%5D=invalid_email")
    assert content["data"]["total"] == 1


@pytest.mark.parametrize(
    "query",
    [
        "sourceId=nobody&startTime=2026-01-02T00:00:00Z&endTime=2026-01-02T01:00:00Z",
        "sourceId=website&startTime=yesterday&endTime=2026-01-02T01:00:00Z",
        "sourceId=website&startTime=2026-01-02T02:00:00Z&endTime=2026-01-02T01:00:00Z",
        "sourceId=website&startTime=2026-01-02T00:00:00Z&endTime=2026-01-02T05:00:00Z&granularity=MINUTE",
        "sourceId=website&startTime=2026-01-02T00:00:00Z&endTime=2026-01-02T01:00:00Z&granularity=WEEK",
        "sourceId=website&startTime=2026-01-02T00:00:00Z&endTime=2026-01-02T01:00:00Z&groupBy=weather",
    ],
    ids=["unknown source", "no instant", "backwards", "too long", "unknown granularity", "unknown group"],
)
def test_a_wrong_question_about_delivery_is_refused(world: PublicApiServer, query: str) -> None:
    status, content = ask(world, f"/api/delivery-overview/failed-on-ingest?{query}")
    assert (status, list(content)) == (400, ["errors"])


def test_metrics_and_pipeline_of_a_destination(world: PublicApiServer) -> None:
    fill(world)
    _, content = ask(world, "/api/destinations/perkville/delivery-metrics")
    summary = content["data"]["deliveryMetricsSummary"]
    totals = {metric["metricName"]: metric["total"] for metric in summary["metrics"]}
    assert totals == {"successes": 4, "filtered": 3, "discarded": 4, "parked": 0}
    _, content = ask(world, "/api/destinations/perkville/pipeline")
    assert content["data"]["received"] == 13
    assert content["data"]["pending"] == 1
    (waiting,) = content["data"]["now"]
    assert (waiting["state"], waiting["count"]) == ("pending", 1)


def test_parked_transactions_are_dismissed_by_api_and_come_back_when_requested(world: PublicApiServer) -> None:
    refund = {"order_id": "never-seen"}
    mapped = CONFIG.replace('"Order Completed" = ', '"Order Refunded" = "123456", "Order Completed" = ')
    no_wait = "[destinations.options]\nrefundWaitHours = 0\n[[destinations.filters]]"
    world.configure(mapped.replace("[[destinations.filters]]", no_wait))
    world.send(event(1, event="Order Refunded", properties=refund))
    world.route()
    world.deliver(rounds=2)
    _, listed = ask(world, "/api/destinations/perkville/transactions?state=parked")
    (row,) = listed["data"]["transactions"]
    body = json.dumps({"ids": [row["id"], "nonsense", "9" * 30]}).encode()
    response = world.request("POST", "/api/destinations/perkville/transactions/dismiss", body)
    assert json.loads(response.body) == {"data": {"dismissed": 1}}
    _, listed = ask(world, "/api/destinations/perkville/transactions")
    assert [(transaction["status"], transaction["reason"]) for transaction in listed["data"]["transactions"]] == [
        ("rejected", "dismissed")
    ]
    assert "token test" in listed["data"]["transactions"][0]["detail"]
    retry = "/api/destinations/perkville/transactions/retry"
    assert json.loads(world.request("POST", retry, b"{}").body)["data"]["reopened"] == 0
    again = world.request("POST", retry, json.dumps({"reason": "dismissed"}).encode())
    assert json.loads(again.body)["data"]["reopened"] == 1
