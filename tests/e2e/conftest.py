"""A real Chromium for tests that look at pages, or the reason why there is none."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from bench.chromium import MISSING, OPTIONS, find_chromium
from punchcard.testing.waiting import PATIENCE_SECONDS

expect.set_options(timeout=PATIENCE_SECONDS * 1_000)

MODULES = Path(__file__).parents[1] / "browser" / "node_modules"


def skipped_or_failed(missing: str) -> None:
    """Nothing that can be installed may be skipped where CI runs."""
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Chromium, which `make browser` installs on Debian."""
    result = find_chromium()
    if result is None:
        skipped_or_failed(MISSING)
    assert result is not None
    return result


# Of a module: as long as it runs, no other test of this process can run an event loop of its own.
@pytest.fixture(scope="module")
def chromium(chromium_path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=list(OPTIONS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core's script, which looks for barriers in a page."""
    script = MODULES / "axe-core" / "axe.min.js"
    if not script.exists():
        skipped_or_failed("axe-core is not installed: `make browser` does it with npm")
    return script.read_text()
