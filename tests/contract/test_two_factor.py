"""Two-factor authentication: each code once, few guesses, a way back for people, and none around it."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest
from sqlalchemy import text

from punchcard.cli.running import run
from punchcard.store.access.audit import AuditQuery, list_events
from punchcard.store.access.operators import create_operator, operator_by_email
from punchcard.store.access.token_store import Role
from punchcard.testing.operators import PASSWORD, PASSWORD_HASH, FormBrowser, PageResponse, add_operators
from punchcard.testing.public_api import PublicApiServer

STEP_SECONDS = 30
QUARTER_SECONDS = 15 * 60 + 1


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicApiServer]:
    """One server for all tests: each has an operator of its own."""
    folder = tmp_path_factory.mktemp("two-factor")
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", '[workspace]\nname = "Acme"\n') as server:
        add_operators(server)
        yield server


class Person:
    """An operator with a phone.

    Attributes:
        codes: Recovery codes.
    """

    def __init__(self, world: PublicApiServer, name: str, role: Role = Role.EDITOR) -> None:
        self.world = world
        self.email = f"{name}@acme.example"
        with world.store.unit_of_work() as work:
            create_operator(work, email=self.email, name=name, role=role, password=PASSWORD_HASH, clock=world.clock)
        self.browser = FormBrowser(world)
        assert self.browser.sign_in(self.email).headers["location"] == "/"
        self.codes: list[str] = []
        self._secret = ""

    def code(self, steps: int = 0) -> str:
        """The code of the phone, with a clock that is off by some steps of 30 seconds."""
        totp = pyotp.TOTP(self._secret)
        return totp.generate_otp(totp.timecode(self.world.clock.now()) + steps)

    def set_up(self) -> None:
        page = self.browser.post("/settings/two-factor/begin", password=PASSWORD)
        matched = re.search(r'id="key">([A-Z2-7 ]+)<', page.text)
        assert matched, page.text
        self._secret = matched[1].replace(" ", "")
        page = self.browser.post("/settings/two-factor/confirm", code=self.code())
        assert page.status == 200
        self.codes = re.findall(r"[a-z2-9]{4}(?:-[a-z2-9]{4}){3}", page.text)
        assert len(set(self.codes)) == 10
        self.world.clock.advance(2 * STEP_SECONDS)  # the code that was confirmed is used

    def enter_password(self) -> FormBrowser:
        """A new browser in which the password was accepted."""
        browser = FormBrowser(self.world)
        assert browser.sign_in(self.email).headers["location"] == "/sign-in/code"
        assert browser.get("/").headers["location"] == "/sign-in"
        return browser

    def sign_in(self, code: str) -> PageResponse:
        return enter(self.enter_password(), code)


def enter(browser: FormBrowser, code: str) -> PageResponse:
    return browser.send("POST", "/sign-in/code", {"code": code})


def paths_of(world: PublicApiServer, email: str) -> list[str]:
    """What the audit log has of an operator, oldest first."""
    with world.store.reading() as work:
        operator = operator_by_email(work, email)
        assert operator is not None
        events = list_events(work, AuditQuery(resource_id=operator.id), count=100)
    return [re.findall(r'"path": "(\w+)"', event.changes)[0] for event in reversed(events)]


def test_signing_in_takes_password_and_code(world: PublicApiServer) -> None:
    ann = Person(world, "ann")
    ann.set_up()
    assert "badge bg-green-lt" in ann.browser.get("/settings/account").text
    browser = ann.enter_password()
    assert "Enter your code" in browser.get("/sign-in/code").text
    assert enter(browser, "000000").status == 401
    accepted = enter(browser, f" {ann.code()[:3]} {ann.code()[3:]} ")
    assert accepted.headers["location"] == "/"
    assert browser.get("/").status == 200
    assert browser.get("/sign-in/code").headers["location"] == "/sign-in"  # the first step ended with the second
    assert paths_of(world, ann.email) == ["two_factor"]


def test_the_requested_page_is_shown_after_the_code(world: PublicApiServer) -> None:
    bea = Person(world, "bea")
    bea.set_up()
    browser = FormBrowser(world)
    browser.sign_in(bea.email, next="/sources")
    assert enter(browser, bea.code()).headers["location"] == "/sources"


@pytest.mark.parametrize(("steps", "status"), [(-2, 401), (-1, 303), (0, 303), (1, 303), (2, 401)])
def test_clocks_may_differ_by_thirty_seconds(world: PublicApiServer, steps: int, status: int) -> None:
    person = Person(world, f"clock{steps}")
    person.set_up()
    assert person.sign_in(person.code(steps)).status == status


def test_a_code_is_accepted_once_and_none_before_it(world: PublicApiServer) -> None:
    cleo = Person(world, "cleo")
    cleo.set_up()
    code, earlier = cleo.code(), cleo.code(-1)
    assert cleo.sign_in(code).status == 303
    assert [cleo.sign_in(used).status for used in (code, earlier)] == [401, 401]
    world.clock.advance(STEP_SECONDS)
    assert cleo.sign_in(cleo.code()).status == 303


def test_a_recovery_code_signs_in_once(world: PublicApiServer) -> None:
    dan = Person(world, "dan")
    dan.set_up()
    first, second = dan.codes[:2]
    assert dan.sign_in(first).status == 303
    assert dan.sign_in(first).status == 401
    assert dan.sign_in(second.replace("-", " ").upper()).status == 303
    assert "8 recovery codes left" in dan.browser.get("/settings/two-factor").text
    assert paths_of(world, dan.email) == ["two_factor", "recovery_code_used", "recovery_code_used"]


def test_guessing_ends_after_five_codes_and_the_right_one_waits_too(world: PublicApiServer) -> None:
    eve = Person(world, "eve")
    eve.set_up()
    browser = eve.enter_password()
    assert [enter(browser, f"00000{number}").status for number in range(6)] == [401] * 5 + [429]
    assert enter(eve.enter_password(), eve.code()).status == 429
    assert eve.sign_in(eve.codes[0]).status == 429
    world.clock.advance(QUARTER_SECONDS)
    assert eve.sign_in(eve.code()).status == 303


@pytest.mark.parametrize("change", ["none", "late", "tampered", "of another cookie", "password"])
def test_no_code_is_accepted_without_the_password(world: PublicApiServer, change: str) -> None:
    person = Person(world, f"first-{change.replace(' ', '-')}")
    person.set_up()
    browser = FormBrowser(world)
    if change != "none":
        browser = person.enter_password()
    if change == "late":
        world.clock.advance(600)
    elif change == "tampered":
        browser.cookies["punchcard_sign_in"] = browser.cookies["punchcard_sign_in"][:-8] + "AAAAAAA="
    elif change == "of another cookie":
        sealed = json.loads(world.subjects.decrypt(browser.cookies["punchcard_sign_in"]))
        browser.cookies["punchcard_sign_in"] = world.subjects.encrypt(json.dumps({**sealed, "name": "another"}))
    elif change == "password":
        changed = person.browser.post("/settings/password", current=PASSWORD, new="a whole new password")
        assert changed.status == 303
    response = enter(browser, person.code())
    assert (response.status, response.headers["location"]) == (303, "/sign-in")
    assert browser.get("/").status == 303


def test_setting_it_up_takes_the_password_and_a_code_and_ends_other_sessions(world: PublicApiServer) -> None:
    fay = Person(world, "fay")
    elsewhere = FormBrowser(world)
    elsewhere.sign_in(fay.email)
    refused = fay.browser.post("/settings/two-factor/begin", password="a guess")
    assert (refused.status, "This is not your password." in refused.text) == (422, True)
    page = fay.browser.post("/settings/two-factor/begin", password=PASSWORD)
    assert "<svg" in page.text
    refused = fay.browser.post("/settings/two-factor/confirm", code="000000")
    assert (refused.status, "This is not the current code" in refused.text, "<svg" in refused.text) == (422, True, True)
    assert FormBrowser(world).sign_in(fay.email).headers["location"] == "/"  # nothing is asked for before it is on
    fay.set_up()
    assert fay.browser.get("/").status == 200
    assert elsewhere.get("/").status == 303
    assert fay.browser.post("/settings/two-factor/begin", password=PASSWORD).status == 422  # a second phone: no


def test_it_is_turned_off_and_codes_are_replaced_with_a_code(world: PublicApiServer) -> None:
    gus = Person(world, "gus")
    gus.set_up()
    for path in ("/settings/two-factor/off", "/settings/two-factor/codes"):
        assert gus.browser.post(path, code="000000").status == 422
    page = gus.browser.post("/settings/two-factor/codes", code=gus.code())
    assert page.status == 200
    assert gus.codes[0] not in page.text
    assert gus.sign_in(gus.codes[0]).status == 401
    world.clock.advance(2 * STEP_SECONDS)
    assert gus.browser.post("/settings/two-factor/off", code=gus.code()).status == 303
    assert FormBrowser(world).sign_in(gus.email).headers["location"] == "/"
    assert paths_of(world, gus.email) == ["two_factor", "recovery_codes", "two_factor"]


def test_the_store_has_neither_secret_nor_codes(world: PublicApiServer) -> None:
    hal = Person(world, "hal")
    hal.set_up()
    with world.store.reading() as work:
        rows = str(work.execute(text("SELECT * FROM second_factors")).all())
        rows += str(work.execute(text("SELECT * FROM recovery_codes")).all())
    assert hal._secret not in rows
    for code in hal.codes:
        assert code not in rows
        assert code.replace("-", "") not in rows


@pytest.fixture
def requirement(world: PublicApiServer) -> Iterator[FormBrowser]:
    """An owner with a second factor, in a workspace that requires it."""
    with world.store.reading() as work:
        existing = operator_by_email(work, "strict@acme.example")
    assert existing is None
    owner = Person(world, "strict", Role.OWNER)
    owner.set_up()
    page = owner.browser.post("/settings/sign-in/two-factor", required="on")
    assert page.headers["location"] == "/settings/sign-in"
    yield owner.browser
    assert owner.browser.post("/settings/sign-in/two-factor").status == 303


def test_a_workspace_that_requires_it_lets_people_do_nothing_else(
    world: PublicApiServer, requirement: FormBrowser
) -> None:
    ian = Person.__new__(Person)
    ian.world, ian.email, ian.browser = world, "editor@acme.example", FormBrowser(world)
    assert ian.browser.sign_in(ian.email).headers["location"] == "/"
    for path in ("/", "/sources", "/settings/account", "/settings/password", "/exports/events?format=csv"):
        assert ian.browser.get(path).headers["location"] == "/settings/two-factor", path
    form = {"name": "Hijacked", "timezone": "UTC", "_csrf": csrf_of(ian.browser)}
    assert ian.browser.send("POST", "/settings", form).headers["location"] == "/settings/two-factor"
    assert "requires two-factor authentication" in ian.browser.get("/settings/two-factor").text
    begun = ian.browser.send(
        "POST", "/settings/two-factor/begin", {"password": PASSWORD, "_csrf": csrf_of(ian.browser)}
    )
    matched = re.search(r'id="key">([A-Z2-7 ]+)<', begun.text)
    assert matched
    ian._secret = matched[1].replace(" ", "")
    confirmed = {"code": ian.code(), "_csrf": csrf_of(ian.browser)}
    assert ian.browser.send("POST", "/settings/two-factor/confirm", confirmed).status == 200
    assert ian.browser.get("/").status == 200
    world.clock.advance(2 * STEP_SECONDS)
    refused = ian.browser.post("/settings/two-factor/off", code=ian.code())
    assert (refused.status, "requires two-factor" in html.unescape(refused.text)) == (422, True)
    team = requirement.get("/settings/team").text
    assert "Reset two-factor authentication of editor" in team
    with world.store.reading() as work:
        operator = operator_by_email(work, ian.email)
    assert operator is not None
    assert requirement.post("/settings/team/reset-two-factor", id=operator.id).status == 303
    assert ian.browser.get("/").headers["location"] == "/sign-in"
    assert ian.browser.sign_in(ian.email).headers["location"] == "/"
    assert ian.browser.get("/").headers["location"] == "/settings/two-factor"


def csrf_of(browser: FormBrowser) -> str:
    matched = re.search(r'name="_csrf" value="(\w+)"', browser.get("/settings/two-factor").text)
    assert matched
    return matched[1]


@pytest.mark.parametrize("path", ["/settings/sign-in/two-factor", "/settings/team/reset-two-factor"])
def test_only_owners_decide_about_others(world: PublicApiServer, path: str) -> None:
    browser = FormBrowser(world)
    browser.sign_in("read_only@acme.example")
    assert browser.post(path, required="on", id="x").status == 403


def test_the_command_turns_it_off(
    world: PublicApiServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jan = Person(world, "jan")
    jan.set_up()
    monkeypatch.delenv("PUNCHCARD_DATABASE_URL", raising=False)
    monkeypatch.setenv("PUNCHCARD_DATA", str(Path(world.lake_location).parent))
    assert run(["user", "list", "--json"]) == 0
    assert '"twoFactor":true' in next(line for line in capsys.readouterr().out.splitlines() if jan.email in line)
    assert run(["user", "reset-two-factor", jan.email]) == 0
    assert jan.browser.get("/").status == 303
    assert FormBrowser(world).sign_in(jan.email).headers["location"] == "/"
    assert run(["user", "reset-two-factor", jan.email]) == 2
    assert "does not use two-factor" in capsys.readouterr().err
