"""Tracking plans in the Public API, in Segment's paths and bodies."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from punchcard.operations.plan_views import from_schema_settings, to_schema_settings
from punchcard.testing.public_api import ApiResponse, PublicApiServer
from punchcard.tracking_plans.model import CallEnforcement, Enforcement

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[sources]]
slug = "pos"
write_key = "wk_pos"

[[destinations]]
slug = "perkville"
type = "perkville"
source = "website"
[destinations.settings]
apiKey = "a-token-of-acme-1234"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Order Completed" = "123456", "Checked In" = "123457" }
"""
SCHEMA = {"properties": {"properties": {"properties": {"total": {"type": "number"}, "order_id": {}, "email": {}}}}}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as opened:
        yield opened


def call(server: PublicApiServer, method: str, path: str, body: Any = None) -> ApiResponse:
    return server.request(method, f"/api{path}", None if body is None else json.dumps(body).encode())


def data(server: PublicApiServer, method: str, path: str, body: Any = None) -> Any:
    response = call(server, method, path, body)
    assert response.status == 200, response.body
    return response.json()["data"]


@pytest.fixture
def plan(server: PublicApiServer) -> Iterator[str]:
    created = data(server, "POST", "/tracking-plans", {"name": "Web shop", "type": "LIVE"})["trackingPlan"]
    yield created["id"]
    if call(server, "GET", f"/tracking-plans/{created['id']}").status == 200:
        data(server, "DELETE", f"/tracking-plans/{created['id']}")


def rule(key: str = "Order Completed", **members: Any) -> dict[str, Any]:
    return {"type": "TRACK", "key": key, "version": 1, "jsonSchema": SCHEMA, **members}


def test_plan_is_created_changed_listed_and_deleted(server: PublicApiServer, plan: str) -> None:
    created = data(server, "GET", f"/tracking-plans/{plan}")["trackingPlan"]
    assert (created["id"], created["slug"], created["name"], created["type"]) == (plan, plan, "Web shop", "LIVE")
    assert created["createdAt"].endswith("Z")
    assert data(server, "PATCH", f"/tracking-plans/{plan}", {"description": "All we send"}) == {"status": "SUCCESS"}
    listed = data(server, "GET", "/tracking-plans?pagination[count]=10")
    assert [(known["id"], known["description"]) for known in listed["trackingPlans"]] == [(plan, "All we send")]
    assert data(server, "GET", "/tracking-plans?type=TEMPLATE")["trackingPlans"] == []
    second = data(server, "POST", "/tracking-plans", {"name": "Web shop"})["trackingPlan"]
    assert second["id"] == f"{plan}-2"
    assert data(server, "DELETE", f"/tracking-plans/{second['id']}") == {"status": "SUCCESS"}
    assert call(server, "GET", f"/tracking-plans/{second['id']}").error["type"] == "not-found"


def test_rules_are_replaced_updated_and_removed(server: PublicApiServer, plan: str) -> None:
    path = f"/tracking-plans/{plan}/rules"
    identify = {"type": "IDENTIFY", "version": 1, "jsonSchema": {}}
    assert data(server, "PUT", path, {"rules": [rule(), identify]}) == {"status": "SUCCESS"}
    data(server, "PATCH", path, {"rules": [rule("Signed Up"), rule(jsonSchema={"type": "object"}), rule(version=2)]})
    listed = data(server, "GET", path)["rules"]
    assert [(known["type"], known["key"], known["version"]) for known in listed] == [
        ("IDENTIFY", "", 1),
        ("TRACK", "Order Completed", 1),
        ("TRACK", "Order Completed", 2),
        ("TRACK", "Signed Up", 1),
    ]
    assert listed[1]["jsonSchema"] == {"type": "object"}
    data(server, "PATCH", path, {"rules": [rule("Signed Up", newKey="Joined")]})
    data(server, "DELETE", path + "?rules[0][type]=TRACK&rules[0][key]=Order%20Completed&rules[0][version]=2")
    data(server, "DELETE", path + "?rules=%7B%22type%22%3A%22IDENTIFY%22%2C%22version%22%3A1%7D")
    names = [(known["key"], known["version"]) for known in data(server, "GET", path)["rules"]]
    assert names == [("Joined", 1), ("Order Completed", 1)]
    assert call(server, "DELETE", path + "?rules[0][type]=TRACK&rules[0][key]=No").status == 404
    assert call(server, "DELETE", path).status == 400


