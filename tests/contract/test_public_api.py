"""The Public API from outside: traces of events, the ledger, the Event Tester, tokens, the shape of each error."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from punchcard.api.app import HANDLERS
from punchcard.testing.partner.scripted import Step
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
apiKey = "a-secret-that-nobody-sees"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Order Completed" = "123456", "Order Refunded" = "123458", "Checked In" = "123457" }
[[destinations.filters]]
title = "no tests"
if = "properties.test"
actions = [{ type = "DROP" }]
"""

SECOND_SOURCE = '\n[[sources]]\nslug = "till"\nwrite_key = "wk_till"\n'


@pytest.fixture
def api(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        yield server


def order(message_id: str = "m1", *, number: str = "1001", revenue: object = 9.99, **more: Any) -> dict[str, Any]:
    properties = {"email": "ann@example.com", "order_id": number, "revenue": revenue, **more}
    return {"messageId": message_id, "userId": "ann", "event": "Order Completed", "properties": properties}


def data(api: PublicApiServer, target: str) -> Any:
    response = api.request("GET", target)
    assert response.status == 200, response.body
    content = response.json()
    assert set(content) == {"data"}
    return content["data"]


def ledger(api: PublicApiServer, query: str = "") -> Any:
    return data(api, f"/api/destinations/perkville/transactions{query}")


# --- the trace of an event


def test_an_event_that_is_not_routed_yet_is_found(api: PublicApiServer) -> None:
    api.send(order())
    trace = data(api, "/api/events/m1")
    assert trace["event"]["properties"]["revenue"] == 9.99
    assert (trace["messageId"], trace["source"], trace["copies"]) == ("m1", None, [])
    (result,) = trace["results"]
    assert (result["destination"], result["status"], result["reason"]) == (None, "pending", "not_routed_yet")


@pytest.mark.parametrize("in_lake", [False, True])
def test_an_awarded_event_is_reported_with_its_transaction_and_attempt(api: PublicApiServer, *, in_lake: bool) -> None:
    api.send(order())
    api.route()
    assert data(api, "/api/events/m1")["results"][0]["status"] == "pending"
    if in_lake:
        api.feed_lake()
    api.deliver()
    (result,) = data(api, "/api/events/m1")["results"]
    assert (result["destination"], result["status"]) == ("perkville", "delivered")
    transaction = result["transaction"]
    assert transaction["effectKey"] == "SEG:perkville:ORDER:1001:order-completed"
    assert (transaction["quantity"], transaction["perk"], transaction["email"]) == (
        "9.99",
        "123456",
        "ann@example.com",
    )
    (attempt,) = result["attempts"]
    assert (attempt["number"], attempt["action"], attempt["outcome"]) == (1, "send", "delivered")


def test_each_end_that_earned_nothing_has_its_reason(api: PublicApiServer) -> None:
    sauna = {**order("not-mapped"), "event": "Sauna Visited"}
    nobody = {**order("no-email"), "properties": {"order_id": "2", "revenue": 1}}
    elsewhere = {**order("elsewhere", number="3"), "integrations": {"All": False}}
    tested = order("filtered", number="4", test=True)
    nameless = {**order("nameless"), "event": ""}
    api.send(order(), order("again"), sauna, nobody, elsewhere, tested, nameless)
    api.route()
    ends = {}
    for message_id in ("again", "not-mapped", "no-email", "elsewhere", "filtered", "nameless"):
        (result,) = data(api, f"/api/events/{message_id}")["results"]
        ends[message_id] = (result["status"], result["reason"])
        assert result["detail"] is None or isinstance(result["detail"], str)
    assert ends == {
        "again": ("duplicate", "same_effect"),
        "not-mapped": ("refused", "not_allowlisted"),
        "no-email": ("refused", "missing_email"),
        "elsewhere": ("filtered_at_destination", "FILTERED_BY_INTEGRATIONS_OBJECT"),
        "filtered": ("filtered_at_destination", "FILTERED_BY_RULES"),
        "nameless": ("failed_on_ingest", "event_not_defined"),
    }


def test_a_message_that_came_twice_shows_its_copy(api: PublicApiServer) -> None:
    api.send(order(), order())
    api.route()
    trace = data(api, "/api/events/m1")
    assert len(trace["copies"]) == 1
    assert [result["status"] for result in trace["results"]] == ["pending"]


@pytest.mark.parametrize(
    ("message_id", "target"),
    [
        ("a b/ü?%", "a%20b%2F%C3%BC%3F%25"),
        ("SEG:1", "SEG:1"),
        ("..", "%2E%2E"),
        ("/a//b/", "%2Fa%2F%2Fb%2F"),
        ("/events/", "%2Fevents%2F"),
        ("test", "test"),
        ("earned", "earned"),
    ],
)
def test_any_message_id_can_be_requested(api: PublicApiServer, message_id: str, target: str) -> None:
    api.send(order(message_id))
    response = api.request("GET", f"/api/events/{target}")
    assert response.status == 200, response.body
    assert response.json()["data"]["messageId"] == message_id


def test_an_event_that_never_came_is_not_found(api: PublicApiServer) -> None:
    response = api.request("GET", "/api/events/never")
    assert response.status == 404
    assert response.error["type"] == "not-found"
    assert "never" in response.error["message"]


def test_what_is_saved_evaluates_the_next_event(api: PublicApiServer) -> None:
    sauna = {"userId": "ann", "event": "Sauna Visited", "properties": {"email": "ann@example.com"}}
    api.send({**sauna, "messageId": "before"})
    api.route()
    api.configure(CONFIG.replace('"Checked In" = "123457"', '"Sauna Visited" = "9"'))
    api.send({**sauna, "messageId": "after"})
    api.route()
    assert data(api, "/api/events/before")["results"][0]["reason"] == "not_allowlisted"
    assert data(api, "/api/events/after")["results"][0]["transaction"]["perk"] == "9"


# --- the ledger


def test_the_ledger_is_paged_newest_first(api: PublicApiServer) -> None:
    api.send(*(order(f"m{number}", number=str(number)) for number in range(5)))
    api.route()
    seen: list[str] = []
    cursor, pages = "", 0
    while True:
        page = ledger(api, f"?count=2{cursor}")
        seen += [row["messageId"] for row in page["transactions"]]
        pages += 1
        assert page["pagination"]["totalEntries"] == 5
        if "next" not in page["pagination"]:
            break
        # What comes while somebody turns pages moves nothing.
        api.send(order(f"later-{pages}", number=f"later-{pages}")) if pages < 3 else None
        cursor = f"&cursor={page['pagination']['next']}"
    assert (seen, pages) == (["m4", "m3", "m2", "m1", "m0"], 3)


def test_the_ledger_is_queried_by_customer_and_state(api: PublicApiServer) -> None:
    bob = order("bob", number="7", email="bob@example.com")
    api.send(order(), bob)
    api.route()
    api.deliver()
    api.send(order("m2", number="1002"))
    api.route()
    assert {row["messageId"] for row in ledger(api)["transactions"]} == {"m1", "m2", "bob"}
    assert {row["messageId"] for row in ledger(api, "?state=delivered")["transactions"]} == {"m1", "bob"}
    assert {row["messageId"] for row in ledger(api, "?state=pending")["transactions"]} == {"m2"}
    assert [row["messageId"] for row in ledger(api, "?email=bob%40example.com")["transactions"]] == ["bob"]
    assert ledger(api, "?email=BOB%40Example.com")["pagination"]["totalEntries"] == 1
    assert ledger(api, "?email=carl%40example.com")["transactions"] == []


def test_what_is_on_its_way_counts_as_pending(api: PublicApiServer) -> None:
    api.send(order())
    api.route()
    api.claim()
    assert ledger(api, "?state=pending")["pagination"]["totalEntries"] == 1


def test_a_key_that_came_with_other_content_shows_its_conflict(api: PublicApiServer) -> None:
    api.send(order(), order("m2", revenue=100))
    api.route()
    (row,) = ledger(api)["transactions"]
    (conflict,) = row["conflicts"]
    assert conflict["messageId"] == "m2"
    (result,) = data(api, "/api/events/m2")["results"]
    assert result["status"] == "conflict"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?state=gone", "state"),
        ("?cursor=next", "cursor"),
        ("?count=0", "count"),
        ("?count=1001", "count"),
        ("?count=many", "count"),
    ],
)
def test_a_wrong_parameter_is_named(api: PublicApiServer, query: str, field: str) -> None:
    response = api.request("GET", f"/api/destinations/perkville/transactions{query}")
    assert response.status == 400
    assert (response.error["type"], response.error["field"]) == ("bad-request", field)


