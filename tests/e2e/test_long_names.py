"""Names as long as they may be, without a blank, or from right to left: no page gets wider than its window."""

import re
from collections.abc import Iterator

import pytest
import tomli_w
from playwright.sync_api import Browser
from tests.e2e.app_pages import signed_in

from punchcard.store.access import audit
from punchcard.store.access.operators import create_operator
from punchcard.store.access.token_store import Role, create_token
from punchcard.testing.operators import add_operators
from punchcard.testing.public_api import PublicApiServer

WIDTHS = (1280, 390)
HEIGHT = 844
WORDS = ("Name that somebody has thought about for long, with words and more words " * 3)[:150]
ONE_WORD = ("Order_Completed_At_The_Till_" * 6)[:150]
RIGHT_TO_LEFT = "הזמנה הושלמה בהצלחה في المتجر"
PICTURES = "🏋 Checked In 🎉🚀"
NAMES = (WORDS.strip(), ONE_WORD, RIGHT_TO_LEFT, PICTURES)
SLUGS = ("website", "till", "gym", "app")
EMAIL = f"{'b' * 60}@{'c' * 60}.example.com"
CONFIG = tomli_w.dumps(
    {
        "workspace": {"name": ONE_WORD},
        "sources": [
            {"slug": slug, "name": name, "write_key": f"wk_{slug}"} for slug, name in zip(SLUGS, NAMES, strict=True)
        ],
        "destinations": [
            {
                "slug": slug,
                "type": "perkville",
                "name": name,
                "sources": [*SLUGS],
                "settings": {
                    "apiKey": "a-secret",
                    "businessId": "41",
                    "locationId": "7",
                    "eventToPerkMap": dict.fromkeys((*NAMES, "Order Completed"), "123457"),
                },
                "options": {"apiBaseUrl": "http://127.0.0.1:9"},
                "filters": [
                    {
                        "title": ONE_WORD[:64],
                        "if": f"event = '{'x' * 200}'",
                        "enabled": True,
                        "actions": [{"type": "DROP"}],
                    }
                ],
            }
            for slug, name in (("perkville", ONE_WORD), ("second", WORDS.strip()))
        ],
        "audiences": [
            {
                "name": name[:73],
                "key": f"audience_{number}",
                "definition": f"event('{ONE_WORD}').count() >= 1",
                "destinations": ["perkville", "second"],
            }
            for number, name in enumerate(NAMES)
        ],
        "tracking_plans": {"shop": {"name": ONE_WORD, "sources": ["website"]}},
    }
)
PAGES = (
    "/",
    "/alerts",
    "/audiences",
    "/audiences/audience_1",
    "/audiences/audience_1/edit",
    "/customers",
    f"/customers/{EMAIL}",
    f"/customers/{EMAIL}?tab=audiences",
    f"/customers/{EMAIL}?tab=events",
    f"/customers/{EMAIL}?tab=profile",
    "/destinations",
    "/destinations/perkville",
    "/destinations/perkville/filters",
    "/destinations/perkville/map",
    "/destinations/perkville/reconciliations",
    "/destinations/perkville/replays",
    "/destinations/perkville/settings",
    "/destinations/perkville/state",
    "/destinations/perkville/tester",
    "/destinations/perkville/transactions",
    "/events",
    "/events/m1",
    "/privacy/inventory",
    "/protocols",
    "/protocols/shop",
    "/protocols/shop/violations",
    f"/search?q={ONE_WORD}",
    "/settings/audit",
    "/settings/team",
    "/settings/tokens",
    "/settings/versions",
    "/sources",
    "/sources/till",
    "/sources/till/debugger",
    "/sources/till/protocols",
    "/sources/till/schema",
    "/sources/till/schema/event?type=track&name=Order%20Completed",
    f"/sources/website/schema/event?type=track&name={ONE_WORD}",
)

# The outermost elements that make a page wider than its window; what has a scroll bar of its own does not.
BEYOND = """() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    const isBeyond = (element) => element.getBoundingClientRect().right > width + 1;
    return [...document.querySelectorAll("main *")]
        .filter((element) => isBeyond(element) && ![...element.children].some(isBeyond))
        .map((element) => element.outerHTML.slice(0, 200));
}"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicApiServer]:
    folder = tmp_path_factory.mktemp("names")
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        properties = {"email": EMAIL, "order_id": "9" * 100, "revenue": 1_234_567.89, "p" * 90: ONE_WORD}
        for number, name in enumerate((*NAMES, "Order Completed") * 2):
            event = {"userId": "u" * 120, "event": name, "properties": properties}
            server.send({**event, "messageId": f"m{number}"}, write_key="wk_website")
            server.send({**event, "messageId": f"till-{number}-" * 8}, write_key="wk_till")
        server.route()
        server.deliver(rounds=20)
        server.feed_lake()
        server.engage()
        with server.store.unit_of_work() as work:
            create_token(work, ONE_WORD, clock=server.clock)
            create_operator(work, email=EMAIL, name=ONE_WORD, role=Role.EDITOR, password="", clock=server.clock)
            audit.record(
                work, at=server.clock.now(), actor=EMAIL, kind="change", resource_type="source",
                resource_id=ONE_WORD, changes='[{"path": "name", "before": "a", "after": "b"}]',
            )  # fmt: skip
        yield server


def test_no_name_makes_a_page_wider_than_its_window(world: PublicApiServer, chromium: Browser) -> None:
    url = f"http://127.0.0.1:{world.port}"
    with signed_in(chromium, url, "owner@acme.example") as page:
        beyond = []
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": HEIGHT})
            for path in PAGES:
                response = page.goto(path, wait_until="domcontentloaded")
                assert response is not None
                assert response.status == 200, path
                beyond += [f"{path}, {width} px: {element}" for element in page.evaluate(BEYOND)]
        assert not beyond, "\n".join(beyond)


FORMS = (
    ("/destinations/perkville/map", "Add event", "Event name"),
    ("/destinations/perkville/filters/new", "", "Title"),
    ("/audiences/new", "", "Name"),
    ("/sources/_new", "", "Name"),
    ("/transformations/new", "", "Name"),
)


def test_what_a_form_refuses_makes_no_page_wider_than_its_window(world: PublicApiServer, chromium: Browser) -> None:
    with signed_in(chromium, f"http://127.0.0.1:{world.port}", "owner@acme.example") as page:
        beyond = []
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": HEIGHT})
            for path, first, label in FORMS:
                page.goto(path)
                if first:
                    page.get_by_role("button", name=first).click()
                page.get_by_label(label, exact=label != "Title").last.fill("x" * 500)
                with page.expect_navigation() as saved:
                    page.get_by_role("button", name=re.compile("^(Save|Add source|Create)")).last.click()
                assert saved.value is not None
                assert saved.value.status == 422, path
                page.wait_for_load_state()
                beyond += [f"{path}, {width} px: {element}" for element in page.evaluate(BEYOND)]
        assert not beyond, "\n".join(beyond)
