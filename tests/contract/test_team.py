"""Inviting people: by App, Public API and command line, with a link that is mailed or copied, and works once."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.mail_server import MailServer

from punchcard.cli.running import run
from punchcard.store.access.audit import AuditQuery, list_events
from punchcard.store.access.operators import find_operator, list_operators, operator_by_email
from punchcard.store.access.token_store import Role, create_token
from punchcard.testing.operators import PASSWORD, FormBrowser, add_operators, signed_in
from punchcard.testing.public_api import PublicApiServer

SOURCE = '[[sources]]\nslug = "website"\nwrite_key = "wk_website"\n'
CHANNEL = '[[alert_channels]]\nname = "ops"\nurl = "{url}"\nseverity = "critical"\n'
WEEK_SECONDS = 7 * 86_400


@pytest.fixture(scope="module")
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicApiServer]:
    """One server for all tests: each invites persons of its own."""
    folder = tmp_path_factory.mktemp("team")
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", SOURCE) as server:
        add_operators(server)
        yield server


@pytest.fixture
def owner(world: PublicApiServer) -> FormBrowser:
    return signed_in(world, "owner")


@pytest.fixture
def mailed(world: PublicApiServer, mail_server: MailServer) -> Iterator[MailServer]:
    """The mail server of an alert channel."""
    world.configure(SOURCE + CHANNEL.format(url=f"{mail_server.url}&cc=boss@example.com"))
    yield mail_server
    mail_server.refusals = 0
    world.configure(SOURCE)


def link_of(text: str) -> str:
    """The path of the link in a page or a mail."""
    matched = re.search(r"http://[^\s<]+(/join/[\w-]+)", text)
    assert matched, text
    return matched[1]


def invite(owner: FormBrowser, email: str, role: Role = Role.EDITOR) -> str:
    """Invite in the App; return the path of the link."""
    page = owner.post("/settings/team/invitations", email=email, role=role)
    assert page.status == 200
    return link_of(page.text)


def audit_of(world: PublicApiServer, email: str) -> list[tuple[str, str, str]]:
    """Actor, kind and type of all audit events that name an email or the operator of it, oldest first."""
    with world.store.reading() as work:
        operator = operator_by_email(work, email)
        events = list_events(work, AuditQuery(), count=1000)
    return [
        (event.actor, event.kind, event.resource_type)
        for event in reversed(events)
        if email in event.changes or (operator and event.resource_id == operator.id)
    ]


def test_an_invited_person_chooses_name_and_password_and_is_signed_in(
    world: PublicApiServer, owner: FormBrowser
) -> None:
    path = invite(owner, " Ann@Acme.example ")
    assert "ann@acme.example" in owner.get("/settings/team").text
    ann = FormBrowser(world)
    page = ann.get(path)
    assert (page.status, 'value="ann@acme.example"' in page.text) == (200, True)
    assert page.headers["referrer-policy"] == "same-origin"
    for form, message in [
        ({"name": "", "password": PASSWORD}, "Enter your name."),
        ({"name": "Ann", "password": "short"}, "at least 12 characters"),
    ]:
        refused = ann.send("POST", path, form)
        assert (refused.status, message in refused.text) == (422, True)
    joined = ann.send("POST", path, {"name": "Ann", "password": PASSWORD})
    assert joined.headers["location"] == "/"
    assert "Welcome, Ann. Your role is Editor." in ann.get("/").text
    assert ann.get("/settings/team").status == 403
    with world.store.reading() as work:
        operator = operator_by_email(work, "ann@acme.example")
    assert operator is not None
    assert operator.role is Role.EDITOR
    assert FormBrowser(world).sign_in("ann@acme.example").status == 303
    assert audit_of(world, "ann@acme.example") == [
        ("operator owner@acme.example", "add", "invitation"),
        ("operator ann@acme.example", "add", "operator"),
    ]
    assert "ann@acme.example</strong>" not in owner.get("/settings/team").text


def test_a_link_works_once(world: PublicApiServer, owner: FormBrowser) -> None:
    path = invite(owner, "bea@acme.example")
    form = {"name": "Bea", "password": PASSWORD}
    assert FormBrowser(world).send("POST", path, form).status == 303
    second = FormBrowser(world)
    assert second.get(path).status == 404
    refused = second.send("POST", path, {**form, "name": "Mallory"})
    assert (refused.status, "This link is not valid" in refused.text) == (404, True)
    assert second.get("/").status == 303
    with world.store.reading() as work:
        assert [operator.name for operator in list_operators(work) if operator.email == "bea@acme.example"] == ["Bea"]


@pytest.mark.parametrize("end", ["expired", "revoked", "replaced", "added meanwhile"])
def test_a_link_that_has_ended_makes_nobody_an_operator(world: PublicApiServer, owner: FormBrowser, end: str) -> None:
    email = f"{end.replace(' ', '-')}@acme.example"
    path = invite(owner, email)
    if end == "expired":
        world.clock.advance(WEEK_SECONDS)
        owner.sign_in("owner@acme.example")
        assert "Expired" in owner.get("/settings/team").text
    elif end == "revoked":
        row = next(row for row in owner.get("/settings/team").text.split("<tr>") if email in row)
        id_ = re.search(r'revoke.*name="id" value="([^"]+)"', row, re.DOTALL)
        assert id_
        assert owner.post("/settings/team/invitations/revoke", id=id_[1]).status == 303
        assert owner.post("/settings/team/invitations/revoke", id=id_[1]).status == 404
        assert audit_of(world, email)[-1] == ("operator owner@acme.example", "remove", "invitation")
    elif end == "replaced":
        assert invite(owner, email) != path
    else:
        added = owner.post("/settings/team", email=email, name="Added", role="read_only", password=PASSWORD)
        assert added.status == 303
    stranger = FormBrowser(world)
    assert stranger.send("POST", path, {"name": "Late", "password": PASSWORD}).status == 404
    assert stranger.get("/").headers["location"] == "/sign-in"
    with world.store.reading() as work:
        assert "Late" not in [operator.name for operator in list_operators(work)]


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"email": "no address", "role": "editor"}, "is not an email address"),
        ({"email": "editor@acme.example", "role": "owner"}, "is an operator already"),
        ({"email": "new@acme.example", "role": "king"}, "Choose a role."),
    ],
)
def test_an_invitation_that_is_not_possible_is_refused_beside_its_field(
    owner: FormBrowser, form: dict[str, str], message: str
) -> None:
    page = owner.post("/settings/team/invitations", **form)
    assert (page.status, message in page.text) == (422, True)
    assert "/join/" not in page.text


@pytest.mark.parametrize("path", ["/settings/team/invitations", "/settings/team/invitations/revoke"])
def test_only_owners_invite(world: PublicApiServer, path: str) -> None:
    editor = FormBrowser(world)
    editor.sign_in("editor@acme.example")
    assert editor.post(path, email="new@acme.example", role="owner", id="x").status == 403


def test_the_link_is_mailed_to_the_invited_person_alone(owner: FormBrowser, mailed: MailServer) -> None:
    count = len(mailed.mails)
    page = owner.post("/settings/team/invitations", email="cleo@acme.example", role="owner")
    assert "The link was sent by mail." in page.text
    (mail,) = mailed.mails[count:]
    assert (mail["To"], mail["Cc"], mail["From"]) == ("cleo@acme.example", None, "punchcard@example.com")
    assert mail["Subject"] == "[Punchcard] You are invited to My workspace"
    text = mail.get_content()
    assert link_of(text) == link_of(page.text)
    assert "with the role Owner" in text


def test_a_mail_that_is_refused_leaves_the_link_to_copy(owner: FormBrowser, mailed: MailServer) -> None:
    mailed.refusals = 1
    page = owner.post("/settings/team/invitations", email="dan@acme.example", role="editor")
    assert "The mail was not sent" in page.text
    assert owner.get(link_of(page.text)).status == 200


def test_the_api_invites_lists_and_revokes_as_segment_does(world: PublicApiServer) -> None:
    def call(method: str, target: str, content: object = None) -> tuple[int, Any]:
        body = None if content is None else json.dumps(content).encode()
        response = world.request(method, f"/api{target}", body, headers={"Content-Type": "application/json"})
        return response.status, response.json().get("data") or response.json()["errors"][0]

    permissions = [{"roleId": "read_only", "resources": [{"type": "WORKSPACE", "id": "w"}]}, {"roleId": "editor"}]
    invites = [{"email": "Eve@api.example", "permissions": permissions}, {"email": "fay@api.example"}]
    status, data = call("POST", "/invites", {"invites": invites})
    assert (status, data["emails"]) == (201, ["eve@api.example", "fay@api.example"])
    assert [(view["roleId"], view["isMailed"]) for view in data["invites"]] == [("editor", False), ("read_only", False)]
    joining = FormBrowser(world)
    path = link_of(data["invites"][0]["url"])
    assert joining.send("POST", path, {"name": "Eve", "password": PASSWORD}).status == 303
    _, page = call("GET", "/invites?pagination%5Bcount%5D=200")
    assert "fay@api.example" in page["invites"]
    assert "eve@api.example" not in page["invites"]
    # As Segment's client writes it; and as OpenAPI has it.
    assert call("DELETE", "/invites?emails%5B0%5D=fay%40api.example") == (200, {"status": "SUCCESS"})
    assert call("DELETE", "/invites")[0] == 400
    assert call("DELETE", "/invites?emails=fay@api.example")[0] == 404
    assert audit_of(world, "fay@api.example") == [
        ("token test", "add", "invitation"),
        ("token test", "remove", "invitation"),
    ]
    roles = call("GET", "/roles")[1]["roles"]
    assert [role["id"] for role in roles] == ["editor", "owner", "read_only"]


@pytest.mark.parametrize(
    ("invites", "status", "field"),
    [
        ([], 400, "invites"),
        ([{"email": "ok@api.example"}, {"email": "not one"}], 400, "email"),
        ([{"email": "ok@api.example"}, {"email": "owner@acme.example"}], 422, "email"),
        ([{"email": "ok@api.example", "permissions": [{"roleId": "king"}]}], 400, "role"),
        (
            [{"email": "ok@api.example", "permissions": [{"roleId": "owner", "resources": [{"type": "SOURCE"}]}]}],
            422,
            "resources",
        ),
    ],
    ids=["none", "no email", "an operator", "no role", "a resource"],
)
def test_the_api_invites_all_or_none(world: PublicApiServer, invites: object, status: int, field: str) -> None:
    body = json.dumps({"invites": invites}).encode()
    response = world.request("POST", "/api/invites", body, headers={"Content-Type": "application/json"})
    assert (response.status, response.error["field"]) == (status, field)
    assert "ok@api.example" not in world.request("GET", "/api/invites").json()["data"]["invites"]


def test_only_owners_tokens_see_and_make_invites(world: PublicApiServer) -> None:
    with world.store.unit_of_work() as work:
        token = create_token(work, "editing", clock=world.clock, role=Role.EDITOR)
    for method in ("GET", "POST", "DELETE"):
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        assert world.request(method, "/api/invites?emails=x", b"{}", headers=headers).status == 403


def test_the_command_prints_a_link_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PUNCHCARD_DATA", str(tmp_path))
    monkeypatch.delenv("PUNCHCARD_DATABASE_URL", raising=False)
    with MailServer() as mail_server:
        config = SOURCE + CHANNEL.format(url=mail_server.url)
        with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", config) as world:
            add_operators(world)
            assert (
                run(["user", "invite", "gus@acme.example", "--role", "owner", "--url", "https://points.example/"]) == 0
            )
            printed = capsys.readouterr().out
            link = re.search(r"^https://points\.example(/join/\S+)$", printed, re.MULTILINE)
            assert link, printed
            assert FormBrowser(world).get(link[1]).status == 200
            assert mail_server.mails == []
            assert run(["user", "invite", "gus@acme.example", "--mail"]) == 0
            (mail,) = mail_server.mails
            assert mail["To"] == "gus@acme.example"
            assert link_of(mail.get_content()) in capsys.readouterr().out
            mail_server.refusals = 1
            assert run(["user", "invite", "gus@acme.example", "--mail"]) == 1
            assert "/join/" in capsys.readouterr().out
            assert run(["user", "invite", "owner@acme.example"]) == 2
            assert "is an operator already" in capsys.readouterr().err
            assert run(["user", "invite", "x@acme.example", "--role", "king"]) == 2


def test_another_role_ends_the_sessions_of_the_operator_but_not_the_owners_own(
    world: PublicApiServer, owner: FormBrowser
) -> None:
    path = invite(owner, "hal@acme.example", Role.OWNER)
    hal, elsewhere = FormBrowser(world), FormBrowser(world)
    assert hal.send("POST", path, {"name": "Hal", "password": PASSWORD}).status == 303
    elsewhere.sign_in("hal@acme.example")
    with world.store.reading() as work:
        operator = operator_by_email(work, "hal@acme.example")
    assert operator is not None
    assert hal.post("/settings/team/role", id=operator.id, role="editor").headers["location"] == "/settings"
    assert hal.get("/settings").status == 200
    assert hal.get("/settings/team").status == 403
    assert elsewhere.get("/").status == 303
    assert owner.post("/settings/team/role", id=operator.id, role="read_only").status == 303
    assert hal.get("/").status == 303
    with world.store.reading() as work:
        stored = find_operator(work, operator.id)
    assert stored is not None
    assert stored.role is Role.READ_ONLY


@pytest.mark.parametrize("path", ["/settings/team", "/settings/team/invitations"])
def test_a_forged_role_gets_a_sentence_for_people(owner: FormBrowser, path: str) -> None:
    form = {"email": "forged@acme.example", "name": "Forged", "password": PASSWORD, "role": "superuser" * 20}
    refused = owner.post(path, **form)
    assert (refused.status, "Choose a role." in refused.text) == (422, True)
    assert "read_only, editor" not in refused.text  # names of the Public API
    assert "superuser" * 5 not in refused.text


def test_an_operator_who_is_gone_is_named_as_such_with_the_way_to_the_others(owner: FormBrowser) -> None:
    for path in ("/settings/team/role", "/settings/team/remove", "/settings/team/reset-two-factor"):
        refused = owner.post(path, id="gone", role="editor")
        assert (refused.status, "Settings &gt; Team" in refused.text) == (404, True), path
