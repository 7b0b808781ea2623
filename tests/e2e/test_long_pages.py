"""Pages on a phone with much to show: longer than six screens only if they have pages."""

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

pytestmark = pytest.mark.long

WIDTH, HEIGHT = 390, 844
SCREENS_MAX = 6
MANY = 60
CONFIG = tomli_w.dumps(
    {
        "sources": [{"slug": f"source-{n}", "write_key": f"wk_source_{n}"} for n in range(MANY)],
        "destinations": [
            {
                "slug": "perkville",
                "type": "perkville",
                "source": "source-0",
                "settings": {
                    "apiKey": "a-secret",
                    "businessId": "41",
                    "locationId": "7",
                    "eventToPerkMap": {f"Event {n}": "123457" for n in range(MANY)},
                },
                "options": {"apiBaseUrl": "http://127.0.0.1:9"},
                "filters": [
                    {
                        "title": f"Filter {n}",
                        "if": f"event = 'x{n}'",
                        "enabled": True,
                        "actions": [{"type": "DROP"}],
                    }
                    for n in range(10)
                ],
            }
        ],
        "audiences": [{"name": f"Audience {n}", "definition": f"event('Event {n}').count() >= 1"} for n in range(30)],
    }
)
PAGES = (
    "/",
    "/alerts",
    "/alerts/channels",
    "/alerts/rules",
    "/audiences",
    "/audiences/audience_0",
    "/catalog",
    "/customers",
    "/customers/p0@example.com",
    "/customers/p0@example.com?tab=audiences",
    "/customers/p0@example.com?tab=events",
    "/customers/p0@example.com?tab=profile",
    "/destinations",
    "/destinations/perkville",
    "/destinations/perkville/conflicts",
    "/destinations/perkville/filters",
    "/destinations/perkville/map",
    "/destinations/perkville/reconciliations",
    "/destinations/perkville/replays",
    "/destinations/perkville/settings",
    "/destinations/perkville/tester",
    "/destinations/perkville/transactions",
    "/events",
    "/events/m0",
    "/settings",
    "/settings/audit",
    "/settings/team",
    "/settings/tokens",
    "/settings/versions",
    "/sources",
    "/sources/source-0",
    "/sources/source-0/debugger",
    "/sources/source-0/schema",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicApiServer]:
    folder = tmp_path_factory.mktemp("long")
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        for n in range(MANY):
            # One customer has half of the events, and each of the others one.
            email = "p0@example.com" if n % 2 else f"p{n}@example.com"
            server.send(
                {"messageId": f"m{n}", "userId": email, "event": f"Event {n}", "properties": {"email": email}},
                write_key="wk_source_0",
            )
            with server.store.unit_of_work() as work:
                create_token(work, f"token {n}", clock=server.clock)
                create_operator(
                    work, email=f"o{n}@acme.example", name=f"O{n}", role=Role.EDITOR, password="", clock=server.clock
                )
                audit.record(
                    work, at=server.clock.now(), actor="test", kind="change", resource_type="source",
                    resource_id=f"source-{n}", changes='[{"path": "name", "before": "a", "after": "b"}]',
                )  # fmt: skip
        server.route()
        server.deliver(rounds=3)
        server.feed_lake()
        server.engage()
        yield server


def test_no_page_is_longer_than_six_screens_without_pages(world: PublicApiServer, chromium: Browser) -> None:
    url = f"http://127.0.0.1:{world.port}"
    with signed_in(chromium, url, "owner@acme.example", viewport={"width": WIDTH, "height": HEIGHT}) as page:
        screens = {}
        for path in PAGES:
            response = page.goto(path, wait_until="domcontentloaded")
            assert response is not None
            assert response.status == 200, path
            height = page.evaluate("document.documentElement.scrollHeight")
            pages = page.get_by_role("link", name="Older").count()
            if height > SCREENS_MAX * HEIGHT and not pages:
                screens[path] = round(height / HEIGHT, 1)
        assert screens == {}
        page.goto("/sources")
        names = page.locator("tbody tr:visible")
        assert names.count() < MANY
        while (button := page.get_by_role("button", name="Show more")).count():
            button.click()
        assert names.count() == MANY
        page.set_viewport_size({"width": 1280, "height": HEIGHT})
        page.reload()
        assert names.count() == MANY
