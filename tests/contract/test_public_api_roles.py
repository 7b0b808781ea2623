"""Who may do what through the API, and that every change is written down with who made it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
eventToPerkMap = { "Checked In" = "123457" }
"""
PROFILES = "/v1/spaces/spa/collections/users/profiles"
ROLES = ("read_only", "editor", "owner")
EVENT = {"userId": "ann", "event": "Checked In", "properties": {"email": "ann@example.com"}}

PREVIEW = {"filter": {"if": "all", "actions": [{"type": "DROP"}]}, "payload": {}}

# Method, path, body, and the least role that may.
CALLS: list[tuple[str, str, object, str]] = [
    ("GET", "/api/", None, "read_only"),
    ("GET", "/api/sources", None, "read_only"),
    ("GET", "/api/destinations/perkville", None, "read_only"),
    ("GET", "/api/destinations/perkville/transactions", None, "read_only"),
    ("GET", "/api/audit-events", None, "read_only"),
    ("POST", "/api/events/test", EVENT, "read_only"),
    ("POST", "/api/destination/filters/preview", PREVIEW, "read_only"),
    ("POST", "/api/events/test?send=true", EVENT, "editor"),
    ("POST", "/api/sources", {"slug": "till", "enabled": True, "metadataId": "http-api"}, "editor"),
    ("PATCH", "/api/sources/website", {"name": "Shop"}, "editor"),
    ("POST", "/api/sources/website/writekey", None, "editor"),
    ("PATCH", "/api/destinations/perkville", {"enabled": False}, "editor"),
    ("DELETE", "/api/destinations/perkville", None, "editor"),
    ("POST", "/api/destinations/perkville/transactions/retry", {}, "editor"),
    ("POST", "/api/destinations/perkville/transactions/0/resolve", {"performed": True}, "editor"),
    ("GET", "/api/tokens", None, "owner"),
    ("POST", "/api/tokens", {"name": "x", "role": "owner"}, "owner"),
    ("DELETE", "/api/tokens/none", None, "owner"),
]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        yield server


def call(api: PublicApiServer, method: str, path: str, body: object = None, *, token: str | None = None) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return api.request(method, path, None if body is None else json.dumps(body).encode(), headers=headers)


def made(api: PublicApiServer, role: str, name: str = "somebody") -> tuple[str, str]:
    """The id and the secret of a new token."""
    response = call(api, "POST", "/api/tokens", {"name": name, "role": role})
    assert response.status == 200, response.body
    content = response.json()["data"]
    assert (content["token"]["name"], content["token"]["role"]) == (name, role)
    return content["token"]["id"], content["secret"]


@pytest.mark.parametrize(("method", "path", "body", "needed"), CALLS)
def test_each_role_may_what_it_may_and_no_more(
    api: PublicApiServer, method: str, path: str, body: object, needed: str
) -> None:
    for role in ROLES:
        _, secret = made(api, role)
        response = call(api, method, path, body, token=secret)
        if ROLES.index(role) >= ROLES.index(needed):
            assert response.status in (200, 404, 422), (role, response.body)
        else:
            assert response.status == 403, (role, response.body)
            assert response.error["type"] == "forbidden"
            assert needed in response.error["message"]


def test_a_token_is_shown_once_and_refused_once_revoked(api: PublicApiServer) -> None:
    id_, secret = made(api, "editor", "the shop")
    listed = call(api, "GET", "/api/tokens").json()["data"]["tokens"]
    assert [item["name"] for item in listed] == ["test", "the shop"]
    assert secret not in json.dumps(listed)
    assert listed[1]["lastUsedAt"] is None
    assert call(api, "GET", "/api/sources", token=secret).status == 200
    listed = call(api, "GET", "/api/tokens").json()["data"]["tokens"]
    assert listed[1]["lastUsedAt"] is not None
    assert call(api, "DELETE", f"/api/tokens/{id_}").status == 200
    assert call(api, "GET", "/api/sources", token=secret).status == 401
    assert call(api, "DELETE", f"/api/tokens/{id_}").status == 404


def test_the_last_owners_token_stays(api: PublicApiServer) -> None:
    (own,) = call(api, "GET", "/api/tokens").json()["data"]["tokens"]
    made(api, "editor")
    assert call(api, "DELETE", f"/api/tokens/{own['id']}").status == 422
    other, secret = made(api, "owner")
    assert call(api, "DELETE", f"/api/tokens/{own['id']}", token=secret).status == 200
    assert call(api, "DELETE", f"/api/tokens/{other}", token=secret).status == 422


