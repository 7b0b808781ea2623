"""What lists and pages of the App tell of events, awards and customers."""

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.schema import effects
from punchcard.store.delivery.unknown_customers import NO_CONNECTION
from punchcard.testing.effects import new_effect
from punchcard.testing.operators import FormBrowser, add_operators, signed_in
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
[destinations.options]
apiBaseUrl = "http://127.0.0.1:9"

[[audiences]]
name = "Regulars"
definition = "event('Checked In').count() >= 1"
destinations = ["perkville"]
"""
CHECKED_IN = {"event": "Checked In", "userId": "ann", "messageId": "visit", "properties": {"email": "ann@example.com"}}
VIEW = {"type": "page", "name": "Pricing", "userId": "ann", "messageId": "view"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        yield server


@pytest.fixture
def owner(world: PublicApiServer) -> FormBrowser:
    return signed_in(world, "owner")


def plain(page: str) -> str:
    """Return the text of a page, with blanks for line ends."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_an_event_has_its_own_time_beside_the_time_of_receipt(world: PublicApiServer, owner: FormBrowser) -> None:
    world.send({**CHECKED_IN, "timestamp": "2020-02-03T04:05:06Z"})
    world.route()
    for path in ("/events", "/events/visit", "/customers/ann@example.com?tab=events"):
        page = owner.get(path).text
        own = page.index('datetime="2020-02-03T04:05:06.000Z"')
        received = world.clock.now().strftime('datetime="%Y-%m-%dT%H:%M:')
        assert received in page[own:], path
    assert '<h1 class="page-title">Checked In' in owner.get("/events/visit").text


def test_a_page_call_is_named_by_its_page(world: PublicApiServer, owner: FormBrowser) -> None:
    world.send(VIEW, call="page")
    world.send({"type": "page", "userId": "ben", "messageId": "unnamed"}, call="page")
    world.route()
    events = plain(owner.get("/events").text)
    assert "Pricing page ann" in events
    assert "Status page ben" in events


def test_only_track_calls_are_listed_as_what_earned_nothing_until_others_are_wanted(
    world: PublicApiServer, owner: FormBrowser
) -> None:
    person = {"userId": "ann", "traits": {"email": "ann@example.com"}}
    world.send({"event": "Locker Opened", "userId": "ann", "properties": {"email": "ann@example.com"}})
    for number in range(30):  # more than a page of them: what is looked for lies behind
        world.send({**VIEW, "messageId": f"view-{number}"}, call="page")
        world.send({**person, "type": "identify", "messageId": f"identify-{number}"}, call="identify")
    world.route()
    for is_in_lake in (False, True):
        if is_in_lake:
            world.feed_lake()
        hidden, shown = (plain(owner.get(f"/customers/ann@example.com{query}").text) for query in ("", "?calls=all"))
        assert [word in hidden for word in ("Locker Opened", "Pricing", "identify", "Show all calls")] == [1, 0, 0, 1]
        assert [word in shown for word in ("Pricing", "identify", "Show track calls only")] == [1, 1, 1]


def test_a_customer_with_page_views_only_is_known(world: PublicApiServer, owner: FormBrowser) -> None:
    world.send({**VIEW, "userId": "viewer"}, call="page")
    world.route()
    page = plain(owner.get("/customers/viewer").text)
    assert "Unknown customer" not in page
    assert "Unknown customer" in plain(owner.get("/customers/nobody").text)


@pytest.mark.parametrize("tab", ["awards", "events", "audiences", "profile", "nonsense"])
def test_every_tab_of_a_customer_shows_the_email_in_its_heading(
    world: PublicApiServer, owner: FormBrowser, tab: str
) -> None:
    world.send(CHECKED_IN)
    world.route()
    world.feed_lake()
    world.engage()
    page = owner.get(f"/customers/ann@example.com?tab={tab}")
    assert (page.status, "Also known as ann<" in page.text) == (200, True)


def test_the_same_event_twice_in_a_map_is_an_error_and_nothing_is_saved(
    world: PublicApiServer, owner: FormBrowser
) -> None:
    rows = {"eventToPerkMap.name": ["Checked In", "Checked In", ""], "eventToPerkMap.value": ["1", "2", "3"]}
    page = owner.post("/destinations/perkville/map", **rows)
    assert page.status == 422
    text = plain(page.text)
    assert "“Checked In” is mapped twice. Remove one of the lines." in text
    assert "Enter an event name." in text
    assert page.text.count('name="eventToPerkMap.name" value="Checked In"') == 2
    assert "123457" in owner.get("/destinations/perkville/map").text


def test_a_map_is_emptied_only_when_confirmed(world: PublicApiServer, owner: FormBrowser) -> None:
    page = owner.post("/destinations/perkville/map")
    assert page.status == 422
    assert "Not saved. Without a line, no event earns points." in plain(page.text)
    assert "123457" in owner.get("/destinations/perkville/map").text
    assert owner.post("/destinations/perkville/map", confirmed="yes").status == 303
    assert "123457" not in owner.get("/destinations/perkville/map").text


