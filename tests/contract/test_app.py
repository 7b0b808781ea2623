"""The App asked by something that is no browser: who gets in, what is refused, and nothing typed becomes markup."""

import html
import http.client
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from punchcard.app.passwords import hashed
from punchcard.store.operators import create_operator
from punchcard.store.tokens import Role
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
PASSWORD = "correct horse battery"
HASH = hashed(PASSWORD)
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
    "/settings",
    "/settings/audit",
    "/settings/password",
    "/sources",
    "/sources/website",
    "/sources/website/debugger",
]


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    cookies: dict[str, str]
    text: str


class Browser:
    """Keeps cookies and says where its forms come from, as browsers do."""

    def __init__(self, world: PublicApiServer) -> None:
        self._world = world
        self.cookies: dict[str, str] = {}

    def ask(
        self,
        method: str,
        path: str,
        form: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        every = {"Accept": "text/html", "Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        if form is not None:
            every |= {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
        connection = http.client.HTTPConnection("127.0.0.1", self._world.port, timeout=30)
        try:
            body = None if form is None else urlencode(form).encode()
            connection.request(method, path, body, {k: v for k, v in {**every, **(headers or {})}.items() if v})
            answer = connection.getresponse()
            set_cookies = answer.msg.get_all("set-cookie") or []
            cookies = dict(one.split(";")[0].partition("=")[::2] for one in set_cookies)
            found = Answer(
                answer.status,
                {k.lower(): v for k, v in answer.getheaders()},
                {one.partition("=")[0]: one for one in set_cookies},
                answer.read().decode(),
            )
        finally:
            connection.close()
        for name, value in cookies.items():
            if value.strip('"'):
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        return found

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, /, **form: str) -> Answer:
        """A form of a page of ours: with what only our pages know."""
        page = self.get("/settings/password")
        found = re.search(r'name="_csrf" value="(\w+)"', page.text)
        return self.ask("POST", path, {"_csrf": found.group(1) if found else "", **form})

    def sign_in(self, email: str, password: str = PASSWORD, **form: str) -> Answer:
        return self.ask("POST", "/sign-in", {"email": email, "password": password, **form})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        for role in Role:
            with server.store.unit_of_work() as work:
                create_operator(
                    work, email=f"{role}@acme.example", name=role, role=role, password=HASH, clock=server.clock
                )
        yield server


@pytest.fixture
def stranger(world: PublicApiServer) -> Browser:
    return Browser(world)


@pytest.fixture
def owner(world: PublicApiServer) -> Browser:
    browser = Browser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    return browser


# --- the first visit ---


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[PublicApiServer]:
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


def test_the_first_visitor_becomes_the_owner_and_nobody_after(fresh: PublicApiServer) -> None:
    olga, mallory = Browser(fresh), Browser(fresh)
    assert olga.get("/").headers["location"] == "/welcome"
    assert olga.ask("POST", "/welcome", OWNER).headers["location"] == "/"
    assert "Acme" in olga.get("/").text
    assert mallory.get("/welcome").headers["location"] == "/"
    assert mallory.ask("POST", "/welcome", {**OWNER, "email": "m@evil.example"}).headers["location"] == "/sign-in"
    assert mallory.sign_in("m@evil.example").status == 401


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("email", "no address", "this is no email address"),
        ("password", "too short", "at least 12 characters"),
        ("name", " ", "say what the others should call you"),
        ("workspace", "", "the name of your business"),
        ("timezone", "Mars/Olympus", "choose one of the list"),
    ],
)
def test_a_wrong_field_is_named_and_what_was_typed_is_kept(
    fresh: PublicApiServer, field: str, value: str, said: str
) -> None:
    answer = Browser(fresh).ask("POST", "/welcome", {**OWNER, field: value})
    assert answer.status == 422
    assert said in answer.text
    kept = "Olga" if field != "name" else "olga@acme.example"
    assert f'value="{kept}"' in answer.text
    assert PASSWORD not in answer.text


def test_who_comes_from_elsewhere_must_show_the_admin_token_first(fresh: PublicApiServer) -> None:
    remote = {"X-Forwarded-For": "203.0.113.7"}
    browser = Browser(fresh)
    assert "Admin token" in browser.ask("GET", "/welcome", headers=remote).text
    refused = browser.ask("POST", "/welcome", {**OWNER, "code": "a guess"}, headers=remote)
    assert (refused.status, "not the token" in refused.text) == (422, True)
    made = browser.ask("POST", "/welcome", {**OWNER, "code": fresh.token}, headers=remote)
    assert made.headers["location"] == "/"


# --- who gets in ---


@pytest.mark.parametrize("path", PAGES)
def test_nobody_sees_a_page_without_signing_in(stranger: Browser, path: str) -> None:
    answer = stranger.get(path)
    assert answer.status == 303
    assert answer.headers["location"].startswith("/sign-in")


