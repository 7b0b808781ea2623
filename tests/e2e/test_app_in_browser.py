"""The App in a real browser, before the real product: the first run, and what operators do every day."""

import re
from pathlib import Path

from playwright.sync_api import Browser, Page, expect
from tests.e2e.app_pages import (
    COLOR_RULES,
    PASSWORD,
    become_owner,
    check_page,
    confirm,
    picture,
    product,
    sandbox,
    signed_in,
    switch_theme,
    theme_of,
    wait_after_reloading,
)
from tests.e2e.appearance import Appearance
from tests.e2e.keyboard import choose, press, type_into

from punchcard.testing.product import WRITE_KEY, ProductProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

__all__ = ["product", "sandbox"]  # fixtures

PAGES = [
    "/",
    "/customers",
    "/customers?q=ann",
    "/customers?trait=regulars",
    "/customers/ann@example.com",
    "/customers/ann@example.com?tab=events",
    "/customers/ann@example.com?tab=audiences",
    "/customers/ann@example.com?tab=profile",
    f"/customers/{'x' * 300}",
    "/docs/how-to/operate",
    "/docs?q=award",
    "/alerts",
    "/alerts/rules",
    "/alerts/channels",
    "/audiences",
    "/audiences/regulars",
    "/audiences/regulars/edit",
    "/audiences/bought_and_kept/edit",
    "/audiences/new",
    "/audiences/new?kind=computed_trait",
    "/events",
    "/sources",
    "/sources/_new",
    "/sources/website",
    "/sources/website/debugger",
    "/sources/website/protocols",
    "/sources/website/schema",
    "/sources/website/schema/event?type=track&name=Checked%20In",
    "/destinations",
    "/destinations/perkville",
    "/destinations/perkville/map",
    "/destinations/perkville/settings",
    "/destinations/perkville/filters",
    "/destinations/perkville/filters/new",
    "/destinations/perkville/tester",
    "/destinations/perkville/transactions",
    "/destinations/perkville/replays",
    "/destinations/perkville/reconciliations",
    "/destinations/perkville/conflicts",
    "/destinations/perkville/state",
    "/transformations",
    "/transformations/new",
    "/protocols",
    "/privacy",
    "/privacy/controls",
    "/privacy/controls/new?part=source:website&path=properties.email",
    "/privacy/inventory",
    "/privacy/inventory/property?name=properties.email",
    "/privacy/retention",
    "/whats-new",
    "/search?q=ann",
    "/catalog",
    "/catalog/perkville",
    "/catalog/perkville/add",
    "/settings",
    "/settings/team",
    "/settings/tokens",
    "/settings/audit",
    "/settings/versions",
    "/settings/password",
    "/settings/account",
    "/settings/passkeys",
    "/settings/two-factor",
    "/settings/sign-in",
]

# Pages that somebody who only looks may not open.
FOR_OTHERS = (
    "/settings/team",
    "/settings/sign-in",
    "/settings/tokens",
    "/sources/_new",
    "/destinations/perkville/filters/new",
    "/privacy/controls/new?part=source:website&path=properties.email",
    "/transformations/new",
)


