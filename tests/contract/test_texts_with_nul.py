"""U+0000 in what a request names: both engines find what they have stored of it, and no call fails on it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from punchcard.testing.public_api import PublicApiServer

NUL = "a\x00b"
CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"
[[destinations]]
slug = "perkville"
type = "perkville"
source = "website"
[destinations.settings]
apiKey = "a-secret"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Checked In" = "123457", "Order Completed" = "123456" }
"""
PERKVILLE = "/api/destinations/perkville"


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, store_url, CONFIG) as server:
        server.send(
            {"messageId": NUL, "userId": NUL, "event": "Checked In", "properties": {"email": "ann@example.com"}}
        )
        server.route()
        server.deliver(rounds=2)
        server.feed_lake()
        server.engage()
        yield server


GETS = {
    f"{PERKVILLE}/transactions?email=%00": 200,
    f"{PERKVILLE}/replays/%00": 404,
    f"{PERKVILLE}/conflicts/%00": 404,
    "/api/audit-events?resourceId=%00": 200,
    "/api/audit-events?resourceType=%00": 200,
    "/api/events?name=%00&source=%00": 200,
    "/api/events/a%00b": 200,
    "/api/customers?trait=%00": 200,
    "/api/spaces/x/audiences/%00": 404,
    "/api/sources/website/schema/properties?event=%00": 404,
}
POSTS: dict[str, object] = {
    f"{PERKVILLE}/transactions/retry": {"reason": NUL, "messageIds": [NUL]},
    f"{PERKVILLE}/replays": {"events": [NUL], "customer": NUL, "messageIds": [NUL], "reasons": [NUL], "dryRun": True},
    f"{PERKVILLE}/pause": {"reason": NUL},
    "/api/events/earned": {"messageIds": [NUL]},
    "/api/tokens": {"name": NUL, "role": "read_only"},
}


def test_no_call_fails_on_it(world: PublicApiServer) -> None:
    for call, status in GETS.items():
        assert world.request("GET", call).status == status, call
    for call, body in POSTS.items():
        response = world.request("POST", call, json.dumps(body).encode())
        assert response.status == 200, (call, response.body)
    invite = json.dumps({"invites": [{"email": f"{NUL}@example.com", "permissions": []}]}).encode()
    assert world.request("POST", "/api/invites", invite).status in (400, 422)


def test_what_is_named_with_it_is_found(world: PublicApiServer) -> None:
    earned = world.request("POST", "/api/events/earned", json.dumps({"messageIds": [NUL]}).encode())
    assert earned.json()["data"]["earned"] == [NUL]


@pytest.mark.parametrize("member", ["messageId", "order_id"])
def test_ids_that_differ_in_such_characters_only_stay_different(world: PublicApiServer, member: str) -> None:
    refused = [r"x\u0000"] if member == "order_id" else []  # with its reason
    texts = [r"x\u0000", r"x\ufffd", r"x\ud800", r"x\udfff", r"x\uDBFF", "x?", "x"]
    members = {
        "messageId": '"messageId": "TEXT", "properties": {"revenue": 1, "email": "eve@example.com"}}',
        "order_id": '"messageId": "m_N", "properties": {"order_id": "TEXT", "revenue": 1, "email": "eve@example.com"}}',
    }[member]
    bodies = [members.replace("TEXT", text).replace("_N", str(number)) for number, text in enumerate(texts)]
    event = '{"type": "track", "userId": "eve", "event": "Order Completed", '
    world.send(*(f"{event}{body}".encode() for body in bodies))
    world.route()
    response = world.request("GET", f"{PERKVILLE}/transactions?email=eve@example.com&count=100")
    assert len(response.json()["data"]["transactions"]) == len(texts) - len(refused)


def test_a_person_named_with_it_is_deleted(world: PublicApiServer) -> None:
    body = {"regulationType": "DELETE_ONLY", "subjectType": "USER_ID", "subjectIds": [NUL]}
    assert world.request("POST", "/api/regulations", json.dumps(body).encode()).status == 200
    world.run_regulations()
    (regulation,) = world.request("GET", "/api/regulations").json()["data"]["regulations"]
    assert regulation["status"] in ("FINISHED", "PARTIAL_SUCCESS")
    assert world.request("GET", "/api/events/a%00b").status == 404
