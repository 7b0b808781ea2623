"""The App called by a client other than a browser: access, refusals, and input that never becomes markup."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from punchcard.store.access.operators import operator_by_email
from punchcard.store.access.token_store import Role
from punchcard.testing.operators import PASSWORD, FormBrowser, add_operators, signed_in
from punchcard.testing.public_api import PublicApiServer

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website"]
enabled = false
[destinations.settings]
apiKey = "a-secret-that-nobody-sees"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Checked In" = "123457" }
"""
PAGES = [
    "/",
    "/catalog",
    "/catalog/perkville",
    "/customers",
    "/customers/ann@example.com",
    "/destinations",
    "/destinations/perkville",
    "/destinations/perkville/filters",
    "/destinations/perkville/settings",
    "/destinations/perkville/tester",
    "/destinations/perkville/transactions",
    "/events",
    "/events/hello",
    "/privacy",
    "/privacy/inventory",
    "/privacy/retention",
    "/settings",
    "/settings/audit",
    "/settings/password",
    "/settings/versions",
    "/settings/versions/1",
    "/sources",
    "/sources/website",
    "/sources/website/debugger",
    "/sources/website/schema",
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        yield server


@pytest.fixture
def stranger(world: PublicApiServer) -> FormBrowser:
    return FormBrowser(world)


@pytest.fixture
def owner(world: PublicApiServer) -> FormBrowser:
    return signed_in(world, "owner")


# --- the first visit ---


@pytest.fixture
def new_installation(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(
        tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", 'workspace = { name = "My workspace" }'
    ) as server:
        yield server


OWNER = {
    "name": "Olga",
    "email": "olga@acme.example",
    "password": PASSWORD,
    "workspace": "Acme",
    "timezone": "Europe/Berlin",
}


def test_the_first_visitor_becomes_the_owner_and_nobody_after(new_installation: PublicApiServer) -> None:
    olga, mallory = FormBrowser(new_installation), FormBrowser(new_installation)
    assert olga.get("/").headers["location"] == "/welcome"
    assert olga.send("POST", "/welcome", OWNER).headers["location"] == "/"
    assert "Acme" in olga.get("/").text
    assert mallory.get("/welcome").headers["location"] == "/"
    assert mallory.send("POST", "/welcome", {**OWNER, "email": "m@evil.example"}).headers["location"] == "/sign-in"
    assert mallory.sign_in("m@evil.example").status == 401


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("email", "no address", "This is not an email address."),
        ("password", "too short", "at least 12 characters"),
        ("name", " ", "Enter your name."),
        ("workspace", "", "Enter a name, such as your company&#39;s."),
        ("timezone", "Mars/Olympus", "Choose a time zone from the list."),
    ],
)
def test_a_wrong_field_is_named_and_what_was_typed_is_kept(
    new_installation: PublicApiServer, field: str, value: str, message: str
) -> None:
    response = FormBrowser(new_installation).send("POST", "/welcome", {**OWNER, field: value})
    assert response.status == 422
    assert message in response.text
    stored = "Olga" if field != "name" else "olga@acme.example"
    assert f'value="{stored}"' in response.text
    assert PASSWORD not in response.text


def test_who_comes_from_elsewhere_must_show_the_admin_token_first(new_installation: PublicApiServer) -> None:
    remote = {"X-Forwarded-For": "203.0.113.7"}
    browser = FormBrowser(new_installation)
    assert "Admin token" in browser.send("GET", "/welcome", headers=remote).text
    refused = browser.send("POST", "/welcome", {**OWNER, "code": "a guess"}, headers=remote)
    assert (refused.status, "not the admin token" in refused.text) == (422, True)
    made = browser.send("POST", "/welcome", {**OWNER, "code": new_installation.token}, headers=remote)
    assert made.headers["location"] == "/"


# --- who gets in ---


@pytest.mark.parametrize("path", PAGES)
def test_nobody_sees_a_page_without_signing_in(stranger: FormBrowser, path: str) -> None:
    response = stranger.get(path)
    assert response.status == 303
    assert response.headers["location"].startswith("/sign-in")


@pytest.mark.parametrize("path", [*PAGES, "/settings/team", "/settings/tokens", "/nothing/here"])
def test_every_answer_is_strict(owner: FormBrowser, path: str) -> None:
    headers = owner.get(path).headers
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", [*PAGES, "/settings/team", "/settings/tokens"])
def test_no_page_needs_what_the_policy_forbids(owner: FormBrowser, path: str) -> None:
    text = owner.get(path).text
    assert not re.search(r"<script(?![^>]*(src=|application/json))", text)
    assert not re.search(r"<[a-z][^>]*\s(on[a-z]+|style)=", text)
    assert "<style" not in text


