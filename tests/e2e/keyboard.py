"""What people do on a page who cannot use a mouse."""

import pytest
from playwright.sync_api import Locator, expect

TABS_MAX = 200


def reach(target: Locator) -> None:
    """Press Tab until an element has the focus, as people do who cannot use a mouse."""
    expect(target).to_be_visible()
    element = target.element_handle()
    for _ in range(TABS_MAX):
        has_focus = element.evaluate("(element) => element.isConnected ? element === document.activeElement : null")
        if has_focus is None:  # the page has put another in its place
            element = target.element_handle()
            continue
        if has_focus:
            return
        target.page.keyboard.press("Tab")
    pytest.fail(f"{target} cannot be reached with the Tab key")


def press(target: Locator) -> None:
    """Press a link, a button or a summary."""
    reach(target)
    target.page.keyboard.press("Enter")


def type_into(target: Locator, text: str) -> None:
    """Type in place of what a field has."""
    reach(target)
    target.page.keyboard.press("ControlOrMeta+A")
    target.page.keyboard.type(text)


def choose(target: Locator, value: str) -> None:
    """Choose an option of a select with the arrow keys."""
    reach(target)
    for _ in range(TABS_MAX):
        if target.input_value() == value:
            return
        target.page.keyboard.press("ArrowDown")
    pytest.fail(f"{target} has no option {value}")
