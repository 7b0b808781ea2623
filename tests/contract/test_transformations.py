"""Transformations and schema switches on the path of an event, in the configuration, and in the Public API."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from punchcard.store.delivery.schema import effects as effects_table
from punchcard.store.privacy.regulations import RegulationType
from punchcard.store.routing.schema import held_events
from punchcard.testing.damage import damage, restore, with_condition
from punchcard.testing.operators import add_operators
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.replays import call, replay, trace
from punchcard.workspace.export import export
from punchcard.workspace.file import read_content

SOURCES = """
[workspace]
webhookAllowedNetworks = ["127.0.0.0/8"]

[[sources]]
slug = "website"
write_key = "wk_website"
"""
SWITCHES = """
[sources.switched_off]
events = ["Debug"]
calls = ["page"]
properties = { "Order Completed" = ["card", "coupon.code"] }
traits = { identify = ["ssn"] }
"""
DESTINATIONS = """
[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website"]
[destinations.settings]
apiKey = "token"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Order Completed" = "123456", "Checked In" = "123457" }
[[destinations.filters]]
title = "no staff"
if = "properties.staff = true"
actions = [{ type = "DROP" }]

[[destinations]]
slug = "hooks"
type = "webhooks"
sources = ["website"]
[destinations.settings]
url = "http://127.0.0.1:1/hook"
"""
TRANSFORMATIONS = """
[[transformations]]
name = "Fix order"
source = "website"
if = "event = 'order_completed'"
newEventName = "Order Completed"
propertyRenames = [{ oldName = "amount", newName = "revenue" }, { oldName = "order.id", newName = "order_id" }]

[[transformations]]
name = "Drop tests"
source = "website"
if = "properties.test = true"
drop = true

[[transformations]]
name = "Currency for hooks"
source = "website"
destination = "hooks"
if = "event = 'Order Completed'"
propertyValueTransformations = [{ propertyPaths = ["properties.currency"], propertyValue = "USD" }]
"""
CONFIG = SOURCES + DESTINATIONS + TRANSFORMATIONS


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        yield server


def order(message_id: str, **properties: Any) -> dict[str, Any]:
    own = {"email": "ann@example.com", "amount": 12.50, "order": {"id": message_id, "n": 1}, **properties}
    return {"type": "track", "event": "order_completed", "userId": "ann", "messageId": message_id, "properties": own}


def outcome(world: PublicApiServer, message_id: str) -> dict[str | None, tuple[str, str | None]]:
    return {item["destination"]: (item["status"], item["reason"]) for item in trace(world, message_id)["results"]}


def test_everything_behind_the_source_sees_the_transformed_event(world: PublicApiServer) -> None:
    world.send(order("m1"))
    for step in (world.route, world.restart_routing, world.feed_lake):
        step()
        shown = trace(world, "m1")
        assert shown["event"]["event"] == "Order Completed"
        assert shown["event"]["properties"] == {
            "email": "ann@example.com",
            "revenue": 12.5,
            "order": {"n": 1},
            "order_id": "m1",
        }
        assert shown["notes"] == [
            'transformation "Fix order": event order_completed → Order Completed',
            'transformation "Fix order": properties.amount → properties.revenue (12.5)',
            'transformation "Fix order": properties.order.id → properties.order_id ("m1")',
        ]
    perkville = next(item for item in shown["results"] if item["destination"] == "perkville")
    assert perkville["transaction"]["quantity"] == "12.5"
    with world.store.reading() as work:
        payloads = [row.payload for row in work.execute(effects_table.select()) if row.destination == "hooks"]
    assert '"currency":"USD"' in str(payloads[0])
    counts = call(world, "GET", "/api/sources/website/schema/events")
    assert "Order Completed" in json.dumps(counts)
    assert "order_completed" not in json.dumps(counts)


def test_a_dropped_event_earns_nothing_until_it_is_replayed_without_the_transformation(world: PublicApiServer) -> None:
    world.send(order("m1", test=True))
    world.route()
    world.feed_lake()
    assert outcome(world, "m1") == {None: ("filtered_at_source", "dropped_by_transformation")}
    assert trace(world, "m1")["event"]["event"] == "order_completed"
    assert replay(world, messageIds=["m1"], dryRun=True)["plan"]["refused"] == {"dropped_by_transformation": 1}
    call(world, "PATCH", "/api/transformations/drop-tests", {"enabled": False})
    world.watch.refresh()
    for _ in range(2):  # the second replay finds the award in the ledger
        replay(world, messageIds=["m1"])
        world.run_replays()
        assert outcome(world, "m1")["perkville"] == ("delivered", None)
        assert len(world.partner.book) == 1


def test_a_held_event_is_planned_as_the_rules_had_left_it(world: PublicApiServer) -> None:
    whole = damage(world, with_condition("properties.staff = "))
    world.send(order("m1"))
    world.route()
    assert outcome(world, "m1")["perkville"] == ("pending", "destination_on_hold")
    call(world, "DELETE", "/api/transformations/fix-order")
    restore(world, whole)
    world.route()
    assert outcome(world, "m1")["perkville"] == ("pending", None)


def test_a_deletion_leaves_nothing_of_a_transformed_event(world: PublicApiServer) -> None:
    whole = damage(world, with_condition("properties.staff = "))
    world.send(order("m1", note="of ann@example.com"))
    world.route()
    world.feed_lake()
    with world.store.reading() as work:
        texts = work.scalars(held_events.select().with_only_columns(held_events.c.rewritten)).all()
    assert b"Order Completed" in texts[0]
    call(
        world,
        "POST",
        "/api/regulations",
        {"regulationType": RegulationType.DELETE_ONLY, "subjectType": "USER_ID", "subjectIds": ["ann"]},
    )
    world.run_regulations()
    with world.store.reading() as work:
        assert work.execute(held_events.select()).all() == []
        tables = [list(work.exec_driver_sql(f"SELECT * FROM {name}")) for name in ("result_batches", "held_records")]
    assert "ann@example.com" not in str(tables)
    restore(world, whole)


def test_what_is_switched_off_is_stopped_or_removed(tmp_path: Path) -> None:
    config = SOURCES + SWITCHES + DESTINATIONS
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", config) as world:
        properties = {"email": "a@example.com", "order_id": "1", "revenue": 5, "card": "4111", "coupon": {"code": "x"}}
        events = [
            {"type": "track", "event": "Debug", "userId": "ann", "messageId": "debug"},
            {"type": "track", "event": "Order Completed", "userId": "ann", "messageId": "o", "properties": properties},
            {"type": "identify", "userId": "ann", "messageId": "i", "traits": {"ssn": "1", "city": "Ulm"}},
            {"type": "page", "userId": "ann", "messageId": "p"},
            {"type": "group", "userId": "ann", "groupId": "g", "messageId": "g", "traits": {"ssn": "1"}},
        ]
        world.send({"batch": events}, call="batch")
        world.route()
        world.feed_lake()
        assert outcome(world, "debug") == {None: ("filtered_at_source", "event_switched_off")}
        assert outcome(world, "p") == {None: ("filtered_at_source", "event_switched_off")}
        assert trace(world, "o")["event"]["properties"] == {
            "email": "a@example.com",
            "order_id": "1",
            "revenue": 5,
            "coupon": {},
        }
        assert trace(world, "o")["notes"] == [
            "switched off in the schema of its source and removed: properties.card, properties.coupon.code"
        ]
        assert outcome(world, "o")["perkville"] == ("pending", None)
        assert trace(world, "i")["event"]["traits"] == {"city": "Ulm"}
        assert trace(world, "g")["event"]["traits"] == {"ssn": "1"}


def test_an_unreadable_transformation_stops_the_events_of_its_source_only(world: PublicApiServer) -> None:
    whole = damage(world, lambda body: body.update(condition="event = "), kind="transformation", slug="fix-order")
    world.send(order("m1"))
    world.route()
    assert outcome(world, "m1") == {None: ("filtered_at_source", "source_rules_unusable")}
    restore(world, whole, kind="transformation", slug="fix-order")
    world.send(order("m2"))
    world.route()
    assert outcome(world, "m2")["perkville"] == ("pending", None)


def test_a_destination_with_an_unreadable_transformation_holds_its_events(world: PublicApiServer) -> None:
    slug = "currency-for-hooks"
    whole = damage(world, lambda body: body.update(condition="event = "), kind="transformation", slug=slug)
    world.send(order("m1"))
    world.route()
    assert outcome(world, "m1")["hooks"] == ("pending", "destination_on_hold")
    assert outcome(world, "m1")["perkville"] == ("pending", None)
    restore(world, whole, kind="transformation", slug=slug)
    world.route()
    assert outcome(world, "m1")["hooks"] == ("pending", None)


def test_an_exported_configuration_is_the_same_when_read(world: PublicApiServer) -> None:
    config = SOURCES + SWITCHES + DESTINATIONS + TRANSFORMATIONS
    workspace = read_content(config.encode(), "punchcard.toml", environment={})
    again = read_content(export(workspace).encode(), "punchcard.toml", environment={})
    assert again.transformations == workspace.transformations
    assert again.sources == workspace.sources
    assert [transformation.order for transformation in workspace.transformations] == [1, 2, 3]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ('if = "event = "', "if"),
        ('source = "nowhere"', 'There is no source "nowhere"'),
        ('propertyRenames = [{ oldName = "a..b", newName = "c" }]', "is not the name of a property"),
        ('propertyValueTransformations = [{ propertyPaths = ["messageId"], propertyValue = "x" }]', "cannot be set"),
        ('propertyValueTransformations = [{ propertyPaths = ["properties"], propertyValue = "x" }]', "cannot be set"),
        ('propertyValueTransformations = [{ propertyPaths = [], propertyValue = "x" }]', "1 to 10 paths"),
        ('destination = "till"', 'There is no destination "till"'),
        ('newEventName = ""', "must change something"),
    ],
)
def test_an_invalid_transformation_is_refused_with_its_place(changed: str, message: str) -> None:
    table = {"name": 'name = "T"', "source": 'source = "website"', "if": 'if = "all"', "drop": 'newEventName = "X"'}
    key = changed.partition(" = ")[0]
    table["drop" if key == "newEventName" else key] = changed
    config = SOURCES + "[[transformations]]\n" + "\n".join(table.values())
    with pytest.raises(Exception, match=r"punchcard\.toml:") as raised:
        read_content(config.encode(), "punchcard.toml", environment={})
    assert message in str(raised.value)
    assert "transformations" in str(raised.value)


def test_the_api_speaks_segments_format(world: PublicApiServer) -> None:
    body = {
        "name": "Round total",
        "sourceId": "website",
        "destinationMetadataId": "perkville",
        "enabled": True,
        "if": "event = 'Checked In'",
        "newEventName": "Order Completed",
        "propertyRenames": [{"oldName": "sum", "newName": "revenue"}],
        "propertyValueTransformations": [{"propertyPaths": ["properties.order_id"], "propertyValue": "7"}],
    }
    created = call(world, "POST", "/api/transformations", body)["transformation"]
    assert created == {**body, "id": "round-total", "order": 4}
    assert call(world, "GET", "/api/transformations/round-total")["transformation"] == created
    listed = call(world, "GET", "/api/transformations")
    assert [item["id"] for item in listed["transformations"]] == [
        "fix-order",
        "drop-tests",
        "currency-for-hooks",
        "round-total",
    ]
    call(world, "PATCH", "/api/transformations/round-total", {"newEventName": None, "destinationMetadataId": None})
    changed = call(world, "GET", "/api/transformations/round-total")["transformation"]
    assert "newEventName" not in changed
    assert "destinationMetadataId" not in changed
    assert call(world, "DELETE", "/api/transformations/round-total") == {"status": "SUCCESS"}
    assert "no transformation" in call(world, "GET", "/api/transformations/round-total", status=404)["message"]
    refused = call(world, "POST", "/api/transformations", {**body, "if": "event = "}, status=422)
    assert refused["field"] == "if"
    for key, value in (("fqlDefinedProperties", [{}]), ("hashPropertiesConfiguration", {"key": "k"})):
        assert call(world, "POST", "/api/transformations", {**body, key: value}, status=422)["field"] == key


def test_the_preview_says_which_awards_would_change(world: PublicApiServer) -> None:
    world.send(order("m1"), {**order("m2"), "event": "other"}, order("m3", test=True))
    world.route()
    world.feed_lake()
    world.clock.advance(timedelta(days=1).total_seconds())
    body = {"name": "T", "sourceId": "website", "enabled": True, "if": "event = 'Order Completed'", "drop": True}
    preview = call(world, "POST", "/api/transformations/preview", body)["preview"]
    assert (preview["events"], preview["changed"], preview["dropped"]) == (2, 1, 1)
    assert preview["samples"][0]["after"] is None
    perkville = next(item for item in preview["awards"] if item["destinationId"] == "perkville")
    assert perkville == {
        "destinationId": "perkville",
        "awardsBefore": 1,
        "awardsAfter": 0,
        "quantityBefore": "12.5",
        "quantityAfter": "0",
    }
    body = {
        "name": "T",
        "sourceId": "website",
        "destinationMetadataId": "perkville",
        "enabled": True,
        "if": "event = 'Order Completed'",
        "propertyValueTransformations": [{"propertyPaths": ["properties.revenue"], "propertyValue": 100}],
    }
    preview = call(world, "POST", "/api/transformations/preview", body)["preview"]
    assert [item["quantityAfter"] for item in preview["awards"]] == ["100"]
    assert preview["samples"][0]["changes"] == ['transformation "T": properties.revenue 12.5 → 100']
    assert preview["samples"][0]["after"]["properties"]["revenue"] == 100


def test_the_event_tester_applies_the_rules(world: PublicApiServer) -> None:
    path = "/api/events/test?source=website"
    tested = call(world, "POST", path, order("m9"))
    assert tested["notes"][0] == 'transformation "Fix order": event order_completed → Order Completed'
    assert any(item["request"] for item in tested["results"] if item["destination"] == "perkville")
    (result,) = call(world, "POST", path, order("m9", test=True))["results"]
    assert result["reason"] == "dropped_by_transformation"
