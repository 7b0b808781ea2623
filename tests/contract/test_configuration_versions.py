"""Every change of the configuration is a version that can be listed, compared in words, restored and undone."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from punchcard.errors import ConfigurationError
from punchcard.operations.configuration_versions import ConfigurationVersions
from punchcard.store.access.audit import AuditQuery, list_events
from punchcard.store.workspace import configuration_versions as stored_versions
from punchcard.testing.operators import FormBrowser, add_operators, signed_in
from punchcard.testing.public_api import PublicApiServer
from punchcard.workspace import persistence
from punchcard.workspace.apply import apply, release_from_file
from punchcard.workspace.editing import NotFoundError
from punchcard.workspace.file import read_content
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.restoring import Restore

API_KEY = "a-secret-that-nobody-sees"
SOURCE = '[[sources]]\nslug = "website"\nname = "Website"\nwrite_key = "wk_website_0001"\n'
CONFIG = (
    SOURCE
    + f"""
[[destinations]]
slug = "perkville"
type = "perkville"
source = "website"
[destinations.settings]
apiKey = "{API_KEY}"
businessId = "41"
locationId = "7"
eventToPerkMap = {{ "Checked In" = "123456" }}
"""
)
MAP = {"settings": {"eventToPerkMap": {"Checked In": "123457"}}}


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, store_url, CONFIG) as server:
        yield server


def call(world: PublicApiServer, method: str, path: str, body: object = None, *, status: int = 200) -> Any:
    response = world.request(method, path, None if body is None else json.dumps(body).encode())
    assert response.status == status, response.body
    return response.json()


def versions_of(world: PublicApiServer) -> ConfigurationVersions:
    return ConfigurationVersions(world.store, world._keyring, clock=world.clock)


def sentences(world: PublicApiServer, path: str) -> list[str]:
    changes = call(world, "GET", path)["data"]["changes"]
    return [sentence for change in changes for sentence in change["sentences"]]


def listed(world: PublicApiServer, query: str = "") -> list[dict[str, Any]]:
    return list(call(world, "GET", "/api/configuration-versions" + query)["data"]["versions"])


def stored_map(world: PublicApiServer) -> object:
    return persistence.load(world.store, world._keyring).workspace.destinations[0].settings["eventToPerkMap"]


def newest(world: PublicApiServer) -> int:
    return int(listed(world)[0]["number"])


def test_each_change_is_listed_with_who_when_how_and_what(world: PublicApiServer) -> None:
    first = newest(world)
    call(world, "PATCH", "/api/destinations/perkville", MAP)
    add_operators(world)
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    assert browser.post("/settings", name="Acme", timezone="Europe/Berlin").status == 303
    app, api, file = listed(world)[:3]
    assert (app["actor"], app["channel"]) == ("operator owner@acme.example", "App")
    assert [s for change in app["changes"] for s in change["sentences"]] == [
        "Name of the workspace: My workspace → Acme",
        "Time zone of the workspace: UTC → Europe/Berlin",
    ]
    assert (api["actor"].split()[0], api["channel"], api["restoredFrom"]) == ("token", "API", None)
    assert api["changes"] == [
        {
            "type": "change",
            "resourceType": "destination",
            "resourceId": "perkville",
            "resourceName": "Perkville",
            "sentences": ["Map entry “Checked In” of Perkville: perk 123456 → 123457"],
        }
    ]
    assert (file["channel"], file["number"]) == ("config file", first)
    assert [change["type"] for change in file["changes"]] == ["add", "add"]
    assert api["timestamp"].startswith(f"{world.clock.now():%Y-%m-%d}")
    only = listed(world, "?resourceType=destination&resourceId=perkville")
    assert [version["number"] for version in only] == [api["number"], first]


def test_the_first_and_the_last_entry_of_a_map_are_entries_and_nothing_else(world: PublicApiServer) -> None:
    call(world, "PATCH", "/api/destinations/perkville", {"settings": {"eventToPerkMap": {}}})
    call(world, "PATCH", "/api/destinations/perkville", MAP)
    first, last = ([s for change in version["changes"] for s in change["sentences"]] for version in listed(world)[:2])
    assert first == ["Map entry “Checked In” of Perkville: perk 123457 added"]
    assert last == ["Map entry “Checked In” of Perkville: perk 123456 removed"]


def test_a_diff_says_in_words_what_differs_without_secrets(world: PublicApiServer) -> None:
    begin = newest(world)
    call(world, "PATCH", "/api/destinations/perkville", {"settings": {"apiKey": "another-secret-of-7777"}})
    call(world, "POST", "/api/sources/website/writekey")
    new_filter = {"if": "type = 'identify'", "actions": [{"type": "DROP"}], "title": "no users", "enabled": True}
    call(world, "POST", "/api/destination/perkville/filters", new_filter)
    difference = sentences(world, f"/api/configuration-versions/{begin}/diff")
    assert difference[0].startswith("Write keys of source Website: ••••0001 → ••••0001, ••••")
    assert difference[1] == "API Key of Perkville: changed (••••sees → ••••7777)"
    assert difference[2].startswith("Filter “no users” of Perkville added: type = 'identify'")
    body = world.request("GET", f"/api/configuration-versions/{begin}/diff").body.decode()
    body += world.request("GET", "/api/configuration-versions").body.decode()
    for secret in (API_KEY, "another-secret", "wk_website"):
        assert secret not in body
    assert sentences(world, f"/api/configuration-versions/{begin + 1}/diff?to={begin + 2}") == difference[:1]
    part = f"/api/configuration-versions/{begin}/diff?resourceType=source&resourceId=website"
    assert sentences(world, part) == difference[:1]


def test_one_object_is_restored_with_its_current_secrets(world: PublicApiServer) -> None:
    begin = newest(world)
    call(world, "PATCH", "/api/destinations/perkville", MAP)
    call(world, "PATCH", "/api/destinations/perkville", {"settings": {"apiKey": "another-secret-of-7777"}})
    call(world, "PATCH", "/api/sources/website", {"name": "Shop"})
    body = {"resourceType": "destination", "resourceId": "perkville"}
    path = f"/api/configuration-versions/{begin}/restore"
    dry = call(world, "POST", path, {**body, "dryRun": True})["data"]["restore"]
    assert dry["version"] is None
    assert stored_map(world) == {"Checked In": "123457"}
    done = call(world, "POST", path, body)["data"]["restore"]
    assert done["changes"] == dry["changes"]
    (change,) = done["changes"]
    assert change["sentences"] == ["Map entry “Checked In” of Perkville: perk 123457 → 123456"]
    workspace = persistence.load(world.store, world._keyring).workspace
    assert workspace.destinations[0].settings["apiKey"] == "another-secret-of-7777"
    assert workspace.sources[0].name == "Shop"
    version = listed(world)[0]
    assert (version["number"], version["restoredFrom"]) == (done["version"], begin)
    with world.store.reading() as work:
        kinds = [(event.kind, event.resource_type) for event in list_events(work, AuditQuery(), count=2)]
    assert kinds == [("change", "destination"), ("restore", "version")]
    assert call(world, "POST", path, body)["data"]["restore"] == {
        "version": None,
        "changes": [],
        "managedByFile": [],
    }
    again = call(world, "POST", path, {**body, "withSecrets": True})["data"]["restore"]
    assert again["changes"][0]["sentences"] == ["API Key of Perkville: changed (••••7777 → ••••sees)"]
    assert persistence.load(world.store, world._keyring).workspace.destinations[0].settings["apiKey"] == API_KEY


def test_the_whole_configuration_is_restored(world: PublicApiServer) -> None:
    begin = newest(world)
    before = persistence.load(world.store, world._keyring).workspace
    call(world, "PATCH", "/api/destinations/perkville", MAP)
    call(world, "POST", "/api/sources", {"slug": "pos", "enabled": True, "metadataId": "http-api"})
    call(world, "DELETE", "/api/destinations/perkville")
    done = call(world, "POST", f"/api/configuration-versions/{begin}/restore", {})["data"]["restore"]
    assert [(change["type"], change["resourceId"]) for change in done["changes"]] == [
        ("remove", "pos"),
        ("add", "perkville"),
    ]
    assert persistence.load(world.store, world._keyring).workspace == before


def test_what_did_not_exist_then_is_not_restored(world: PublicApiServer) -> None:
    begin = newest(world)
    call(world, "POST", "/api/sources", {"slug": "pos", "enabled": True, "metadataId": "http-api"})
    body = {"resourceType": "source", "resourceId": "pos"}
    response = call(world, "POST", f"/api/configuration-versions/{begin}/restore", body, status=404)
    assert "has no source pos" in response["errors"][0]["message"]
    call(world, "POST", "/api/configuration-versions/999/restore", {}, status=404)
    call(world, "GET", "/api/configuration-versions/999", status=404)
    call(world, "GET", f"/api/configuration-versions/{begin}/diff?to=999", status=404)
    call(world, "GET", "/api/configuration-versions?resourceId=pos", status=400)


def test_a_destination_with_a_queue_is_not_removed_by_a_restore(world: PublicApiServer) -> None:
    begin = newest(world)
    hook = {
        "sourceId": "website",
        "metadataId": "webhooks",
        "enabled": True,
        "name": "Hook",
        "settings": {"url": "https://hooks.example.com/y"},
    }
    call(world, "POST", "/api/destinations", hook)
    world.send({"event": "Checked In", "messageId": "m1", "userId": "u1"}, write_key="wk_website_0001")
    world.route()
    response = call(world, "POST", f"/api/configuration-versions/{begin}/restore", {}, status=422)
    assert response["errors"][0]["type"] == "in_use"
    assert len(persistence.load(world.store, world._keyring).workspace.destinations) == 2


def test_what_the_config_file_manages_is_not_restored(world: PublicApiServer) -> None:
    begin = newest(world)
    call(world, "PATCH", "/api/destinations/perkville", MAP)
    call(world, "PATCH", "/api/sources/website", {"name": "Shop"})
    described = read_content(SOURCE.replace("Website", "Store").encode(), "punchcard.toml", environment={})
    apply(world.store, described, clock=world.clock, keyring=world._keyring, actor="config file", from_file=True)
    path = f"/api/configuration-versions/{begin}/restore"
    error = call(world, "POST", path, {}, status=409)["errors"][0]
    assert error["type"] == "managed_by_file"
    assert 'name = "Website"' in error["data"]["toml"]
    part = {"resourceType": "source", "resourceId": "website"}
    assert call(world, "POST", path, part, status=409)["errors"][0]["type"] == "managed_by_file"
    done = call(world, "POST", path, {"skipManagedByFile": True})["data"]["restore"]
    assert done["managedByFile"] == [part]
    assert [change["resourceId"] for change in done["changes"]] == ["perkville"]
    workspace = persistence.load(world.store, world._keyring).workspace
    assert workspace.sources[0].name == "Store"
    assert stored_map(world) == {"Checked In": "123456"}


def test_a_restore_that_is_not_valid_today_is_refused(world: PublicApiServer) -> None:
    begin = newest(world)
    call(world, "POST", "/api/sources", {"slug": "pos", "enabled": True, "metadataId": "http-api"})
    call(world, "PATCH", "/api/destinations/perkville", {"sourceIds": ["pos"]})
    call(world, "DELETE", "/api/sources/website")
    body = {"resourceType": "destination", "resourceId": "perkville"}
    response = call(world, "POST", f"/api/configuration-versions/{begin}/restore", body, status=422)
    assert "website" in response["errors"][0]["message"]


def test_versions_hold_no_secret_in_clear_text(world: PublicApiServer) -> None:
    with world.store.reading() as work:
        bodies = [row.body for row in work.execute(text("SELECT body FROM configuration_version_parts"))]
    assert len(bodies) == 2
    for body in bodies:
        for word in (API_KEY, "wk_website_0001", "perkville", "Website"):
            assert word not in body


def test_versions_of_another_key_are_listed_and_not_restored(world: PublicApiServer) -> None:
    versions = ConfigurationVersions(world.store, Keyring("another key"), clock=world.clock)
    (described,) = versions.page(count=10)
    assert described.version.actor == "config file"
    assert described.changes == []
    assert "another key" in (described.problem or "")
    with pytest.raises(ConfigurationError, match="another key"):
        versions.diff(described.version.number)


def test_what_was_there_before_versions_were_kept_is_the_first_version(world: PublicApiServer) -> None:
    with world.store.unit_of_work() as work:
        work.execute(text("DELETE FROM configuration_versions"))
        work.execute(text("DELETE FROM configuration_version_parts"))
    call(world, "PATCH", "/api/destinations/perkville", MAP)
    second, first = listed(world)
    assert (first["actor"], first["changes"]) == ("", [])
    assert second["changes"][0]["sentences"] == ["Map entry “Checked In” of Perkville: perk 123456 → 123457"]
    call(world, "POST", f"/api/configuration-versions/{first['number']}/restore", {})
    assert stored_map(world) == {"Checked In": "123456"}


def test_only_the_newest_versions_are_kept_and_stay_complete(world: PublicApiServer) -> None:
    call(world, "POST", "/api/sources", {"slug": "pos", "enabled": True, "metadataId": "http-api"})
    call(world, "DELETE", "/api/sources/pos")
    for perk in ("1", "2", "3", "4"):
        call(world, "PATCH", "/api/destinations/perkville", {"settings": {"eventToPerkMap": {"Checked In": perk}}})
    before = listed(world)
    with world.store.unit_of_work() as work:
        assert stored_versions.prune_versions(work, count=2) == len(before) - 2
        assert stored_versions.prune_versions(work, count=2) == 0
        rows = work.execute(text("SELECT kind, slug FROM configuration_version_parts ORDER BY number, kind")).all()
    assert [tuple(row) for row in rows] == [("source", "website")] + [("destination", "perkville")] * 3
    assert listed(world) == before[:2]
    call(world, "POST", f"/api/configuration-versions/{before[1]['number']}/restore", {})
    assert stored_map(world) == {"Checked In": "3"}
    assert persistence.load(world.store, world._keyring).workspace.sources[0].name == "Website"
    with pytest.raises(NotFoundError):
        versions_of(world).plan(Restore(number=before[2]["number"]))


def test_roles(world: PublicApiServer) -> None:
    begin = newest(world)
    channel = {"name": "ops", "url": "https://hooks.example.com/secret-path", "severity": "warning"}
    call(world, "POST", "/api/alert-channels", channel)
    call(world, "PATCH", "/api/alert-channels/ops", {"severity": "info"})
    made = newest(world) - 1
    viewer, editor = (
        call(world, "POST", "/api/tokens", {"name": role, "role": role})["data"]["secret"]
        for role in ("read_only", "editor")
    )
    path = f"/api/configuration-versions/{made}/restore"

    def status(method: str, path: str, token: str) -> int:
        body = None if method == "GET" else b"{}"
        return world.request(method, path, body, headers={"Authorization": f"Bearer {token}"}).status

    assert status("GET", "/api/configuration-versions", viewer) == 200
    assert status("GET", f"/api/configuration-versions/{begin}/diff", viewer) == 200
    assert status("POST", path, viewer) == 403
    assert status("POST", path, editor) == 403  # it changes an alert channel
    assert call(world, "POST", path, {})["data"]["restore"]["version"] is not None


@pytest.fixture
def browser(world: PublicApiServer) -> FormBrowser:
    add_operators(world)
    return signed_in(world, "owner")


def test_the_app_lists_compares_and_restores(world: PublicApiServer, browser: FormBrowser) -> None:
    begin = newest(world)
    call(world, "PATCH", "/api/destinations/perkville", MAP)
    page = browser.get("/settings/versions").text
    assert page.count("data-version") == 2
    assert "Map entry “Checked In” of Perkville: perk 123456 → 123457" in page
    history = '/settings/versions?part=destination%2Fperkville"'
    assert history in browser.get("/destinations/perkville/map").text
    assert "History of destination Perkville" in browser.get(history.rstrip('"')).text
    page = browser.get(f"/settings/versions/{begin}").text
    assert page.count("data-difference") == 1
    response = browser.post(f"/settings/versions/{begin}/restore", part="destination/perkville")
    assert response.status == 303
    assert stored_map(world) == {"Checked In": "123456"}
    page = browser.get(response.headers["location"]).text
    assert 'hx-get="/destinations/perkville/replay-offer"' in page
    assert "Restored from version" in page
    assert "None: the configuration is as in this version." in browser.get(f"/settings/versions/{begin}").text
    assert browser.get("/settings/versions/999").status == 404
    assert browser.get("/settings/versions?part=nothing").status == 404


def test_a_gap_in_the_numbers_is_explained(world: PublicApiServer, browser: FormBrowser) -> None:
    begin = newest(world)
    described = read_content(SOURCE.encode(), "punchcard.toml", environment={})
    for _ in range(2):  # the second time nothing differs: no version, no gap
        apply(world.store, described, clock=world.clock, keyring=world._keyring, actor="config file", from_file=True)
    assert release_from_file(world.store) > 0
    assert "Some numbers are missing" not in browser.get("/settings/versions").text
    assert browser.post("/settings", name="Other", timezone="UTC").status == 303
    assert newest(world) == begin + 3
    assert "Some numbers are missing" in browser.get("/settings/versions").text
    assert "Some numbers are missing" not in browser.get("/settings/versions?part=source/website").text


def test_a_change_in_the_app_can_be_undone_right_after_saving(world: PublicApiServer, browser: FormBrowser) -> None:
    response = browser.post("/settings", name="Acme", timezone="Europe/Berlin")
    page = browser.get(response.headers["location"]).text
    undo = re.search(r'action="(/settings/versions/\d+/undo)"', page)
    assert undo is not None, page
    assert undo[1] not in browser.get("/settings").text  # offered once
    assert browser.post(undo[1], back="/settings").status == 303
    assert persistence.load(world.store, world._keyring).workspace.name == "My workspace"
    response = browser.post("/settings", name="My workspace", timezone="UTC")  # as it is
    assert "/undo" not in browser.get(response.headers["location"]).text
    response = browser.post(undo[1], back="/settings")
    assert response.status == 422
    assert "was changed again since" in response.text


def test_undo_takes_back_additions_and_removals(world: PublicApiServer) -> None:
    call(world, "POST", "/api/sources", {"slug": "pos", "enabled": True, "metadataId": "http-api"})
    added = newest(world)
    call(world, "DELETE", "/api/destinations/perkville")
    removed = newest(world)
    before = persistence.load(world.store, world._keyring).workspace
    versions = versions_of(world)
    assert versions.undo(removed, actor="test") is not None
    assert versions.undo(added, actor="test") is not None
    workspace = persistence.load(world.store, world._keyring).workspace
    assert [source.slug for source in workspace.sources] == ["website"]
    assert workspace.destinations[0].settings["apiKey"] == API_KEY
    assert len(before.sources) == 2


SETTINGS = {
    "name": "Loyalty",
    "sources": "website",
    "enabled": "on",
    "apiKey": "another-secret",
    "businessId": "41",
    "locationId": "7",
    "eventToPerkMap.name": "Class Booked",
    "eventToPerkMap.value": "123460",
    "apiBaseUrl": "https://api.perkville.com",
    "requestsPerSecond": "3",
    "concurrency": "32",
    "requestTimeoutSeconds": "10",
    "unknownWaitSeconds": "10",
    "retryBaseSeconds": "30",
    "retryAttemptsMax": "10",
    "refundMethod": "auto",
    "orderIdScope": "destination",
    "refundWaitHours": "24",
    "refundFollows": "order",
}
FORMS = {
    "map": ("/destinations/perkville/map", {"eventToPerkMap.name": "Class Booked", "eventToPerkMap.value": "123460"}),
    "settings": ("/destinations/perkville/settings", SETTINGS),
    "filter": ("/destinations/perkville/filters/new", {"title": "No staff", "if": "type = 'track'", "action": "DROP"}),
    "source": ("/sources/website", {"name": "Web"}),
    "source removed": ("/sources/website/remove", {}),
    "workspace": ("/settings", {"name": "Acme", "timezone": "Europe/Berlin"}),
    "rule": ("/alerts/rules/parked", {"enabled": "on", "severity": "info", "threshold": "7"}),
    "rule reset": ("/alerts/rules/parked", {"reset": "1"}),
    "channel": ("/alerts/channels/ops", {"name": "Ops", "url": "https://hooks.example.com/mine", "severity": "info"}),
    "audience": (
        "/audiences/regulars/edit",
        {"name": "Mine", "definition": "event('Checked In').count() >= 2", "send": "identify"},
    ),
    "transformation": (
        "/transformations/fix-order",
        {"name": "Mine", "condition": "all", "drops": "b", "source": "website", "order": "1", "enabled": "on"},
    ),
    "plan": ("/protocols/shop", {"name": "Mine", "description": "", "action": "save"}),
    "plan rule": ("/protocols/shop/rule", {"event_type": "TRACK", "key": "Mine", "action": "json", "schema": "{}"}),
    "source enforcement": ("/sources/website/protocols", {"action": "save", "unplanned_events": "BLOCK"}),
    "source switch": ("/sources/website/schema/event", {"type": "track", "name": "Viewed", "switch": "off"}),
    "source control": ("/privacy/controls/source/website", {"path": "properties.card", "action": "mask"}),
}
FIX = {"name": "Fix order", "sourceId": "website", "enabled": True, "if": "all", "newEventName": "Order"}
MEANWHILE = {
    "transformation": ("PATCH", "/api/transformations/fix-order", {"name": "Theirs"}),
    "plan": ("PATCH", "/api/tracking-plans/shop", {"name": "Theirs"}),
    "destination": ("PATCH", "/api/destinations/perkville", MAP),
    "source": ("PATCH", "/api/sources/website", {"name": "Shop"}),
    "rule": ("PATCH", "/api/alert-rules/parked", {"threshold": 3}),
    "channel": ("PATCH", "/api/alert-channels/ops", {"severity": "critical"}),
    "audience": ("PATCH", "/api/spaces/default/audiences/regulars", {"description": "Theirs"}),
}


def changed_by_another(world: PublicApiServer, name: str) -> None:
    """Change the part that a form is about, as another operator does."""
    if name == "workspace":
        other = FormBrowser(world)
        other.sign_in("editor@acme.example")
        assert other.post("/settings", name="Theirs", timezone="Europe/Berlin").status == 303
        return
    part = name.split()[0]
    call(world, *MEANWHILE["destination" if part in ("map", "settings", "filter") else part])


@pytest.mark.parametrize("name", FORMS)
def test_a_form_does_not_overwrite_what_was_changed_after_its_page_was_loaded(
    world: PublicApiServer, browser: FormBrowser, name: str
) -> None:
    call(world, "POST", "/api/alert-channels", {"name": "ops", "url": "https://hooks.example.com/ours"})
    audience = {"name": "Regulars", "definition": {"query": "event('Checked In').count() >= 1"}}
    call(world, "POST", "/api/spaces/default/audiences", audience)
    call(world, "POST", "/api/tracking-plans", {"name": "Shop", "type": "LIVE"})
    call(world, "POST", "/api/transformations", FIX)
    path, fields = FORMS[name]
    shown = re.search(r'name="_revision" value="(\d+)"', browser.get("/settings/password").text)
    assert shown is not None
    changed_by_another(world, name)
    theirs = newest(world)
    response = browser.post(path, _revision=shown[1], **fields)
    assert response.status == 422, response.text
    assert "after you opened this page" in response.text
    assert "Nothing was saved." in response.text
    assert newest(world) == theirs
    if name in ("source removed", "source switch"):  # these have no form to correct
        return
    again = re.search(r'name="_revision" value="(\d+)"', response.text)
    assert again is not None
    assert int(again[1]) == theirs
    response = browser.post(path, _revision=again[1], **fields)
    assert response.status == 303, response.text


@pytest.mark.parametrize("detour", ["preview", "mistake"])
def test_a_form_that_is_shown_again_still_does_not_overwrite_what_was_changed_meanwhile(
    world: PublicApiServer, browser: FormBrowser, detour: str
) -> None:
    call(world, "POST", "/api/transformations", FIX)
    path, fields = FORMS["transformation"]
    shown = re.search(r'name="_revision" value="(\d+)"', browser.get(path).text)
    assert shown is not None
    changed_by_another(world, "transformation")
    is_preview = detour == "preview"
    typed = fields if is_preview else {**fields, "order": "first"}
    page = browser.post(f"{path}/preview" if is_preview else path, _revision=shown[1], **typed)
    again = re.search(r'name="_revision" value="(\d+)"', page.text)
    assert again is not None
    refused = browser.post(path, _revision=again[1], **fields)
    assert refused.status == 422
    assert "after you opened this page" in refused.text
