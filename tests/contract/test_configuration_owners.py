"""What a config file names is changed by the file only; everything else belongs to the App and survives the file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from punchcard.errors import ConfigurationError
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer
from punchcard.workspace import persistence
from punchcard.workspace.apply import apply, preview, release_from_file
from punchcard.workspace.export import export
from punchcard.workspace.file import read_content
from punchcard.workspace.ownership import MANAGED_BY_FILE

SOURCE = '[[sources]]\nslug = "website"\nname = "{name}"\nwrite_key = "wk_website"\n'
DESTINATION = """
[[destinations]]
slug = "perkville"
type = "perkville"
source = "website"
[destinations.settings]
apiKey = "a-secret-that-nobody-sees"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Checked In" = "123457" }
"""
RULE = '[[alert_rules]]\nrule = "disk"\nthreshold = {threshold}\n'
CHANNEL = '[[alert_channels]]\nname = "ops"\nurl = "https://hooks.example.com/x"\n'
AUDIENCE = '[[audiences]]\nname = "Buyers"\ndefinition = "event(\'Order Completed\').count() >= {count}"\n'
FILE = SOURCE.format(name="Website") + DESTINATION + RULE.format(threshold=5) + CHANNEL + AUDIENCE.format(count=1)


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, store_url, SOURCE.format(name="Website")) as server:
        apply_file(server, FILE)
        yield server


def apply_file(world: PublicApiServer, text: str) -> list[str]:
    described = read_content(text.encode(), "punchcard.toml", environment={})
    planned = preview(world.store, described, keyring=world._keyring, from_file=True)
    changes = apply(
        world.store, described, clock=world.clock, keyring=world._keyring, actor="config file", from_file=True
    )
    assert changes == planned
    return [f"{change.kind} {change.part} {change.slug}".strip() for change in changes]


def call(world: PublicApiServer, method: str, path: str, body: object = None) -> Any:
    response = world.request(method, path, None if body is None else json.dumps(body).encode())
    return response.status, response.json()


REFUSED: list[tuple[str, str, object]] = [
    ("PATCH", "/api/sources/website", {"name": "Shop"}),
    ("POST", "/api/sources/website/writekey", None),
    ("DELETE", "/api/sources/website/writekey/wk_website", None),
    ("PATCH", "/api/destinations/perkville", {"enabled": False}),
    ("PATCH", "/api/destinations/perkville", {"settings": {"businessId": None, "eventToPerkMap": {"A": None}}}),
    ("PATCH", "/api/destinations/perkville", {"options": {"oncePerDay": [None, [None]]}}),
    ("DELETE", "/api/destinations/perkville", None),
    (
        "POST",
        "/api/destination/perkville/filters",
        {"if": "all", "actions": [{"type": "DROP"}], "title": "x", "enabled": True},
    ),
    ("PATCH", "/api/alert-rules/disk", {"threshold": 3}),
    ("PATCH", "/api/alert-channels/ops", {"severity": "info"}),
    ("DELETE", "/api/alert-channels/ops", None),
]


def test_what_the_file_names_is_read_only_in_the_api(world: PublicApiServer) -> None:
    before = persistence.load(world.store, world._keyring)
    for method, path, body in REFUSED:
        status, content = call(world, method, path, body)
        if (method, path) == ("DELETE", "/api/sources/website/writekey/wk_website"):
            assert status in (409, 422)  # it is the last one, too
            continue
        assert status == 409, (method, path, content)
        (error,) = content["errors"]
        assert error["type"] == MANAGED_BY_FILE
        assert ("data" in error) == (method != "DELETE"), error
    after = persistence.load(world.store, world._keyring)
    assert (after.revision, after.workspace) == (before.revision, before.workspace)


def test_the_refusal_has_the_toml_to_copy_and_applying_it_makes_the_change(world: PublicApiServer) -> None:
    _, content = call(world, "PATCH", "/api/destinations/perkville", {"enabled": False})
    toml = content["errors"][0]["data"]["toml"]
    assert "a-secret" not in toml
    others = SOURCE.format(name="Website") + RULE.format(threshold=5) + CHANNEL + AUDIENCE.format(count=1)
    assert apply_file(world, others + toml) == ["change destination perkville"]
    assert not world.watch.newest().destinations["perkville"].destination.enabled
    stored = persistence.load(world.store, world._keyring).workspace.destinations[0]
    assert stored.settings["apiKey"] == "a-secret-that-nobody-sees"


def test_what_the_app_adds_and_changes_survives_the_file(world: PublicApiServer) -> None:
    assert call(world, "POST", "/api/sources", {"slug": "pos", "enabled": True, "metadataId": "http-api"})[0] == 200
    assert call(world, "PATCH", "/api/sources/pos", {"name": "Register"})[0] == 200
    assert call(world, "PATCH", "/api/alert-rules/queue_age", {"threshold": 15})[0] == 200
    assert apply_file(world, FILE) == []
    assert apply_file(world, FILE.replace("Website", "Shop")) == ["change source website"]
    workspace = persistence.load(world.store, world._keyring).workspace
    assert {source.slug: source.name for source in workspace.sources} == {"website": "Shop", "pos": "Register"}
    assert {rule.rule: rule.threshold for rule in workspace.alert_rules} == {"disk": 5, "queue_age": 15}
    assert call(world, "DELETE", "/api/sources/pos")[0] == 200


def test_what_the_file_no_longer_names_is_removed_and_belongs_to_nobody(world: PublicApiServer) -> None:
    removed = apply_file(world, SOURCE.format(name="Website") + DESTINATION + AUDIENCE.format(count=1))
    assert removed == ["remove alert_channel ops", "remove alert_rule disk"]
    assert call(world, "PATCH", "/api/alert-rules/disk", {"threshold": 3})[0] == 200
    assert apply_file(world, SOURCE.format(name="Website") + DESTINATION + AUDIENCE.format(count=1)) == []


def test_the_file_takes_over_what_the_app_has_made(world: PublicApiServer) -> None:
    assert call(world, "POST", "/api/sources", {"slug": "pos", "enabled": True, "metadataId": "http-api"})[0] == 200
    named = FILE + '[[sources]]\nslug = "pos"\nname = "Register"\nwrite_key = "wk_pos"\n'
    assert apply_file(world, named) == ["change source pos"]
    assert call(world, "PATCH", "/api/sources/pos", {"name": "Till"})[0] == 409


def test_a_file_that_changes_nothing_manages_what_it_names_from_then_on(tmp_path: Path, sqlite_url: str) -> None:
    with PublicApiServer(tmp_path, sqlite_url, FILE) as world:
        assert call(world, "PATCH", "/api/alert-channels/ops", {"severity": "info"})[0] == 200
        assert apply_file(world, FILE.replace("/x", "/x")) == ["change alert_channel ops"]
        assert apply_file(world, FILE) == []
        assert world.watch.newest().managed_by_file >= {("source", "website"), ("audience", "buyers")}
        assert call(world, "PATCH", "/api/alert-channels/ops", {"severity": "info"})[0] == 409


def test_the_fields_of_the_workspace_belong_to_the_app_unless_the_file_has_them(world: PublicApiServer) -> None:
    add_operators(world)
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    assert browser.post("/settings", name="Acme", timezone="Europe/Berlin").status == 303
    assert apply_file(world, FILE) == []
    assert persistence.load(world.store, world._keyring).workspace.name == "Acme"
    assert apply_file(world, '[workspace]\nname = "Acme Fitness"\n' + FILE) == ["change workspace"]
    response = browser.post("/settings", name="Other", timezone="UTC")
    assert response.status == 409
    assert "name = &#34;Other&#34;" in response.text


def test_the_first_visitor_enters_nothing_that_the_file_has(world: PublicApiServer) -> None:
    apply_file(world, '[workspace]\nname = "Acme Fitness"\ntimezone = "UTC"\n' + FILE)
    browser = FormBrowser(world)
    page = browser.get("/welcome").text
    assert "Acme Fitness" in page
    assert 'name="timezone"' not in page
    account = {"name": "Olga", "email": "olga@acme.example", "password": "correct horse battery staple"}
    # A page that was open before the file had these names sends them, and the zone that the browser has guessed.
    made = browser.send("POST", "/welcome", {**account, "workspace": "Acme", "timezone": "Europe/Berlin"})
    assert (made.status, made.headers["location"]) == (303, "/")
    workspace = persistence.load(world.store, world._keyring).workspace
    assert (workspace.name, workspace.timezone) == ("Acme Fitness", "UTC")


def test_labels_are_not_in_the_file_and_stay_with_the_app(world: PublicApiServer) -> None:
    labels = {"labels": [{"key": "environment", "value": "production"}]}
    assert call(world, "POST", "/api/sources/website/labels", labels)[0] == 200
    assert apply_file(world, FILE) == []
    assert persistence.load(world.store, world._keyring).workspace.sources[0].labels[0].value == "production"


def test_pages_of_what_the_file_manages_are_marked_and_read_only(world: PublicApiServer) -> None:
    add_operators(world)
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    assert call(world, "POST", "/api/sources", {"slug": "pos", "enabled": True, "metadataId": "http-api"})[0] == 200
    for path in (
        "/sources/website",
        "/destinations/perkville",
        "/destinations/perkville/settings",
        "/destinations/perkville/map",
        "/destinations/perkville/filters",
        "/audiences/buyers",
        "/alerts/channels/ops",
    ):
        page = browser.get(path)
        assert page.status == 200, path
        assert "managed by file" in page.text, path
        assert ">Save</button>" not in page.text, path
    assert "managed by file" not in browser.get("/sources/pos").text
    assert ">Save</button>" in browser.get("/sources/pos").text
    for path in ("/sources", "/destinations", "/alerts/channels"):
        assert "managed by file" in browser.get(path).text, path
    response = browser.post("/sources/website", name="Shop", enabled="on")
    assert response.status == 409
    assert "The config file manages source Website. Change it in the file." in response.text
    assert response.text.count("[[sources]]") == 1
    assert persistence.load(world.store, world._keyring).workspace.sources[1].name == "Website"


def test_an_export_has_both_and_says_what_belongs_to_the_app(world: PublicApiServer) -> None:
    assert call(world, "POST", "/api/sources", {"slug": "pos", "enabled": True, "metadataId": "http-api"})[0] == 200
    stored = persistence.load(world.store, world._keyring)
    text = export(stored.workspace, includes_write_keys=True, managed=stored.managed_by_file)
    notes = [line for line in text.splitlines() if line.startswith("# Belongs to the App")]
    assert len(notes) == 1
    assert 'slug = "pos"' in text.partition("# Belongs to the App")[2].partition("[[sources]]")[2].split("[[")[0]
    assert read_content(text.encode(), "export.toml", environment={}).sources == stored.workspace.sources


def test_a_file_without_what_the_app_needs_is_refused_whole(world: PublicApiServer) -> None:
    made = {
        "sourceId": "website",
        "metadataId": "webhooks",
        "enabled": True,
        "name": "Hook",
        "settings": {"url": "https://hooks.example.com/y"},
    }
    status, content = call(world, "POST", "/api/destinations", made)
    assert status == 200, content
    with pytest.raises(ConfigurationError, match="website"):
        apply_file(world, RULE.format(threshold=5))
    assert apply_file(world, FILE) == []


def test_everything_can_be_released_from_the_file(world: PublicApiServer) -> None:
    released = release_from_file(world.store)
    assert released == 5  # all that the file names
    assert world.watch.newest().managed_by_file == frozenset()
    assert call(world, "PATCH", "/api/sources/website", {"name": "Shop"})[0] == 200
    assert release_from_file(world.store) == 0


def test_managed_audiences_and_alert_rules_are_read_only_with_their_toml(world: PublicApiServer) -> None:
    add_operators(world)
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    edit = browser.get("/audiences/buyers/edit").text
    assert "managed by file" in edit
    assert ">Save</button>" not in edit
    assert "[[audiences]]" in edit
    assert "[[destinations]]" in browser.get("/destinations/perkville/settings").text
    assert "a-secret-that-nobody-sees" not in browser.get("/destinations/perkville/settings").text
    rules = browser.get("/alerts/rules").text
    disk, others = rules.partition('id="disk"')[2].partition("</tr>")[::2]
    assert "managed by file" in disk
    assert "threshold = 5" in disk
    assert ">Save</button>" not in disk
    assert "managed by file" not in others
    assert ">Save</button>" in others
    assert browser.post("/alerts/rules/disk", enabled="on", severity="warning", threshold="3").status == 409
    assert browser.get("/audiences/new").status == 200
    assert "managed by file" not in browser.get("/audiences/new").text


def test_releasing_makes_the_forms_editable_again(world: PublicApiServer) -> None:
    release_from_file(world.store)
    add_operators(world)
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    for path in ("/audiences/buyers/edit", "/alerts/rules", "/alerts/channels/ops", "/sources/website"):
        page = browser.get(path).text
        assert "managed by file" not in page, path
        assert ">Save</button>" in page, path
