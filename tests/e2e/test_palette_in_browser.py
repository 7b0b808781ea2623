"""The command palette in a real browser, over an App in this process."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import update
from tests.contract.test_app_search import CONFIG
from tests.e2e.app_pages import signed_in

from punchcard.store.delivery import outbox
from punchcard.store.delivery.schema import effects
from punchcard.testing.effects import new_effect
from punchcard.testing.engage_samples import add_person, set_traits
from punchcard.testing.operators import add_operators
from punchcard.testing.public_api import PublicApiServer

PICTURES = os.environ.get("LOOK_FOLDER", "")
SIZES = [(1280, "light"), (390, "dark")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicApiServer]:
    folder = tmp_path_factory.mktemp("palette")
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        now = server.clock.now()
        with server.store.unit_of_work() as work:
            for number in range(60):
                effect = new_effect(f"SEG:{number}", order_id=str(1000 + number), customer=f"ann{number}@example.com")
                outbox.add(work, [effect], now=now)
            for number in range(40):
                person = add_person(work, ("user_id", f"member-{number}"), at=now)
                entered = now - timedelta(days=number % 9)
                set_traits(work, person, {"regulars": True}, at=entered, computation="audience")
                set_traits(work, person, {"lifetime_spend": number**2}, at=now, computation="computed_trait")
            add_person(work, ("email", "ann1@example.com"), ("user_id", "u-1"), at=now, traits={"name": "Ann Bell"})
        yield server


@contextmanager
def opened(
    chromium: Browser, world: PublicApiServer, role: str, *, width: int = 1280, scheme: Any = "light", **options: Any
) -> Iterator[Page]:
    """Open the first page of the App as an operator of a role."""
    size = {"width": width, "height": 844}
    url = f"http://127.0.0.1:{world.port}"
    with signed_in(chromium, url, f"{role}@acme.example", viewport=size, color_scheme=scheme, **options) as page:
        page.goto("/")
        yield page


def look(page: Page, name: str) -> None:
    """Take a picture to look at, if that is wanted."""
    if PICTURES:
        page.wait_for_timeout(300)
        page.screenshot(path=Path(PICTURES) / f"{name}-{page.viewport_size['width']}.png", full_page=False)  # type: ignore[index]


def barriers(page: Page, axe: str) -> list[list[str]]:
    """Rules that a page violates, each with its impact, however small."""
    page.evaluate(axe)
    violations: list[list[str]] = page.evaluate(
        """() => axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], resultTypes: ["violations"]})
            .then((result) => result.violations.map((violation) => [violation.id, violation.impact]))"""
    )
    return violations


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_a_customer_is_opened_by_the_keyboard_alone(
    chromium: Browser, world: PublicApiServer, axe: str, width: int, scheme: str
) -> None:
    with opened(chromium, world, "owner", width=width, scheme=scheme, bypass_csp=True) as page:
        page.keyboard.press("Control+k")
        field = page.get_by_role("combobox", name="Search")
        expect(field).to_be_focused()
        expect(page.get_by_role("option", name="New audience")).to_be_visible()
        look(page, f"palette-empty-{scheme}")
        page.keyboard.type("ann1")
        option = page.get_by_role("option", name="ann1@example.com")
        expect(option).to_have_attribute("aria-selected", "true")
        expect(option).to_contain_text("Ann Bell")
        look(page, f"palette-{scheme}")
        assert barriers(page, axe) == []
        page.keyboard.press("ArrowDown")
        expect(option).to_have_attribute("aria-selected", "false")
        chosen = page.locator("[role=option][aria-selected=true]")
        expect(field).to_have_attribute("aria-activedescendant", str(chosen.get_attribute("id")))
        page.keyboard.press("ArrowUp")
        expect(option).to_have_attribute("aria-selected", "true")
        page.keyboard.press("Enter")
        page.wait_for_url("**/customers/ann1%40example.com")
        page.keyboard.press("Control+k")
        page.keyboard.press("Escape")
        expect(page.get_by_role("combobox", name="Search")).to_be_hidden()


def test_enter_waits_for_the_results_of_the_text(chromium: Browser, world: PublicApiServer) -> None:
    with opened(chromium, world, "owner") as page:
        page.keyboard.press("Control+k")
        expect(page.get_by_role("option").first).to_be_visible()
        page.keyboard.type("audit")
        page.keyboard.press("Enter")
        page.wait_for_url("**/settings/audit")


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_the_button_opens_it_and_a_click_chooses(
    chromium: Browser, world: PublicApiServer, width: int, scheme: str
) -> None:
    with opened(chromium, world, "read_only", width=width, scheme=scheme) as page:
        page.get_by_role("link", name=re.compile("^Search")).click()
        page.get_by_role("combobox", name="Search").fill("pause")
        expect(page.get_by_role("listbox")).to_contain_text("Nothing matches “pause”.")
        page.get_by_role("combobox", name="Search").fill("regul")
        page.get_by_role("option", name="Regulars").click()
        page.wait_for_url("**/audiences/regulars")


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_the_search_page_works_without_scripts(
    chromium: Browser, world: PublicApiServer, width: int, scheme: str
) -> None:
    with opened(chromium, world, "owner", width=width, scheme=scheme, java_script_enabled=False) as page:
        page.get_by_role("link", name=re.compile("^Search")).click()
        page.wait_for_url("**/search")
        page.get_by_role("searchbox").fill("1001")
        page.get_by_role("searchbox").press("Enter")
        expect(page.get_by_role("link", name="Order 1001")).to_be_visible()
        look(page, f"search-{scheme}")


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_all_that_match_are_selected_confirmed_and_retried(
    chromium: Browser, world: PublicApiServer, axe: str, width: int, scheme: str
) -> None:
    with world.store.unit_of_work() as work:
        values = {"state": "parked", "is_open": False, "reason": "unavailable", "finished_at": world.clock.now()}
        work.execute(update(effects).values(**values))
    with opened(chromium, world, "editor", width=width, scheme=scheme, bypass_csp=True) as page:
        page.goto("/destinations/perkville/transactions")
        words = page.locator("[data-bulk-words]")
        page.locator("[name=id]").first.check()
        expect(words).to_have_text("1 award selected")
        if width > 390:  # on a phone the rows are cards without a header
            page.get_by_label("Select all on this page").check()
            expect(words).to_have_text("50 awards selected")
        page.get_by_role("button", name="Select all 60").click()
        expect(words).to_have_text("All 60 awards that match are selected")
        page.get_by_role("button", name="Clear selection").click()
        expect(words).to_be_empty()
        page.get_by_role("button", name="Select all 60").click()
        look(page, f"bulk-list-{scheme}")
        page.locator(".list-tools").get_by_role("button", name="Retry").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Retry 60 awards?")
        look(page, f"bulk-{scheme}")
        assert barriers(page, axe) == []
        page.get_by_role("button", name="Retry 60 awards").click()
        expect(page.get_by_role("status").first).to_contain_text("60 awards back in the queue.")


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_audiences_and_traits_are_drawn_for_keyboards_and_tables_too(
    chromium: Browser, world: PublicApiServer, axe: str, width: int, scheme: str
) -> None:
    with opened(chromium, world, "read_only", width=width, scheme=scheme, bypass_csp=True) as page:
        for path, name in (("regulars", "Entries and exits by day"), ("lifetime_spend", "Distribution")):
            page.goto(f"/audiences/{path}")
            page.get_by_role("heading", name=name).scroll_into_view_if_needed()
            look(page, f"{path}-{scheme}")
            assert barriers(page, axe) == []
            assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        expect(page.get_by_role("region", name="Distribution").get_by_role("row")).not_to_have_count(0)
        page.goto("/audiences/regulars")
        chart = page.get_by_role("group", name="Entries and exits by day")
        chart.focus()
        page.keyboard.press("End")
        expect(chart.get_by_role("status")).to_contain_text("Entered: ")
        page.get_by_role("region", name="Entries and exits by day").get_by_text("Show as table").click()
        expect(page.locator(".chart-table").get_by_role("columnheader", name="Left")).to_be_visible()
