"""Privacy in a real browser: everything about a person as a file, and then nothing of the person any more."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect
from tests.contract.privacy_world import ANN, BOB, CONFIG, order, process
from tests.e2e.app_pages import check_both_widths, check_page, confirm, elsewhere, signed_in

from punchcard.testing.operators import add_operators
from punchcard.testing.public_api import PublicApiServer

PICTURES = os.environ.get("PRIVACY_PICTURES_FOLDER", "")
SCREEN: ViewportSize = {"width": 1280, "height": 860}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicApiServer]:
    """A running installation with awards of two persons."""
    folder: Path = tmp_path_factory.mktemp("privacy")
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        server.send(order(ANN, 1), order(BOB, 2))
        elsewhere(lambda: process(server))
        yield server


@pytest.fixture
def page(world: PublicApiServer, chromium: Browser) -> Iterator[Page]:
    """A page of a browser in which an owner is signed in."""
    url = f"http://127.0.0.1:{world.port}"
    with signed_in(chromium, url, "owner@acme.example", viewport=SCREEN) as opened:
        yield opened


def test_access_request_is_downloaded_and_readable(page: Page, axe: str) -> None:
    """The HTML file opens in a browser without barriers, and the JSON file has the same person."""
    files = []
    for label in ("HTML", "JSON"):
        page.goto("/privacy")
        page.get_by_label("Named by").last.select_option("EMAIL")
        page.get_by_label("Person", exact=True).fill(ANN[1])
        with page.expect_download() as download:
            page.get_by_role("button", name=f"Download {label}").click()
        files.append(download.value.path().read_text())
        assert download.value.suggested_filename == f"{ANN[1]}.{label.lower()}"
    html, data = files
    for text in (*ANN, "Order Completed", "9.99"):
        assert text in html
        assert text in json.dumps(json.loads(data))
    assert BOB[1] not in html
    file = page.context.new_page()  # without the policy of the App, as a file of a folder
    file.set_content(html)
    file.set_viewport_size({"width": 390, "height": 860})
    file.evaluate(axe)
    check_page(file, "access request")
    if PICTURES:
        file.screenshot(path=Path(PICTURES) / "access-request.png", full_page=True)


def test_person_is_deleted_with_progress_and_result(world: PublicApiServer, page: Page, axe: str) -> None:
    """Apply → running → finished, without reloading the page; the person is gone, and the other one is not."""
    page.goto("/privacy")
    page.get_by_role("button", name="Apply").click()
    confirm(page, "Apply this to the persons?")
    expect(page.locator(".invalid-feedback")).to_be_visible()
    page.get_by_label("Action").select_option("SUPPRESS_WITH_DELETE")
    page.get_by_label("Named by").first.select_option("USER_ID")
    page.get_by_label("Persons").fill(ANN[0])
    check_both_widths(page, axe, "privacy", pictures_folder=PICTURES)
    page.get_by_role("button", name="Apply").click()
    confirm(page, "Apply this to the persons?")
    main = page.locator("main")
    expect(page.get_by_role("status").first).to_contain_text("The regulation was created.")
    expect(main).to_contain_text("Initialized")
    elsewhere(world.run_regulations)
    expect(main).to_contain_text("Partial success")  # Perkville cannot delete
    expect(main).to_contain_text("Last copy deleted")
    check_both_widths(page, axe, "regulation", pictures_folder=PICTURES)
    page.goto("/privacy")
    expect(page.locator("tbody")).to_contain_text("Delete all data, and refuse new events")
    page.goto("/customers")
    expect(main).not_to_contain_text(ANN[1])
    expect(main).to_contain_text(BOB[1])

    world.send(order(ANN, 3))
    world.route()
    world.feed_lake()
    page.goto("/events?time=30d")
    expect(main).to_contain_text("Filtered at source")
    expect(main).not_to_contain_text(ANN[1])
