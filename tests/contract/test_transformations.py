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
from punchcard.testing.operators import FormBrowser, add_operators
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
properties = { "Order Completed" = ["card", "coupon.code", "lines[].note"] }
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
fqlDefinedProperties = [{ propertyName = "code", fql = "uppercase( properties.coupon )" }]
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
            'transformation "Fix order": event "order_completed" → "Order Completed"',
            'transformation "Fix order": properties.amount → properties.revenue (12.5)',
            'transformation "Fix order": properties.order.id → properties.order_id ("m1")',
        ]
    hooks, perkville = sorted(shown["results"], key=lambda item: str(item["destination"]))
    assert perkville["transaction"]["quantity"] == "12.5"
    assert "properties.code is not set" in hooks["detail"]
    with world.store.reading() as work:
        (payload,) = (row.payload for row in work.execute(effects_table.select()) if row.destination == "hooks")
    assert '"currency":"USD"' in str(payload)
    counts = call(world, "GET", "/api/sources/website/schema/events")
    assert ("Order Completed" in json.dumps(counts), "order_completed" in json.dumps(counts)) == (True, False)


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
        properties["lines"] = [{"note": "x"}, {"n": 1}]
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
        left = {"email": "a@example.com", "order_id": "1", "revenue": 5, "coupon": {}, "lines": [{}, {"n": 1}]}
        assert trace(world, "o")["event"]["properties"] == left
        assert trace(world, "o")["notes"] == [
            "switched off in the schema of its source and removed: properties.card, properties.coupon.code, "
            "properties.lines[].note"
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
    assert [source.switched_off for source in again.sources] == [source.switched_off for source in workspace.sources]
    assert workspace.sources[0].switched_off.traits == {"identify": ("ssn",)}
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
        ('fqlDefinedProperties = [{ propertyName = "a", fql = "event = " }]', "fqlDefinedProperties"),
        ('destination = "till"', 'There is no destination "till"'),
        ('newEventName = ""', "must change something"),
        ('slug = "new"', '"new" is reserved'),
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
        "fqlDefinedProperties": [{"fql": "uppercase( properties.coupon )", "propertyName": "code"}],
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
    assert call(world, "POST", "/api/transformations", {**body, "if": "event = "}, status=422)["field"] == "if"
    invalid = {"fqlDefinedProperties": [{"fql": "uppercase( ", "propertyName": "code"}]}
    refused = call(world, "POST", "/api/transformations", {**body, **invalid}, status=422)
    assert (refused["field"], "FQL of code" in refused["message"]) == ("fqlDefinedProperties[0].fql", True)
    refused = call(world, "POST", "/api/transformations", {**body, "hashPropertiesConfiguration": {"k": 1}}, status=422)
    assert refused["field"] == "hashPropertiesConfiguration"


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


def test_a_value_is_computed_shown_in_the_trace_and_earns_points(world: PublicApiServer) -> None:
    defined = [
        {"propertyName": "revenue", "fql": "number( properties.sum )"},
        {"propertyName": "order_id", "fql": "properties.order.id"},
        {"propertyName": "code", "fql": "uppercase( properties.coupon )"},
    ]
    body = {"name": "Compute", "sourceId": "website", "enabled": True, "if": "event = 'Order Completed'"}
    call(world, "POST", "/api/transformations", {**body, "fqlDefinedProperties": defined})
    world.send({**order("m1", sum="19.99"), "event": "Order Completed"})
    for step in (world.route, world.restart_routing, world.feed_lake):
        step()
        shown = trace(world, "m1")
        assert shown["notes"] == [
            'transformation "Compute": properties.revenue (none) → 19.99',
            'transformation "Compute": properties.order_id (none) → "m1"',
            'transformation "Compute": properties.code is not set: uppercase( properties.coupon ) has no value',
        ]
    perkville = next(item for item in shown["results"] if item["destination"] == "perkville")
    assert perkville["transaction"]["quantity"] == "19.99"


def test_the_preview_says_why_a_value_is_not_set(world: PublicApiServer) -> None:
    world.send(order("m1"))
    world.route()
    world.feed_lake()
    body = {"name": "T", "sourceId": "website", "enabled": True, "if": "all"}
    body |= {"fqlDefinedProperties": [{"propertyName": "code", "fql": "uppercase( properties.coupon )"}]}
    preview = call(world, "POST", "/api/transformations/preview", body)["preview"]
    assert (preview["events"], preview["changed"], preview["dropped"]) == (1, 0, 0)
    assert preview["samples"][0]["changes"] == [
        'transformation "T": properties.code is not set: uppercase( properties.coupon ) has no value'
    ]
    assert {item["awardsBefore"] for item in preview["awards"]} == {0}


def test_the_event_tester_applies_the_rules(world: PublicApiServer) -> None:
    path = "/api/events/test?source=website"
    tested = call(world, "POST", path, order("m9"))
    assert tested["notes"][0] == 'transformation "Fix order": event "order_completed" → "Order Completed"'
    assert any(item["request"] for item in tested["results"] if item["destination"] == "perkville")
    (result,) = call(world, "POST", path, order("m9", test=True))["results"]
    assert result["reason"] == "dropped_by_transformation"


FORM = {
    "name": "Double <b>revenue</b>",
    "source": "website",
    "destination": "",
    "condition": "event = 'Order Completed'",
    "renames": "",
    "values": "properties.revenue = 25",
    "computed": "code = uppercase( properties.coupon )\nis_large = properties.revenue >= 100",
    "drops": "",
    "allowed": "",
    "order": "",
    "new_event_name": "",
    "enabled": "on",
}


def test_the_app_previews_and_saves_a_transformation(world: PublicApiServer) -> None:
    world.send(order("m1"))
    world.route()
    world.feed_lake()
    browser = FormBrowser(world)
    browser.sign_in("owner@acme.example")
    shown = browser.post("/transformations/preview", **FORM)
    assert shown.status == 200, shown.text
    assert "1 of 1 events" in shown.text
    assert "12.5 → 25" in shown.text
    assert "Double &lt;b&gt;revenue" in shown.text
    assert "properties.revenue = 25" in shown.text  # what was typed stays
    assert len(call(world, "GET", "/api/transformations")["transformations"]) == 3
    assert browser.post("/transformations/new", **FORM).status == 303
    listed = browser.get("/transformations").text
    assert "Double &lt;b&gt;revenue" in listed
    path = "/transformations/double-b-revenue-b"
    assert f'href="{path}"' in listed
    edit = browser.get(path).text
    assert f'action="{path}/remove"' in edit
    assert "properties.revenue = 25" in edit
    saved = browser.post(path, **{**FORM, "values": 'properties.note = "a = b"\nproperties.n = 1', "renames": "a = b"})
    assert saved.status == 303
    changed = call(world, "GET", "/api/transformations/double-b-revenue-b")["transformation"]
    assert changed["propertyValueTransformations"] == [
        {"propertyPaths": ["properties.note"], "propertyValue": "a = b"},
        {"propertyPaths": ["properties.n"], "propertyValue": 1},
    ]
    assert changed["fqlDefinedProperties"] == [
        {"propertyName": "code", "fql": "uppercase( properties.coupon )"},
        {"propertyName": "is_large", "fql": "properties.revenue >= 100"},
    ]
    assert changed["propertyRenames"] == [{"oldName": "a", "newName": "b"}]
    assert browser.post(f"{path}/remove").status == 303
    assert browser.get(path).status == 404


@pytest.mark.parametrize("name", ["New", "Preview"])
def test_a_transformation_named_as_a_page_has_a_page_of_its_own(world: PublicApiServer, name: str) -> None:
    browser = FormBrowser(world)
    browser.sign_in("owner@acme.example")
    assert browser.post("/transformations/new", **{**FORM, "name": name}).status == 303
    edit = browser.get(f"/transformations/{name.lower()}-2")
    assert (edit.status, f'value="{name}"' in edit.text) == (200, True)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("renames", "amount", "Line 1: write a name"),
        ("values", "timestamp = 1", "cannot be set"),
        ("computed", "code = uppercase( ", "The FQL of code is invalid"),
        ("condition", "event = ", "is-invalid"),
        ("order", "first", "Enter a whole number"),
    ],
)
def test_the_app_says_what_is_not_valid_beside_its_field(
    world: PublicApiServer, field: str, value: str, message: str
) -> None:
    browser = FormBrowser(world)
    browser.sign_in("owner@acme.example")
    for path in ("/transformations/new", "/transformations/preview"):
        refused = browser.post(path, **{**FORM, field: value})
        assert (refused.status, message in refused.text) == (422, True), refused.text