def test_rules_with_similar_names_are_distinct(server: PublicApiServer, plan: str) -> None:
    path = f"/tracking-plans/{plan}/rules"
    data(server, "PUT", path, {"rules": [rule("A", version=2), rule("A version 2"), rule("A", version=10)]})
    listed, page = [], data(server, "GET", path + "?pagination[count]=1")
    while True:
        listed += [(known["key"], known["version"]) for known in page["rules"]]
        if "next" not in page["pagination"]:
            break
        page = data(server, "GET", f"{path}?pagination[count]=1&pagination[cursor]={page['pagination']['next']}")
    assert listed == [("A", 2), ("A", 10), ("A version 2", 1)]
    data(server, "DELETE", path + "?rules[0][type]=TRACK&rules[0][key]=A&rules[0][version]=2")
    assert [(known["key"], known["version"]) for known in data(server, "GET", path)["rules"]] == listed[1:]


def test_renamed_rule_does_not_replace_another_one(server: PublicApiServer, plan: str) -> None:
    path = f"/tracking-plans/{plan}/rules"
    data(server, "PUT", path, {"rules": [rule("A"), rule("B")]})
    response = call(server, "PATCH", path, {"rules": [rule("A", newKey="B")]})
    assert (response.status, response.error["message"]) == (422, "There is a rule TRACK B. Remove it first.")
    assert [known["key"] for known in data(server, "GET", path)["rules"]] == ["A", "B"]
    data(server, "PATCH", path, {"rules": [rule("A", newKey="A")]})


@pytest.mark.parametrize(("body", "message"), [(b'{"name":"\xff"}', "is not UTF-8"), (b"", "The body is missing")])
def test_body_that_is_no_text_is_refused(server: PublicApiServer, body: bytes, message: str) -> None:
    response = server.request("POST", "/api/tracking-plans", body)
    assert response.status == 400
    assert message in response.error["message"]


@pytest.mark.parametrize(
    ("given", "field", "part"),
    [
        (rule(jsonSchema={"type": "objekt"}), "jsonSchema.type", "not a type"),
        (rule(jsonSchema={"$ref": "#"}), 'jsonSchema."$ref"', "Circular"),
        (rule(jsonSchema={"$ref": "http://example.com/x"}), 'jsonSchema."$ref"', "not followed"),
        (rule(jsonSchema={"properties": {"a": {"pattern": "(?=x)"}}}), "jsonSchema.properties.a.pattern", "linear"),
        (rule(type="CLICK"), "type", "not a type of rule"),
        (rule(key=""), "key", "name of the event"),
        (rule(version=0), "version", "whole number"),
    ],
)
def test_invalid_rule_is_refused_with_its_place(
    server: PublicApiServer, plan: str, given: dict[str, Any], field: str, part: str
) -> None:
    error = call(server, "PUT", f"/tracking-plans/{plan}/rules", {"rules": [given]}).error
    assert error["status"] == 422
    assert error["field"].endswith(field)
    assert part in error["message"]
    assert data(server, "GET", f"/tracking-plans/{plan}/rules")["rules"] == []


def test_sources_are_connected_and_disconnected(server: PublicApiServer, plan: str) -> None:
    path = f"/tracking-plans/{plan}/sources"
    assert data(server, "POST", path, {"sourceId": "website"}) == {"status": "SUCCESS"}
    assert [source["id"] for source in data(server, "GET", path)["sources"]] == ["website"]
    other = data(server, "POST", "/tracking-plans", {"name": "Other"})["trackingPlan"]["id"]
    refused = call(server, "POST", f"/tracking-plans/{other}/sources", {"sourceId": "website"}).error
    assert (refused["status"], refused["field"]) == (422, "sourceId")
    data(server, "DELETE", f"/tracking-plans/{other}")
    assert data(server, "DELETE", f"{path}?sourceId=website") == {"status": "SUCCESS"}
    assert data(server, "GET", path)["sources"] == []
    assert call(server, "POST", path, {"sourceId": "nothing"}).status == 404


