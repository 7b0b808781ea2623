"""Viewers never see a write key: not on a page, not in the API, not in an event's payload or the audit log."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from punchcard.store.access.token_store import Role, create_token
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer

KEY = "wk_website"
CONFIG = f"""
[[sources]]
slug = "website"
write_key = "{KEY}"

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website"]
[destinations.settings]
apiKey = "secret"
businessId = "41"
locationId = "7"
eventToPerkMap = {{ "Checked In" = "123457" }}
"""
PAGES = (
    "/",
    "/events",
    "/events/hello",
    "/settings",
    "/settings/audit",
    "/sources",
    "/sources/website",
    "/sources/website/debugger",
    "/sources/website/schema",
    "/destinations/perkville/tester",
    "/destinations/perkville/transactions",
    "/customers/ann@example.com",
)
CALLS = (
    "/api/",
    "/api/sources",
    "/api/sources/website",
    "/api/destinations",
    "/api/destinations/perkville/transactions",
    "/api/audit-events",
    "/api/events/hello",
)


@pytest.fixture(params=["in the log", "in the lake"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        server.send(
            {
                "writeKey": KEY,
                "messageId": "hello",
                "userId": "ann",
                "event": "Checked In",
                "properties": {"email": "ann@example.com", "total": 9.90},
            }
        )
        server.route()
        if request.param == "in the lake":
            server.feed_lake()
        yield server


def token(world: PublicApiServer, role: Role) -> dict[str, str]:
    with world.store.unit_of_work() as work:
        return {"Authorization": f"Bearer {create_token(work, role, clock=world.clock, role=role)}"}


def test_a_viewer_sees_no_write_key_on_any_page(world: PublicApiServer) -> None:
    viewer = FormBrowser(world)
    assert viewer.sign_in("read_only@acme.example").status == 303
    for path in PAGES:
        page = viewer.get(path)
        assert page.status == 200, path
        assert KEY not in page.text, path
    assert "Ask an editor" in viewer.get("/sources/website").text


def test_a_read_only_token_sees_no_write_key(world: PublicApiServer) -> None:
    headers = token(world, Role.READ_ONLY)
    for path in CALLS:
        response = world.request("GET", path, headers=headers)
        assert response.status == 200, path
        assert KEY not in response.body.decode(), path


def test_an_editor_sees_the_write_keys_of_sources(world: PublicApiServer) -> None:
    response = world.request("GET", "/api/sources/website", headers=token(world, Role.EDITOR))
    assert response.json()["data"]["source"]["writeKeys"] == [KEY]
    editor = FormBrowser(world)
    assert editor.sign_in("editor@acme.example").status == 303
    assert KEY in editor.get("/sources/website").text


def test_the_rest_of_a_payload_is_as_it_was_sent(world: PublicApiServer) -> None:
    body = world.request("GET", "/api/events/hello", headers=token(world, Role.READ_ONLY)).body
    assert b'"total":9.9' in body.replace(b" ", b"")
    assert world.request("GET", "/api/events/hello", headers=token(world, Role.READ_ONLY)).json()["data"]["event"][
        "properties"
    ] == {"email": "ann@example.com", "total": 9.90}


def test_settings_mask_write_keys_until_an_owner_shows_them(world: PublicApiServer) -> None:
    for role, is_shown in (("owner", True), ("editor", False), ("read_only", False)):
        browser = FormBrowser(world)
        assert browser.sign_in(f"{role}@acme.example").status == 303
        masked = browser.get("/settings").text
        assert KEY not in masked
        assert ("Show write keys" in masked) == is_shown
        assert (KEY in browser.get("/settings?write_keys=shown").text) == is_shown


def test_nobody_sees_a_write_key_in_the_audit_log(world: PublicApiServer) -> None:
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    page = browser.get("/settings/audit").text
    assert "write_keys" in page
    assert KEY not in page
