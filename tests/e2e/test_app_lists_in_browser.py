"""Lists, charts and forms of the App in a real browser, and what operators do after a change or a fault."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, expect
from tests.e2e.app_pages import (
    check_both_widths,
    confirm,
    picture,
    product,
    sandbox,
    signed_in,
    theme_of,
    wait_after_reloading,
)

from punchcard.testing.product import WRITE_KEY, ProductProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

pytestmark = pytest.mark.long

__all__ = ["product", "sandbox"]  # fixtures


def test_a_phone_shows_every_entry_of_the_menu_and_rows_as_cards(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product.url, "olga@acme.example", viewport={"width": 390, "height": 844}) as page:
        page.goto("/")
        menu = page.get_by_role("navigation", name="Main")
        expect(menu).to_be_hidden()
        page.get_by_role("button", name="Menu").click()
        entries = menu.get_by_role("link")
        expect(entries).to_have_count(12)
        for number in range(11):
            expect(entries.nth(number)).to_be_in_viewport()
        entries.filter(has_text="Events").click()
        page.wait_for_url("**/events")
        name = page.get_by_label("Event name")
        expect(name).to_be_hidden()
        page.get_by_role("button", name="Filters", exact=True).click()
        name.fill("Checked In")
        name.press("Enter")
        expect(page.get_by_role("button", name="Filters (1)")).to_be_visible()
        expect(page.get_by_role("link", name="Help")).to_be_in_viewport()
        cell = page.locator("tbody td[data-label='Customer']").first
        assert cell.evaluate("cell => getComputedStyle(cell, '::before').content") == '"Customer"'


def test_a_trace_is_printed_without_menu_and_buttons_and_in_the_light_theme(
    chromium: Browser, product: ProductProcess
) -> None:
    with signed_in(chromium, product.url, "lou@acme.example", color_scheme="dark") as page:
        page.goto("/events")
        page.locator("main tbody").get_by_role("link", name="Order Completed").first.click()
        page.wait_for_url("**/events/*")
        page.evaluate(
            "addEventListener('beforeprint', () => { window.printed = document.documentElement.dataset.bsTheme })"
        )
        assert page.pdf().startswith(b"%PDF")
        assert (page.evaluate("window.printed"), theme_of(page)) == ("light", "dark")
        help_link = page.get_by_role("link", name="Help")
        expect(help_link).to_be_visible()
        page.emulate_media(media="print")
        expect(page.get_by_role("heading", name="Order Completed")).to_be_visible()
        expect(page.get_by_text("1001").first).to_be_visible()
        for hidden in (help_link, page.get_by_role("navigation", name="Main"), page.get_by_role("button")):
            expect(hidden.filter(visible=True)).to_have_count(0)


def test_a_list_is_sorted_and_its_columns_are_chosen_and_remembered(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product.url, "lou@acme.example", viewport={"width": 1280, "height": 860}) as page:
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


@pytest.mark.parametrize("width", [1280, 390])
def test_the_schema_leads_to_map_and_filter(chromium: Browser, product: ProductProcess, width: int) -> None:
    with signed_in(chromium, product.url, "olga@acme.example", viewport={"width": width, "height": 860}) as page:
        page.goto("/sources/website")
        page.get_by_role("link", name="Schema").click()
        wait_after_reloading(page, lambda: page.get_by_role("link", name="Locker Opened").count() > 0)
        if width > 390:
            picture(page, "source-schema")
        page.get_by_role("link", name="Locker Opened").click()
        expect(page.get_by_role("row", name="email")).to_contain_text("string")
        expect(page.locator("main")).not_to_contain_text("ben@example.com")
        page.get_by_role("link", name="Map this event").click()
        expect(page.get_by_label("Event name").last).to_have_value("Locker Opened")
        page.go_back()
        page.get_by_role("link", name="Create a filter").click()
        expect(page.get_by_label("Query (FQL)")).to_have_value("event = 'Locker Opened'")


def test_a_condition_suggests_values_of_its_property(chromium: Browser, product: ProductProcess) -> None:
    """By the keyboard alone: the list belongs to the property that was typed."""
    with signed_in(chromium, product.url, "olga@acme.example") as page:
        page.goto("/destinations/perkville/filters/new")
        page.get_by_label("Property").fill("properties.order_id")
        page.get_by_label("Value").focus()
        options = page.get_by_label("Value").evaluate("field => [...field.list?.options ?? []].map(o => o.value)")
        assert "1001" in options
        page.get_by_label("Property").fill("properties.email")
        page.get_by_label("Value").focus()
        assert page.get_by_label("Value").evaluate("field => field.list") is None


def test_an_event_is_tested_by_its_name(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product.url, "olga@acme.example", viewport={"width": 1280, "height": 860}) as page:
        page.goto("/destinations/perkville/tester")
        page.get_by_label("Event name").fill("Order Completed")
        page.get_by_role("button", name="Choose").click()
        page.get_by_label("revenue").fill("12.5")
        page.get_by_role("button", name="Preview").click()
        expect(page.locator("#result")).to_contain_text("12.5 points")
        page.get_by_role("button", name="Edit as JSON").click()
        expect(page.get_by_label("Event", exact=True)).to_have_value(re.compile(r'"revenue": 12\.5'))
        page.get_by_role("button", name="Preview").click()
        expect(page.locator("#result")).to_contain_text("12.5 points")


def test_a_chart_is_read_with_the_keyboard_and_as_a_table(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product.url, "lou@acme.example") as page:
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
    with signed_in(chromium, product.url, "olga@acme.example") as page:
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
        dialog = page.get_by_role("alertdialog", name="Leave without saving?")
        expect(dialog.get_by_role("button", name="Keep editing")).to_be_focused()
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        expect(page.get_by_role("link", name="Filters")).to_be_focused()
        page.evaluate("location.assign('/customers')")  # as when the tab is closed: the browser asks itself
        wait_until(lambda: dialogs == ["beforeunload"], lambda: f"{dialogs} on {page.url}")
        assert page.url.endswith("/perkville/map")
        page.get_by_label("Perk", exact=True).last.select_option("123456")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert").first).to_contain_text("Correct the lines below")
        expect(page.locator("main")).to_contain_text("“Checked In” is mapped twice. Remove one of the lines.")
        page.get_by_role("link", name="Filters").click()
        dialog.get_by_role("button", name="Leave").click()
        page.wait_for_url("**/perkville/filters")
        assert dialogs == ["beforeunload"]


def test_a_confirmation_is_a_dialog_that_the_keyboard_can_use(
    chromium: Browser, product: ProductProcess, axe: str
) -> None:
    """Cancel has the focus, Escape returns it to the pressed button, and only the button with its words acts."""
    with signed_in(chromium, product.url, "olga@acme.example", viewport={"width": 1280, "height": 860}) as page:
        page.goto("/destinations/perkville/filters/new")
        page.get_by_label("Title").fill("Nobody")
        page.locator("[data-fql]").fill('event = "Never Seen"')
        page.get_by_role("button", name="Save").click()
        page.get_by_role("link", name="Nobody").click()
        page.wait_for_url(re.compile(r"/filters/[^/]+$"))
        delete, dialog = page.get_by_role("button", name="Delete filter"), page.get_by_role("alertdialog")
        for refusal in ("Escape", "Enter"):
            delete.focus()
            page.keyboard.press("Enter")
            expect(dialog).to_have_accessible_name("Delete this filter?")
            expect(dialog).to_have_accessible_description("It will no longer be applied to events.")
            expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
            check_both_widths(page, axe, "confirmation")
            page.keyboard.press(refusal)
            expect(dialog).to_be_hidden()
            expect(delete).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(dialog.get_by_role("button", name="Delete filter")).to_be_focused()
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"/perkville/filters(\?|$)"))
        expect(page.get_by_role("link", name="Nobody")).to_have_count(0)


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
    with signed_in(chromium, product.url, "olga@acme.example", viewport={"width": 1280, "height": 860}) as page:
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
    with signed_in(chromium, product.url, "olga@acme.example", viewport={"width": 1280, "height": 860}) as page:
        page.goto("/destinations/perkville/reconciliations")
        page.get_by_role("button", name="Compare now").click()
        expect(page.locator("main")).to_contain_text("1 open of 1 difference")
        page.get_by_role("button", name=re.compile("^Details of ")).click()
        expect(page.locator(".tx-details")).to_contain_text("No transaction")
        picture(page, "reconciliation")
        page.get_by_label("Differences").select_option("all")
        page.get_by_role("button", name="Dismiss").click()
        page.get_by_role("button", name="Dismiss 1 difference").click()
        expect(page.locator("main")).to_contain_text("0 open of 1 difference")


def test_a_destination_is_paused_with_a_reason_and_resumed(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product.url, "olga@acme.example", viewport={"width": 1280, "height": 860}) as page:
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
    with signed_in(chromium, product.url, "olga@acme.example") as page:
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


def test_a_conflict_is_compared_and_corrected(chromium: Browser, product: ProductProcess) -> None:
    for number, revenue in enumerate((30, 20)):
        event = {
            "event": "Order Completed",
            "userId": "dora",
            "messageId": f"contradiction-{number}",
            "properties": {"email": "dora@example.com", "order_id": "2002", "revenue": revenue},
        }
        product.send("track", event, write_key=WRITE_KEY)
        product.wait_for_status(f"contradiction-{number}", "conflict" if number else "delivered")
    with signed_in(chromium, product.url, "olga@acme.example", viewport={"width": 1280, "height": 860}) as page:
        page.goto("/events?name=Order+Completed")
        page.get_by_role("link", name="Resolve conflict").first.click()
        page.wait_for_url("**/conflicts/*")
        expect(page.locator("main")).to_contain_text("Order Completed · -10 points for dora@example.com")
        picture(page, "conflict")
        page.get_by_role("button", name="Correct to the second").click()
        expect(page.get_by_role("status").first).to_contain_text("the second content counts")
        wait_after_reloading(page, lambda: page.locator("main .badge", has_text="Delivered").count() >= 2)
        page.goto("/events/contradiction-1")
        expect(page.locator("main")).to_contain_text("resolved")
        expect(page.get_by_role("link", name="Resolve conflict")).to_have_count(0)


def test_versions_are_listed_compared_restored_and_undone(chromium: Browser, product: ProductProcess) -> None:
    with signed_in(chromium, product.url, "olga@acme.example", viewport={"width": 1280, "height": 860}) as page:
        page.goto("/destinations/perkville/map")
        lines = page.get_by_label("Event name")
        names = [line.input_value() for line in lines.all()]
        page.get_by_role("button", name="Add event").click()
        lines.last.fill("Towel Rented")
        page.get_by_label("Perk", exact=True).last.select_option("123457")
        page.get_by_role("button", name="Save").click()
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_role("status").first).to_contain_text("The change was undone")
        expect(lines).to_have_count(len(names))

        page.get_by_role("link", name="History").click()
        page.wait_for_url("**/settings/versions?part=*")
        expect(page.get_by_role("heading", name="History of destination perkville")).to_be_visible()
        expect(page.locator("[data-version]").first).to_contain_text("Map entry “Towel Rented” of Perkville")
        page.get_by_role("link", name="All versions").click()
        page.wait_for_url("**/settings/versions")
        picture(page, "versions")
        added = page.locator("[data-version]").nth(1)
        expect(added).to_contain_text("perk 123457 added")
        added.get_by_role("link").first.click()
        expect(page.locator("[data-difference]")).to_contain_text("“Towel Rented”")
        picture(page, "version")
        page.get_by_role("button", name="Restore Perkville").click()
        expect(page.get_by_role("status").first).to_contain_text("again. This is version")
        expect(page.locator("[data-version]").first).to_contain_text("Restored from version")
        page.goto("/destinations/perkville/map")
        assert [line.input_value() for line in lines.all()] == [*names, "Towel Rented"]

        page.goto("/settings/versions")
        page.locator("[data-version]").nth(1).get_by_role("link").first.click()
        page.get_by_role("button", name="Restore all").click()
        confirm(page, "All changes listed here are taken back.")
        expect(page.get_by_role("status").first).to_contain_text("again. This is version")
        page.goto("/destinations/perkville/map")
        assert [line.input_value() for line in lines.all()] == names


def test_a_map_that_somebody_else_has_changed_is_not_overwritten(chromium: Browser, product: ProductProcess) -> None:
    with (
        signed_in(chromium, product.url, "olga@acme.example") as page,
        signed_in(chromium, product.url, "olga@acme.example") as other,
    ):
        for opened, name in ((page, "Mine"), (other, "Theirs")):
            opened.goto("/destinations/perkville/map")
            opened.get_by_role("button", name="Add event").click()
            opened.get_by_label("Event name").last.fill(name)
            opened.get_by_label("Perk", exact=True).last.select_option("123457")
        other.get_by_role("button", name="Save").click()
        expect(other.get_by_role("status").first).to_contain_text("The map was saved")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert").first).to_contain_text("Map entry “Theirs” of Perkville: perk 123457 added")
        expect(page.get_by_label("Event name").last).to_have_value("Mine")
        other.get_by_role("button", name="Undo").click()
        expect(other.get_by_role("status").first).to_contain_text("The change was undone")


def test_a_file_becomes_an_audience(chromium: Browser, product: ProductProcess, tmp_path: Path) -> None:
    """The file is sent by script with its progress; a file that cannot be used is explained on the same page."""
    unusable, usable = tmp_path / "names.csv", tmp_path / "founding members with a long name of the file.csv"
    unusable.write_text("name\nAnn\n")
    usable.write_text("Name,E-mail\nAnn,ann@example.com\nNew,new@example.com\nNew,NEW@example.com\nNobody,none\n")
    with signed_in(chromium, product.url, "olga@acme.example", viewport={"width": 1280, "height": 860}) as page:
        page.goto("/audiences")
        page.get_by_role("link", name="Static list").click()
        page.get_by_label("Name").fill("Founding members")
        page.get_by_role("button", name="Save").click()
        page.get_by_label("CSV file").set_input_files(unusable)
        page.get_by_role("button", name="Upload").click()
        expect(page.get_by_role("alert")).to_contain_text('Name the column; the file has: "name".')
        page.get_by_label("CSV file").set_input_files(usable)
        page.get_by_role("button", name="Upload").click()
        expect(page.get_by_role("row", name="5 This is not an email address.")).to_be_visible()
        expect(page.locator("main")).to_contain_text("1 new")
        expect(page.get_by_label("Replace it: 2 enter, 0 leave")).to_be_checked()
        upload = page.url
        page.get_by_role("button", name="Save").click()
        members = page.get_by_role("region", name="Members")
        wait_after_reloading(page, lambda: members.get_by_role("link", name="new@example.com").count() > 0)
        page.set_viewport_size({"width": 390, "height": 844})
        for path in (upload, "/audiences/founding_members/list", "/audiences/founding_members", "/audiences"):
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        page.goto("/audiences/founding_members")
        page.get_by_role("button", name="Delete").click()
        confirm(page, "Delete Founding members?")
        page.wait_for_url("**/audiences")