def test_all_matching_transactions_are_those_of_the_chosen_period(world: PublicApiServer, owner: FormBrowser) -> None:
    world.configure(CONFIG.replace("Checked In", "Order Refunded"))
    refund = {"userId": "a", "event": "Order Refunded", "properties": {"email": "a@example.com", "order_id": "o"}}
    world.send(refund)
    world.route()
    world.deliver()
    world.clock.advance(3 * 24 * 3600)  # it has waited for its order, and is parked
    world.deliver()
    assert owner.sign_in("owner@acme.example").status == 303  # the session has been idle for long
    path = "/destinations/perkville/transactions"
    assert "1 transaction" in owner.get(f"{path}?time=7d&state=parked").text
    assert owner.post(path, do="dismiss", which="all", confirmed="on", time="24h", state="parked").status == 303
    assert "1 transaction" in owner.get(f"{path}?time=7d&state=parked").text
    assert owner.post(path, do="dismiss", which="all", confirmed="on", time="7d", state="parked").status == 303
    assert "0 transactions" in owner.get(f"{path}?time=7d&state=parked").text


def test_home_compares_with_the_period_before_and_names_events(world: PublicApiServer, owner: FormBrowser) -> None:
    world.send(CHECKED_IN)
    world.route()
    world.clock.advance(26 * 3600)
    assert owner.sign_in("owner@acme.example").status == 303
    for number in range(3):
        world.send({**CHECKED_IN, "messageId": f"later-{number}"})
    world.route()
    home = plain(owner.get("/").text)
    assert "Events received 3 +200 % vs. the previous period" in home
    assert re.search(r"Top events .* Checked In 3 0", home), home
    oldest = re.search(r'Oldest queued award</div>\s*<div class="h1 mb-0[^"]*"><a href="([^"]+)"', owner.get("/").text)
    assert oldest is not None
    assert oldest[1] == "/events/visit"


def test_what_waits_for_an_unknown_customer_is_not_the_oldest_queued_award(
    world: PublicApiServer, owner: FormBrowser
) -> None:
    with world.store.unit_of_work() as work:
        outbox.add(work, [new_effect("waits", attributes={"vip": True}, message_id="waits")], now=world.clock.now())
        work.execute(update(effects).values(state=EffectState.RETRYING, reason=NO_CONNECTION))
        outbox.add(work, [new_effect("behind", attributes={"vip": False}, message_id="behind")], now=world.clock.now())
    world.send(CHECKED_IN)  # Home shows no figures before the first event
    oldest = re.compile(r'Oldest queued award</div>\s*<div class="h1 mb-0[^"]*">(?:<a href="([^"]+)"|none)')
    world.configure(CONFIG.replace('"Checked In" =', '"Something" ='))
    world.route()
    match = oldest.search(owner.get("/").text)
    assert match is not None
    assert match[1] is None
    world.configure(CONFIG)
    world.send({**CHECKED_IN, "messageId": "later"})
    world.route()
    match = oldest.search(owner.get("/").text)
    assert match is not None
    assert match[1] == "/events/later"


def test_whole_days_are_shown_and_their_numbers_open_the_same_days(world: PublicApiServer, owner: FormBrowser) -> None:
    world.send(CHECKED_IN)
    world.route()
    day = f"{world.clock.now():%Y-%m-%d}"
    for path in ("/", "/destinations/perkville", "/events"):
        page = owner.get(f"{path}?from={day}&to={day}").text
        assert f"time={day}%7E{day}" in page or f"time={day}~{day}" in page or f'value="{day}~{day}"' in page, path
    assert "1 event<" in owner.get(f"/events?time={day}~{day}").text
    assert "0 events<" in owner.get("/events?from=2001-01-01").text


def test_an_event_that_two_destinations_refused_counts_as_two_results(tmp_path: Path) -> None:
    perkville = CONFIG[CONFIG.index("[[destinations]]") : CONFIG.index("[[audiences]]")]
    config = CONFIG + perkville.replace('slug = "perkville"', 'slug = "other"')
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", config) as server:
        add_operators(server)
        operator = signed_in(server, "owner")
        server.send({"event": "Locker Opened", "userId": "ann", "messageId": "locker"})
        server.route()
        headings = [
            re.search(r'<h2 class="card-title">(.*?)</h2>', operator.get(f"/events?{query}").text, re.DOTALL)
            for query in ("", "status=refused", "status=refused&destination=other")
        ]
        page = plain(operator.get("/events?status=delivered").text)
        assert ("0 events" in page, "Events do not have this status" in page) == (True, True)
    assert [heading and heading[1].strip() for heading in headings] == [
        "1 event",
        "2 results at 2 destinations",
        "1 event",
    ]
