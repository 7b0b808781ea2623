"""The product names no partner: what is about one is in its destination's folder, and in the places listed here."""

from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "punchcard"
NAME = "perk"  # of Perkville, and its word for what events earn
MIGRATIONS = "store/migrations/versions"

# Folders and files that may name it, each with the reason.
REVIEWED = {
    "destinations/perkville": "the destination itself",
    "sandbox": "a local Perkville, which shares no code with the destination",
    "runtime/demo.py": "sets up the destination at the sandbox",
    "testing/partner": "the partner as tests need it, and the configuration of the destination",
    f"{MIGRATIONS}/0001_first_tables.py": "released: a migration is never edited",
    f"{MIGRATIONS}/0004_app.py": "released: a migration is never edited",
    f"{MIGRATIONS}/0021_items.py": "renames the old columns",
    f"{MIGRATIONS}/0028_plain_members.py": "renames the old members",
}


@cache
def places() -> frozenset[str]:
    """Files of the package with the name in their path or text, by their path in it."""
    matches = set()
    for path in ROOT.rglob("*"):
        if not path.is_file() or path.suffix == ".pyc" or "built" in path.parts:
            continue
        place = path.relative_to(ROOT).as_posix()
        if NAME in place.lower() or NAME.encode() in path.read_bytes().lower():
            matches.add(place)
    return frozenset(matches)


def is_within(place: str, reviewed: str) -> bool:
    return place == reviewed or place.startswith(f"{reviewed}/")


def test_nothing_else_names_the_partner() -> None:
    assert [
        place for place in sorted(places()) if not any(is_within(place, reviewed) for reviewed in REVIEWED)
    ] == [], "let the destination's definition say it (see `SummaryColumn`, `SettingField.value_label`)"


@pytest.mark.parametrize("reviewed", sorted(REVIEWED))
def test_every_reviewed_place_still_needs_to(reviewed: str) -> None:
    assert any(is_within(place, reviewed) for place in places())