@pytest.mark.parametrize("cursor", ["9" * 19, "9" * 60, "%C2%B2", "-1", "1.5", "x"])
@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/api/destinations/perkville/transactions", "cursor"),
        ("/api/destinations/perkville/conflicts", "cursor"),
        ("/api/destinations/perkville/reconciliations", "cursor"),
        ("/api/destinations/perkville/simulations", "cursor"),
        ("/api/audit-events", "pagination[cursor]"),
        ("/api/alerts", "pagination[cursor]"),
        ("/api/sources", "pagination[cursor]"),
        ("/api/regulations", "pagination[cursor]"),
        ("/api/suppressions", "pagination[cursor]"),
    ],
)
def test_a_cursor_that_no_page_has_given_is_refused(
    api: PublicApiServer, path: str, parameter: str, cursor: str
) -> None:
    response = api.request("GET", f"{path}?{quote(parameter)}={cursor}")
    assert response.status == 400
    assert response.error["field"] == parameter


@pytest.mark.parametrize(
    ("path", "member", "body"),
    [
        ("replays", "since", {"dryRun": True}),
        ("replays", "until", {"dryRun": True}),
        ("simulations?wait=0", "since", {}),
        ("reconciliations", "since", {}),
        ("pause", "until", {}),
    ],
)
def test_instants_are_written_alike_everywhere(
    api: PublicApiServer, path: str, member: str, body: dict[str, object]
) -> None:
    for text, status in (("30d", 200), ("2h", 200), ("soon", 400), ("", 400), ("9999999d", 400)):
        call = json.dumps({**body, member: text}).encode()
        response = api.request("POST", f"/api/destinations/perkville/{path}", call)
        assert response.status == status, response.body
        assert status == 200 or response.error["field"] == member


