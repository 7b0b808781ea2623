"""Controls of properties in App, Public API and on the command line: previewed, set, removed, and who may do it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.privacy_world import CONFIG, HOOK, order

from punchcard.cli.running import run
from punchcard.store.access.token_store import Role, create_token
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer
from punchcard.workspace.apply import apply, edit, release_from_file
from punchcard.workspace.change_texts import describe_changes
from punchcard.workspace.control_editing import PropertyControl, list_controls, remove_control, set_control
from punchcard.workspace.file import read_content
from punchcard.workspace.model import Destination, Source, Workspace

CONFIG_WITH_HOOK = CONFIG + HOOK.format(url="http://127.0.0.1:1/hook")
CARD, PHONE = "4111111111111111", "+43 664 1234567"
CALL = "/api/privacy/controls"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicApiServer]:
    """A running installation. Its lake has two orders with a card and a phone, and one of another source."""
    folder: Path = tmp_path_factory.mktemp("controls")
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", CONFIG_WITH_HOOK) as server:
        add_operators(server)
        for number, key in ((1, "wk_website"), (2, "wk_website"), (3, "wk_till")):
            event = order((f"user-{number}", f"u{number}@example.com", "d"), number)
            event["properties"] |= {"card": CARD, "phone": PHONE}
            server.send(event, write_key=key)
        server.route()
        server.feed_lake()
        yield server


@pytest.fixture(autouse=True)
def without_controls(world: PublicApiServer) -> Iterator[None]:
    """Remove what a test has set."""
    yield
    release_from_file(world.store)

    def clear(workspace: Workspace) -> Workspace:
        for control in list_controls(workspace):
            workspace = remove_control(control.scope, control.slug, control.path)(workspace)
        return workspace

    edit(world.store, clear, clock=world.clock, keyring=world._keyring, actor="test")
    world.watch.refresh()


def call(world: PublicApiServer, method: str, path: str, body: object = None) -> Any:
    """Return the data of a call, or its status if it is an error."""
    response = world.request(method, CALL + path, None if body is None else json.dumps(body).encode())
    return response.json()["data"] if response.status == 200 else response.status


def controls(world: PublicApiServer) -> list[tuple[str, str, str, str]]:
    """Return all controls as the API lists them."""
    return [(each["scope"], each["id"], each["path"], each["action"]) for each in call(world, "GET", "")["controls"]]


@pytest.fixture
def owner(world: PublicApiServer) -> FormBrowser:
    """The App as an owner sees it."""
    browser = FormBrowser(world)
    browser.sign_in("owner@acme.example")
    return browser


def test_the_api_sets_replaces_and_removes_controls(world: PublicApiServer) -> None:
    body = {"path": "properties.card", "action": "mask"}
    assert call(world, "PUT", "/source/website", body)["control"] == {"scope": "source", "id": "website", **body}
    call(world, "PUT", "/destination/hook", {"path": "properties.card", "action": "hash"})
    call(world, "PUT", "/source/website", {"path": "properties.card", "action": "drop"})
    assert controls(world) == [
        ("source", "website", "properties.card", "drop"),
        ("destination", "hook", "properties.card", "hash"),
    ]
    assert call(world, "DELETE", "/source/website?path=properties.card") == {"status": "SUCCESS"}
    assert call(world, "DELETE", "/source/website?path=properties.card") == 404
    assert controls(world) == [("destination", "hook", "properties.card", "hash")]


@pytest.mark.parametrize(
    ("place", "body", "status"),
    [
        ("/source/nowhere", {"path": "properties.card", "action": "mask"}, 404),
        ("/workspace/website", {"path": "properties.card", "action": "mask"}, 400),
        ("/source/website", {"path": "card", "action": "mask"}, 422),
        ("/source/website", {"path": "properties." + "x" * 300, "action": "mask"}, 422),
        ("/source/website", {"path": "properties.card", "action": "allow"}, 400),
        ("/source/website", {"path": "properties.card"}, 400),
    ],
)
def test_what_is_no_control_is_refused(world: PublicApiServer, place: str, body: object, status: int) -> None:
    assert call(world, "PUT", place, body) == status
    assert call(world, "POST", f"{place}/preview", body) == status
    assert controls(world) == []


def test_only_owners_change_controls(world: PublicApiServer) -> None:
    with world.store.unit_of_work() as work:
        token = create_token(work, "editor", clock=world.clock, role=Role.EDITOR)
    body = json.dumps({"path": "properties.card", "action": "mask"}).encode()
    for method, place, status in (
        ("PUT", "/source/website", 403),
        ("DELETE", "/source/website?path=properties.card", 403),
        ("POST", "/source/website/preview", 200),
    ):
        content = None if method == "DELETE" else body
        headers = {"Authorization": f"Bearer {token}"}
        assert world.request(method, CALL + place, content, headers=headers).status == status
    browser = FormBrowser(world)
    browser.sign_in("editor@acme.example")
    assert browser.post("/privacy/controls/source/website", path="properties.card", action="mask").status == 403
    page = browser.get("/privacy/controls")
    assert page.status == 200
    assert "Add control" not in page.text


@pytest.mark.parametrize(
    ("place", "action", "after", "changed"),
    [
        ("/source/website", "mask", "••••4567", 2),
        ("/source/website", "drop", None, 2),
        ("/destination/perkville", "mask", "••••4567", 3),
    ],
)
def test_a_preview_shows_values_masked_and_changes_nothing(
    world: PublicApiServer, place: str, action: str, after: str | None, changed: int
) -> None:
    preview = call(world, "POST", f"{place}/preview", {"path": "properties.phone", "action": action})["preview"]
    assert (preview["events"], preview["changed"]) == (max(changed, 2), changed)
    assert {(sample["before"], sample["after"]) for sample in preview["samples"]} == {("••••4567", after)}
    assert PHONE not in json.dumps(preview)
    assert all(each["awardsBefore"] == each["awardsAfter"] for each in preview["awards"])
    assert controls(world) == []


@pytest.mark.parametrize("place", ["/source/website", "/destination/perkville"])
def test_a_preview_counts_awards_that_would_be_lost(world: PublicApiServer, place: str) -> None:
    body = {"path": "properties.email", "action": "drop"}
    awards = {
        each["destinationId"]: each for each in call(world, "POST", f"{place}/preview", body)["preview"]["awards"]
    }
    assert awards["perkville"]["awardsBefore"] == (2 if place == "/source/website" else 3)
    assert awards["perkville"]["awardsAfter"] == 0


def test_hashes_of_a_preview_are_those_of_later_events(world: PublicApiServer) -> None:
    body = {"path": "properties.card", "action": "hash"}
    call(world, "PUT", "/source/till", body)  # from then on there is a key
    samples = [call(world, "POST", "/source/website/preview", body)["preview"]["samples"] for _ in range(2)]
    assert samples[0] == samples[1]
    assert len(samples[0][0]["after"]) == 32


def test_the_app_previews_saves_undoes_and_removes(world: PublicApiServer, owner: FormBrowser) -> None:
    place = "/privacy/controls/source/website"
    page = owner.get("/privacy/inventory/property?name=properties.card")
    assert f'href="{place}?path=properties.card"' in page.text
    editor = owner.get(f"{place}?path=properties.card")
    assert 'value="allow" checked' in editor.text
    previewed = owner.post(f"{place}/preview", path="properties.card", action="mask")
    assert "2 of 2 events" in previewed.text
    assert "••••1111" in previewed.text
    assert CARD not in previewed.text
    assert controls(world) == []
    assert owner.post(place, path="properties.card", action="mask").headers["location"] == "/privacy/controls"
    listed = owner.get("/privacy/controls").text
    assert "properties.card is masked from the next event on." in listed
    assert "Undo" in listed
    assert 'value="mask" checked' in owner.get(f"{place}?path=properties.card").text
    assert "masked (website)" in owner.get("/privacy/inventory").text
    assert "Masked" in owner.get("/privacy/inventory/property?name=properties.card").text
    owner.post(place, path="properties.card", action="allow")
    assert controls(world) == []
    assert (
        "is allowed already"
        in owner.get(owner.post(place, path="properties.card", action="allow").headers["location"]).text
    )


def test_what_is_typed_wrong_is_shown_beside_its_field(world: PublicApiServer, owner: FormBrowser) -> None:
    place = "/privacy/controls/destination/hook"
    assert "Begin with properties." in owner.post(f"{place}/preview", path="card", action="mask").text
    refused = owner.post(place, path="card", action="mask")
    assert refused.status == 422
    assert "Begin with properties." in refused.text
    assert owner.get("/privacy/controls/source/nowhere?path=properties.card").status == 404
    assert owner.get("/privacy/controls/new?part=destination:hook&path=traits.x").headers["location"] == (
        f"{place}?path=traits.x"
    )


def test_a_form_from_before_another_change_is_refused(world: PublicApiServer, owner: FormBrowser) -> None:
    place = "/privacy/controls/source/website"
    revision = world.watch.refresh().revision
    call(world, "PUT", "/source/website", {"path": "properties.phone", "action": "drop"})
    refused = owner.post(place, path="properties.card", action="mask", _revision=str(revision))
    assert refused.status == 422
    assert controls(world) == [("source", "website", "properties.phone", "drop")]


def test_what_the_config_file_manages_is_read_only(world: PublicApiServer, owner: FormBrowser) -> None:
    described = read_content(CONFIG_WITH_HOOK.encode(), "file", environment={})
    apply(world.store, described, clock=world.clock, keyring=world._keyring, actor="config file", from_file=True)
    world.watch.refresh()
    assert call(world, "PUT", "/source/website", {"path": "properties.card", "action": "mask"}) == 409
    editor = owner.get("/privacy/controls/source/website?path=properties.card").text
    assert "managed by file" in editor
    assert ">Save<" not in editor
    assert ">Preview<" in editor


def test_the_command_line_does_the_same(
    world: PublicApiServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PUNCHCARD_DATA", str(Path(world.store.sqlite_path or "").parent))
    monkeypatch.setenv("PUNCHCARD_SECRET_KEY", "the key of a test")

    def command(line: str, status: int = 0) -> str:
        assert run(["privacy", "controls", *line.split()]) == status
        printed = capsys.readouterr()
        return printed.out if status == 0 else printed.err

    assert "No controls" in command("list")
    # The events of this world are older than the command's clock.
    assert "0 of 0 events of the last 7 days" in command("preview mask properties.phone --source website")
    assert "hash" in command("set hash properties.phone --destination hook")
    assert "used by the amounts of awards" in command("set drop properties.revenue --source website")
    assert json.loads(command("list --json").splitlines()[1])["id"] == "hook"
    command("remove properties.phone --destination hook")
    assert controls(world) == [("source", "website", "properties.revenue", "drop")]
    assert "There is no control" in command("remove properties.phone --destination hook", 2)
    assert "either --source or --destination" in command("set drop properties.phone", 2)


@pytest.mark.parametrize("scope", ["source", "destination"])
def test_the_edits_keep_everything_else(scope: str) -> None:
    workspace = Workspace(
        sources=(Source(slug="a", name="A", write_keys=("k",)),),
        destinations=(Destination(slug="a", type="perkville", sources=("a",)),),
    )
    changes: list[Callable[[Workspace], Workspace]] = [
        set_control(PropertyControl(scope=scope, slug="a", path="properties.x", action="mask")),
        set_control(PropertyControl(scope=scope, slug="a", path="properties.y", action="mask")),
        set_control(PropertyControl(scope=scope, slug="a", path="properties.x", action="hash")),
    ]
    changed = workspace
    for change in changes:
        changed = change(changed)
    assert [(each.scope, each.path, each.action) for each in list_controls(changed)] == [
        (scope, "properties.x", "hash"),
        (scope, "properties.y", "mask"),
    ]
    assert changes[2](changed) == changed
    sentences = [text for part in describe_changes(workspace, changed) for text in part.sentences]
    assert sentences == [
        f"Control of properties.x at {scope} {'A' if scope == 'source' else 'Perkville'}: allowed → hashed",
        f"Control of properties.y at {scope} {'A' if scope == 'source' else 'Perkville'}: allowed → masked",
    ]
    for path in ("properties.x", "properties.y"):
        changed = remove_control(scope, "a", path)(changed)
    assert changed == workspace
