"""A product in a browser, for tests of the App's pages.

With SCREENSHOTS_FOLDER=FOLDER the pictures of the documentation are taken meanwhile (`make screenshots`).
"""

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, StorageState, expect

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import WRITE_KEY, ProductProcess, command
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until

PASSWORD = "correct horse battery"
SCREENSHOTS = os.environ.get("SCREENSHOTS_FOLDER", "")
QUICK = {"retryBaseSeconds": 0.2, "retryAttemptsMax": 1}
EVENTS = [
    {"type": "track", "event": "Checked In", "userId": "ann", "properties": {"email": "ann@example.com"}},
    {
        "type": "track",
        "event": "Order Completed",
        "userId": "ann",
        "properties": {"email": "ann@example.com", "order_id": "1001", "revenue": 49.9},
    },
    {"type": "track", "event": "Checked In", "userId": "ann"},
    {"type": "track", "event": "Locker Opened", "userId": "ben", "properties": {"email": "ben@example.com"}},
    {"type": "track", "event": "Checked In", "userId": "ben", "properties": {"email": "ben@example.com"}},
    {"type": "track", "event": "<script>alert(1)</script>", "userId": "eve", "properties": {"email": "eve@x.example"}},
]

KEPT = (
    "event('Order Completed').where( property('coupon').absent() AND "
    "NOT ( event('Order Refunded').within(parent: 7 days).count() >= 1 ) ).within(90 days)"
    ".sum(property('revenue')) > 20.5 AND NOT ( trait('regulars') = true )"
)


def picture(page: Page, name: str) -> None:
    """Take a picture for the documentation, if pictures are wanted."""
    if SCREENSHOTS:
        page.wait_for_timeout(400)
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png")


def wait_after_reloading(page: Page, condition: Callable[[], bool]) -> None:
    """Reload the page until the condition holds."""

    def holds() -> bool:
        if not condition():
            page.wait_for_timeout(_RELOAD_MILLISECONDS)
            page.reload()
        return condition()

    wait_until(holds, lambda: page.inner_text("main"))


# Loading a page takes longer than what is awaited; more often would only delay that.
_RELOAD_MILLISECONDS = 200

# What a browser keeps of an operator who has signed in, by the address of the App and the email.
_SESSIONS: dict[tuple[str, str], StorageState] = {}


@contextmanager
def signed_in(chromium: Browser, url: str, email: str, *, script: str = "", **options: Any) -> Iterator[Page]:
    """Open a browser in which an operator is signed in; a script error or a violation of the policy fails the test.

    Operators sign in once for each App, and each browser after the first begins with the cookies of that: signing in is
    as much work as what most tests do then. Tests that end sessions sign in themselves.

    Args:
        chromium: Where.
        url: The address of the App.
        email: The operator, with the password of all.
        script: Runs in each page before the page's own scripts do.
        options: Further options of the browser, such as its size.

    Yields:
        A page that shows nothing yet.
    """
    session = _SESSIONS.get((url, email))
    context = chromium.new_context(base_url=url, storage_state=session, **{"reduced_motion": "reduce", **options})
    context.set_default_timeout(PATIENCE_SECONDS * 1_000)
    if script:
        context.add_init_script(script)
    page = context.new_page()
    problems: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and "Content Security" in message.text:
            problems.append(message.text)

    page.on("pageerror", lambda error: problems.append(f"{page.url}: {error}"))
    page.on("console", note)
    try:
        if session is None:
            page.goto("/sign-in")
            page.get_by_label("Email").fill(email)
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url("**/")
            _SESSIONS[url, email] = context.storage_state()
        yield page
    finally:
        context.close()
    assert problems == []


def become_owner(context: BrowserContext) -> Page:
    context.set_default_timeout(PATIENCE_SECONDS * 1_000)
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Your name").fill("Olga")
    page.get_by_label("Your email").fill("olga@acme.example")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Name of your business").fill("Acme Fitness")
    page.get_by_label("Time zone").select_option("America/Los_Angeles")
    picture(page, "welcome")
    page.get_by_role("button", name="Create account").click()
    page.wait_for_url(re.compile(r"/$"))
    return page


def confirm(page: Page, question: str) -> None:
    """Confirm what a pressed button asks; by then its dialog is in the way of everything else.

    Args:
        question: A part of what the dialog says.
    """
    dialog = page.get_by_role("alertdialog")
    expect(dialog).to_contain_text(question)
    dialog.get_by_role("button").last.click()


def theme_of(page: Page) -> str:
    return str(page.evaluate("document.documentElement.dataset.bsTheme"))


