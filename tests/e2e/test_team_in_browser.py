"""Team, sessions and sign-in in a real browser; App, mail server and provider are real.

Everything is done on a phone, where there is the least room, and each page is checked there and on a screen.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyotp
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from tests.contract.mail_server import MailServer
from tests.e2e.app_pages import COLOR_RULES, PASSWORD, check_page, confirm

from punchcard.testing.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider
from punchcard.testing.operators import add_operators
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until

SCREEN, PHONE, HEIGHT = 1280, 390, 860
CHANNEL = '[[alert_channels]]\nname = "ops"\nurl = "{url}"\nseverity = "critical"\n'


class Desk(NamedTuple):
    """What a test sits at: browsers before one App."""

    world: PublicApiServer
    mail_server: MailServer
    chromium: Browser
    axe: str

    def new_page(self) -> Page:
        """A page of a browser in which nobody is signed in."""
        context: BrowserContext = self.chromium.new_context(
            base_url=f"http://127.0.0.1:{self.world.port}",
            reduced_motion="reduce",
            viewport={"width": PHONE, "height": HEIGHT},
            color_scheme="dark",
        )
        context.set_default_timeout(PATIENCE_SECONDS * 1_000)
        return context.new_page()

    def sign_in(self, email: str, password: str = PASSWORD) -> Page:
        page = self.new_page()
        page.goto("/sign-in")
        enter_password(page, email, password)
        page.wait_for_url("**/")
        return page

    def check(self, page: Page) -> None:
        """The page fits and has no barriers in both widths and themes, also where nobody can switch them."""
        page.evaluate(self.axe)
        for width in (SCREEN, PHONE):
            page.set_viewport_size({"width": width, "height": HEIGHT})
            check_page(page, f"{page.url}, dark, {width} px")
            page.evaluate("document.documentElement.dataset.bsTheme = 'light'")
            check_page(page, f"{page.url}, light, {width} px", rules=COLOR_RULES)
            page.evaluate("document.documentElement.dataset.bsTheme = 'dark'")

    def mailed_path(self, to: str) -> str:
        """The path of the link in the newest mail to somebody."""
        mails = wait_until(lambda: [mail for mail in self.mail_server.mails if mail["To"] == to])
        matched = re.search(r"http://127\.0\.0\.1:\d+(/\S+)", mails[-1].get_content())
        assert matched
        return matched[1]


def enter_password(page: Page, email: str, password: str = PASSWORD) -> None:
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


@pytest.fixture(scope="module")
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture
def desk(tmp_path: Path, chromium: Browser, axe: str, mail_server: MailServer) -> Iterator[Desk]:
    config = '[workspace]\nname = "Acme Fitness"\n' + CHANNEL.format(url=mail_server.url)
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", config) as world:
        add_operators(world)
        yield Desk(world, mail_server, chromium, axe)


def test_an_invited_person_joins_by_the_mailed_link(desk: Desk) -> None:
    page = desk.sign_in("owner@acme.example")
    page.goto("/settings/team")
    page.get_by_label("Email", exact=True).first.fill("ann@acme.example")
    page.get_by_label("Role", exact=True).first.select_option("Editor")
    page.get_by_role("button", name="Invite").click()
    expect(page.get_by_role("status")).to_contain_text("ann@acme.example is invited. The link was sent by mail.")
    expect(page.get_by_role("region", name="Invitations")).to_contain_text("ann@acme.example")
    desk.check(page)
    ann = desk.new_page()
    ann.goto(desk.mailed_path("ann@acme.example"))
    desk.check(ann)
    ann.get_by_label("Your name").fill("Ann")
    ann.get_by_label("Password").fill(PASSWORD)
    ann.get_by_role("button", name="Create account").click()
    expect(ann.get_by_role("status").first).to_contain_text("Welcome, Ann. Your role is Editor.")
    page.goto("/settings/team")
    page.get_by_label("Email", exact=True).first.fill("ben@acme.example")
    page.get_by_role("button", name="Invite").click()
    page.get_by_role("button", name="Revoke the invitation of ben@acme.example").click()
    confirm(page, "Revoke the invitation of ben@acme.example?")
    expect(page.get_by_role("status")).to_contain_text("was revoked")
    ann.goto(desk.mailed_path("ben@acme.example"))
    expect(ann.locator("main")).to_contain_text("This link is not valid")
    desk.check(ann)


def test_a_lost_password_is_replaced_by_the_mailed_link(desk: Desk) -> None:
    page = desk.new_page()
    page.goto("/sign-in")
    desk.check(page)
    page.get_by_role("link", name="Forgot your password?").click()
    desk.check(page)
    page.get_by_label("Email").fill("editor@acme.example")
    page.get_by_role("button", name="Send link").click()
    expect(page.get_by_role("status")).to_contain_text("editor@acme.example")
    desk.check(page)
    page.goto(desk.mailed_path("editor@acme.example"))
    desk.check(page)
    page.get_by_label("New password").fill("a whole new password")
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_role("status")).to_contain_text("Your password was changed")
    enter_password(page, "editor@acme.example", "a whole new password")
    page.wait_for_url("**/")


def test_sessions_are_listed_and_ended(desk: Desk) -> None:
    others = [desk.sign_in("editor@acme.example") for _ in range(2)]
    page = desk.sign_in("editor@acme.example")
    page.goto("/settings/account")
    sessions = page.get_by_role("region", name="Sessions")
    expect(sessions.locator("tbody tr")).to_have_count(3)
    expect(sessions.locator("tbody tr").first).to_contain_text("This session")
    expect(sessions.locator("tbody tr").first).to_contain_text("Chrome on Linux")
    desk.check(page)
    sessions.get_by_role("button", name="Sign out Chrome on Linux").first.click()
    expect(sessions.locator("tbody tr")).to_have_count(2)
    page.get_by_role("button", name="Sign out everywhere else").click()
    confirm(page, "Sign out everywhere else?")
    expect(sessions.locator("tbody tr")).to_have_count(1)
    for other in others:
        other.goto("/")
        expect(other.get_by_role("button", name="Sign in")).to_be_visible()


def test_a_phone_is_set_up_as_second_factor(desk: Desk) -> None:
    page = desk.sign_in("owner@acme.example")
    page.goto("/settings/account")
    page.get_by_role("link", name="Set up").click()
    desk.check(page)
    page.get_by_label("Current password").fill(PASSWORD)
    page.get_by_role("button", name="Set up").click()
    expect(page.get_by_role("img", name="QR code")).to_be_visible()
    desk.check(page)
    totp = pyotp.TOTP(page.locator("#key").inner_text().replace(" ", ""))
    page.get_by_role("textbox", name="Code").fill(totp.at(desk.world.clock.now()))
    page.get_by_role("button", name="Turn on").click()
    expect(page.get_by_role("status")).to_contain_text("Keep these recovery codes now")
    recovery_code = page.locator("#codes").inner_text().split()[0]
    desk.check(page)
    next_code = totp.generate_otp(totp.timecode(desk.world.clock.now()) + 1)
    for code in (next_code, recovery_code):
        other = desk.new_page()
        other.goto("/sign-in")
        enter_password(other, "owner@acme.example")
        other.get_by_label("Code").fill("000000")
        other.get_by_role("button", name="Sign in").click()
        expect(other.get_by_role("alert")).to_contain_text("This code is wrong")
        desk.check(other)
        other.get_by_label("Code").fill(code)
        other.get_by_role("button", name="Sign in").click()
        other.wait_for_url("**/")
    page.goto("/settings/sign-in")
    page.get_by_label("Require it of everybody").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("required now")
    editor = desk.new_page()
    editor.goto("/sign-in")
    enter_password(editor, "editor@acme.example")
    expect(editor.locator("main")).to_contain_text("The workspace requires two-factor authentication.")
    desk.check(editor)


def test_a_passkey_signs_in_and_is_the_second_step(desk: Desk) -> None:
    page = desk.new_page()
    page.goto(f"http://localhost:{desk.world.port}/sign-in")  # browsers have no passkeys for addresses
    devices = page.context.new_cdp_session(page)
    devices.send("WebAuthn.enable")
    device = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    added = devices.send("WebAuthn.addVirtualAuthenticator", {"options": device | {"isUserVerified": True}})
    authenticator = {"authenticatorId": added["authenticatorId"]}
    enter_password(page, "editor@acme.example")
    page.get_by_role("button", name="Sign out").wait_for()
    page.goto(f"http://localhost:{desk.world.port}/settings/account")
    page.get_by_role("link", name="Add a passkey").click()
    desk.check(page)
    page.get_by_label("Current password").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_label("Name")).to_have_value("Chrome on Linux")
    desk.check(page)
    devices.send("WebAuthn.setUserVerified", authenticator | {"isUserVerified": False})
    page.get_by_role("button", name="Create passkey").click()
    expect(page.get_by_role("alert")).to_contain_text("No passkey was used.")
    devices.send("WebAuthn.setUserVerified", authenticator | {"isUserVerified": True})
    page.get_by_role("button", name="Create passkey").click()
    expect(page.get_by_role("status")).to_contain_text("Keep these recovery codes now")
    desk.check(page)
    page.get_by_role("link", name="Edit Chrome on Linux").click()
    desk.check(page)
    # After the password, and then alone. A device that answers at once would sign in before anything is pressed.
    devices.send("WebAuthn.setAutomaticPresenceSimulation", authenticator | {"enabled": False})
    page.get_by_role("button", name="Sign out").click()
    enter_password(page, "editor@acme.example")
    page.get_by_role("button", name="Use passkey").wait_for()
    desk.check(page)
    devices.send("WebAuthn.setAutomaticPresenceSimulation", authenticator | {"enabled": True})
    page.get_by_role("button", name="Use passkey").click()
    page.get_by_role("button", name="Sign out").wait_for()
    devices.send("WebAuthn.setAutomaticPresenceSimulation", authenticator | {"enabled": False})
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in with a passkey").wait_for()
    desk.check(page)
    devices.send("WebAuthn.setAutomaticPresenceSimulation", authenticator | {"enabled": True})
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.get_by_role("button", name="Sign out").wait_for()


def test_people_sign_in_at_an_identity_provider(desk: Desk) -> None:
    with OidcProvider() as provider:
        provider.person = {"sub": "1", "email": "uma@acme.example", "email_verified": True, "name": "Uma"}
        page = desk.sign_in("owner@acme.example")
        page.goto("/settings/sign-in")
        page.get_by_label("Name", exact=True).fill("Acme login")
        page.get_by_label("Issuer").fill(provider.issuer)
        page.get_by_label("Client ID").fill(CLIENT_ID)
        page.get_by_label("Client secret").fill(CLIENT_SECRET)
        page.get_by_label("Allowed domains").fill("acme.example")
        page.get_by_label("People without an account").select_option("Add as viewer")
        page.get_by_role("button", name="Set up").click()
        expect(page.get_by_role("status")).to_contain_text("People can sign in with Acme login now.")
        desk.check(page)
        uma = desk.new_page()
        uma.goto("/sources")
        desk.check(uma)
        uma.get_by_role("link", name="Sign in with Acme login").click()
        uma.wait_for_url("**/sources")
        provider.person["email_verified"] = False
        other = desk.new_page()
        other.goto("/sign-in")
        other.get_by_role("link", name="Sign in with Acme login").click()
        expect(other.get_by_role("alert")).to_contain_text("has not verified the email")