def test_a_newcomer_goes_from_nothing_to_the_first_point_with_the_keyboard_alone(
    tmp_path: Path, chromium: Browser, sandbox: SandboxProcess
) -> None:
    content = {"workspace": {"name": "My workspace"}}
    with ProductProcess(tmp_path / "new", content) as product:
        context = chromium.new_context(base_url=product.url, viewport={"width": 1280, "height": 860})
        become_owner(context)
        page = sign_in_again(context.pages[0])
        press(page.get_by_role("main").get_by_role("link", name="Add source").first)
        type_into(page.get_by_label("Name", exact=True), "Website")
        press(page.get_by_role("button", name="Add source"))
        page.wait_for_url("**/sources/website**")
        picture(page, "source")
        page.goto("/")
        press(page.get_by_role("link", name="Open the catalog"))
        expect(page.get_by_role("searchbox")).to_have_value("Perkville")
        picture(page, "catalog")
        press(page.get_by_role("link", name=re.compile("Perkville")).first)
        press(page.get_by_role("link", name="Add destination"))
        type_into(page.get_by_label("API Key"), "not-the-token")
        type_into(page.get_by_label("Business ID"), "41")
        type_into(page.get_by_label("Location ID"), "7")
        press(page.locator("summary", has_text="Another address of the API"))
        type_into(page.get_by_label("API address"), sandbox.url)
        press(page.get_by_role("button", name="Test connection"))
        expect(page.locator("#findings")).to_contain_text("Connection failed")
        type_into(page.get_by_label("API Key"), "sandbox-token")
        press(page.get_by_role("button", name="Test connection"))
        expect(page.locator("#findings")).to_contain_text("Connection works")
        picture(page, "add-destination")
        press(page.get_by_role("button", name="Add Perkville"))
        type_into(page.get_by_label("Event name"), "Order Completed")
        choose(page.get_by_label("Perk", exact=True), "123456")
        press(page.get_by_role("button", name="Add event"))
        type_into(page.get_by_label("Event name").nth(1), "Checked In")
        choose(page.get_by_label("Perk", exact=True).nth(1), "123457")
        picture(page, "event-map")
        press(page.get_by_role("button", name="Save"))
        expect(page.get_by_role("status").first).to_contain_text("2 events earn points")
        press(page.get_by_role("link", name="Send a test event"))
        press(page.get_by_role("button", name="Preview"))
        expect(page.locator("#result")).to_contain_text("This would be sent")
        picture(page, "event-tester")
        press(page.get_by_role("button", name="Send test event"))
        expect(page.locator("#result")).to_contain_text("Points awarded")
        page.goto("/")
        expect(page.get_by_text("Get started")).to_have_count(0)
        expect(page.get_by_text("Points awarded").first).to_be_visible()
        context.close()
    assert [transaction["email"] for transaction in sandbox.transactions()] == ["example@example.com"]


def sign_in_again(page: Page) -> Page:
    """Sign out and in with the keyboard; return the page."""
    press(page.get_by_role("button", name="Sign out"))
    type_into(page.get_by_label("Email"), "olga@acme.example")
    type_into(page.get_by_label("Password"), PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_text("Get started")).to_be_visible()
    picture(page, "first-run")
    return page


def test_every_page_fits_has_no_barriers_and_looks_as_before(
    chromium: Browser, product: ProductProcess, axe: str
) -> None:
    """In both widths and themes: a page opens as the page before was left, and is changed to the others."""
    widths = (1280, 390)
    appearance = Appearance()
    options = {"viewport": {"width": widths[0], "height": 860}, "color_scheme": "light"}
    with signed_in(chromium, product.url, "olga@acme.example", script=axe, **options) as page:
        errors = console_errors(page)
        for number, path in enumerate(PAGES):
            opened_width, other_width = widths if number % 2 == 0 else widths[::-1]
            opened = "light" if number % 2 == 0 else "dark"
            page.set_viewport_size({"width": opened_width, "height": 860})
            page.goto(path)
            page.wait_for_timeout(150)
            assert theme_of(page) == opened
            check_page(page, f"{path}, {opened}, {opened_width} px")
            page.set_viewport_size({"width": other_width, "height": 860})
            check_page(page, f"{path}, {opened}, {other_width} px")
            appearance.compare(page, path, theme=opened)
            switch_theme(page)
            switched = theme_of(page)
            assert {opened, switched} == {"light", "dark"}
            check_page(page, f"{path}, {switched}, {other_width} px", rules=COLOR_RULES)
            page.set_viewport_size({"width": opened_width, "height": 860})
            check_page(page, f"{path}, {switched}, {opened_width} px", rules=COLOR_RULES)
            appearance.compare(page, path, theme=switched)
        assert errors == []
        appearance.check()


# The status of a page and the names of its buttons, as it comes: rendering it takes ten times as long.
BUTTONS = """async (path) => {
    const response = await fetch(path);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const buttons = [...page.querySelectorAll("button, [role=button], input[type=submit]")];
    const name = (button) => button.getAttribute("aria-label") || button.value || button.textContent.trim();
    return [response.status, buttons.map(name)];
}"""


def console_errors(page: Page) -> list[str]:
    """The errors that a page will write to the console, as for what breaks its policy."""
    errors: list[str] = []
    page.on("console", lambda item: errors.append(f"{page.url}: {item.text}") if item.type == "error" else None)
    return errors


def test_the_first_page_loads_little_and_its_policy_is_enforced(chromium: Browser, product: ProductProcess) -> None:
    context = chromium.new_context(base_url=product.url)
    page = context.new_page()
    client = context.new_cdp_session(page)
    client.send("Network.enable")
    loaded: list[int] = []
    client.on("Network.loadingFinished", lambda item: loaded.append(item["encodedDataLength"]))
    page.goto("/sign-in", wait_until="networkidle")
    assert 0 < sum(loaded) < 300_000
    errors = console_errors(page)
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=alert(1)>')")
    wait_until(lambda: page.wait_for_timeout(20) or errors)
    assert "Content Security Policy" in errors[0]
    context.close()


