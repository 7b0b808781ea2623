"""Settings of the workspace in App and Public API: what is saved, what is refused, and who may change it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"
"""
FORM = {"name": "Acme", "timezone": "UTC", "point_cost": "", "currency": "USD"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        yield server


def sign_in(world: PublicApiServer, email: str) -> FormBrowser:
    browser = FormBrowser(world)
    assert browser.sign_in(email).status == 303
    return browser


def settings(world: PublicApiServer) -> dict[str, object]:
    response = world.request("GET", "/api/workspace/settings")
    assert response.status == 200
    return dict(response.json()["data"]["settings"])


def test_an_owner_lists_private_networks_that_webhooks_reach_at_once(world: PublicApiServer) -> None:
    owner = sign_in(world, "owner@acme.example")
    assert not world.watch.newest().network.permits("10.1.2.3")
    assert owner.post("/settings", **FORM, networks="10.0.0.0/8\n fd00::/8, 192.168.1.0/24").status == 303
    assert settings(world)["webhookAllowedNetworks"] == ["10.0.0.0/8", "fd00::/8", "192.168.1.0/24"]
    assert world.watch.newest().network.permits("10.1.2.3")
    assert "192.168.1.0/24" in owner.get("/settings").text
    assert owner.post("/settings", **FORM, networks="").status == 303
    assert not world.watch.newest().network.permits("10.1.2.3")


def test_what_is_not_a_network_is_refused_beside_its_field(world: PublicApiServer) -> None:
    owner = sign_in(world, "owner@acme.example")
    refused = owner.post("/settings", **FORM, networks="10.0.0.0/8 10.0.0.1/8")
    assert refused.status == 422
    field = refused.text.partition('id="f-networks"')[2].partition("form-hint")[0]
    assert "Line 2: Is not a network such as 10.0.0.0/8" in field
    assert settings(world)["webhookAllowedNetworks"] == []


def test_an_editor_saves_the_other_settings_but_no_networks(world: PublicApiServer) -> None:
    editor = sign_in(world, "editor@acme.example")
    assert 'name="networks"' not in editor.get("/settings").text
    assert editor.post("/settings", **{**FORM, "name": "Acme Gyms"}).status == 303
    assert editor.post("/settings", **FORM, networks="10.0.0.0/8").status == 403
    assert settings(world)["name"] == "Acme Gyms"
    assert settings(world)["webhookAllowedNetworks"] == []


def test_the_api_changes_the_settings_that_the_body_names(world: PublicApiServer) -> None:
    changed = world.request("PATCH", "/api/workspace/settings", json.dumps({"pointCost": "a lot"}).encode())
    assert changed.status == 422, "not a number"
    body = {"webhookAllowedNetworks": ["10.0.0.0/8"], "pointCost": "0.01", "currency": "USD"}
    assert world.request("PATCH", "/api/workspace/settings", json.dumps(body).encode()).status == 200
    assert settings(world)["webhookAllowedNetworks"] == ["10.0.0.0/8"]
    assert (settings(world)["pointCost"], settings(world)["timezone"]) == ("0.01", "UTC")


@pytest.mark.parametrize(
    "body",
    [{"webhookAllowedNetworks": ["everywhere"]}, {"timezone": "Mars"}, {"networks": []}, {"name": 7}],
    ids=["network", "time zone", "unknown member", "type"],
)
def test_the_api_refuses_what_cannot_be_a_setting(world: PublicApiServer, body: dict[str, object]) -> None:
    assert world.request("PATCH", "/api/workspace/settings", json.dumps(body).encode()).status in {400, 422}
    assert settings(world)["webhookAllowedNetworks"] == []
