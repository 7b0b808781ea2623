"""Files for static lists through App, Public API and command line, by operators of both roles."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from punchcard.app import app as app_module
from punchcard.cli.running import run
from punchcard.testing.operators import FormBrowser, add_operators, signed_in
from punchcard.testing.public_api import PublicApiServer

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[audiences]]
name = "VIP members"
key = "vip"
definition = "list('vip')"

[[audiences]]
name = "Regulars"
definition = "event('Checked In').count() >= 1"
"""
PATH = "/api/spaces/punchcard/audiences/vip"
FILE = b"Name,E-Mail\nAnn,ann@gym.com\nBen,BEN@gym.com\nBen,ben@gym.com\nCid,nothing\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as made:
        add_operators(made)
        event = {"messageId": "m1", "userId": "ann", "event": "Checked In", "properties": {"email": "ann@gym.com"}}
        made.send(event)
        made.route()
        made.feed_lake()
        made.engage()
        yield made


@pytest.fixture
def editor(server: PublicApiServer) -> FormBrowser:
    return signed_in(server, "editor")


@pytest.fixture
def viewer(server: PublicApiServer) -> FormBrowser:
    return signed_in(server, "read_only")


def members(server: PublicApiServer) -> set[str]:
    server.engage()
    customers = server.request("GET", "/api/customers?trait=vip&value=true").json()["data"]["customers"]
    return {id_["id"] for customer in customers for id_ in customer["externalIds"] if id_["type"] == "email"}


def test_an_upload_is_previewed_saved_and_downloaded_in_the_app(
    server: PublicApiServer, editor: FormBrowser, viewer: FormBrowser
) -> None:
    sent = editor.upload("/audiences/vip/uploads", FILE)
    assert sent.status == 303, sent.text
    page = editor.get(sent.headers["location"])
    for text in ("ann@gym.com", "ben@gym.com", "1 duplicate, 1 not valid", "This is not an email address.", "1 new"):
        assert text in page.text
    assert "2 enter, 0 leave" in page.text
    assert members(server) == set()
    seen_by_viewer = viewer.get(sent.headers["location"]).text
    assert "ann@gym.com" in seen_by_viewer
    assert "/save" not in seen_by_viewer
    saved = editor.post(sent.headers["location"] + "/save", mode="replace")
    assert saved.status == 303
    assert members(server) == {"ann@gym.com", "ben@gym.com"}
    assert "In the list" in viewer.get("/audiences/vip/list").text
    assert viewer.get("/exports/lists/vip").text.split() == ["email", "ann@gym.com", "ben@gym.com"]
    audit = server.request("GET", "/api/audit-events").json()["data"]["events"]
    assert any("list.csv, 2 ids" in json.dumps(event) for event in audit)


def test_a_discarded_file_changes_nothing(server: PublicApiServer, editor: FormBrowser) -> None:
    before = members(server)
    path = editor.upload("/audiences/vip/uploads", b"email\neve@gym.com\n").headers["location"]
    assert editor.post(path + "/discard").headers["location"] == "/audiences/vip/list"
    assert editor.post(path + "/save", mode="replace").status == 422
    assert members(server) == before


@pytest.mark.parametrize(
    ("content", "form", "text"),
    [
        (b"", {}, "The file is empty"),
        (b"name\nAnn\n", {}, "Name the column"),
        (b"email\nann@gym.com\n", {"column": "Mail"}, "There is no column"),
        (b"email\nann@gym.com\n", {"type": "phone"}, "The type is email or user_id"),
    ],
)
def test_a_file_that_cannot_be_used_is_explained(
    editor: FormBrowser, content: bytes, form: dict[str, str], text: str
) -> None:
    page = editor.upload("/audiences/vip/uploads", content, **form)
    assert page.status == 422
    assert text in page.text


def test_who_may_not_upload_is_refused_before_the_file_is_read(server: PublicApiServer, viewer: FormBrowser) -> None:
    for browser in (viewer, FormBrowser(server)):
        assert browser.upload("/audiences/vip/uploads", FILE).status == 403
    assert viewer.upload("/audiences/vip/edit", b"x" * (app_module._BODY_BYTES_MAX + 1)).status == 413
    assert "data-upload" not in viewer.get("/audiences/vip/list").text


