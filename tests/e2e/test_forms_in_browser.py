"""Forms and the debugger in a real browser, over an App in this process: what changes while somebody types."""

import json
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest
from playwright.sync_api import Browser, Route, expect
from tests.contract.test_app_search import CONFIG
from tests.e2e.app_pages import elsewhere, signed_in

from punchcard.engage.requests import process_requests
from punchcard.testing.operators import add_operators
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.waiting import repeated_meanwhile

DEBUGGER_ROWS = 500


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicApiServer]:
    folder = tmp_path_factory.mktemp("forms")
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        for number in range(3):
            email = f"ann{number}@example.com"
            server.send({"userId": email, "event": "Checked In", "properties": {"email": email}})
        server.route()
        server.feed_lake()
        server.engage()
        yield server


def previewed(world: PublicApiServer) -> AbstractContextManager[None]:
    """Process what pages request of Engage meanwhile, as its process does."""

    def process() -> None:
        process_requests(world.store, world.facts, clock=world.clock, zone=world.watch.newest().zone)

    return repeated_meanwhile(process, pause_seconds=0.05)


def test_on_a_phone_the_answer_to_a_button_comes_into_view(chromium: Browser, world: PublicApiServer) -> None:
    with signed_in(chromium, f"http://127.0.0.1:{world.port}", "owner@acme.example") as page:
        page.set_viewport_size({"width": 390, "height": 500})
        page.goto("/destinations/perkville/tester")
        expect(page.locator("#result")).not_to_be_in_viewport()
        page.get_by_role("button", name="Preview").click()
        expect(page.locator("#result")).to_be_in_viewport()


def test_the_error_of_a_field_goes_when_the_field_is_edited(chromium: Browser, world: PublicApiServer) -> None:
    with signed_in(chromium, f"http://127.0.0.1:{world.port}", "owner@acme.example") as page:
        page.goto("/destinations/perkville/filters/new")
        page.locator("[data-fql]").fill("event = ")
        page.get_by_role("button", name="Save").click()
        title, query = page.get_by_label("Title"), page.locator("[data-fql]")
        expect(title).to_be_focused()
        expect(title).to_have_class(re.compile("is-invalid"))
        expect(query).to_have_class(re.compile("is-invalid"))
        alert = page.get_by_role("alert").filter(has_text="Correct the fields below")
        expect(alert).to_be_visible()
        title.press_sequentially("N")
        expect(title).not_to_have_class(re.compile("is-invalid"))
        expect(page.locator("#w-title")).to_have_count(0)
        expect(alert).to_be_visible()  # the other one is still wrong
        page.get_by_role("link", name="Events", exact=True).click()  # what was typed is not saved
        page.get_by_role("alertdialog").get_by_role("button", name="Keep editing").click()
        query.press_sequentially('"x"')
        expect(query).not_to_have_class(re.compile("is-invalid"))
        expect(alert).to_have_count(0)


def test_the_keyboard_stays_at_a_button_that_is_disabled_while_it_works(
    chromium: Browser, world: PublicApiServer
) -> None:
    with signed_in(chromium, f"http://127.0.0.1:{world.port}", "owner@acme.example") as page:
        page.goto("/destinations/perkville/tester")
        preview = page.get_by_role("button", name="Preview")
        preview.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#result")).not_to_contain_text("No preview yet")
        expect(preview).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Send test event")).to_be_focused()


@pytest.mark.parametrize(
    "path",
    [
        "/sources/_new",
        "/settings",
        "/settings/tokens",
        "/alerts/channels",
        "/protocols",
        "/privacy",
        "/transformations/new",
    ],
)
def test_what_was_typed_into_any_form_is_not_left_without_a_question(
    chromium: Browser, world: PublicApiServer, path: str
) -> None:
    with signed_in(chromium, f"http://127.0.0.1:{world.port}", "owner@acme.example") as page:
        page.goto(path)
        page.locator("main form[method='post']").get_by_role("textbox").first.fill("typed")
        page.locator("nav").get_by_role("link", name="Events", exact=True).click()
        dialog = page.get_by_role("alertdialog", name="Leave without saving?")
        dialog.get_by_role("button", name="Keep editing").click()
        assert page.url.endswith(path)


def test_a_rule_offers_to_be_saved_once_it_is_changed(chromium: Browser, world: PublicApiServer) -> None:
    with signed_in(chromium, f"http://127.0.0.1:{world.port}", "owner@acme.example") as page:
        page.goto("/alerts/rules")
        rule = page.get_by_role("row").filter(has_text="Destination paused")
        save, severity = rule.get_by_role("button", name="Save"), rule.get_by_role("combobox")
        expect(save).to_be_hidden()
        severity.select_option("info")
        expect(save).to_be_visible()
        severity.select_option("critical")
        expect(save).to_be_hidden()


def test_a_form_is_sent_once_however_often_its_button_is_pressed(chromium: Browser, world: PublicApiServer) -> None:
    path = "/destinations/perkville/filters/new"
    with signed_in(chromium, f"http://127.0.0.1:{world.port}", "owner@acme.example") as page:
        sent: list[Route] = []
        page.route(
            f"**{path}", lambda route: sent.append(route) if route.request.method == "POST" else route.fallback()
        )
        page.goto(path)
        page.get_by_label("Title").fill("No staff")
        page.locator("[data-fql]").fill("properties.staff = true")
        # The second click comes before the response to the first.
        page.get_by_role("button", name="Save").evaluate(
            "(save) => { save.click(); setTimeout(() => save.click(), 100); }"
        )
        page.wait_for_timeout(400)
        assert len(sent) == 1
        sent[0].fallback()
        expect(page.get_by_role("status").first).to_be_visible()


