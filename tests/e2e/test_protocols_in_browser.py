"""Protocols in a real browser: from events to a plan, to a blocked event, and to its points after all."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect
from tests.contract.privacy_world import CONFIG, order, transactions
from tests.e2e.app_pages import check_both_widths, confirm, elsewhere, signed_in

from punchcard.testing.operators import add_operators
from punchcard.testing.public_api import PublicApiServer

PICTURES = os.environ.get("PROTOCOLS_PICTURES_FOLDER", "")
SCREEN: ViewportSize = {"width": 1280, "height": 860}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicApiServer]:
    """A running installation with a destination that awards orders."""
    folder: Path = tmp_path_factory.mktemp("protocols")
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        yield server


@pytest.fixture
def page(world: PublicApiServer, chromium: Browser) -> Iterator[Page]:
    """A page of a browser in which an owner is signed in."""
    url = f"http://127.0.0.1:{world.port}"
    with signed_in(chromium, url, "owner@acme.example", viewport=SCREEN) as opened:
        yield opened


def send(world: PublicApiServer, number: int, name: str = "Order Completed", **properties: object) -> None:
    """Send an event of a person of its own, and route it."""
    event = order((f"user-{number}", f"u{number}@example.com", f"d-{number}"), number)
    event["event"] = name
    event["properties"] |= properties
    world.send(event)
    world.route()
    world.feed_lake()


def awarded(world: PublicApiServer) -> set[str]:
    """Return the emails of the ledger."""
    return {row["email"] for row in transactions(world)}


def connect_plan_of_events(page: Page, axe: str) -> None:
    """Create a plan of the events of the website, and connect it."""
    page.goto("/protocols")
    page.get_by_label("Name").fill("Shop")
    page.get_by_label("Begin with the events of").select_option("website")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("status")).to_contain_text("The tracking plan Shop was created.")
    check_both_widths(page, axe, "plan", pictures_folder=PICTURES)
    page.get_by_role("link", name="Order Completed").click()
    check_both_widths(page, axe, "rule", pictures_folder=PICTURES)

    page.get_by_role("link", name="Shop").click()
    page.get_by_role("link", name="website").click()
    page.get_by_label("Plan").select_option("shop")
    page.get_by_role("button", name="Connect").click()
    expect(page.get_by_role("status")).to_contain_text("Connected.")


def test_plan_is_inferred_enforced_and_blocked_events_earn_their_points_later(
    world: PublicApiServer, page: Page, axe: str
) -> None:
    """Infer → preview with awards at stake → block → the trace says why → allow and replay."""
    for number in range(1, 4):
        send(world, number)
    connect_plan_of_events(page, axe)
    send(world, 4, revenue=12)  # the plan has text
    page.get_by_label("Violating values in track calls").select_option("BLOCK")
    page.get_by_role("button", name="Preview").click()
    preview = page.get_by_role("status")
    expect(preview).to_contain_text("1 of 4 events would have been blocked")
    expect(preview).to_contain_text("1 award at Perkville would not have been made as it was")
    expect(preview).to_contain_text("properties.revenue must be string")
    check_both_widths(page, axe, "enforcement-preview", pictures_folder=PICTURES)
    page.get_by_role("button", name="Save").click()
    confirm(page, "Save?")
    expect(page.get_by_role("status")).to_contain_text("Saved. It applies to new events.")

    send(world, 5, revenue=12)
    assert "u5@example.com" not in awarded(world)
    page.goto("/protocols/shop/violations")
    check_both_widths(page, axe, "violations", pictures_folder=PICTURES)
    page.goto("/events/m-5")
    main = page.locator("main")
    expect(main).to_contain_text("Filtered at source")
    expect(main).to_contain_text("schema_violation")
    expect(main).to_contain_text("properties.revenue must be string")
    check_both_widths(page, axe, "blocked-event", pictures_folder=PICTURES)

    page.goto("/sources/website/protocols")
    page.get_by_label("Violating values in track calls").select_option("ALLOW")
    page.get_by_role("button", name="Save").click()
    confirm(page, "Save?")
    expect(page.get_by_role("status")).to_contain_text("Saved.")
    page.goto("/events/m-5")
    page.get_by_role("link", name="Replay").first.click()
    page.get_by_role("button", name="Show the plan").click()
    page.get_by_role("button", name="Replay 1 award").click()
    expect(page.get_by_role("status").first).to_contain_text("The replay has started.")
    elsewhere(world.run_replays)
    assert "u5@example.com" in awarded(world)
    page.goto("/events/m-5")
    expect(main).to_contain_text("Delivered")
    check_both_widths(page, axe, "replayed-event", pictures_folder=PICTURES)


def test_transformation_is_previewed_and_its_trace_shows_values_before_and_after(
    world: PublicApiServer, page: Page, axe: str
) -> None:
    """A wrong name → preview with what it would earn → the next event earns it, and its trace says why."""
    send(world, 11, name="order_completed", revenue="3.00")
    assert "u11@example.com" not in awarded(world)
    page.goto("/protocols")
    page.get_by_role("link", name="Transformations").click()
    page.get_by_role("link", name="Add transformation").first.click()
    page.get_by_label("Name").first.fill("Fix the order")
    page.get_by_label("Source").select_option("website")
    page.get_by_label("Conditions").fill("event = 'order_completed")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator(".invalid-feedback")).to_be_visible()
    check_both_widths(page, axe, "transformation-refused", pictures_folder=PICTURES)
    page.get_by_label("Conditions").fill("event = 'order_completed'")
    page.get_by_label("New event name").fill("Order Completed")
    page.get_by_label("Set values").fill('properties.currency = "USD"')
    page.get_by_role("button", name="Preview").click()
    preview = page.get_by_role("region", name="Preview")
    expect(preview).to_contain_text("events of the last 7 days would be changed.")
    expect(preview).to_contain_text("0 → 1")
    preview.get_by_text("Before and after").click()
    check_both_widths(page, axe, "transformation-preview", pictures_folder=PICTURES)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_be_visible()
    page.goto("/transformations")
    expect(page.locator("tbody")).to_contain_text("Fix the order")
    check_both_widths(page, axe, "transformations", pictures_folder=PICTURES)

    send(world, 12, name="order_completed", revenue="3.00")
    assert "u12@example.com" in awarded(world)
    page.goto("/events/m-12")
    main = page.locator("main")
    expect(main).to_contain_text('event "order_completed" → "Order Completed"')
    expect(main).to_contain_text('properties.currency (none) → "USD"')
    check_both_widths(page, axe, "transformed-event", pictures_folder=PICTURES)