def test_a_static_list_is_made_and_renamed_in_the_app(server: PublicApiServer, editor: FormBrowser) -> None:
    assert "line-joined" not in editor.get("/audiences/new?kind=list").text
    form = {"kind": "audience", "static": "on", "name": "Founders", "enabled": "on", "send": "identify"}
    assert editor.post("/audiences/new", **form).headers["location"] == "/audiences/founders/list"
    audience = server.request("GET", "/api/spaces/punchcard/audiences/founders").json()["data"]["audience"]
    assert audience["definition"]["query"] == "list('founders')"
    assert editor.post("/audiences/new", **form).status == 422
    page = editor.get("/audiences/founders/edit").text
    assert 'name="definition" value="list(&#39;founders&#39;)"' in page
    renamed = {**form, "name": "First members", "definition": "list('founders')"}
    assert editor.post("/audiences/founders/edit", **renamed).status == 303
    assert "First members" in editor.get("/audiences").text
    assert editor.post("/audiences/founders/edit", **{**renamed, "definition": "list('vip')"}).status == 422
    assert editor.post("/audiences/founders/remove").status == 303


def test_the_api_uploads_saves_and_lists(server: PublicApiServer) -> None:
    staged = server.request("POST", f"{PATH}/uploads?fileName=new.csv", b"email\nann@gym.com\nfay@gym.com\n")
    upload = staged.json()["data"]["upload"]
    assert (upload["status"], upload["ids"], upload["known"], upload["fileName"]) == ("staged", 2, 1, "new.csv")
    saved = server.request("POST", f"{PATH}/uploads/{upload['id']}/save", b'{"mode": "add"}').json()["data"]["upload"]
    assert (saved["status"], saved["mode"]) == ("active", "add")
    assert "fay@gym.com" in members(server)
    assert server.request("GET", f"{PATH}/uploads/{upload['id']}").json()["data"]["upload"] == saved
    listed = server.request("GET", f"{PATH}/uploads").json()["data"]["uploads"]
    assert upload["id"] in {each["id"] for each in listed}
    assert b"fay@gym.com" in server.request("GET", f"{PATH}/list").body
    once = server.request("POST", f"{PATH}/uploads?mode=replace&column=No&type=user_id", b"No\nu1\n")
    assert once.json()["data"]["upload"]["status"] == "active"
    assert members(server) == set(), "the new customer has no email"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", f"{PATH}/uploads", b"", 422),
        ("POST", f"{PATH}/uploads?mode=merge", b"email\n", 400),
        ("POST", "/api/spaces/punchcard/audiences/regulars/uploads", b"email\na@b.com\n", 422),
        ("POST", "/api/spaces/punchcard/audiences/none/uploads", b"email\na@b.com\n", 404),
        ("GET", f"{PATH}/uploads/none", None, 404),
        ("DELETE", f"{PATH}/uploads/none", None, 404),
    ],
)
def test_errors_of_the_api(server: PublicApiServer, method: str, path: str, body: bytes | None, status: int) -> None:
    response = server.request(method, path, body)
    assert response.status == status, response
    assert response.error["message"]


def test_the_command_makes_and_fills_a_list(
    server: PublicApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUNCHCARD_DATA", str(Path(server.lake_location).parent))
    file = tmp_path / "gold.csv"
    file.write_bytes(FILE)
    assert run(["audience", "upload", "Gold members", str(file), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "2 emails, 1 duplicate, 1 not valid" in printed
    assert "line 5: This is not an email address." in printed
    assert "would add 2 and remove 0" in printed
    assert run(["audience", "uploads", "gold_members"]) == 2
    assert run(["audience", "upload", "Gold members", str(file), "--json"]) == 0
    body = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (body["status"], body["mode"], body["ids"]) == ("active", "replace", 2)
    assert run(["audience", "upload", "gold_members", str(file), "--add"]) == 0
    assert "Saved Gold members (gold_members): 0 added, 0 removed." in capsys.readouterr().out
    assert run(["audience", "upload", "gold_members", str(tmp_path / "none.csv")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert run(["audience", "upload", "regulars", str(file)]) == 2
    exported = "definition = \"list('gold_members')\""
    assert run(["export"]) == 0
    text = capsys.readouterr().out
    assert exported in text
    assert "ann@gym.com" not in text, "the entries of a list are data"
