"""Lettermarks: every entry of the catalogs has one, with letters of its own name, and names cannot break the page."""

import re
from pathlib import Path

import pytest

from punchcard.app.lettermarks import lettermark, letters
from punchcard.destinations.catalog import CATALOG
from punchcard.workspace.source_types import SOURCE_TYPES

STYLES = Path(__file__).parents[3] / "src/punchcard/app/static/app.css"
CONTRAST_MIN = 4.5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Perkville", "Pe"),
        ("HTTP API", "HA"),
        ("iOS", "Io"),
        ("Node.js", "NJ"),
        ("Segment's cloud", "SC"),
        ("x", "X"),
        ("42", "42"),
        ("<b>", "B"),
        ("Ünal Çay", "ÜÇ"),
        ("_-", "?"),
        ("", "?"),
    ],
)
def test_letters_are_those_of_the_first_two_words(name: str, expected: str) -> None:
    assert letters(name) == expected


def test_every_entry_of_the_catalogs_has_a_mark_of_its_own() -> None:
    names = [entry.definition.name for entry in CATALOG.values()] + [entry.name for entry in SOURCE_TYPES.values()]
    marks = [lettermark(name) for name in names]
    assert len(set(marks)) == len(names)
    assert all("?" not in mark for mark in marks)


def test_every_color_carries_white_letters() -> None:
    colors = dict(re.findall(r"^\.lettermark-(\d) \{ fill: #(\w{6}); \}", STYLES.read_text(), re.MULTILINE))
    used = {re.findall(r"lettermark-(\d)", lettermark(str(number)))[0] for number in range(200)}
    assert used == set(colors)
    for color in colors.values():
        channels = [int(color[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
        luminance = sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
        assert 1.05 / (luminance + 0.05) >= CONTRAST_MIN, color
