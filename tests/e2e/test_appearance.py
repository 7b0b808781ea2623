"""Which pages are compared with their pictures, and which pictures count as the same."""

import re
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from tests.e2e.appearance import differs
from tests.e2e.test_app_in_browser import PAGES

from punchcard.app import pages

_ADDRESS = re.compile(r"@get\(\s*\"(/[^\"]*)\"")
# Seen only signed out, once, or as a part or a file; tests of their own open them.
_NOT_WALKED = re.compile(
    r"/(welcome|sign-in|lost-password|new-password|join|exports|search/results)\b|/(live|progress|replay-offer|sent|export)\b"
)


def test_every_page_is_compared() -> None:
    """Pages of one thing among many, such as one replay, are opened by the tests that make one."""
    walked = {path.partition("?")[0] for path in PAGES}
    missing = []
    for module in Path(pages.__path__[0]).glob("*.py"):
        for address in _ADDRESS.findall(module.read_text()):
            if _NOT_WALKED.search(address):
                continue
            path = re.sub(r"^/(destinations|catalog)/\{slug:str\}", r"/\1/perkville", address)
            path = path.replace("/sources/{slug:str}", "/sources/website")
            if "{" not in path and path not in walked:
                missing.append(path)
    assert missing == []


def page(*, height: int = 100, rows: int = 8, shade: int = 120, moved: int = 0) -> Image.Image:
    """A page at an eighth of its size: rows of text on white."""
    picture = Image.new("RGB", (160, height), (250, 250, 250))
    draw = ImageDraw.Draw(picture)
    for row in range(rows):
        draw.rectangle((20 + moved, 10 * row + 2, 120 + moved, 10 * row + 4), fill=(shade, shade, shade))
    return picture


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({}, id="same"),
        pytest.param({"shade": 140}, id="another weight of letters"),
        pytest.param({"height": 102}, id="a line more below"),
    ],
)
def test_small_differences_are_none(other: dict[str, int]) -> None:
    assert differs(page(**other), page()) == ""


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"moved": 12}, id="moved"),
        pytest.param({"rows": 5}, id="rows missing"),
        pytest.param({"shade": 220}, id="pale"),
        pytest.param({"height": 130}, id="longer"),
        pytest.param({"height": 80}, id="shorter"),
    ],
)
def test_what_people_would_notice_is_a_difference(other: dict[str, int]) -> None:
    assert differs(page(**other), page()) != ""


def test_another_width_is_a_difference() -> None:
    assert "px" in differs(page().crop((0, 0, 100, 100)), page())