@pytest.mark.parametrize("path", [*PAGES, "/settings/team", "/settings/tokens", "/nothing/here"])
def test_every_answer_is_strict(owner: Browser, path: str) -> None:
    headers = owner.get(path).headers
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", [*PAGES, "/settings/team", "/settings/tokens"])
def test_no_page_needs_what_the_policy_forbids(owner: Browser, path: str) -> None:
    text = owner.get(path).text
    assert not re.search(r"<script(?![^>]*(src=|application/json))", text)
    assert not re.search(r"<[a-z][^>]*\s(on[a-z]+|style)=", text)
    assert "<style" not in text


def test_a_wrong_password_and_an_unknown_email_are_answered_alike(stranger: Browser) -> None:
    one, other = stranger.sign_in("owner@acme.example", "wrong"), stranger.sign_in("nobody@acme.example", "wrong")
    assert one.status == other.status == 401
    assert one.text.replace("owner@", "") == other.text.replace("nobody@", "")


def test_a_session_begins_with_a_new_secret_and_ends_when_it_is_left(world: PublicApiServer) -> None:
    browser = Browser(world)
    browser.cookies["punchcard_session"] = "planted-by-somebody"
    answer = browser.sign_in("owner@acme.example")
    cookie = answer.cookies["punchcard_session"]
    assert "planted-by-somebody" not in cookie
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= {one.strip() for one in cookie.split(";")}
    secret = browser.cookies["punchcard_session"]
    assert browser.post("/sign-out").headers["location"] == "/sign-in"
    browser.cookies["punchcard_session"] = secret
    assert browser.get("/").status == 303


@pytest.mark.parametrize(("hours", "steps"), [(25, 1), (12, 28)], ids=["unused for a day", "two weeks of use"])
def test_a_session_ends_by_itself(world: PublicApiServer, owner: Browser, hours: int, steps: int) -> None:
    for _ in range(steps):
        assert owner.get("/settings/password").status == 200
        world.clock.advance(hours * 3600)
    assert owner.get("/").headers["location"] == "/sign-in"


def test_guessing_is_slowed_down_and_the_right_password_waits_too(world: PublicApiServer) -> None:
    browser = Browser(world)
    answers = [browser.sign_in("owner@acme.example", f"guess {number}").status for number in range(10)]
    assert answers == [401] * 8 + [429] * 2
    assert browser.sign_in("owner@acme.example").status == 429
    assert browser.sign_in("editor@acme.example").status == 303
    world.clock.advance(15 * 60 + 1)
    assert browser.sign_in("owner@acme.example").status == 303


def test_another_password_ends_the_other_sessions(world: PublicApiServer, owner: Browser) -> None:
    elsewhere = Browser(world)
    elsewhere.sign_in("owner@acme.example")
    assert owner.post("/settings/password", standing="wrong", fresh="a whole new password").status == 422
    assert owner.post("/settings/password", standing=PASSWORD, fresh="a whole new password").status == 303
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
def test_nobody_is_sent_elsewhere_after_signing_in(stranger: Browser, target: str) -> None:
    assert stranger.sign_in("owner@acme.example", next=target).headers["location"] == "/"


def test_who_wanted_a_page_gets_it_after_signing_in(stranger: Browser) -> None:
    assert stranger.get("/sources/website").headers["location"] == "/sign-in?next=/sources/website"
    assert stranger.sign_in("owner@acme.example", next="/sources/website").headers["location"] == "/sources/website"


# --- forms of others ---


def test_a_form_without_what_our_pages_hold_changes_nothing(owner: Browser) -> None:
    for form in ({}, {"_csrf": "0" * 64}):
        answer = owner.ask("POST", "/settings", {"name": "Hijacked", "timezone": "UTC", **form})
        assert answer.status == 403
    assert "Hijacked" not in owner.get("/settings").text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
    ],
    ids=["another site", "a sister site", "an old browser"],
)
@pytest.mark.parametrize("path", ["/sign-in", "/settings", "/sources/website/keys"])
def test_a_form_of_another_site_is_refused(owner: Browser, path: str, headers: dict[str, str]) -> None:
    page = owner.get("/settings/password")
    found = re.search(r'name="_csrf" value="(\w+)"', page.text)
    assert found
    form = {"_csrf": found.group(1), "email": "owner@acme.example", "password": PASSWORD}
    assert owner.ask("POST", path, form, headers=headers).status == 403


# --- roles ---