def test_a_destination_that_is_not_there_is_not_found(api: PublicApiServer) -> None:
    for part in ("", "/transactions", "/conflicts", "/replays", "/reconciliations", "/simulations", "/state"):
        assert api.request("GET", f"/api/destinations/nowhere{part}").status == 404, part


def retry(api: PublicApiServer, body: object) -> Any:
    response = api.request("POST", "/api/destinations/perkville/transactions/retry", json.dumps(body).encode())
    assert response.status == 200, response.body
    return response.json()["data"]


def test_parked_ones_are_tried_again_and_that_is_written_down(api: PublicApiServer) -> None:
    api.send(order(), order("m2", number="2"))
    api.route()
    for number in ("1001", "2"):
        api.partner.script(f"SEG:perkville:ORDER:{number}:order-completed", [Step.REJECT])
    api.deliver(rounds=2)
    assert ledger(api, "?state=rejected")["pagination"]["totalEntries"] == 2
    assert retry(api, {"messageIds": ["none"]}) == {"reopened": 0, "resumed": False}
    assert retry(api, {"messageIds": []}) == {"reopened": 0, "resumed": False}
    assert retry(api, {"reason": "no_such_reason"}) == {"reopened": 0, "resumed": False}
    assert retry(api, {"messageIds": ["m2"]}) == {"reopened": 1, "resumed": False}
    assert retry(api, {}) == {"reopened": 1, "resumed": False}
    api.deliver(rounds=2)
    assert ledger(api, "?state=delivered")["pagination"]["totalEntries"] == 2
    newest = data(api, "/api/audit-events")["events"][0]
    assert (newest["type"], newest["resourceId"], newest["actor"]) == ("destination.retry", "perkville", "token test")


# --- the Event Tester


def tried(api: PublicApiServer, event: object, query: str = "") -> Any:
    response = api.request("POST", f"/api/events/test{query}", json.dumps(event).encode())
    assert response.status == 200, response.body
    return response.json()["data"]