def test_schema_settings_have_segments_names(server: PublicApiServer) -> None:
    path = "/sources/website/settings"
    before = data(server, "GET", path)
    assert before == {
        "sourceId": "website",
        "settings": {
            "track": {
                "allowUnplannedEvents": True,
                "allowUnplannedEventProperties": True,
                "allowEventOnViolations": True,
                "allowPropertiesOnViolations": True,
                "commonEventOnViolations": "ALLOW",
            },
            "identify": {
                "allowUnplannedTraits": True,
                "allowTraitsOnViolations": True,
                "commonEventOnViolations": "ALLOW",
            },
            "group": {
                "allowUnplannedTraits": True,
                "allowTraitsOnViolations": True,
                "commonEventOnViolations": "ALLOW",
            },
        },
    }
    changes = {"track": {"allowEventOnViolations": False}, "forwardingViolationsTo": "pos"}
    after = data(server, "PATCH", path, changes)["settings"]
    assert after["track"]["allowEventOnViolations"] is False
    assert data(server, "GET", path)["settings"] == after
    refused: list[dict[str, Any]] = [{"page": {}}, {"track": {"x": True}}, {"track": {"allowUnplannedEvents": "no"}}]
    for settings in refused:
        assert call(server, "PATCH", path, settings).status == 422
    assert call(server, "PATCH", path, {"forwardingViolationsTo": "nothing"}).status == 422
    assert (
        call(server, "PATCH", path, {"forwardingBlockedEventsTo": "pos"}).error["field"] == "forwardingBlockedEventsTo"
    )
    data(server, "PATCH", path, {**before["settings"], "forwardingViolationsTo": None})
    assert data(server, "GET", path) == before


@pytest.mark.parametrize("unplanned", ["ALLOW", "OMIT_PROPERTIES"])
@pytest.mark.parametrize("violations", ["ALLOW", "OMIT_PROPERTIES"])
@pytest.mark.parametrize("common", ["ALLOW", "OMIT_PROPERTIES", "BLOCK"])
def test_settings_and_their_segment_names_are_the_same(unplanned: str, violations: str, common: str) -> None:
    call_settings = CallEnforcement(unplanned=unplanned, violations=violations, common=common)
    blocking = CallEnforcement(unplanned=unplanned, violations="BLOCK", common=common)
    for track in (call_settings, blocking):
        enforcement = Enforcement(unplanned_events="BLOCK", track=track, identify=call_settings, group=call_settings)
        assert from_schema_settings(Enforcement(), to_schema_settings(enforcement)) == enforcement


def test_preview_shows_what_would_be_blocked_and_the_awards_at_stake(server: PublicApiServer, plan: str) -> None:
    def event(message_id: str, name: str, total: Any) -> dict[str, Any]:
        own = {"order_id": message_id, "email": "ann@example.com", "total": total}
        return {"event": name, "userId": "ann", "messageId": message_id, "properties": own}

    server.send(event("p1", "Order Completed", "12.5"), event("p2", "Order Completed", 7), event("p3", "Checked In", 1))
    server.route()
    server.feed_lake()
    data(server, "PUT", f"/tracking-plans/{plan}/rules", {"rules": [rule()]})
    path = f"/sources/website/settings/preview?trackingPlanId={plan}"
    preview = data(server, "POST", path, {"track": {"allowEventOnViolations": False, "allowUnplannedEvents": False}})
    assert (preview["events"], preview["violating"], preview["isPartial"]) == (3, 2, False)
    assert preview["blocked"] == {"schema_violation": 1, "unplanned": 1}
    assert preview["awardsAtStake"] == [
        {"destinationId": "perkville", "item": "123456", "awards": 1, "quantity": "12.5"},
        {"destinationId": "perkville", "item": "123457", "awards": 1, "quantity": "1"},
    ]
    assert {known["violationType"]: known["examples"] for known in preview["violations"]} == {
        "Invalid Type": ["p1"],
        "Unplanned Event": ["p3"],
    }
    allowed = data(server, "POST", path, {})
    assert (allowed["blocked"], allowed["awardsAtStake"]) == ({}, [])
    omitted = data(server, "POST", path, {"track": {"allowPropertiesOnViolations": False}})
    assert (omitted["changed"], [row["awards"] for row in omitted["awardsAtStake"]]) == (1, [1])
    assert call(server, "POST", "/sources/pos/settings/preview", {}).error["field"] == "trackingPlanId"
    assert call(server, "POST", f"{path}&days=0", {}).status == 400


