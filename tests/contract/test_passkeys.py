"""Passkeys: who has one signs in without a password, nobody else does with it, and there is a way back for people."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.contract.passkey_world import (
    CODES,
    LocalBrowser,
    Person,
    changes_of,
    enter_password,
    message_of,
    options_of,
    running_app,
    sign_in,
    state_of,
)

from punchcard.cli.running import run
from punchcard.operations.passkeys import PASSKEYS_MAX, RelyingParty
from punchcard.store.access.passkeys import list_passkeys
from punchcard.testing.authenticator import Authenticator
from punchcard.testing.operators import PASSWORD, FormBrowser
from punchcard.testing.public_api import PublicApiServer


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    """A server that browsers reach at localhost."""
    with running_app(tmp_path) as server:
        yield server


def test_a_passkey_signs_in_without_a_password(world: PublicApiServer) -> None:
    ann = Person(world, "ann")
    elsewhere = LocalBrowser(world)
    elsewhere.sign_in(ann.email)
    added = ann.add()
    assert added.status == 200
    assert len(set(ann.codes)) == 10
    assert elsewhere.get("/").status == 303  # the password alone is not enough any more
    browser = LocalBrowser(world)
    assert sign_in(world, ann.device, browser).headers["location"] == "/"
    assert browser.get("/").status == 200
    account = browser.get("/settings/account").text
    assert "by passkey" in account
    assert "My phone" in browser.get("/settings/passkeys").text
    assert changes_of(ann) == ["passkey: None -> My phone"]


def test_a_page_of_this_app_is_shown_after_it(world: PublicApiServer) -> None:
    ada = Person(world, "ada")
    ada.add()
    for following, shown in (("/sources", "/sources"), ("https://evil.example/", "/")):
        browser = LocalBrowser(world)
        page = browser.get(f"/sign-in?next={following}")
        form = {"state": state_of(page), "response": ada.device.sign(options_of(page)), "next": following}
        assert browser.send("POST", "/sign-in/passkey", form).headers["location"] == shown


def test_devices_that_do_not_count_are_accepted_each_time(world: PublicApiServer) -> None:
    bea = Person(world, "bea")
    bea.device.counts = False
    bea.add()
    assert [sign_in(world, bea.device).status for _ in range(2)] == [303, 303]


def test_a_person_has_several_with_names_and_removes_them(world: PublicApiServer) -> None:
    cleo = Person(world, "cleo")
    laptop = Authenticator(origin=cleo.device.origin)
    cleo.add()
    assert cleo.add(laptop, "Laptop").headers["location"] == "/settings/passkeys"
    assert len(json.loads(options_of(cleo.begin()))["excludeCredentials"]) == 2  # no device creates a second one
    assert cleo.device.user_handle == laptop.user_handle
    assert cleo.email.encode() not in laptop.user_handle
    with world.store.reading() as work:
        paths = {passkey.name: f"/settings/passkeys/{passkey.id}" for passkey in list_passkeys(work, cleo.operator.id)}
    path = paths["Laptop"]
    assert cleo.browser.post(path, name=" ").status == 422
    assert cleo.browser.post(path, name="Old laptop").status == 303
    assert cleo.browser.post(f"{path}/remove", password="a guess").status == 422
    assert cleo.browser.post(f"{path}/remove", password=PASSWORD).status == 303
    assert message_of(sign_in(world, laptop)).startswith("This passkey is not known here.")
    assert sign_in(world, cleo.device).status == 303
    assert cleo.browser.post(f"{paths['My phone']}/remove", password=PASSWORD).status == 303
    assert LocalBrowser(world).sign_in(cleo.email).headers["location"] == "/"  # the password is enough again
    assert cleo.browser.get(path).status == 404
    assert changes_of(cleo) == [
        "passkey: None -> My phone",
        "passkey: None -> Laptop",
        "passkey: Laptop -> Old laptop",
        "passkey: Old laptop -> None",
        "passkey: My phone -> None",
    ]


def test_after_a_password_a_passkey_or_a_recovery_code_is_needed(world: PublicApiServer) -> None:
    dan = Person(world, "dan")
    dan.add()
    browser, page = enter_password(dan)
    assert "Or enter a code" in page.text
    form = {"state": state_of(page), "response": dan.device.sign(options_of(page))}
    assert browser.send("POST", "/sign-in/code/passkey", form).headers["location"] == "/sources"
    browser, _ = enter_password(dan)
    assert browser.send("POST", "/sign-in/code", {"code": "000000"}).status == 401
    assert browser.send("POST", "/sign-in/code", {"code": dan.codes[0]}).headers["location"] == "/sources"
    assert "9 recovery codes left" in browser.get("/settings/passkeys").text


def test_recovery_codes_are_replaced_with_the_password(world: PublicApiServer) -> None:
    eve = Person(world, "eve")
    eve.add()
    assert eve.browser.post("/settings/passkeys/codes", password="a guess").status == 422
    codes = CODES.findall(eve.browser.post("/settings/passkeys/codes", password=PASSWORD).text)
    assert len(codes) == 10
    browser, _ = enter_password(eve)
    assert browser.send("POST", "/sign-in/code", {"code": eve.codes[0]}).status == 401
    assert browser.send("POST", "/sign-in/code", {"code": codes[0]}).status == 303


def test_a_second_device_without_a_handle_is_known_after_the_password(world: PublicApiServer) -> None:
    fay = Person(world, "fay")
    fay.add()
    fay.device.sends_handle = False
    browser, page = enter_password(fay)
    form = {"state": state_of(page), "response": fay.device.sign(options_of(page))}
    assert browser.send("POST", "/sign-in/code/passkey", form).status == 303
    assert sign_in(world, fay.device).status == 401


@pytest.mark.parametrize(
    ("url", "id_", "origin", "problem"),
    [
        ("https://Points.Acme.example", "points.acme.example", "https://points.acme.example", ""),
        ("https://points.acme.example:443/app", "points.acme.example", "https://points.acme.example", ""),
        ("https://points.acme.example:8443", "points.acme.example", "https://points.acme.example:8443", ""),
        ("http://localhost:8080", "localhost", "http://localhost:8080", ""),
        ("http://shop.localhost:80", "shop.localhost", "http://shop.localhost", ""),
        ("http://points.acme.example", "points.acme.example", "http://points.acme.example", "need HTTPS"),
        ("http://127.0.0.1:8080", "127.0.0.1", "http://127.0.0.1:8080", "need a host name"),
        ("https://[::1]:8080", "::1", "https://[::1]:8080", "need a host name"),
    ],
)
def test_the_address_decides_who_the_passkeys_are_for(url: str, id_: str, origin: str, problem: str) -> None:
    party = RelyingParty.at(url)
    assert (party.id, party.origin) == (id_, origin)
    assert problem in party.problem
    assert bool(party.problem) == bool(problem)


def test_no_passkeys_where_browsers_have_none(world: PublicApiServer) -> None:
    browser = FormBrowser(world)
    browser.sign_in("editor@acme.example")
    assert "Passkeys need a host name" in browser.get("/settings/passkeys").text
    refused = browser.post("/settings/passkeys/begin", password=PASSWORD)
    assert (refused.status, "Passkeys need a host name" in refused.text) == (422, True)


def test_another_public_url_needs_new_passkeys_and_recovery_codes_lead_there(world: PublicApiServer) -> None:
    kim = Person(world, "kim")
    kim.add()
    world.public_url = "https://points.acme.example"
    page = LocalBrowser(world).get("/sign-in")
    assert "data-options" not in page.text  # nobody has a passkey for the new name
    browser, page = enter_password(kim)
    assert "Your passkeys work only at localhost." in page.text  # and the password alone is not enough
    assert browser.send("POST", "/sign-in/code", {"code": kim.codes[0]}).status == 303
    assert "Only at localhost" in browser.get("/settings/passkeys").text
    device = Authenticator(origin="https://points.acme.example")
    kim.browser = LocalBrowser(world)
    kim.browser.cookies = {**browser.cookies}
    assert kim.add(device, "New phone").status == 303
    assert sign_in(world, device).status == 303
    world.public_url = ""
    refused = sign_in(world, replace(device, rp_id="localhost", origin=kim.device.origin))
    assert "created at points.acme.example" in message_of(refused)
    assert sign_in(world, kim.device).status == 303  # the old name is back, and so are its passkeys


def test_a_passkey_is_the_second_factor_that_a_workspace_requires(world: PublicApiServer) -> None:
    lea = Person(world, "lea")
    with world.store.unit_of_work() as work:
        work.execute(text("INSERT INTO access_settings (name, value) VALUES ('requires_two_factor', '1')"))
    try:
        assert lea.browser.get("/").headers["location"] == "/settings/two-factor"
        assert "/settings/passkeys" in lea.browser.get("/settings/two-factor").text
        token = re.search(r'name="_csrf" value="(\w+)"', lea.browser.get("/settings/passkeys").text)
        assert token
        form = {"_csrf": token[1], "password": PASSWORD}
        page = lea.browser.send("POST", "/settings/passkeys/begin", form)
        form |= {"state": state_of(page), "response": lea.device.create(options_of(page)), "name": "Phone"}
        assert lea.browser.send("POST", "/settings/passkeys/create", form).status == 200
        assert lea.browser.get("/").status == 200
        with world.store.reading() as work:
            (passkey,) = list_passkeys(work, lea.operator.id)
        refused = lea.browser.post(f"/settings/passkeys/{passkey.id}/remove", password=PASSWORD)
        assert (refused.status, "Add another passkey" in refused.text) == (422, True)
    finally:
        with world.store.unit_of_work() as work:
            work.execute(text("DELETE FROM access_settings"))


def test_a_reset_by_an_owner_or_the_command_removes_them(
    world: PublicApiServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mia, nia = Person(world, "mia"), Person(world, "nia")
    mia.add()
    nia.add()
    Person(world, "ola").add()  # her passkey remains, so the sign-in page offers passkeys
    owner = LocalBrowser(world)
    owner.sign_in("owner@acme.example")
    assert owner.post("/settings/team/reset-two-factor", id=mia.operator.id).status == 303
    monkeypatch.delenv("PUNCHCARD_DATABASE_URL", raising=False)
    monkeypatch.setenv("PUNCHCARD_DATA", str(Path(world.lake_location).parent))
    assert run(["user", "reset-two-factor", nia.email]) == 0
    capsys.readouterr()
    assert run(["user", "list", "--json"]) == 0
    listed = next(line for line in capsys.readouterr().out.splitlines() if nia.email in line)
    assert json.loads(listed)["twoFactor"] is False
    for person in (mia, nia):
        assert person.browser.get("/").headers["location"].startswith("/sign-in")
        assert sign_in(world, person.device).status == 401
        assert LocalBrowser(world).sign_in(person.email).headers["location"] == "/"


def test_there_is_a_bound(world: PublicApiServer) -> None:
    pia = Person(world, "pia")
    pia.add()
    with world.store.unit_of_work() as work:
        (passkey,) = list_passkeys(work, pia.operator.id)
        work.execute(
            text(
                "INSERT INTO passkeys (id, operator_id, name, credential_id, public_key, sign_count, user_handle, "
                "rp_id, created_at) VALUES (:id, :operator, 'n', :id, '', 0, '', 'localhost', 0)"
            ),
            [{"id": f"pia-{number}", "operator": passkey.operator_id} for number in range(PASSKEYS_MAX - 1)],
        )
    refused = pia.browser.post("/settings/passkeys/begin", password=PASSWORD)
    assert (refused.status, f"{PASSKEYS_MAX} passkeys" in refused.text) == (422, True)