def test_the_tester_shows_the_request_and_sends_nothing(api: PublicApiServer) -> None:
    tested = tried(api, order())
    assert (tested["messageId"], tested["sent"]) == ("m1", False)
    (result,) = tested["results"]
    assert (result["destination"], result["status"]) == ("perkville", "pending")
    assert result["transaction"]["quantity"] == "9.99"
    assert "9.99" in json.dumps(result["request"])
    assert "a-secret-that-nobody-sees" not in json.dumps(tested)
    api.route()
    assert ledger(api)["transactions"] == []
    assert api.request("GET", "/api/events/m1").status == 404


def test_the_tester_sends_on_request(api: PublicApiServer) -> None:
    assert tried(api, order(), "?send=true")["sent"] is True
    api.route()
    assert [row["messageId"] for row in ledger(api)["transactions"]] == ["m1"]


def test_the_tester_knows_what_the_ledger_holds(api: PublicApiServer) -> None:
    api.send(order())
    api.route()
    assert tried(api, order("other"))["results"][0]["status"] == "duplicate"
    assert tried(api, order("other", revenue=5))["results"][0]["status"] == "conflict"


@pytest.mark.parametrize("test", [True, False, "yes"])
def test_the_tester_shows_what_each_filter_saw(api: PublicApiServer, test: object) -> None:
    (result,) = tried(api, order(test=test))["results"]
    (seen,) = result["filters"]
    assert (seen["title"], seen["if"], seen["matched"]) == ("no tests", "properties.test", test is True)
    assert seen["saw"] == {"properties.test": test}
    assert result["reason"] == ("FILTERED_BY_RULES" if test is True else None)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"event": "Checked In"}, "no_user_anon_id"),
        ({"userId": "ann"}, "event_not_defined"),
        ({"type": "x"}, "unknown_type"),
    ],
)
def test_the_tester_says_why_an_event_is_none(api: PublicApiServer, event: object, reason: str) -> None:
    tested = tried(api, event, "?send=true")
    assert tested["sent"] is False
    assert [(result["status"], result["reason"]) for result in tested["results"]] == [("failed_on_ingest", reason)]


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b'"text"', b"\xff", b"{" * 90_000, b"x" * 40_000, b"null"])
def test_the_tester_refuses_what_is_no_event(api: PublicApiServer, body: bytes) -> None:
    response = api.request("POST", "/api/events/test", body)
    assert response.status == 400
    assert response.error["message"]


def test_the_tester_asks_which_source_when_there_are_two(api: PublicApiServer) -> None:
    api.configure(CONFIG + SECOND_SOURCE)
    response = api.request("POST", "/api/events/test", json.dumps(order()).encode())
    assert (response.status, response.error["field"]) == (400, "source")
    assert "till, website" in response.error["message"]
    assert tried(api, order(), "?source=website")["results"][0]["status"] == "pending"
    assert tried(api, {**order(), "writeKey": "wk_website"})["results"][0]["status"] == "pending"
    assert [result["reason"] for result in tried(api, order(), "?source=till")["results"]] == ["no_destination"]
    assert api.request("POST", "/api/events/test?source=shop", b"{}").status == 404


# --- the preview of a filter


def preview(api: PublicApiServer, condition: str, payload: object, **action: Any) -> Any:
    body = {"filter": {"if": condition, "actions": [action or {"type": "DROP"}]}, "payload": payload}
    response = api.request("POST", "/api/destination/filters/preview", json.dumps(body).encode())
    assert response.status == 200, response.body
    return response.json()["data"]


def test_a_filter_is_tried_on_a_payload(api: PublicApiServer) -> None:
    payload = {"type": "track", "properties": {"price": 3, "items": [{"price": 1}, {"price": 2, "name": "x"}]}}
    assert preview(api, "all", payload) == {"inputPayload": payload, "result": None}
    assert preview(api, "type = 'page'", payload) == {"inputPayload": payload, "result": payload}
    taking = {"type": "DROP_PROPERTIES", "fields": {"properties.items": ["price"]}}
    assert preview(api, "all", payload, **taking)["result"] == {
        "type": "track",
        "properties": {"price": 3, "items": [{}, {"name": "x"}]},
    }


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"filter": {"if": "a =", "actions": [{"type": "DROP"}]}, "payload": {}}, "At the end"),
        ({"filter": {"if": "a", "actions": [{"type": "SEND"}]}, "payload": {}}, "is not an action"),
        ({"filter": {"if": "a", "actions": [{"type": "DROP"}]}, "payload": []}, "object"),
        ({"filter": {"if": "a"}, "payload": {}}, "actions"),
        ({"payload": {}}, "filter"),
        ([], ""),
    ],
)
def test_a_preview_that_cannot_be_made_says_why(api: PublicApiServer, body: object, part: str) -> None:
    response = api.request("POST", "/api/destination/filters/preview", json.dumps(body).encode())
    assert response.status == 400
    assert part in response.error["message"]


