"""Webhooks in the App: found, added, tested and changed, with its secrets masked and nothing of perks in sight."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from punchcard.testing.operators import FormBrowser, add_operators, signed_in
from punchcard.testing.public_api import PublicApiServer

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"
"""
FORM = {
    "source": "website",
    "url": "https://example.com/hook",
    "headers": "Authorization: Bearer a-header-that-nobody-sees\nX-Team: loyalty",
    "sharedSecret": "a-secret-that-nobody-sees",
    "batchSize": "1",
    "triggers": "track\nidentify",
    "template": "",
    "signature": "segment",
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        yield server


@pytest.fixture
def owner(world: PublicApiServer) -> FormBrowser:
    return signed_in(world, "owner")


def test_the_catalog_finds_it(owner: FormBrowser) -> None:
    assert "Webhooks" in owner.get("/catalog?q=webhook").text
    entry = owner.get("/catalog/webhooks").text
    assert "At least once" in entry
    assert "messageId" in entry
    assert "alias, group, identify, page, screen and track" in entry


def test_it_is_added_and_its_pages_show_no_secret_and_no_perk(world: PublicApiServer, owner: FormBrowser) -> None:
    form = owner.get("/catalog/webhooks/add").text
    assert 'name="headers"' in form
    assert 'name="template"' in form
    assert "API key" not in form
    added = owner.post("/catalog/webhooks/add", **FORM)
    assert (added.status, added.headers["location"]) == (303, "/destinations/webhooks"), added.text
    world.send({"type": "track", "event": "Checked In", "userId": "u1", "messageId": "m1"})
    world.route()
    for path in ("", "/settings", "/filters", "/tester", "/transactions"):
        page = owner.get(f"/destinations/webhooks{path}")
        assert page.status == 200, path
        assert "that-nobody-sees" not in page.text, path
        assert "/map" not in page.text, path
    assert owner.get("/destinations/webhooks/map").status == 404
    settings = owner.get("/destinations/webhooks/settings").text
    assert "Authorization: ••••sees" in settings
    assert "At least once" in settings
    assert "track call" in owner.get("/destinations/webhooks/transactions").text
    assert "that-nobody-sees" not in owner.get("/settings").text


def test_masked_secrets_of_a_form_keep_the_stored_ones(world: PublicApiServer, owner: FormBrowser) -> None:
    owner.post("/catalog/webhooks/add", **FORM)
    masked = {**FORM, "headers": "Authorization: ••••sees\nX-Team: points", "sharedSecret": "••••sees"}
    options = {
        "unknownOutcome": "resend",
        "requestsPerSecond": "0",
        "concurrency": "16",
        "requestTimeoutSeconds": "10",
        "retryBaseSeconds": "30",
        "retryAttemptsMax": "10",
    }
    saved = owner.post(
        "/destinations/webhooks/settings",
        **{**masked, **options, "sources": "website", "enabled": "on", "url": "https://example.com/other"},
    )
    assert saved.status == 303, saved.text
    (stored,) = world.watch.refresh().destinations.values()
    settings = stored.destination.settings
    assert settings["headers"] == {"Authorization": "Bearer a-header-that-nobody-sees", "X-Team": "points"}
    assert settings["sharedSecret"] == "a-secret-that-nobody-sees"
    assert settings["url"] == "https://example.com/other"


def test_secrets_are_encrypted_in_the_store(world: PublicApiServer, owner: FormBrowser) -> None:
    owner.post("/catalog/webhooks/add", **FORM)

    with world.store.reading() as work:
        bodies = " ".join(work.scalars(text("SELECT body FROM configuration_documents")))
        audit = " ".join(work.scalars(text("SELECT changes FROM audit_events")))
    assert "https://example.com/hook" in bodies
    assert "that-nobody-sees" not in bodies
    assert "that-nobody-sees" not in audit


def test_the_tester_shows_the_request_that_a_template_makes(owner: FormBrowser) -> None:
    template = '{"customer": {"@path": "$.userId"},\n "text": {"@template": "{{event}} again"}}'
    owner.post("/catalog/webhooks/add", **{**FORM, "template": template})
    event = {"type": "track", "event": "Checked In", "userId": "u1"}
    result = owner.post("/destinations/webhooks/tester", source="website", event=json.dumps(event), send="no")
    assert result.status == 200
    assert "POST https://example.com/hook" in result.text
    assert "Checked In again" in result.text
    assert "X-Signature" in result.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "example.com"}, "Must be a web address"),
        ({"template": "{"}, "Is not JSON"),
        ({"triggers": "delete"}, "is not a call"),
        ({"headers": "Host: x"}, "is set by Punchcard"),
        ({"batchSize": "5000"}, "at most 1000"),
    ],
)
def test_what_cannot_be_used_is_shown_beside_what_was_typed(
    owner: FormBrowser, change: dict[str, str], message: str
) -> None:
    refused = owner.post("/catalog/webhooks/add", **{**FORM, **change})
    assert refused.status == 422
    assert message in refused.text