@pytest.mark.parametrize("body", [{"name": "", "role": "owner"}, {"name": "x", "role": "king"}, {"name": "x"}, {}, []])
def test_a_token_that_cannot_be_made_says_why(api: PublicApiServer, body: object) -> None:
    response = call(api, "POST", "/api/tokens", body)
    assert response.status == 400
    assert response.error["message"]


# --- the audit log


def events(api: PublicApiServer, query: str = "") -> list[Any]:
    response = call(api, "GET", f"/api/audit-events{query}")
    assert response.status == 200, response.body
    result: list[Any] = response.json()["data"]["events"]
    return result


def test_every_change_is_written_down_with_who_when_before_and_after(api: PublicApiServer) -> None:
    _, secret = made(api, "editor", "the shop")
    assert call(api, "PATCH", "/api/sources/website", {"name": "Shop"}, token=secret).status == 200
    changed = {"settings": {"apiKey": "another-secret-of-ours"}}
    assert call(api, "PATCH", "/api/destinations/perkville", changed, token=secret).status == 200
    newest, before, token, *_, first = events(api)
    assert (newest["type"], newest["resourceId"], newest["actor"]) == (
        "destination.change",
        "perkville",
        "token the shop",
    )
    assert newest["changes"] == [{"path": "settings.apiKey", "before": "••••sees", "after": "••••ours"}]
    assert before["changes"] == [{"path": "name", "before": "website", "after": "Shop"}]
    assert (token["type"], token["actor"]) == ("token.add", "token test")
    assert first["actor"] == "config file"
    assert newest["timestamp"].endswith("Z")
    assert "secret" not in json.dumps(events(api))


def test_a_change_that_changes_nothing_or_is_refused_is_not_written_down(api: PublicApiServer) -> None:
    before = len(events(api))
    assert call(api, "PATCH", "/api/sources/website", {"name": "website"}).status == 200
    assert call(api, "PATCH", "/api/destinations/perkville", {"settings": {"businessId": "no id!"}}).status == 422
    assert len(events(api)) == before


def test_the_audit_log_is_queried_by_resource_and_time_and_paged(api: PublicApiServer) -> None:
    for name in ("A", "B", "C"):
        api.clock.advance(60)
        assert call(api, "PATCH", "/api/sources/website", {"name": name}).status == 200
    source = events(api, "?resourceType=source&resourceId=website")
    assert [item["changes"][0]["after"] for item in source[:3]] == ["C", "B", "A"]
    since = source[1]["timestamp"]
    assert len(events(api, f"?startTime={since}")) == 2
    assert all(event["timestamp"] < since for event in events(api, f"?endTime={since}"))
    first = call(api, "GET", "/api/audit-events?pagination%5Bcount%5D=2").json()["data"]
    following = first["pagination"]["next"]
    second = call(api, "GET", f"/api/audit-events?pagination%5Bcount%5D=2&pagination%5Bcursor%5D={following}").json()[
        "data"
    ]
    ids = [int(item["id"]) for item in first["events"] + second["events"]]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 4
    for query in ("?startTime=soon", "?pagination%5Bcursor%5D=x", "?pagination%5Bcount%5D=0"):
        assert call(api, "GET", f"/api/audit-events{query}").status == 400


def test_everybody_may_know_the_methods_of_a_path(api: PublicApiServer) -> None:
    response = api.request("OPTIONS", "/api/sources", headers={"Authorization": ""})
    assert (response.status, response.headers["allow"], response.body) == (204, "GET, HEAD, OPTIONS, POST", b"")
    refused = api.request("PUT", "/api/sources")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert "GET, HEAD, OPTIONS, POST" in refused.error["message"]
    assert api.request("OPTIONS", "/api/none").status == 404


@pytest.mark.parametrize("path", ["/api/destinations/perkville/state", "/events", f"{PROFILES}/user_id:ann/traits"])
def test_app_and_profile_api_name_their_methods_too(api: PublicApiServer, path: str) -> None:
    for method, status in (("OPTIONS", 204), ("PUT", 405)):
        response = api.request(method, path)
        assert (response.status, response.headers["allow"]) == (status, "GET, HEAD, OPTIONS")
    assert api.request("HEAD", path).status == api.request("GET", path).status


def test_head_is_answered_as_get_without_a_body(api: PublicApiServer) -> None:
    for path, status in (("/api/sources", 200), ("/api/sources/none", 404)):
        response = api.request("HEAD", path)
        assert (response.status, response.body) == (status, b"")
        assert response.headers["content-length"] == api.request("GET", path).headers["content-length"]
