"""Lost passwords: a link by mail for one use and one hour, and nothing that shows which emails have an account."""

import re
from collections.abc import Iterator

import pytest
from tests.contract.mail_server import MailServer

from punchcard.store.access.audit import AuditQuery, list_events
from punchcard.store.access.operators import operator_by_email
from punchcard.testing.operators import FormBrowser, PageResponse, add_operators
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.waiting import wait_until

CHANNEL = '[[alert_channels]]\nname = "ops"\nurl = "{url}"\n'
WITHOUT_MAIL = '[workspace]\nname = "Acme"\n'
NEW_PASSWORD = "a whole new password"
QUARTER_SECONDS = 15 * 60 + 1


@pytest.fixture(scope="module")
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture(scope="module")
def shared_world(tmp_path_factory: pytest.TempPathFactory, mail_server: MailServer) -> Iterator[PublicApiServer]:
    folder = tmp_path_factory.mktemp("lost")
    config = CHANNEL.format(url=mail_server.url)
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", config) as server:
        add_operators(server)
        yield server


@pytest.fixture
def world(shared_world: PublicApiServer) -> PublicApiServer:
    """The shared server, after the limits of an earlier test have ended."""
    shared_world.clock.advance(QUARTER_SECONDS)
    return shared_world


def request_link(browser: FormBrowser, email: str, host: str = "") -> PageResponse:
    return browser.send("POST", "/lost-password", {"email": email}, headers={"Host": host} if host else None)


def mailed_link(world: PublicApiServer, mail_server: MailServer, email: str) -> str:
    """Request a link; return its path as it was mailed."""
    count = len(mail_server.mails)
    assert request_link(FormBrowser(world), email).status == 200
    (mail,) = wait_until(lambda: mail_server.mails[count:])
    assert (mail["To"], mail["Subject"]) == (email, "[Punchcard] Choose a new password")
    matched = re.search(rf"http://127\.0\.0\.1:{world.port}(/new-password/[\w-]+)", mail.get_content())
    assert matched
    return matched[1]


def test_the_link_sets_the_password_once_and_ends_every_session(
    world: PublicApiServer, mail_server: MailServer
) -> None:
    signed_in = FormBrowser(world)
    assert signed_in.sign_in("editor@acme.example").status == 303
    for _ in range(9):
        FormBrowser(world).sign_in("editor@acme.example", "forgotten")
    path = mailed_link(world, mail_server, "editor@acme.example")
    browser = FormBrowser(world)
    assert 'value="editor@acme.example"' in browser.get(path).text
    short = browser.send("POST", path, {"password": "short"})
    assert (short.status, "at least 12 characters" in short.text) == (422, True)
    assert signed_in.get("/").status == 200
    changed = browser.send("POST", path, {"password": NEW_PASSWORD})
    assert (changed.status, changed.headers["location"]) == (303, "/sign-in")
    assert "Your password was changed" in browser.get("/sign-in").text
    assert browser.get("/").status == 303  # the second factor is asked for at the usual place
    assert signed_in.get("/").status == 303
    assert browser.send("POST", path, {"password": "yet another password"}).status == 404
    assert browser.get(path).status == 404
    assert browser.sign_in("editor@acme.example", NEW_PASSWORD).status == 303
    with world.store.reading() as work:
        operator = operator_by_email(work, "editor@acme.example")
        assert operator is not None
        events = list_events(work, AuditQuery(resource_id=operator.id), count=10)
    assert [(event.actor, "password_reset" in event.changes) for event in events] == [
        ("operator editor@acme.example", False),
        ("lost password page", True),
    ]


@pytest.mark.parametrize("end", ["expired", "replaced", "password changed"])
def test_a_link_that_has_ended_changes_nothing(world: PublicApiServer, mail_server: MailServer, end: str) -> None:
    owner = FormBrowser(world)
    password = "correct horse battery"
    path = mailed_link(world, mail_server, "owner@acme.example")
    if end == "expired":
        world.clock.advance(3600)
    elif end == "replaced":
        assert mailed_link(world, mail_server, "owner@acme.example") != path
    else:
        owner.sign_in("owner@acme.example")
        assert owner.post("/settings/password", current=password, new=password).status == 303
    refused = FormBrowser(world).send("POST", path, {"password": NEW_PASSWORD})
    assert (refused.status, "This link is not valid" in refused.text) == (404, True)
    assert FormBrowser(world).sign_in("owner@acme.example", password).status == 303


def test_an_unknown_email_gets_the_same_response_and_no_mail(world: PublicApiServer, mail_server: MailServer) -> None:
    browser = FormBrowser(world)
    count = len(mail_server.mails)
    unknown = request_link(browser, "nobody@acme.example")
    known = request_link(browser, "owner@acme.example")
    assert (unknown.status, unknown.text.replace("nobody@", "")) == (known.status, known.text.replace("owner@", ""))
    # The links are sent one after the other, so the second mail proves that there was no first one.
    wait_until(lambda: len(mail_server.mails) > count)
    assert [mail["To"] for mail in mail_server.mails[count:]] == ["owner@acme.example"]


def test_neither_a_person_nor_the_mail_server_is_flooded(world: PublicApiServer, mail_server: MailServer) -> None:
    browser = FormBrowser(world)
    count = len(mail_server.mails)
    emails = ["read_only@acme.example"] * 9 + ["owner@acme.example"] * 3
    assert [request_link(browser, email).status for email in emails] == [200] * 10 + [429] * 2
    # The links are sent one after the other.
    wait_until(lambda: any(mail["To"] == "owner@acme.example" for mail in mail_server.mails[count:]))
    assert [mail["To"] for mail in mail_server.mails[count:]].count("read_only@acme.example") == 3


def test_a_mail_that_is_refused_harms_no_other(world: PublicApiServer, mail_server: MailServer) -> None:
    mail_server.refusals = 1
    assert request_link(FormBrowser(world), "read_only@acme.example").status == 200
    wait_until(lambda: mail_server.refusals == 0)
    assert mailed_link(world, mail_server, "owner@acme.example")


def test_what_is_not_an_email_is_refused(world: PublicApiServer) -> None:
    page = request_link(FormBrowser(world), "no address")
    assert (page.status, "This is not an email address." in page.text) == (422, True)


def test_without_a_mail_server_the_page_names_the_command(world: PublicApiServer, mail_server: MailServer) -> None:
    world.configure(WITHOUT_MAIL)
    try:
        page = FormBrowser(world).get("/lost-password")
        assert "punchcard user reset" in page.text
        assert 'name="email"' not in page.text
        assert "punchcard user reset" in request_link(FormBrowser(world), "owner@acme.example").text
    finally:
        world.configure(CHANNEL.format(url=mail_server.url))


def test_no_link_is_mailed_to_a_host_that_the_sender_of_the_form_chose(
    world: PublicApiServer, mail_server: MailServer
) -> None:
    count = len(mail_server.mails)
    page = request_link(FormBrowser(world), "owner@acme.example", host="evil.localhost")
    assert "PUNCHCARD_PUBLIC_URL" in page.text
    mailed_link(world, mail_server, "owner@acme.example")
    assert "evil" not in "".join(mail.get_content() for mail in mail_server.mails[count:])
