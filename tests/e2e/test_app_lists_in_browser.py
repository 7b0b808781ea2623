"""Lists, charts and forms of the App in a real browser, and what operators do after a change or a fault."""

import re

from playwright.sync_api import Browser, Dialog, expect
from tests.e2e.app_pages import picture, product, sandbox, signed_in, wait_after_reloading

from punchcard.testing.product import WRITE_KEY, ProductProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

__all__ = ["product", "sandbox"]  # fixtures


def test_a_phone_shows_every_entry_of_the_menu_and_rows_as_cards(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product, "olga@acme.example", viewport={"width": 390, "height": 844}) as page:
        menu = page.get_by_role("navigation", name="Main")
        expect(menu).to_be_hidden()
        page.get_by_role("button", name="Menu").click()
        entries = menu.get_by_role("link")
        expect(entries).to_have_count(10)
        for number in range(10):
            expect(entries.nth(number)).to_be_in_viewport()
        entries.filter(has_text="Events").click()
        page.wait_for_url("**/events")
        cell = page.locator("tbody td[data-label='Customer']").first
        assert cell.evaluate("cell => getComputedStyle(cell, '::before').content") == '"Customer"'


def test_a_list_is_sorted_and_its_columns_are_chosen_and_remembered(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product, "lou@acme.example", viewport={"width": 1280, "height": 860}) as page:
        page.goto("/destinations/perkville/transactions")
        # The titles of perks are read in the background: a later page has them.
        wait_after_reloading(page, lambda: page.get_by_text("Checked In · 10 points").count() > 0)
        expect(page.get_by_text("Order Completed · 49.9 points").first).to_be_visible()
        assert page.locator("tbody tr").first.bounding_box()["height"] <= 40  # type: ignore[index]
        header = page.get_by_role("columnheader", name="Customer")
        customers = page.locator(".tx-table > tbody > tr:first-child > td:nth-child(2)")
        for order, is_reversed in (("ascending", False), ("descending", True)):
            header.get_by_role("button").click()
            expect(header).to_have_attribute("aria-sort", order)
            emails = customers.all_inner_texts()
            assert emails == sorted(emails, reverse=is_reversed)
            assert len(set(emails)) > 1
        page.get_by_text("Columns").click()
        page.get_by_role("checkbox", name="Customer").uncheck()
        expect(header).to_be_hidden()
        page.reload()
        expect(page.get_by_role("columnheader", name="Effect")).to_be_visible()
        expect(header).to_be_hidden()
        page.get_by_text("Columns").click()
        page.get_by_role("checkbox", name="Customer").check()
        expect(header).to_be_visible()


def test_a_chart_is_read_with_the_keyboard_and_as_a_table(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product, "lou@acme.example") as page:
        page.goto("/")
        chart = page.get_by_role("group", name="Events received over time")
        chart.focus()
        page.keyboard.press("End")
        expect(chart.get_by_role("status")).to_contain_text("Events received: ")
        last = chart.get_by_role("status").inner_text()
        page.keyboard.press("ArrowLeft")
        expect(chart.get_by_role("status")).not_to_have_text(last)
        page.keyboard.press("Escape")
        expect(chart.get_by_role("status")).to_be_hidden()
        page.get_by_text("Show as table").first.click()
        expect(page.get_by_role("columnheader", name="Events received")).to_be_visible()


def test_a_form_with_unsaved_changes_is_not_left_unasked(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product, "olga@acme.example") as page:
        dialogs: list[str] = []

        def stay(dialog: Dialog) -> None:
            dialogs.append(dialog.type)
            dialog.dismiss()

        page.on("dialog", stay)
        page.goto("/destinations/perkville/map")
        page.get_by_role("link", name="Settings").last.click()  # nothing was changed: nobody is asked
        page.wait_for_url("**/perkville/settings")
        page.goto("/destinations/perkville/map")
        page.get_by_role("button", name="Add event").click()
        page.get_by_label("Event name").last.fill("Checked In")
        page.get_by_role("link", name="Filters").click()
        wait_until(lambda: dialogs == ["beforeunload"], lambda: f"{dialogs} on {page.url}")
        assert page.url.endswith("/perkville/map")
        page.get_by_label("Perk", exact=True).last.select_option("123456")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert").first).to_contain_text("Correct the lines below")
        expect(page.locator("main")).to_contain_text("“Checked In” is mapped twice. Remove one of the lines.")
        assert dialogs == ["beforeunload"]