FILTER = {"title": "x", "if": "all", "action": "DROP", "enabled": "on"}
CHANGES: list[tuple[str, dict[str, str], Role]] = [
    ("/settings", {"name": "Acme", "timezone": "UTC"}, Role.EDITOR),
    ("/sources/new", {"name": "Till", "type": "http-api"}, Role.EDITOR),
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
    browser = Browser(world)
    browser.sign_in(f"{role}@acme.example")
    status = browser.post(path, **form).status
    assert (status == 403) == (not role.may(needed)), status
    assert status < 500


@pytest.mark.parametrize("path", ["/settings/team", "/settings/tokens"])
def test_pages_of_owners_are_not_shown_to_others(world: PublicApiServer, path: str) -> None:
    browser = Browser(world)
    browser.sign_in("editor@acme.example")
    assert browser.get(path).status == 403


def test_the_last_owner_stays_one(world: PublicApiServer, owner: Browser) -> None:
    with world.store.reading() as work:
        from punchcard.store.operators import operator_by_email

        me = operator_by_email(work, "owner@acme.example")
    assert me is not None
    refused = owner.post("/settings/team/role", id=me.id, role="editor")
    assert (refused.status, "last owner" in refused.text) == (422, True)
    assert owner.post("/settings/team/remove", id=me.id).status == 422


def test_a_transaction_of_another_destination_is_not_touched_by_its_number(
    world: PublicApiServer, owner: Browser
) -> None:
    world.configure(CONFIG.replace("enabled = false", "enabled = true").replace("Checked In", "Order Refunded"))
    refund = {"userId": "a", "event": "Order Refunded", "properties": {"email": "a@example.com", "order_id": "o"}}
    world.send(refund)
    world.route()
    world.deliver(rounds=2)
    second = CONFIG + CONFIG[CONFIG.index("[[destinations]]") :].replace('slug = "perkville"', 'slug = "other"')
    world.configure(second)
    assert owner.post("/destinations/other/transactions", do="dismiss", which="chosen", id="1").status == 303
    assert "1 transaction" in owner.get("/destinations/perkville/transactions?state=parked").text
    assert owner.post("/destinations/perkville/transactions", do="dismiss", which="chosen", id="1").status == 303
    assert "0 transactions" in owner.get("/destinations/perkville/transactions?state=parked").text


# --- what is shown ---

NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@pytest.mark.parametrize("in_lake", [False, True], ids=["in the log", "in the lake"])
def test_whatever_an_event_holds_is_shown_as_text(world: PublicApiServer, owner: Browser, *, in_lake: bool) -> None:
    nasty_email = f"{NASTY}@example.com"
    world.configure(CONFIG.replace("enabled = false", "enabled = true"))
    world.send(
        {"userId": NASTY, "event": NASTY, "messageId": "plain", "properties": {"email": nasty_email, NASTY: NASTY}},
        {"userId": "ann", "event": NASTY, "messageId": NASTY, "properties": {"email": "ann@example.com"}},
        {"userId": "ann", "event": "Checked In", "messageId": "ok", "properties": {"email": "ann@example.com"}},
    )
    world.send({"userId": "x", "event": NASTY}, write_key=NASTY[:100])
    world.route()
    if in_lake:
        world.feed_lake()
    paths = [
        "/",
        "/events",
        "/events/plain",
        "/sources",
        "/sources/website/debugger",
        "/customers/ann",
        "/customers/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "/destinations/perkville",
        "/destinations/perkville/tester",
        "/destinations/perkville/transactions",
        "/events?name=%3Cscript%3Ealert(1)%3C/script%3E%22&fate=%22%3E%3Cscript%3E",
        "/catalog?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
        "/sign-in?next=%22%3E%3Cscript%3E",
        "/events/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    ]
    for path in paths:
        text = owner.get(path).text
        assert "<script>alert" not in text, path
        assert "<img src=x" not in text, path
        assert '"><script' not in text, path
    assert html.escape("<script>alert(1)</script>") in owner.get("/events").text


def test_a_saved_secret_never_leaves_the_server(owner: Browser) -> None:
    for path in PAGES:
        assert "a-secret-that-nobody-sees" not in owner.get(path).text, path
    kept = owner.get("/destinations/perkville/settings").text
    assert "••••sees" in kept


def test_settings_saved_with_the_masked_secret_keep_it(world: PublicApiServer, owner: Browser) -> None:
    form = {"apiKey": "••••sees", "businessId": "42", "locationId": "7", "sources": "website", "name": "Points"}
    options = {"apiBaseUrl": "https://api.perkville.com", "requestsPerSecond": "3", "concurrency": "32"}
    rest = {
        "requestTimeoutSeconds": "10",
        "unknownWaitSeconds": "10",
        "retryBaseSeconds": "30",
        "retryAttemptsMax": "10",
        "refundMethod": "auto",
    }
    assert owner.post("/destinations/perkville/settings", **form, **options, **rest).status == 303
    with world.store.reading():
        (saved,) = world.watch.newest().destinations.values()
    assert saved.destination.settings["apiKey"] == "a-secret-that-nobody-sees"
    assert saved.destination.settings["businessId"] == "42"
    assert saved.destination.options == {"requestsPerSecond": 3}
    assert not saved.destination.enabled
    assert saved.destination.settings["eventToPerkMap"] == {"Checked In": "123457"}


def test_wrong_settings_are_named_beside_their_fields_and_kept(owner: Browser) -> None:
    form = {
        "apiKey": "••••sees",
        "businessId": "",
        "locationId": "",
        "name": "x y",
        "sources": "website",
        "enabled": "on",
    }
    answer = owner.post("/destinations/perkville/settings", **form, requestsPerSecond="lots", retryBaseSeconds="-1")
    assert answer.status == 422
    for name in ("businessId", "locationId", "requestsPerSecond", "retryBaseSeconds"):
        assert f'id="w-{name}"' in answer.text, name
    assert 'value="x y"' in answer.text
    assert 'value="lots"' in answer.text


@pytest.mark.parametrize(
    ("form", "field", "said"),
    [
        ({**FILTER, "if": "event = "}, "if", "at the end"),
        ({**FILTER, "title": ""}, "title", ""),
        ({**FILTER, "action": "SAMPLE", "percent": "most"}, "percent", "a number from 0 to 100"),
        ({**FILTER, "action": "SAMPLE", "percent": "400"}, "actions", ""),
        ({**FILTER, "action": "DROP_PROPERTIES", "fields": ""}, "fields", "name at least one"),
    ],
    ids=["condition", "title", "percent", "percent beyond", "no fields"],
)
def test_a_wrong_filter_says_what_is_wrong_and_keeps_what_was_typed(
    owner: Browser, form: dict[str, str], field: str, said: str
) -> None:
    answer = owner.post("/destinations/perkville/filters/new", **form)
    assert answer.status == 422
    assert "invalid-feedback" in answer.text
    assert said in answer.text
    assert html.escape(form["if"]) in answer.text


def test_a_filter_is_made_changed_and_removed(world: PublicApiServer, owner: Browser) -> None:
    def standing() -> Any:
        (one,) = world.watch.newest().destinations.values()
        return one.destination.filters

    sample = {"action": "SAMPLE", "percent": "25", "path": "userId"}
    assert owner.post("/destinations/perkville/filters/new", **{**FILTER, **sample}).status == 303
    (made,) = standing()
    assert made.actions == ({"type": "SAMPLE", "percent": 0.25, "path": "userId"},)
    fields = {"action": "ALLOW_PROPERTIES", "fields": "properties.email\ncontext.traits.email\nproperties.a.b"}
    path = f"/destinations/perkville/filters/{made.id}"
    assert owner.post(path, **{**FILTER, **fields, "title": "only email"}).status == 303
    (changed,) = standing()
    assert (changed.id, changed.title) == (made.id, "only email")
    allowed = {"properties": ["email"], "context.traits": ["email"], "properties.a": ["b"]}
    assert changed.actions == ({"type": "ALLOW_PROPERTIES", "fields": allowed},)
    assert owner.post(f"{path}/remove").status == 303
    assert standing() == ()


def test_every_change_is_written_down_with_the_operator(owner: Browser) -> None:
    owner.post("/sources/new", name="Till", type="http-api")
    owner.post("/settings/tokens", name="nightly", role="read_only")
    text = owner.get("/settings/audit").text
    assert "operator owner@acme.example" in text
    assert "till" in text
    assert "nightly" in text


@pytest.mark.parametrize("path", ["/sources/none", "/destinations/none", "/events/none", "/catalog/none", "/nothing"])
def test_what_is_not_there_is_said_on_a_page(owner: Browser, path: str) -> None:
    answer = owner.get(path)
    assert (answer.status, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")


def test_a_program_that_asks_for_nothing_known_gets_json(owner: Browser) -> None:
    answer = owner.ask("GET", "/nothing", headers={"Accept": "application/json"})
    assert (answer.status, answer.headers["content-type"]) == (404, "application/json")


def test_a_form_that_is_too_large_is_refused(owner: Browser) -> None:
    assert owner.post("/settings", name="x" * (2 << 20), timezone="UTC").status in (400, 413)


@pytest.mark.parametrize("query", ["before=9", "before=x-y", "before=99999999999999999999-1", "time=never", "fate=%00"])
def test_nonsense_in_an_address_is_no_defect(owner: Browser, query: str) -> None:
    for path in ("/events", "/destinations/perkville/transactions", "/customers/ann", "/settings/audit", "/"):
        assert owner.get(f"{path}?{query}").status < 500, path