def test_the_debugger_shows_an_event_as_it_comes_with_what_becomes_of_it(
    chromium: Browser, product: ProductProcess
) -> None:
    with signed_in(chromium, product.url, "lou@acme.example") as page:
        page.goto("/sources/website/debugger")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        event = {"event": "Checked In", "userId": "gina", "messageId": "live-1"}
        product.send("track", {**event, "properties": {"email": "gina@example.com"}}, write_key=WRITE_KEY)
        row = page.locator(".live-row", has_text="gina@example.com")
        expect(row).to_contain_text("Delivered")
        expect(row).to_have_count(1)
        picture(page, "debugger")
        row.get_by_role("button", name="Checked In").click()
        expect(row).to_contain_text('"messageId": "live-1"')
        page.get_by_role("button", name="Pause").click()
        product.send("track", {**event, "messageId": "live-2"}, write_key=WRITE_KEY)
        expect(page.get_by_text("Paused, 1 new")).to_be_visible()
        page.get_by_role("button", name="Resume").click()
        expect(page.locator(".live-row").first).to_contain_text("Refused")
        page.get_by_label("Search the events shown").fill("live-1")
        expect(page.locator(".live-row:visible")).to_have_count(1)
        assert page.locator(".live-row").count() > 1


def test_a_filter_is_built_seen_on_real_events_and_saved_live(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product.url, "olga@acme.example") as page:
        page.goto("/destinations/perkville/filters/new")
        page.get_by_label("Title").fill("No staff")
        page.get_by_label("Property").fill("properties.email")
        page.get_by_label("Condition", exact=True).select_option("contains")
        page.get_by_label("Value").fill("ben@")
        expect(page.locator("[data-fql]")).to_have_value('contains(properties.email, "ben@")')
        expect(page.locator("[data-preview]")).to_contain_text("2 of the newest")
        picture(page, "filter")
        page.locator("[data-fql]").fill('event = "Locker Opened" and !( type = "page" )')
        expect(page.locator("[data-preview]")).to_contain_text("1 of the newest")
        expect(page.locator("[data-builder]")).to_be_hidden()
        page.locator("[data-fql]").fill("event = ")
        expect(page.locator("[data-preview]")).to_contain_text("At the end")
        page.locator("[data-fql]").fill('event = "Checked In" and userId = "ben"')
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status").first).to_contain_text("applies immediately")
        expect(page.locator("main")).to_contain_text("would have dropped 1")
        event = {"event": "Checked In", "userId": "ben", "messageId": "filtered"}
        event |= {"properties": {"email": "b@x.example"}}
        product.send("track", event, write_key=WRITE_KEY)
        product.wait_for_status("filtered", "filtered_at_destination")
        page.get_by_role("link", name="No staff").click()
        expect(page.get_by_label("Property").first).to_have_value("event")
        page.get_by_role("button", name="Delete filter").click()
        confirm(page, "Delete this filter?")
        expect(page.locator("main")).to_contain_text("No filters")