def test_an_unmapped_event_is_mapped_tried_and_replayed(chromium: Browser, product: ProductProcess) -> None:
    for number in range(3):
        event = {
            "event": "Class Booked",
            "userId": f"c{number}",
            "messageId": f"class-{number}",
            "properties": {"email": f"c{number}@example.com", "class": "Yoga"},
        }
        product.send("track", event, write_key=WRITE_KEY)
        product.wait_for_status(f"class-{number}", "refused")
    with signed_in(chromium, product, "olga@acme.example", viewport={"width": 1280, "height": 860}) as page:
        page.goto("/destinations/perkville/map")
        unmapped = page.get_by_role("region", name="Unmapped events")
        wait_after_reloading(page, lambda: unmapped.get_by_text("Class Booked").count() > 0)
        picture(page, "unmapped-events")
        unmapped.get_by_role("row", name="Class Booked").get_by_role("link", name="Map").click()
        page.get_by_label("Perk", exact=True).last.select_option("123457")
        page.get_by_role("button", name="Try on past events").click()
        simulation = page.locator("#simulation")
        expect(simulation.get_by_role("row", name="Class Booked")).to_contain_text("30")
        simulation.scroll_into_view_if_needed()
        picture(page, "simulation")
        page.get_by_role("button", name="Save").click()
        offer = page.get_by_text(re.compile(r"\d+ events of the last 30 days would now earn 3 awards"))
        expect(offer).to_be_visible()
        picture(page, "replay-offer")
        page.get_by_role("button", name="Show the plan").click()
        page.wait_for_url(re.compile(r"/replays/[^/]+$"))
        expect(page.get_by_role("region", name="Plan", exact=True)).to_contain_text("3 awards")
        picture(page, "replay-plan")
        page.get_by_role("button", name="Replay 3 awards").click()
        progress = page.locator("#replay-progress")
        expect(progress).to_contain_text("3 of 3 events")
        expect(progress.get_by_role("heading")).to_have_text("Completed")
        expect(progress).to_contain_text("3 delivered")
        picture(page, "replay")
        page.goto("/events/class-0")
        expect(page.locator("main")).to_contain_text("Replays")
        expect(page.locator("main")).to_contain_text("Checked In · 10 points")


def test_both_sides_are_compared_and_a_difference_is_shown(
    chromium: Browser, product: ProductProcess, sandbox: SandboxProcess
) -> None:
    lost = sandbox.transactions()[-1]["transaction_id"]
    assert sandbox.request("DELETE", f"/sandbox/transactions/{lost}").status < 300
    with signed_in(chromium, product, "olga@acme.example", viewport={"width": 1280, "height": 860}) as page:
        page.goto("/destinations/perkville/reconciliations")
        page.get_by_role("button", name="Compare now").click()
        expect(page.locator("main")).to_contain_text("1 open of 1 difference")
        page.get_by_role("button", name=re.compile("^Details of ")).click()
        expect(page.locator(".tx-details")).to_contain_text("No transaction")
        picture(page, "reconciliation")
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_label("Differences").select_option("all")
        page.get_by_role("button", name="Dismiss").click()
        expect(page.locator("main")).to_contain_text("0 open of 1 difference")


def test_a_destination_is_paused_with_a_reason_and_resumed(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product, "olga@acme.example", viewport={"width": 1280, "height": 860}) as page:
        page.goto("/destinations/perkville")
        page.get_by_role("link", name="Pause or switch off").click()
        page.get_by_label("Reason").fill("New perks on Monday")
        picture(page, "pause")
        page.get_by_role("button", name="Stop deliveries").click()
        expect(page.locator("main")).to_contain_text("New perks on Monday")
        picture(page, "paused")
        page.goto("/alerts")
        wait_after_reloading(page, lambda: "New perks on Monday" in page.inner_text("main"))
        picture(page, "alerts")
        page.goto("/alerts/channels")
        picture(page, "alert-channels")
        page.goto("/destinations/perkville")
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_role("link", name="Pause or switch off")).to_be_visible()


def test_a_perk_that_cannot_award_is_mapped_only_when_that_is_confirmed(
    chromium: Browser, product: ProductProcess
) -> None:
    with signed_in(chromium, product, "olga@acme.example") as page:
        page.goto("/destinations/perkville/map")
        page.get_by_role("button", name="Add event").click()
        page.get_by_label("Event name").last.fill("Locker Opened")
        page.get_by_label("Perk", exact=True).last.select_option("123458")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("main")).to_contain_text("“Point Adjustment” cannot award: redeems: for refunds only.")
        page.get_by_label("Save anyway").check()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status").first).to_contain_text("The map was saved")
        expect(page.get_by_label("Event name").last).to_have_value("Locker Opened")