SCHEMA = "/api/sources/website/schema/events"


def test_an_event_and_a_property_are_switched_in_the_api(world: PublicApiServer) -> None:
    call(world, "PATCH", SCHEMA, {"event": "Order Completed", "property": "order.n", "enabled": False})
    switched = call(world, "PATCH", SCHEMA, {"type": "identify", "property": "ssn", "enabled": False})
    assert switched["switchedOff"] == {
        "events": [],
        "calls": [],
        "properties": {"Order Completed": ["order.n"]},
        "traits": {"identify": ["ssn"]},
    }
    world.send(order("m1"))
    world.route()
    assert trace(world, "m1")["event"]["properties"]["order"] == {}
    call(world, "PATCH", SCHEMA, {"event": "Order Completed", "enabled": False})
    world.send(order("m2"))
    world.route()
    # The transformation comes first: what is switched off is what it made of the event.
    assert outcome(world, "m2") == {None: ("filtered_at_source", "event_switched_off")}
    assert "page" in call(world, "PATCH", SCHEMA, {"type": "page", "enabled": False})["switchedOff"]["calls"]
    call(world, "PATCH", SCHEMA, {"type": "page", "enabled": True})
    call(world, "PATCH", SCHEMA, {"event": "Order Completed", "property": "order.n", "enabled": True})
    on = call(world, "PATCH", SCHEMA, {"event": "Order Completed", "enabled": True})["switchedOff"]
    assert on == {"events": [], "calls": [], "properties": {}, "traits": {"identify": ["ssn"]}}
    assert call(world, "PATCH", SCHEMA, {"type": "alien", "enabled": False}, status=422)["field"]


def test_an_event_and_a_property_are_switched_in_the_app(world: PublicApiServer) -> None:
    world.send(order("m1"))
    world.route()
    browser = FormBrowser(world)
    browser.sign_in("owner@acme.example")
    page = "/sources/website/schema/event?type=track&name=Order+Completed"
    assert "Switch off revenue" in browser.get(page).text
    form = {"type": "track", "name": "Order Completed", "switch": "off"}
    assert browser.post("/sources/website/schema/event", **form, path="revenue").status == 303
    assert browser.post("/sources/website/schema/event", **form).status == 303
    shown = browser.get(page).text
    assert "This event is switched off" in shown
    assert "Switch on revenue" in shown
    assert "switched off" in browser.get("/sources/website/schema").text
    assert browser.post("/sources/website/schema/event", **{**form, "switch": "on"}).status == 303
    assert "This event is switched off" not in browser.get(page).text