def test_violations_of_a_source_are_listed(server: PublicApiServer, plan: str) -> None:
    data(server, "PUT", f"/tracking-plans/{plan}/rules", {"rules": [rule()]})
    data(server, "POST", f"/tracking-plans/{plan}/sources", {"sourceId": "website"})
    own = {"order_id": "v1", "email": "ann@example.com", "total": "x"}
    server.send({"event": "Order Completed", "userId": "ann", "messageId": "v1", "properties": own})
    server.route()
    (listed,) = data(server, "GET", "/sources/website/violations?days=30")["violations"]
    assert (listed["eventName"], listed["violationField"], listed["violationType"], listed["count"]) == (
        "Order Completed",
        "properties.total",
        "Invalid Type",
        1,
    )


def test_rules_are_inferred_from_what_a_source_sends(server: PublicApiServer) -> None:
    for number in range(25):
        properties = {"order_id": f"o{number}", "total": number + 0.5, "at": "2026-01-01T00:00:00Z"}
        properties |= {"day": "2026-01-01", "local": "2026-01-01 10:00", "never": "2026-02-30T00:00:00Z"}
        if number % 2:
            properties["items"] = [{"sku": "a"}]
        body = {"event": "Receipt Printed", "userId": "u", "messageId": f"i{number}", "properties": properties}
        server.send(body, write_key="wk_pos")
    server.send({"userId": "u", "messageId": "id", "traits": {"age": 7}}, write_key="wk_pos", call="identify")
    server.route()
    rules = data(server, "GET", "/sources/pos/inferred-rules?days=30")["rules"]
    assert [(known["type"], known["key"]) for known in rules] == [("IDENTIFY", ""), ("TRACK", "Receipt Printed")]
    properties_schema = rules[1]["jsonSchema"]["properties"]["properties"]
    assert sorted(properties_schema["required"]) == ["at", "day", "local", "never", "order_id", "total"]
    assert properties_schema["properties"]["at"] == {"type": "string", "format": "date-time"}
    for name in ("day", "local", "never"):  # not date-time in JSON Schema: the plan would refuse them
        assert properties_schema["properties"][name] == {"type": "string"}
    assert properties_schema["properties"]["total"] == {"type": "number"}
    assert properties_schema["properties"]["items"]["items"]["properties"] == {"sku": {"type": "string"}}
    plan = data(server, "POST", "/tracking-plans", {"name": "Inferred"})["trackingPlan"]["id"]
    data(server, "PUT", f"/tracking-plans/{plan}/rules", {"rules": rules})
    data(server, "DELETE", f"/tracking-plans/{plan}")


def test_a_page_call_with_its_name_among_its_properties_is_as_inferred(server: PublicApiServer) -> None:
    """As analytics.js sends it; other libraries send name and category beside the properties only."""
    for number in range(25):
        page = {"name": "Home", "category": "Docs", "userId": "u", "messageId": f"p{number}"}
        properties = {"url": "/", "name": "Home", "category": "Docs"} if number % 2 else {"url": "/"}
        server.send({**page, "properties": properties}, write_key="wk_pos", call="page")
    server.route()
    rules = data(server, "GET", "/sources/pos/inferred-rules?days=30")["rules"]
    (rule,) = [rule for rule in rules if rule["type"] == "PAGE"]
    schema = rule["jsonSchema"]["properties"]["properties"]
    assert (schema["required"], sorted(schema["properties"])) == (["url"], ["category", "name", "url"])