def test_a_wrong_password_and_an_unknown_email_are_answered_alike(stranger: FormBrowser) -> None:
    item, other = stranger.sign_in("owner@acme.example", "wrong"), stranger.sign_in("nobody@acme.example", "wrong")
    assert item.status == other.status == 401
    assert item.text.replace("owner@", "") == other.text.replace("nobody@", "")


def test_a_session_begins_with_a_new_secret_and_ends_when_it_is_left(world: PublicApiServer) -> None:
    browser = FormBrowser(world)
    browser.cookies["punchcard_session"] = "planted-by-somebody"
    response = browser.sign_in("owner@acme.example")
    cookie = response.cookies["punchcard_session"]
    assert "planted-by-somebody" not in cookie
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= {item.strip() for item in cookie.split(";")}
    secret = browser.cookies["punchcard_session"]
    assert browser.post("/sign-out").headers["location"] == "/sign-in"
    browser.cookies["punchcard_session"] = secret
    assert browser.get("/").status == 303


@pytest.mark.parametrize(("hours", "steps"), [(25, 1), (12, 28)], ids=["unused for a day", "two weeks of use"])
def test_a_session_ends_by_itself(world: PublicApiServer, owner: FormBrowser, hours: int, steps: int) -> None:
    for _ in range(steps):
        assert owner.get("/settings/password").status == 200
        world.clock.advance(hours * 3600)
    assert owner.get("/").headers["location"] == "/sign-in"


def test_guessing_is_slowed_down_and_the_right_password_waits_too(world: PublicApiServer) -> None:
    browser = FormBrowser(world)
    responses = [browser.sign_in("owner@acme.example", f"guess {number}").status for number in range(10)]
    assert responses == [401] * 8 + [429] * 2
    assert browser.sign_in("owner@acme.example").status == 429
    assert browser.sign_in("editor@acme.example").status == 303
    world.clock.advance(15 * 60 + 1)
    assert browser.sign_in("owner@acme.example").status == 303


def test_another_password_ends_the_other_sessions(world: PublicApiServer, owner: FormBrowser) -> None:
    elsewhere = FormBrowser(world)
    elsewhere.sign_in("owner@acme.example")
    assert owner.post("/settings/password", current="wrong", new="a whole new password").status == 422
    assert owner.post("/settings/password", current=PASSWORD, new="a whole new password").status == 303
    assert owner.get("/").status == 200
    assert elsewhere.get("/").status == 303
    assert elsewhere.sign_in("owner@acme.example", "a whole new password").status == 303


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "https:evil.example",
        "/\t/x",
    ],
)
def test_nobody_is_sent_elsewhere_after_signing_in(stranger: FormBrowser, target: str) -> None:
    assert stranger.sign_in("owner@acme.example", next=target).headers["location"] == "/"


def test_who_wanted_a_page_gets_it_after_signing_in(stranger: FormBrowser) -> None:
    assert stranger.get("/sources/website").headers["location"] == "/sign-in?next=/sources/website"
    filtered = stranger.get("/events?status=refused&name=A%26B").headers["location"]
    assert filtered == "/sign-in?next=/events%3Fstatus%3Drefused%26name%3DA%2526B"
    assert stranger.sign_in("owner@acme.example", next="/sources/website").headers["location"] == "/sources/website"


# --- forms of others ---


def test_a_form_without_what_our_pages_hold_changes_nothing(owner: FormBrowser) -> None:
    for form in ({}, {"_csrf": "0" * 64}):
        response = owner.send("POST", "/settings", {"name": "Hijacked", "timezone": "UTC", **form})
        assert response.status == 403
    assert "Hijacked" not in owner.get("/settings").text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "", "Origin": "http://["},
    ],
    ids=["another site", "a sister site", "an old browser", "an origin that is none"],
)
@pytest.mark.parametrize("path", ["/sign-in", "/settings", "/sources/website/keys"])
def test_a_form_of_another_site_is_refused(owner: FormBrowser, path: str, headers: dict[str, str]) -> None:
    page = owner.get("/settings/password")
    match = re.search(r'name="_csrf" value="(\w+)"', page.text)
    assert match
    form = {"_csrf": match.group(1), "email": "owner@acme.example", "password": PASSWORD}
    assert owner.send("POST", path, form, headers=headers).status == 403


