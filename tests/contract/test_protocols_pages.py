"""Protocols in the App: from a first plan to enforcement with the awards at stake."""

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from punchcard.testing.operators import FormBrowser, add_operators, signed_in
from punchcard.testing.partner.configuration import WEBSITE_DESTINATION
from punchcard.testing.public_api import PublicApiServer

CONFIG = (
    """
[[sources]]
slug = "website"
write_key = "wk_website"

[[sources]]
slug = "violations"
write_key = "wk_violations"
"""
    + WEBSITE_DESTINATION
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as opened:
        add_operators(opened)
        yield opened


@pytest.fixture
def owner(server: PublicApiServer) -> FormBrowser:
    return signed_in(server, "owner")


def order(message_id: str, name: str = "Order Completed", **properties: Any) -> dict[str, Any]:
    own = {"order_id": message_id, "total": 9, "email": "ann@example.com", **properties}
    return {"event": name, "userId": "ann", "messageId": message_id, "properties": own}


def receive(server: PublicApiServer, *calls: dict[str, Any]) -> None:
    server.send(*calls)
    server.route()
    server.feed_lake()


def plan_path(owner: FormBrowser, name: str, **form: str) -> str:
    response = owner.post("/protocols", name=name, **form)
    assert response.status == 303, response.text
    return response.headers["location"]


def test_plan_is_made_of_events_and_edited_as_a_table(server: PublicApiServer, owner: FormBrowser) -> None:
    receive(server, order("a1"), order("a2"))
    path = plan_path(owner, "Shop", source="website")
    assert path == "/protocols/shop"
    assert "Order Completed" in owner.get(path).text
    rule_path = f"{path}/rule?type=TRACK&key=Order+Completed&version=1"
    page = owner.get(rule_path).text
    assert 'value="order_id"' in page
    assert "&#34;total&#34;" in page

    # The table: one property more, one required, one with allowed values.
    saved = owner.post(
        rule_path,
        action="table",
        key="Order Completed",
        event_description="Bought",
        path=["order_id", "total", "email", "currency", ""],
        types=["string", "number", "string", "string", "any"],
        allowed=["", "", "", "USD | EUR", ""],
        row_description=["Number", "", "", "", ""],
        required=["0"],
    )
    assert saved.status == 303
    rules = server.request("GET", "/api/tracking-plans/shop/rules").json()["data"]["rules"]
    properties = rules[0]["jsonSchema"]["properties"]["properties"]
    assert properties["required"] == ["order_id"]
    assert properties["properties"]["currency"] == {"type": "string", "enum": ["USD", "EUR"]}
    assert rules[0]["jsonSchema"]["description"] == "Bought"


def test_plan_is_enforced_after_a_preview(server: PublicApiServer, owner: FormBrowser) -> None:
    receive(server, order("a1"), order("a2"))
    path = plan_path(owner, "Shop", source="website")
    source_path = "/sources/website/protocols"
    assert "Shop" in owner.get(source_path).text
    assert owner.post(source_path, action="connect", plan="shop").status == 303
    receive(server, order("b1", total="9"), order("b2", name="Odd"))
    preview = owner.post(source_path, action="preview", **{"track.violations": "BLOCK", "unplanned_events": "BLOCK"})
    assert preview.status == 200
    assert "2 of 4 events would have been blocked" in " ".join(preview.text.split())
    assert "1 award at Perkville would not have been made as it was" in " ".join(preview.text.split())
    assert "/events/b1" in preview.text
    settings = server.request("GET", "/api/sources/website/settings").json()["data"]["settings"]
    assert settings["track"]["allowEventOnViolations"] is True, "a preview saves nothing"

    saved = owner.post(
        source_path, action="save", **{"track.violations": "BLOCK", "forward_violations_to": "violations"}
    )
    assert saved.status == 303
    settings = server.request("GET", "/api/sources/website/settings").json()["data"]["settings"]
    assert (settings["track"]["allowEventOnViolations"], settings["forwardingViolationsTo"]) == (False, "violations")

    receive(server, order("c1", total="9"))
    violations = owner.get("/protocols/shop/violations").text
    link = next(
        part.split('"')[0] for part in violations.split('href="') if part.startswith("/events?") and "total" in part
    )
    events = owner.get(link.replace("&amp;", "&")).text
    assert "/events/b1" in events
    assert "/events/c1" in events
    assert "/events/a1" not in events
    assert "tracking plan shop: Invalid Type: properties.total must be integer" in owner.get("/events/c1").text
    assert "/sources/website/protocols" in owner.get("/events/c1").text
    assert "/destinations/perkville/replays?message_id=c1" in owner.get("/events/c1").text
    blocked = html.unescape(owner.get(source_path).text)
    links = [part.split('"')[0] for part in blocked.split('href="')]
    (replay,) = (link for link in links if link.startswith("/destinations/perkville/replays"))
    assert "Replay blocked events" in blocked
    filled = owner.get(replay).text
    assert 'value="filtered_at_source" selected' in filled
    assert '<option value="website" selected>website</option>' in filled
    assert "Schema violation" in owner.get("/events/c1").text or "schema_violation" in owner.get("/events/c1").text

    assert owner.post(source_path, action="disconnect").status == 303
    assert owner.post(path, action="delete").status == 303
    assert owner.get(path).status == 404


def test_json_is_saved_beside_the_table_and_a_problem_is_shown(server: PublicApiServer, owner: FormBrowser) -> None:
    path = plan_path(owner, "By hand")
    schema = '{"properties": {"properties": {"properties": {"a": {"type": "integer", "minimum": 3}}}}}'
    form = {"event_type": "TRACK", "key": "A", "version": "2", "action": "json"}
    refused = owner.post(f"{path}/rule", schema=schema.replace("integer", "whole"), **form)
    assert refused.status == 422
    assert "is not a type. Types: string" in refused.text
    assert "whole" in refused.text, "what was typed stays"
    assert owner.post(f"{path}/rule", schema="{", **form).status == 422
    assert owner.post(f"{path}/rule", schema=schema, **form).status == 303
    rule_path = f"{path}/rule?type=TRACK&key=A&version=2"
    page = owner.get(rule_path).text
    assert "More in the JSON" in page
    form = {"action": "table", "key": "B", "path": "a", "types": "number", "allowed": "", "row_description": ""}
    assert owner.post(rule_path, **form).status == 303
    (rule,) = server.request("GET", f"/api/tracking-plans/{path.rpartition('/')[2]}/rules").json()["data"]["rules"]
    assert (rule["key"], rule["version"]) == ("B", 2)
    assert rule["jsonSchema"]["properties"]["properties"]["properties"]["a"] == {"type": "number", "minimum": 3}
    rule_path = f"{path}/rule?type=TRACK&key=B&version=2"
    assert owner.post(rule_path, action="delete", key="B").status == 303
    assert owner.get(rule_path).status == 404
    owner.post(path, action="delete")


def test_a_plan_without_a_name_is_refused_beside_its_field(owner: FormBrowser) -> None:
    created = owner.post("/protocols", name="")
    path = plan_path(owner, "Named")
    changed = owner.post(path, action="save", name="", description="d")
    for page in (created, changed):
        assert (page.status, "tracking_plans" in page.text) == (422, False)
        assert '<div class="invalid-feedback" id="w-name">This field is required.</div>' in page.text
    assert "Named" in owner.get("/protocols").text


def test_a_plan_of_a_source_without_events_is_refused_beside_its_field(owner: FormBrowser) -> None:
    created = owner.post("/protocols", name="Of nothing", source="violations")
    assert created.status == 422
    assert 'id="w-source">This source has sent no events in the last 30 days.</div>' in created.text
    assert "Of nothing" not in owner.get("/protocols").text


def test_documents_are_imported_and_a_plan_is_exported(owner: FormBrowser) -> None:
    path = plan_path(owner, "Imported", document="Event,Property,Type\nSigned Up,plan,string\n")
    rules = '{"rules": [{"type": "IDENTIFY", "version": 1, "jsonSchema": {}}]}'
    assert owner.post(path, action="import", document=rules).status == 303
    page = owner.get(path).text
    assert "Signed Up" in page
    assert "identify calls" in page
    assert '"IDENTIFY"' in owner.get(f"{path}/export").text
    refused = owner.post(path, action="import", document="[1]")
    assert (refused.status, "must be an object" in refused.text) == (422, True)
    assert owner.post("/protocols", name="X", document="{").status == 422
    assert owner.post("/protocols", name="").status == 422
    assert owner.post(path, action="save", name="Imported plan", description="From a table").status == 303
    assert "From a table" in owner.get("/protocols").text
    owner.post(path, action="delete")


def test_viewer_sees_plans_and_changes_nothing(server: PublicApiServer, owner: FormBrowser) -> None:
    path = plan_path(owner, "Seen")
    viewer = FormBrowser(server)
    assert viewer.sign_in("read_only@acme.example").status == 303
    for page in ("/protocols", path, f"{path}/violations", "/sources/website/protocols"):
        assert viewer.get(page).status == 200, page
    assert viewer.post(path, action="delete").status == 403
    assert viewer.post("/sources/website/protocols", action="connect", plan="seen").status == 403
    owner.post(path, action="delete")