def switch_theme(page: Page) -> None:
    """Switch between light and dark, and wait until the page stands still."""
    page.evaluate("document.querySelector('[data-theme-toggle]').click()")
    page.wait_for_function(
        "document.getAnimations().every((animation) => animation.effect.getTiming().iterations === Infinity)"
    )


# Only violations are worked out: what passes, which is nearly all of a page, takes axe as long as finding it, and its
# description is larger than the page.
BARRIERS = """(rules) => axe
    .run(document, {runOnly: rules, resultTypes: ["violations"]})
    .then((result) => result.violations
        .filter((violation) => ["serious", "critical"].includes(violation.impact))
        .map((violation) => [violation.id, violation.nodes.map((node) => node.target)]))"""
RULES = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
_LOOKS_MAX = 30
COLOR_RULES = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}  # all that a theme can change


def check_page(page: Page, what: str, *, rules: dict[str, Any] = RULES) -> None:
    """The page fits into the window, and axe-core, which runs in it already, finds no serious barriers."""
    for _ in range(_LOOKS_MAX):  # charts follow a change of the window a moment later
        beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if beyond <= 0:
            break
        page.wait_for_timeout(100)
    assert beyond <= 0, f"{what}: {beyond} px too wide"
    barriers = page.evaluate(BARRIERS, rules)
    assert barriers == [], f"{what}: {barriers}"


def check_both_widths(page: Page, axe: str, name: str, *, pictures_folder: str = "") -> None:
    """The page fits on its screen and on a phone, and has no barriers there in either theme."""
    screen = page.viewport_size
    assert screen is not None
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0, name
    if pictures_folder:
        page.screenshot(path=Path(pictures_folder) / f"{name}-{screen['width']}.png", full_page=True)
    page.set_viewport_size({"width": 390, "height": 860})
    check_both_themes(page, axe, name, pictures_folder=pictures_folder)
    page.set_viewport_size(screen)


def check_both_themes(page: Page, axe: str, name: str, *, pictures_folder: str = "") -> None:
    """The page fits and has no barriers in either theme.

    Args:
        axe: The script of axe-core.
        pictures_folder: Where pictures of it are stored, "" for nowhere.
    """
    page.evaluate(axe)
    width = page.evaluate("window.innerWidth")
    for rules in (RULES, COLOR_RULES):
        check_page(page, f"{name}, {theme_of(page)}, {width} px", rules=rules)
        if pictures_folder:
            page.screenshot(path=Path(pictures_folder) / f"{name}-{width}-{theme_of(page)}.png", full_page=True)
        switch_theme(page)


def elsewhere(action: Callable[[], object]) -> None:
    """Do it in another thread: in that of the browser no second event loop can run."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001  # raised again below
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path_factory.mktemp("app-sandbox")) as running:
        yield running


@pytest.fixture(scope="module")
def product(
    tmp_path_factory: pytest.TempPathFactory, sandbox: SandboxProcess, chromium: Browser
) -> Iterator[ProductProcess]:
    """A configured product with an owner, a person who only looks, and some events."""
    content = configuration(perkville_url=sandbox.url, options=QUICK)
    regulars = "event('Checked In').within(30 days).count() >= 1"
    content["audiences"] = [
        {"name": "Regulars", "definition": regulars},
        {"name": "Bought and kept", "definition": KEPT},
    ]
    with ProductProcess(tmp_path_factory.mktemp("app"), content) as running:
        released = command("apply", str(running.config), "--release", "--yes", "--data", str(running.data))
        assert "The App manages" in released.stdout, released
        context = chromium.new_context(base_url=running.url)
        page = become_owner(context)
        page.goto("/settings/team")
        page.get_by_text("Add a user with a temporary password").click()
        page.get_by_label("Name").fill("Lou")
        page.get_by_label("Email").last.fill("lou@acme.example")
        page.get_by_label("Temporary password").fill(PASSWORD)
        page.get_by_role("button", name="Add user").click()
        expect(page.get_by_role("status")).to_contain_text("Lou was added and can sign in now")
        running.send("batch", {"batch": EVENTS}, write_key=WRITE_KEY)
        page.goto("/destinations/perkville/transactions")
        wait_after_reloading(page, lambda: page.locator(".badge", has_text="Delivered").count() >= 3)
        page.goto("/customers")  # Engage has seen the events too
        wait_after_reloading(page, lambda: page.get_by_text("eve@x.example").count() > 0)
        _SESSIONS[running.url, "olga@acme.example"] = context.storage_state()
        context.close()
        yield running
