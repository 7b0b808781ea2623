"""What the App's pages show and save: nothing that was typed becomes markup, and nothing typed is lost."""

import html
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from punchcard.store.delivery.recoveries import RecoveryReason, start_recovery
from punchcard.testing.operators import FormBrowser, add_operators, signed_in
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
    "/transformations",
    "/transformations/new",
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
    "/sources/website/schema",
]

FILTER = {"title": "x", "if": "all", "action": "DROP", "enabled": "on"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        yield server


@pytest.fixture
def owner(world: PublicApiServer) -> FormBrowser:
    return signed_in(world, "owner")


# --- what is shown ---

NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@pytest.mark.parametrize("in_lake", [False, True], ids=["in the log", "in the lake"])
def test_whatever_an_event_holds_is_shown_as_text(world: PublicApiServer, owner: FormBrowser, *, in_lake: bool) -> None:
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
        "/events?name=%3Cscript%3Ealert(1)%3C/script%3E%22&status=%22%3E%3Cscript%3E",
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


def test_a_saved_secret_never_leaves_the_server(owner: FormBrowser) -> None:
    for path in PAGES:
        assert "a-secret-that-nobody-sees" not in owner.get(path).text, path
    stored = owner.get("/destinations/perkville/settings").text
    assert "••••sees" in stored


def test_settings_saved_with_the_masked_secret_keep_it(world: PublicApiServer, owner: FormBrowser) -> None:
    form = {"apiKey": "••••sees", "businessId": "42", "locationId": "7", "sources": "website", "name": "Points"}
    options = {"apiBaseUrl": "https://api.perkville.com", "requestsPerSecond": "3", "concurrency": "32"}
    rest = {
        "requestTimeoutSeconds": "10",
        "unknownWaitSeconds": "10",
        "retryBaseSeconds": "30",
        "retryAttemptsMax": "10",
        "refundMethod": "auto",
        "orderIdScope": "destination",
        "refundWaitHours": "24",
        "refundFollows": "order",
    }
    assert owner.post("/destinations/perkville/settings", **form, **options, **rest).status == 303
    with world.store.reading():
        (saved,) = world.watch.newest().destinations.values()
    assert saved.destination.settings["apiKey"] == "a-secret-that-nobody-sees"
    assert saved.destination.settings["businessId"] == "42"
    assert saved.destination.options == {"requestsPerSecond": 3}
    assert not saved.destination.enabled
    assert saved.destination.settings["eventToPerkMap"] == {"Checked In": "123457"}


def test_wrong_settings_are_named_beside_their_fields_and_kept(owner: FormBrowser) -> None:
    form = {
        "apiKey": "••••sees",
        "businessId": "",
        "locationId": "",
        "name": "x y",
        "sources": "website",
        "enabled": "on",
    }
    response = owner.post("/destinations/perkville/settings", **form, requestsPerSecond="lots", retryBaseSeconds="-1")
    assert response.status == 422
    for name in ("businessId", "locationId", "requestsPerSecond", "retryBaseSeconds"):
        assert f'id="w-{name}"' in response.text, name
    assert 'value="x y"' in response.text
    assert 'value="lots"' in response.text


@pytest.mark.parametrize(
    ("form", "field", "message"),
    [
        ({**FILTER, "if": "event = "}, "if", "At the end"),
        ({**FILTER, "title": ""}, "title", ""),
        ({**FILTER, "action": "SAMPLE", "percent": "most"}, "percent", "a number from 0 to 100"),
        ({**FILTER, "action": "SAMPLE", "percent": "400"}, "actions", ""),
        ({**FILTER, "action": "DROP_PROPERTIES", "fields": ""}, "fields", "Enter at least one property"),
    ],
    ids=["condition", "title", "percent", "percent beyond", "no fields"],
)
def test_a_wrong_filter_says_what_is_wrong_and_keeps_what_was_typed(
    owner: FormBrowser, form: dict[str, str], field: str, message: str
) -> None:
    response = owner.post("/destinations/perkville/filters/new", **form)
    assert response.status == 422
    assert "invalid-feedback" in response.text
    assert message in response.text
    assert html.escape(form["if"]) in response.text


def test_a_filter_is_made_changed_and_removed(world: PublicApiServer, owner: FormBrowser) -> None:
    def saved_filters() -> Any:
        (destination,) = world.watch.newest().destinations.values()
        return destination.destination.filters

    sample = {"action": "SAMPLE", "percent": "25", "path": "userId"}
    assert owner.post("/destinations/perkville/filters/new", **{**FILTER, **sample}).status == 303
    (made,) = saved_filters()
    assert made.actions == ({"type": "SAMPLE", "percent": 0.25, "path": "userId"},)
    fields = {"action": "ALLOW_PROPERTIES", "fields": "properties.email\ncontext.traits.email\nproperties.a.b"}
    path = f"/destinations/perkville/filters/{made.id}"
    assert owner.post(path, **{**FILTER, **fields, "title": "only email"}).status == 303
    (changed,) = saved_filters()
    assert (changed.id, changed.title) == (made.id, "only email")
    allowed = {"properties": ["email"], "context.traits": ["email"], "properties.a": ["b"]}
    assert changed.actions == ({"type": "ALLOW_PROPERTIES", "fields": allowed},)
    assert owner.post(f"{path}/remove").status == 303
    assert saved_filters() == ()


def test_a_condition_of_several_lines_is_saved_as_it_was_typed(world: PublicApiServer, owner: FormBrowser) -> None:
    sent = "event = 'A' and\r\ntype = 'track'\r\nor event = 'B'"  # a browser ends lines so
    response = owner.post("/destinations/perkville/filters/new", **{**FILTER, "if": sent})
    assert response.status == 303, response.text
    (destination,) = world.watch.newest().destinations.values()
    saved = destination.destination.filters[-1]
    assert saved.condition == sent.replace("\r\n", "\n")
    assert owner.post(f"/destinations/perkville/filters/{saved.id}/remove").status == 303


def test_a_source_may_be_called_new(owner: FormBrowser) -> None:
    assert owner.post("/sources/_new", name="New", type="http-api").headers["location"] == "/sources/new"
    assert "<title>New" in owner.get("/sources/new").text


def test_every_change_is_written_down_with_the_operator(owner: FormBrowser) -> None:
    owner.post("/sources/_new", name="Front desk", type="http-api")
    owner.post("/settings/tokens", name="nightly", role="read_only")
    owner.post("/settings/team", name="Ned", email="ned@acme.example", role="editor", password="correct horse battery")
    text = owner.get("/settings/audit").text
    assert "operator owner@acme.example" in text
    assert re.search(r"add source <strong[^>]*>Front desk</strong>\s*<span[^>]*>front-desk</span>", text)
    assert re.search(r"add operator <strong[^>]*>ned@acme.example</strong>", text)
    assert "nightly" in text


def test_long_changes_are_folded_in_the_audit_log(owner: FormBrowser) -> None:
    condition = f"event = '{'y' * 300}'"
    owner.post("/destinations/perkville/filters/new", **{"title": "Long", "if": condition, "action": "DROP"})
    text = owner.get("/settings/audit").text
    assert re.search(r"<summary>event = &#39;y{100,200}…</summary>event = &#39;y{300}&#39;</details>", text)


@pytest.mark.parametrize("path", ["/sources/none", "/destinations/none", "/events/none", "/catalog/none", "/nothing"])
def test_what_is_not_there_is_shown_on_a_page(owner: FormBrowser, path: str) -> None:
    response = owner.get(path)
    assert (response.status, response.headers["content-type"]) == (404, "text/html; charset=utf-8")


def test_the_address_of_a_form_says_to_open_its_page(owner: FormBrowser) -> None:
    page = owner.get("/destinations/perkville/pause")
    assert page.status == 405
    assert "Open the page with that form." in page.text
    assert "Method Not Allowed" not in page.text


def test_a_program_that_asks_for_nothing_known_gets_json(owner: FormBrowser) -> None:
    response = owner.send("GET", "/nothing", headers={"Accept": "application/json"})
    assert (response.status, response.headers["content-type"]) == (404, "application/json")


def test_a_form_that_is_too_large_is_refused(owner: FormBrowser) -> None:
    assert owner.post("/settings", name="x" * (2 << 20), timezone="UTC").status in (400, 413)


@pytest.mark.parametrize("query", ["before=9", "before=x-y", "before=99999999999999999999-1", "time=never", "fate=%00"])
def test_nonsense_in_an_address_is_no_defect(owner: FormBrowser, query: str) -> None:
    for path in ("/events", "/destinations/perkville/transactions", "/customers/ann", "/settings/audit", "/"):
        assert owner.get(f"{path}?{query}").status < 500, path


def test_home_says_that_the_database_was_restored_and_what_is_still_to_be_read_back(
    world: PublicApiServer, owner: FormBrowser
) -> None:
    now = world.clock.now()
    with world.store.unit_of_work() as work:
        start_recovery(
            work,
            reason=RecoveryReason.GENERATION,
            from_position=3,
            through_position=9,
            read_back_from=now,
            doubt_until=now + timedelta(days=30),
            now=now,
        )
    page = owner.get("/").text
    assert "The database was restored from an older copy" in page
    assert "every new award is read back" in page


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_has_the_menu_for_those_who_are_signed_in(
    world: PublicApiServer, owner: FormBrowser, method: str
) -> None:
    stranger = FormBrowser(world)
    stranger.cookies["punchcard_session"] = "no-session"
    for browser, has_menu in ((owner, True), (stranger, False), (FormBrowser(world), False)):
        page = browser.send(method, "/nothing/here")
        assert (page.status, "There is no page at /nothing/here." in page.text) == (404, True)
        assert ('href="/audiences"' in page.text, "owner@acme.example" in page.text) == (has_menu, False)


def test_a_control_needs_a_property(owner: FormBrowser) -> None:
    page = owner.post("/privacy/controls/source/website", path="", action="allow")
    assert (page.status, "Enter a property." in page.text) == (422, True)
    assert "Not saved. Correct the fields below." in page.text


def test_a_preview_of_a_control_says_nothing_of_saving(owner: FormBrowser) -> None:
    path = "/privacy/controls/source/website/preview"
    allowed = owner.post(path, path="properties.card", action="allow")
    assert (allowed.status, "the value stays as it was sent" in allowed.text) == (200, True)
    refused = owner.post(path, path="", action="mask")
    assert (refused.status, "Correct the fields below." in refused.text) == (422, True)
    for page in (allowed, refused):
        assert "Not saved" not in page.text


def test_a_form_of_a_session_that_has_ended_says_so(owner: FormBrowser) -> None:
    page = owner.send("POST", "/settings", {"name": "Other", "_csrf": "of an earlier session"})
    assert (page.status, '<h1 class="page-title">This form has expired</h1>' in page.text) == (403, True)
    assert "Nothing was changed" in page.text


def test_a_form_that_failed_leads_back_to_its_page(world: PublicApiServer, owner: FormBrowser) -> None:
    host = f"http://127.0.0.1:{world.port}"
    for referer, link in (
        (f"{host}/settings?tab=x&y=1", "/settings?tab=x&amp;y=1"),
        ("http://elsewhere.example/settings", ""),
        (f"{host}//elsewhere.example/x", ""),
        ("http://[", ""),
        ("", ""),
    ):
        page = owner.send("POST", "/settings", {"_csrf": "of an earlier session"}, headers={"Referer": referer}).text
        assert (f'href="{link}">Open the page again' in page, "Open the page again" in page) == (bool(link), bool(link))
    assert "Open the page again" not in owner.send("GET", "/events/none", headers={"Referer": f"{host}/events"}).text


def test_home_has_no_numbers_before_the_first_event(world: PublicApiServer, owner: FormBrowser) -> None:
    home = owner.get("/").text
    assert ("Needs attention" in home, "Events received" in home) == (True, False)
    world.send({"event": "Checked In", "userId": "ann", "messageId": "hello"})
    world.route()
    home = owner.get("/").text
    assert ("Events received" in home, "Points awarded" in home) == (True, True)


def test_an_installation_without_events_says_where_they_come_from(world: PublicApiServer, owner: FormBrowser) -> None:
    assert "No events yet" in owner.get("/events").text
    world.send({"event": "Checked In", "userId": "ann", "messageId": "hello"})
    world.route()
    page = owner.get("/events?name=Other").text
    assert ("No events yet" in page, "No event matches" in page) == (False, True)