# --- roles ---

FILTER = {"title": "x", "if": "all", "action": "DROP", "enabled": "on"}
CHANGES: list[tuple[str, dict[str, str], Role]] = [
    ("/settings", {"name": "Acme", "timezone": "UTC"}, Role.EDITOR),
    ("/sources/_new", {"name": "Till", "type": "http-api"}, Role.EDITOR),
    ("/sources/website", {"name": "Shop", "enabled": "on"}, Role.EDITOR),
    ("/sources/website/keys", {}, Role.EDITOR),
    ("/destinations/perkville/map", {}, Role.EDITOR),
    ("/destinations/perkville/filters/new", FILTER, Role.EDITOR),
    ("/destinations/perkville/transactions", {"do": "retry", "which": "all"}, Role.EDITOR),
    ("/destinations/perkville/remove", {}, Role.EDITOR),
    ("/settings/team", {}, Role.OWNER),
    ("/settings/team/role", {"id": "x", "role": "owner"}, Role.OWNER),
    ("/settings/team/remove", {"id": "x"}, Role.OWNER),
    ("/settings/tokens", {"name": "mine", "role": "owner"}, Role.OWNER),
    ("/settings/tokens/revoke", {"id": "x"}, Role.OWNER),
]


@pytest.mark.parametrize(("path", "form", "needed"), CHANGES, ids=[path for path, _, _ in CHANGES])
@pytest.mark.parametrize("role", list(Role))
def test_each_role_may_do_its_own_and_no_more(
    world: PublicApiServer, role: Role, path: str, form: dict[str, str], needed: Role
) -> None:
    browser = FormBrowser(world)
    browser.sign_in(f"{role}@acme.example")
    status = browser.post(path, **form).status
    assert (status == 403) == (not role.may(needed)), status
    assert status < 500


@pytest.mark.parametrize(
    ("path", "listed", "label"),
    [
        ("/destinations/nothing", "/destinations", "Destinations"),
        ("/sources/nothing/schema", "/sources", "Sources"),
        ("/audiences/nothing", "/audiences", "Audiences"),
        ("/events/nothing", "/events", "Events"),
        ("/protocols/nothing", "/protocols", "Protocols"),
        ("/settings/versions/999", "/settings", "Settings"),
    ],
)
def test_a_page_of_something_missing_leads_to_the_list(owner: FormBrowser, path: str, listed: str, label: str) -> None:
    page = owner.get(path)
    assert page.status == 404
    assert re.search(rf'href="{listed}">Go to {label}</a>', page.text), page.text
    assert "/settings/versions?part=" not in page.text  # what does not exist has no history


@pytest.mark.parametrize("path", ["/settings/team", "/settings/tokens"])
def test_pages_of_owners_are_not_shown_to_others(world: PublicApiServer, path: str) -> None:
    browser = FormBrowser(world)
    browser.sign_in("editor@acme.example")
    assert browser.get(path).status == 403


def test_the_last_owner_stays_one(world: PublicApiServer, owner: FormBrowser) -> None:
    with world.store.reading() as work:
        me = operator_by_email(work, "owner@acme.example")
    assert me is not None
    refused = owner.post("/settings/team/role", id=me.id, role="editor")
    assert (refused.status, "last owner" in refused.text) == (422, True)
    assert owner.post("/settings/team/remove", id=me.id).status == 422


def test_a_transaction_of_another_destination_is_not_touched_by_its_number(
    world: PublicApiServer, owner: FormBrowser
) -> None:
    world.configure(CONFIG.replace("enabled = false", "enabled = true").replace("Checked In", "Order Refunded"))
    refund = {"userId": "a", "event": "Order Refunded", "properties": {"email": "a@example.com", "order_id": "o"}}
    world.send(refund)
    world.route()
    world.deliver()
    world.clock.advance(25 * 3600)  # it has waited a day for its order, and is parked
    world.deliver()
    assert owner.sign_in("owner@acme.example").status == 303  # the session has been idle for long
    second = CONFIG + CONFIG[CONFIG.index("[[destinations]]") :].replace('slug = "perkville"', 'slug = "other"')
    world.configure(second)
    assert owner.post("/destinations/other/transactions", do="dismiss", which="chosen", id="1").status == 303
    assert "1 transaction" in owner.get("/destinations/perkville/transactions?state=parked").text
    assert owner.post("/destinations/perkville/transactions", do="dismiss", which="chosen", id="1").status == 303
    assert "0 transactions" in owner.get("/destinations/perkville/transactions?state=parked").text
