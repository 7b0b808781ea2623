"""From the inventory to a masked value at the partner, in a real browser, on a screen and on a phone."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.contract.privacy_world import CONFIG, HOOK, order
from tests.e2e.app_pages import check_both_themes, elsewhere, signed_in

from punchcard.testing.operators import add_operators
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.webhook_receiver import WebhookReceiver

PHONE, CARD = "+43 664 1234567", "4111111111111111"
PICTURES = os.environ.get("CONTROL_PICTURES_FOLDER", "")


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    """A partner that takes webhooks."""
    with WebhookReceiver() as running:
        yield running


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["screen", "phone"])
def size(request: pytest.FixtureRequest) -> tuple[int, str]:
    """Width in pixels and theme of the browser."""
    width, theme = request.param
    return width, theme


@pytest.fixture
def world(tmp_path: Path, receiver: WebhookReceiver) -> Iterator[PublicApiServer]:
    """A running installation with a webhook, and events with a phone and a card in its lake."""
    networks = 'timezone = "UTC"\nwebhookAllowedNetworks = ["127.0.0.0/8"]'
    config = CONFIG.replace('timezone = "UTC"', networks) + HOOK.format(url=receiver.url)
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", config) as server:
        server.delivers_really = True
        add_operators(server)
        send(server, 1)
        send(server, 2)
        yield server


def send(world: PublicApiServer, number: int) -> None:
    """Send an order with a phone and a card, and route it."""
    event = order((f"user-{number}", f"u{number}@example.com", "d"), number)
    event["properties"] |= {"phone": PHONE, "card": CARD}
    world.send(event)
    world.route()
    world.feed_lake()


@pytest.fixture
def page(world: PublicApiServer, chromium: Browser, size: tuple[int, str]) -> Iterator[Page]:
    """A page of a browser of one size, in which an owner is signed in."""
    scheme = "dark" if size[1] == "dark" else "light"
    viewport = {"width": size[0], "height": 860}
    url = f"http://127.0.0.1:{world.port}"
    with signed_in(chromium, url, "owner@acme.example", viewport=viewport, color_scheme=scheme) as page:
        page.goto("/")
        yield page


def check(page: Page, axe: str, name: str) -> None:
    """The page fits and has no barriers, in both themes."""
    check_both_themes(page, axe, name, pictures_folder=PICTURES)


def test_a_property_is_masked_for_a_partner(
    world: PublicApiServer, receiver: WebhookReceiver, page: Page, axe: str
) -> None:
    """Inventory → control with preview → the event arrives masked → its trace says so; the lake has the original."""
    expect(page.locator("main")).to_contain_text("Values of properties.card look like card numbers.")
    page.goto("/privacy/inventory?status=new")
    check(page, axe, "inventory")
    page.get_by_label("Choose properties.revenue").check()
    page.get_by_role("button", name="Green").click()
    expect(page.get_by_role("status")).to_contain_text("1 property changed.")
    expect(page.locator("tbody")).not_to_contain_text("properties.revenue")
    page.get_by_role("link", name="properties.phone").click()
    check(page, axe, "property")
    page.get_by_role("link", name="Change the control at destination Data hook").click()
    page.get_by_label("Mask").check()
    page.get_by_role("button", name="Preview").click()
    preview = page.get_by_role("region", name="Preview")
    expect(preview).to_contain_text("2 of 2 events of the last 7 days would be changed.")
    expect(preview).to_contain_text("••••4567")
    assert PHONE not in page.content()
    check(page, axe, "preview")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("properties.phone is masked from the next event on.")
    expect(page.get_by_role("table")).to_contain_text("Data hook")
    check(page, axe, "controls")

    send(world, 3)
    elsewhere(lambda: world.deliver(slug="hook", rounds=6))
    received = {event["messageId"]: event["properties"] for sent in receiver.requests for event in sent.events}
    assert [received[f"m-{number}"]["phone"] for number in (1, 2, 3)] == [PHONE, PHONE, "••••4567"]
    page.goto("/events/m-3")
    expect(page.locator("main")).to_contain_text("Changed for this destination: properties.phone masked.")
    assert PHONE in page.locator("pre").first.inner_text()  # as received
