"""The list of audiences and computed traits: trends, search and paging."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from punchcard.testing.engage_samples import add_computation
from punchcard.testing.operators import FormBrowser, add_operators, signed_in
from punchcard.testing.public_api import PublicApiServer

CONFIG = """
[[audiences]]
name = "Regulars"
definition = "event('Checked In').within(30 days).count() >= 4"

[[audiences]]
name = "Lapsed"
definition = "NOT ( event('Checked In').within(14 days).count() >= 1 )"

[[computed_traits]]
name = "Lifetime Spend"
definition = "event('Order Completed').sum(property('revenue'))"
"""


def _many() -> str:
    audiences = (
        f"[[audiences]]\nname = 'Level {number}'\ndefinition = \"event('Visit {number}').count() >= 1\"\n"
        for number in range(1, 61)
    )
    return CONFIG + "".join(audiences)


def _open(folder: Path, config: str) -> Iterator[PublicApiServer]:
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", config) as server:
        add_operators(server)
        yield server


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    yield from _open(tmp_path, CONFIG)


@pytest.fixture
def viewer(world: PublicApiServer) -> FormBrowser:
    return signed_in(world, "read_only")


@pytest.fixture
def viewer_of_many(tmp_path: Path) -> Iterator[FormBrowser]:
    for world in _open(tmp_path, _many()):
        yield signed_in(world, "read_only")


def words(page: str) -> str:
    """The text of a page, without its markup."""
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def names(page: str) -> list[str]:
    """The names in the order of the list."""
    return re.findall(r'<a class="fw-bold" href="/audiences/[^"]*">([^<]*)</a>', page)


def test_the_list_says_how_each_has_changed_in_a_week_and_draws_a_month(
    world: PublicApiServer, viewer: FormBrowser
) -> None:
    now = world.clock.now()
    days = [timedelta(days=number) for number in (20, 9, 3)]
    with world.store.unit_of_work() as work:
        add_computation(work, "regulars", size=1220, now=now, sizes=list(zip(days, (1000, 1208, 1215), strict=True)))
        add_computation(work, "lapsed", size=5, now=now, sizes=[(days[0], 8)])
        add_computation(work, "lifetime_spend", size=9, now=now, sizes=[(days[2], 8)], kind="computed_trait")
    page = viewer.get("/audiences").text
    assert "1,220 +12 in 7 days" in words(page)
    assert "5 −3 in 7 days" in words(page)
    assert "9 first week" in words(page)
    assert 'aria-label="30 days: from 1,000 to 1,220, minimum 1,000, maximum 1,220"' in page
    assert page.count('<svg class="sparkline"') == 3
    assert "style=" not in page


def test_the_list_shows_what_is_not_computed_yet(viewer: FormBrowser) -> None:
    page = viewer.get("/audiences")
    assert page.status == 200
    assert "Preparing" in page.text


def test_a_short_list_has_neither_search_nor_pages(viewer: FormBrowser) -> None:
    page = viewer.get("/audiences").text
    assert names(page) == ["Lapsed", "Regulars", "Lifetime Spend"]
    assert 'role="search"' not in page
    assert ">Next<" not in page


def test_a_long_list_comes_page_by_page_in_natural_order(viewer_of_many: FormBrowser) -> None:
    seen, path = [], "/audiences"
    for _ in range(10):
        page = viewer_of_many.get(path).text
        seen += names(page)[:-1]
        assert names(page)[-1] == "Lifetime Spend"  # each kind has pages of its own
        following = re.search(r'href="(/audiences\?from=\d+)">Next<', page)
        if following is None:
            break
        path = following[1]
    assert seen == ["Lapsed", *(f"Level {number}" for number in range(1, 61)), "Regulars"]
    assert "51–62 of 62" in words(page)
    assert viewer_of_many.get("/audiences?from=1000").text.count("Level") > 0


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("LEVEL 6", ["Level 6", "Level 60"]),
        ("visit 33", ["Level 33"]),  # of the condition
        ("lifetime_spend", ["Lifetime Spend"]),  # the key
        ("order completed", ["Lifetime Spend"]),
    ],
)
def test_the_search_finds_what_the_list_shows(viewer_of_many: FormBrowser, search: str, expected: list[str]) -> None:
    page = viewer_of_many.get(f"/audiences?q={search.replace(' ', '+')}").text
    assert names(page) == expected


def test_the_pages_of_a_search_keep_it(viewer_of_many: FormBrowser) -> None:
    page = viewer_of_many.get("/audiences?q=level").text
    assert 'href="/audiences?q=level&amp;from=25">Next<' in page
    assert "25 of 60" in words(page)
    assert "No computed traits match “level”." in words(page)
    nothing = words(viewer_of_many.get("/audiences?q=<b>").text)
    assert "No audiences match “&lt;b&gt;”." in nothing