def test_an_audience_is_built_counted_and_saved_live(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product.url, "olga@acme.example") as page:
        page.goto("/audiences/new")
        page.locator("#f-name").fill("Big orders")
        page.get_by_label("Event", exact=True).fill("Order Completed")
        page.get_by_label("When", exact=True).first.select_option("within")
        page.get_by_label("Maximum age").fill("30")
        page.get_by_label("Refine this condition").select_option("ask")
        expect(page.get_by_label("Property", exact=True)).to_be_focused()
        page.get_by_label("Property", exact=True).fill("revenue")
        page.get_by_label("Comparison").select_option(">=")
        page.get_by_label("Value", exact=True).fill("20")
        page.get_by_label("Value", exact=True).press("Tab")
        text = "event('Order Completed').where( property('revenue') >= 20 ).within(30 days).count() >= 1"
        expect(page.get_by_label("Query")).to_have_value(text)
        preview = page.get_by_role("region", name="Preview")
        expect(preview).to_contain_text("ann@example.com")
        expect(preview).to_contain_text("This will update 1 customer at Perkville.")
        expect(preview.get_by_role("link", name="Regulars")).to_be_visible()  # she is in that audience too
        page.get_by_role("checkbox", name="Perkville").uncheck()
        expect(preview).not_to_contain_text("This will update")
        page.get_by_role("checkbox", name="Perkville").check()
        page.get_by_label("Query").fill("event('Order Complete').count() >= 1")
        page.get_by_label("Query").press("Tab")
        expect(preview).to_contain_text('Did you mean "Order Completed"?')
        page.get_by_label("Query").fill("event('Order Completed').coun() >= 1")
        page.get_by_role("button", name="Save").click()
        expect(page.locator(".invalid-feedback")).to_contain_text("did you mean `count`?")
        page.get_by_label("Query").fill(text)
        page.get_by_role("checkbox", name="Perkville").uncheck()
        page.get_by_role("button", name="Save").click()
        page.wait_for_url("**/audiences/big_orders")
        wait_after_reloading(page, lambda: "ann@example.com" in page.inner_text("main"))
        picture(page, "audience")
        page.goto("/audiences/big_orders/edit")
        expect(preview).to_contain_text("ann@example.com")
        page.get_by_label("Value", exact=True).fill("25")  # and saved before anything was composed of it
        page.get_by_role("button", name="Save").click()
        page.wait_for_url("**/audiences/big_orders")
        expect(page.locator("main")).to_contain_text("property('revenue') >= 25")
        page.goto("/customers/ann@example.com?tab=audiences")
        expect(page.locator("main")).to_contain_text("Big orders")
        page.goto("/audiences")
        picture(page, "audiences")


def test_everything_that_the_builder_knows_is_shown_by_choosing(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product.url, "olga@acme.example", viewport={"width": 390, "height": 860}) as page:
        page.goto("/audiences/new")
        text = page.get_by_label("Query")
        page.get_by_label("Event", exact=True).fill("Order Completed")
        page.get_by_label("Compared value").select_option("sum")
        page.get_by_label("Compared property").fill("revenue")
        page.get_by_label("Count", exact=True).fill("50")
        page.get_by_label("When", exact=True).first.select_option("between")
        page.get_by_label("Minimum age").fill("7")
        page.get_by_label("Maximum age").fill("90")
        page.get_by_label("Refine this condition").select_option("did_not")
        expect(page.get_by_label("Event of the second step")).to_be_focused()
        page.keyboard.type("Order Refunded")
        page.get_by_label("Maximum time between the steps").fill("3")
        page.get_by_label("Refine this condition").select_option("then_ask")
        expect(page.get_by_label("Property of the second step", exact=True)).to_be_focused()
        page.keyboard.type("sku")
        page.get_by_label("Comparison").select_option("same")
        page.get_by_label("Refine this condition").select_option("source")
        page.get_by_label("Source", exact=True).select_option("website")
        page.get_by_role("button", name="Add condition").click()
        page.get_by_label("Type of condition").nth(1).select_option("not_in")
        page.get_by_label("Audience", exact=True).select_option("Regulars")
        message = (
            "event('Order Completed').where( NOT ( event('Order Refunded')"
            ".where( property('sku') = property(parent: 'sku') ).within(parent: 3 days).count() >= 1 ) )"
            ".sources('website').between(7 days, 90 days).sum(property('revenue')) >= 50"
        )
        expect(text).to_have_value(f"{message} AND NOT ( trait('regulars') = true )")
        page.get_by_role("button", name="Remove this condition").nth(1).click()
        expect(text).to_have_value(message)
        page.get_by_role("button", name="Remove the second step").click()
        expect(page.get_by_label("Event of the second step")).to_have_count(0)
        page.get_by_role("button", name="Remove this source").click()
        expect(text).to_have_value("event('Order Completed').between(7 days, 90 days).sum(property('revenue')) >= 50")
        expect(page.get_by_label("Event of the second step")).to_have_count(0)
        page.set_viewport_size({"width": 1280, "height": 860})
        page.goto("/audiences/bought_and_kept/edit")
        expect(page.get_by_role("region", name="Preview")).to_contain_text("people, counted")
        picture(page, "audience-editor")


def test_what_comes_to_stand_on_the_page_listens_at_once(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product.url, "olga@acme.example") as page:
        page.goto("/audiences/new")
        page.evaluate(
            """() => new MutationObserver((_, observer) => {
              const kind = document.getElementById("l1_kind");
              if (!kind) return;
              observer.disconnect();
              kind.value = "not_in";
              kind.dispatchEvent(new Event("change", { bubbles: true }));
            }).observe(document.getElementById("builder"), { childList: true, subtree: true })"""
        )
        page.get_by_role("button", name="Add condition").click()
        page.get_by_label("Audience", exact=True).select_option("Regulars")


