"""What the App's pages of audiences and people show, from a store that holds people."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from punchcard.store.schema import EffectState
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.people import add_person, call_about, keep_computation, tell
from punchcard.testing.public_api import PublicApiServer

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website"]
[destinations.settings]
apiKey = "a-secret-that-nobody-sees"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Checked In" = "123457" }

[[audiences]]
name = "Regulars"
definition = "event('Checked In').within(30 days).count() >= 4"
destinations = ["perkville"]

[[audiences]]
name = "Lapsed"
definition = "NOT ( event('Checked In').within(14 days).count() >= 1 )"

[[computed_traits]]
name = "Lifetime Spend"
definition = "event('Order Completed').sum(property('revenue'))"
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        yield server


@pytest.fixture
def viewer(world: PublicApiServer) -> FormBrowser:
    browser = FormBrowser(world)
    assert browser.sign_in("read_only@acme.example").status == 303
    return browser


def words(page: str) -> str:
    """The text of a page, without its markup."""
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_the_list_says_how_each_has_changed_in_a_week_and_draws_a_month(
    world: PublicApiServer, viewer: FormBrowser
) -> None:
    now = world.clock.now()
    days = [timedelta(days=number) for number in (20, 9, 3)]
    with world.store.unit_of_work() as work:
        keep_computation(work, "regulars", size=1220, now=now, sizes=list(zip(days, (1000, 1208, 1215), strict=True)))
        keep_computation(work, "lapsed", size=5, now=now, sizes=[(days[0], 8)])
        keep_computation(work, "lifetime_spend", size=9, now=now, sizes=[(days[2], 8)], kind="computed_trait")
    page = viewer.get("/audiences").text
    assert "1,220 +12 in 7 days" in words(page)
    assert "5 −3 in 7 days" in words(page)
    assert "9 new" in words(page)
    assert 'aria-label="30 days: from 1,000 to 1,220, least 1,000, most 1,220"' in page
    assert page.count('<svg class="sparkline"') == 3
    assert "style=" not in page


def test_the_list_shows_what_is_not_computed_yet(viewer: FormBrowser) -> None:
    page = viewer.get("/audiences")
    assert page.status == 200
    assert "preparing" in page.text


def test_an_audience_says_how_its_destination_took_it_and_each_number_opens_what_it_counts(
    world: PublicApiServer, viewer: FormBrowser
) -> None:
    with world.store.unit_of_work() as work:
        for number in range(4):
            person = add_person(work, ("email", f"{number}@example.com"), at=world.clock.now())
            tell(work, "regulars", f"{number}@example.com", profile=person, at=world.clock.now())
        for number in range(3):
            call_about(work, "regulars", f"{number}@example.com", state=EffectState.RETRYING, reason="no_connection")
        call_about(work, "regulars", "r@example.com", state=EffectState.RETRYING, reason="timeout")
        call_about(work, "regulars", "p@example.com", state=EffectState.PARKED, reason="outcome_unknown")
        call_about(work, "regulars", "q@example.com", state=EffectState.PARKED, reason="outcome_unknown")
        call_about(work, "lapsed", "p@example.com", state=EffectState.PARKED, reason="outcome_unknown")
    page = viewer.get("/audiences/regulars").text
    assert "4 people told to be in it 3 no customers there yet 1 tried again 2 parked" in words(page)
    links = re.findall(r'href="(/destinations/perkville/transactions\?property=[^"]*)"><strong>(\d+)', page)
    assert [count for _, count in links] == ["3", "1", "2"]
    for link, count in links:
        listed = viewer.get(link.replace("&amp;", "&")).text
        assert re.search(rf"card-title flex-fill\">{count} transactions?<", listed), link
        assert "Only what sets the user property “regulars”" in listed