# --- tokens, and errors of every kind


CALLS = [
    ("GET", "/api/events/m1"),
    ("GET", "/api/destinations/perkville/transactions"),
    ("POST", "/api/events/test"),
    ("POST", "/api/destination/filters/preview"),
]


@pytest.mark.parametrize(("method", "target"), CALLS)
@pytest.mark.parametrize(
    "sent", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic {token}", "{token}", "Bearer {token}x"]
)
def test_without_a_token_of_the_workspace_nothing_is_reported(
    api: PublicApiServer, method: str, target: str, sent: str
) -> None:
    header = sent.replace("{token}", api.token)
    response = api.request(method, target, b"{}" if method == "POST" else None, headers={"Authorization": header})
    assert response.status == 401
    assert response.error["type"] == "unauthorized"
    assert response.headers["www-authenticate"] == "Bearer"


def test_the_scheme_of_a_token_is_read_in_any_case(api: PublicApiServer) -> None:
    response = api.request(
        "GET", "/api/destinations/perkville/transactions", headers={"Authorization": f"bearer  {api.token} "}
    )
    assert response.status == 200


def test_what_is_not_there_is_reported_in_the_same_shape(api: PublicApiServer) -> None:
    assert api.request("GET", "/api/nothing").error["type"] == "not-found"
    other = api.request("DELETE", "/api/events/m1")
    assert other.error["type"] == "method-not-allowed"
    assert "GET" in other.headers["allow"]
    assert api.request("GET", "/api/events/nothing").status == 404


def test_a_store_that_is_away_is_reported_as_that(api: PublicApiServer, tmp_path: Path) -> None:
    api.store.close()  # it connects again by itself, so its file has to go
    database, moved = tmp_path / "punchcard.db", tmp_path / "moved.db"
    database.rename(moved)
    database.mkdir()
    response = api.request("GET", "/api/destinations/perkville/transactions")
    assert response.status == 503
    assert (response.error["type"], response.headers["retry-after"]) == ("unavailable", "1")
    database.rmdir()
    moved.rename(database)
    assert api.request("GET", "/api/destinations/perkville/transactions").status == 200


def test_the_description_of_the_api_needs_no_token_and_names_every_call(api: PublicApiServer) -> None:
    response = api.request("GET", "/api/openapi.json", headers={"Authorization": ""})
    assert response.status == 200
    described = response.json()
    calls = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
    assert {
        ("GET", "/api/events/{message_id}"),
        ("POST", "/api/events/test"),
        ("PATCH", "/api/sources/{source_id}"),
    } < calls
    assert len(calls) == len([handler for handler in HANDLERS if handler.include_in_schema is not False])
    parameters = {item["name"] for methods in described["paths"].values() for call in methods.values()
                  for item in call.get("parameters", [])}  # fmt: skip
    assert "dependencies" not in parameters
    for methods in described["paths"].values():
        for operation in methods.values():
            statuses = set(operation["responses"])
            assert {"400", "401", "403", "404", "422", "503"} < statuses
            assert statuses & {"200", "201"}


def test_the_description_of_the_api_names_what_destinations_show_of_a_transaction(api: PublicApiServer) -> None:
    schemas = api.request("GET", "/api/openapi.json").json()["components"]["schemas"]
    members = schemas["Transaction"]["properties"]
    assert {"effectKey", "email", "attributes", "summary", "perk", "quantity", "perkvilleId"} <= set(members)
    for body in ("ResultBody", "LedgerRow", "TestedDestination"):
        assert {"$ref": "#/components/schemas/Transaction"} in schemas[body]["properties"]["transaction"]["oneOf"]