def test_why_did_ann_not_get_her_points(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product.url, "lou@acme.example", viewport={"width": 1280, "height": 900}) as page:
        page.goto("/customers")
        expect(page.get_by_role("region", name="People")).to_contain_text("ann@example.com")
        picture(page, "customers")
        page.get_by_role("searchbox").fill("ann")
        page.get_by_role("button", name="Find").click()
        page.get_by_role("link", name="ann@example.com").click()
        expect(page.locator("main")).to_contain_text("59.9 points")
        unearned = page.get_by_role("region", name="Events that earned nothing, and why")
        expect(unearned.locator("tbody tr")).to_have_count(1)
        expect(unearned).to_contain_text("email")
        picture(page, "customer")
        unearned.get_by_role("link", name="Checked In").click()
        expect(page.locator("main")).to_contain_text("What to do: Send the customer's address")
        picture(page, "event")


def test_every_number_of_the_overview_opens_what_it_counts(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product.url, "lou@acme.example", viewport={"width": 1280, "height": 900}) as page:
        page.goto("/destinations/perkville")
        picture(page, "overview")
        links = page.locator(".stage a")
        targets = [
            (int(links.nth(number).inner_text().replace(",", "")), links.nth(number).get_attribute("href"))
            for number in range(links.count())
        ]
        assert sum(count for count, _ in targets) > 0
        for count, target in targets:
            assert target is not None
            page.goto(target)
            heading = page.locator(".card-title").first.inner_text()
            assert heading.startswith(f"{count} "), (target, heading, count)


def test_a_parked_award_is_put_back_and_another_put_aside(
    chromium: Browser, product: ProductProcess, sandbox: SandboxProcess
) -> None:
    sandbox.faults({"status": 503})
    for number in (1, 2):
        event = {
            "event": "Checked In",
            "userId": f"p{number}",
            "messageId": f"parked-{number}",
            "properties": {"email": f"p{number}@example.com"},
        }
        product.send("track", event, write_key=WRITE_KEY)
        product.wait_for_status(f"parked-{number}", "parked")
    sandbox.faults({})
    with signed_in(chromium, product.url, "olga@acme.example", viewport={"width": 1280, "height": 860}) as page:
        page.goto("/")
        expect(page.get_by_role("region", name="Needs attention")).to_contain_text("2 awards wait for you")
        picture(page, "home")
        page.get_by_role("region", name="Needs attention").get_by_role("link", name="View").first.click()
        picture(page, "transactions")
        page.get_by_label("Select the award of p1@example.com").check()
        page.locator(".list-tools").get_by_role("button", name="Retry").click()
        expect(page.get_by_role("status").first).to_contain_text("1 award back in the queue")
        product.wait_for_status("parked-1", "delivered")
        page.get_by_role("button", name=re.compile("^Select all")).click()
        page.get_by_role("button", name="Dismiss").click()
        page.get_by_role("button", name="Dismiss 1 award").click()
        expect(page.get_by_role("status").first).to_contain_text("1 award dismissed")
        wait = product.wait_for_status("parked-2", "rejected")
        assert wait["reason"] == "dismissed"
        assert "olga@acme.example" in wait["detail"]


def test_who_only_looks_is_offered_nothing_to_change(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product.url, "lou@acme.example") as page:
        page.goto("/")
        changes = ("Save", "Add source", "Add filter", "Retry", "Dismiss", "Send test event", "Remove")
        for path in PAGES:
            status, buttons = page.evaluate(BUTTONS, path)
            if path in FOR_OTHERS:
                assert status == 403, path
                continue
            assert "Sign out Lou" in buttons, path
            offered = [button for button in buttons for change in changes if change.lower() in button.lower()]
            assert offered == [], path


def test_a_page_is_used_with_the_keyboard_alone(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product.url, "olga@acme.example") as page:
        page.goto("/")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        page.keyboard.press("Enter")
        page.goto("/customers")
        expect(page.get_by_role("searchbox")).to_be_focused()
        page.keyboard.type("ann@example.com")
        page.keyboard.press("Enter")
        page.wait_for_url("**/customers/ann%40example.com")
        page.get_by_role("button", name="Switch between light and dark").focus()
        before = page.evaluate("document.documentElement.dataset.bsTheme")
        page.keyboard.press("Enter")
        assert page.evaluate("document.documentElement.dataset.bsTheme") != before
        page.reload()
        assert page.evaluate("document.documentElement.dataset.bsTheme") != before