def test_the_tester_shows_what_would_be_sent_why_not_and_what_cannot_be_read(
    chromium: Browser, world: PublicApiServer
) -> None:
    with signed_in(chromium, f"http://127.0.0.1:{world.port}", "owner@acme.example") as page:
        page.goto("/destinations/perkville/tester?as=json")
        event, result = page.get_by_label("Event", exact=True), page.locator("#result")
        preview = page.get_by_role("button", name="Preview")
        content = {"type": "track", "event": "Checked In", "userId": "u", "properties": {"email": "u@example.com"}}
        event.fill(json.dumps(content))
        preview.click()
        expect(result.get_by_role("heading", name="This would be sent")).to_be_visible()
        expect(result.locator("dl")).to_contain_text("u@example.com")
        expect(result.locator("pre")).to_contain_text('"perk": "/v2/perks/123457/"')
        event.fill(json.dumps({**content, "event": "Never Mapped"}))
        preview.click()
        expect(result.get_by_role("heading", name="Nothing would be sent")).to_be_visible()
        expect(result).to_contain_text('"Never Mapped" is not in the Event to Perk Map')
        expect(result).to_contain_text("What to do:")
        expect(result.locator("pre")).to_have_count(0)
        event.fill('{"type": ')
        preview.click()
        expect(result.get_by_role("alert")).to_contain_text("JSON")
        expect(result).not_to_contain_text("would be sent")


def test_the_preview_of_an_audience_follows_what_is_typed(chromium: Browser, world: PublicApiServer) -> None:
    """Without leaving the field, and with the query that the lines stand for."""
    with signed_in(chromium, f"http://127.0.0.1:{world.port}", "owner@acme.example") as page:
        page.goto("/audiences/new")
        preview = page.get_by_role("region", name="Preview")
        expect(preview).to_contain_text("Enter a condition.")
        with previewed(world):
            page.get_by_label("Event", exact=True).press_sequentially("Checked In")
            expect(page.get_by_label("Query")).to_have_value("event('Checked In').count() >= 1")
            expect(preview).to_contain_text(re.compile(r"3\s+of 3 people"))
            expect(preview).to_contain_text("ann2@example.com")
            expect(page.get_by_label("Event", exact=True)).to_be_focused()
            page.get_by_label("Count", exact=True).fill("2")
            expect(page.get_by_label("Query")).to_have_value("event('Checked In').count() >= 2")
            expect(preview).to_contain_text(re.compile(r"0\s+of 3 people"))
            expect(preview).not_to_contain_text("ann2@example.com")


def test_a_paused_debugger_keeps_as_many_events_as_it_shows(chromium: Browser, world: PublicApiServer) -> None:
    """All of them are rows with labels for phones when it goes on, the newest on top."""

    def send(count: int) -> None:
        event = {"type": "track", "userId": "u", "event": "Opened"}
        world.send({"batch": [{**event, "messageId": f"burst-{number}"} for number in range(count)]}, call="batch")
        world.route()

    with signed_in(chromium, f"http://127.0.0.1:{world.port}", "owner@acme.example") as page:
        page.goto("/sources/website/debugger")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        page.get_by_role("button", name="Pause").click()
        elsewhere(lambda: send(DEBUGGER_ROWS + 5))
        expect(page.get_by_text(f"Paused, {DEBUGGER_ROWS} or more new")).to_be_visible()
        page.get_by_role("button", name="Resume").click()
        rows = page.locator(".live-row")
        expect(rows.first).to_contain_text("Opened")
        expect(rows).to_have_count(DEBUGGER_ROWS)
        places = rows.evaluate_all("rows => rows.map(row => Number(row.id.split('-')[2]))")
        assert places == list(range(DEBUGGER_ROWS + 4, 4, -1))
        labels = rows.evaluate_all("rows => rows.map(row => row.querySelector('td[data-label]')?.dataset.label)")
        assert set(labels) == {"Received"}


def test_a_debugger_that_connects_again_while_paused_says_that_it_is_paused(
    chromium: Browser, world: PublicApiServer
) -> None:
    """Its stream ends and begins again, as after a restart of the server."""
    script = """
        const Source = window.EventSource;
        window.EventSource = class extends Source {
            constructor(url) { super(url); window.stream = this; }
        };"""
    with signed_in(chromium, f"http://127.0.0.1:{world.port}", "owner@acme.example", script=script) as page:
        page.goto("/sources/website/debugger")
        state = page.locator("[data-debugger-state]")
        expect(state).to_have_text("Live")
        page.get_by_role("button", name="Pause").click()
        expect(state).to_have_text("Paused")
        page.evaluate("window.stream.dispatchEvent(new Event('error'))")
        expect(state).to_have_text("Connecting")
        page.evaluate("window.stream.dispatchEvent(new Event('open'))")
        expect(state).to_have_text("Paused")
