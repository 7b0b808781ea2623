"""The global search of the App: what it finds, for whom, and by which indexes."""

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import event

from punchcard.store.delivery import ledger, outbox
from punchcard.store.delivery.orders import RefusedOrder, record_refused_orders
from punchcard.store.engage import profile_search
from punchcard.store.engine import Store
from punchcard.testing.effects import new_effect
from punchcard.testing.engage_samples import add_person
from punchcard.testing.fresh_store import with_tables
from punchcard.testing.operators import FormBrowser, add_operators, signed_in
from punchcard.testing.public_api import PublicApiServer

CONFIG = """
[[sources]]
slug = "website"
name = "Web shop"
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
[[destinations.filters]]
title = "Only paid orders"
if = "properties.paid = true"
actions = [{ type = "DROP" }]

[[audiences]]
name = "Regulars"
definition = "event('Checked In').within(30 days).count() >= 4"

[[computed_traits]]
name = "Lifetime Spend"
definition = "event('Order Completed').sum(property('revenue'))"
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PublicApiServer]:
    folder = tmp_path_factory.mktemp("search")
    with PublicApiServer(folder, f"sqlite:///{folder / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        now = server.clock.now()
        with server.store.unit_of_work() as work:
            effect = new_effect("SEG:1001", order_id="1001", message_id="m-1001", customer="ann@example.com")
            outbox.add(work, [effect], now=now)
            record_refused_orders(
                work,
                [
                    RefusedOrder(
                        destination="perkville",
                        order_id="2002",
                        source="website",
                        reason="no_email",
                        message_id="m-2002",
                        received_at=now,
                    )
                ],
            )
            add_person(
                work,
                ("email", "ann@example.com"),
                ("user_id", "u-ann"),
                at=now,
                traits={"name": "Ann Bell", "city": "Ulm"},
            )
            add_person(work, ("user_id", "u-zoe"), at=now, traits={"firstName": "Zoe", "lastName": "Ünlü"})
        yield server


@pytest.fixture(scope="module")
def owner(world: PublicApiServer) -> FormBrowser:
    return signed_in(world, "owner")


def links(page: str) -> list[str]:
    """Paths of the results, in order."""
    return re.findall(r'class="(?:palette-option|list-group-item)[^>]*href="([^"]+)"', page)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        pytest.param("ann@example.com", "/customers/ann%40example.com", id="email"),
        pytest.param("ANN@ex", "/customers/ann%40example.com", id="beginning-of-an-email"),
        pytest.param("u-ann", "/customers/ann%40example.com", id="user-id"),
        pytest.param("ann b", "/customers/ann%40example.com", id="beginning-of-a-name"),
        pytest.param("zoe", "/customers/u-zoe", id="first-name"),
        pytest.param("m-1001", "/events/m-1001", id="message-id"),
        pytest.param("m-9999", "/events/m-9999", id="message-id-outside-of-the-ledger"),
        pytest.param("1001", "/destinations/perkville/transactions?q=1001", id="order"),
        pytest.param("2002", "/events/m-2002", id="refused-order"),
        pytest.param("perkv", "/destinations/perkville", id="destination"),
        pytest.param("web shop", "/sources/website", id="source"),
        pytest.param("website", "/sources/website", id="slug"),
        pytest.param("regul", "/audiences/regulars", id="audience"),
        pytest.param("spend", "/audiences/lifetime_spend", id="trait"),
        pytest.param("audit", "/settings/audit", id="page"),
        pytest.param("perkville map", "/destinations/perkville/map", id="page-of-a-destination"),
        pytest.param("pause", "/destinations/perkville/state", id="action-of-a-destination"),
        pytest.param("add member", "/settings/team", id="action-by-other-words"),
        pytest.param("new audience", "/audiences/new", id="action"),
    ],
)
@pytest.mark.parametrize("page", ["/search?q=", "/search/results?q="])
def test_it_is_found_by_what_somebody_types(owner: FormBrowser, page: str, text: str, path: str) -> None:
    response = owner.get(page + text.replace(" ", "%20"))
    assert response.status == 200
    assert path in links(response.text)
    if text not in ("spend", "audit", "m-9999", "add member"):
        assert links(response.text)[0].startswith(path)  # the best match first


def test_a_filter_is_found_and_its_link_opens_it(owner: FormBrowser) -> None:
    (path,) = [link for link in links(owner.get("/search?q=paid%20orders").text) if "/filters/" in link]
    assert "Only paid orders" in owner.get(path).text


def test_every_page_and_action_that_is_offered_opens(world: PublicApiServer) -> None:
    for role in ("read_only", "editor", "owner"):
        browser = signed_in(world, role)
        offered = links(browser.get("/search").text)
        assert len(offered) > 10
        for path in offered:
            assert browser.get(path).status in (200, 303), (role, path)


@pytest.mark.parametrize(
    ("role", "offered", "hidden"),
    [
        ("read_only", ["Change your password"], ["New audience", "Pause or resume", "Invite a member", "API token"]),
        ("editor", ["New audience", "Pause or resume"], ["Invite a member", "API token"]),
        ("owner", ["New audience", "Invite a member", "Create API token"], []),
    ],
)
def test_the_role_decides_which_actions_are_offered(
    world: PublicApiServer, role: str, offered: list[str], hidden: list[str]
) -> None:
    page = signed_in(world, role).get("/search").text
    assert [text for text in offered if text not in page] == []
    assert [text for text in hidden if text in page] == []


def test_a_text_is_shown_as_text(owner: FormBrowser) -> None:
    page = owner.get("/search?q=%3Cscript%3E%00" + "x" * 300)
    assert page.status == 200
    assert "<script>x" not in page.text
    assert "Nothing matches" in owner.get("/search/results?q=%3Cb%3E%20@").text


def test_lookups_use_indexes_and_read_no_table_from_end_to_end(store_url: str) -> None:
    store = Store(with_tables(store_url))
    if not store.is_sqlite:
        store.close()
        pytest.skip("the plan of an empty PostgreSQL table says nothing")
    plans: list[str] = []
    with store.reading() as work:

        def explain(connection, cursor, statement, parameters, context, executemany):  # type: ignore[no-untyped-def]
            if statement.startswith("SELECT"):
                rows = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
                plans.extend(str(row[-1]) for row in rows)

        event.listen(work, "before_cursor_execute", explain)
        profile_search.named(work, "ann", limit=5)
        profile_search.with_name(work, "ann", limit=5)
        ledger.customers_like(work, "ann", limit=5)
        ledger.page(work, ledger.LedgerQuery(destination="perkville", order_id="1"), count=1)
        ledger.effects_of_message(work, "m")
    store.close()
    assert any("ix_profile_traits_person_name" in plan for plan in plans)
    tables = re.compile("SCAN (effects|external_ids|profile_traits|profiles)")
    assert [plan for plan in plans if tables.match(plan)] == []


def test_customers_of_the_ledger_are_listed_once_and_in_order(store_url: str) -> None:
    store = Store(with_tables(store_url))
    customers = ["ann@x.example", "ann@x.example", "anna@x.example", "ben@x.example", ""]
    with store.unit_of_work() as work:
        for slug in ("points", "perkville"):
            effects = [
                new_effect(f"{slug} {number}", customer=customer, destination=slug)
                for number, customer in enumerate(customers)
            ]
            outbox.add(work, effects, now=effects[0].received_at)
    with store.reading() as work:
        assert ledger.customers_like(work, "AN", limit=5) == ["ann@x.example", "anna@x.example"]
        assert ledger.customers_like(work, "", limit=2) == ["ann@x.example", "anna@x.example"]
        assert ledger.customers_like(work, "zoe", limit=2) == []
    store.close()


def test_names_are_found_in_any_case_however_long_they_are(store_url: str) -> None:
    store = Store(with_tables(store_url))
    with store.unit_of_work() as work:
        at = new_effect("any").received_at
        add_person(work, ("user_id", "u-1"), at=at, traits={"name": "McDonald " + "x" * 9_000})
        add_person(work, ("user_id", "u-2"), at=at, traits={"city": "McTown", "last_name": "Meier"})
        add_person(work, ("user_id", "u-3"), at=at, traits={"name": 17, "firstName": 'He said "hi"'})
    with store.reading() as work:
        matches = {
            text: [dict(person.ids)["user_id"] for person in profile_search.with_name(work, text, limit=5)]
            for text in ("mcd", "MEIER", "m", "17", 'he said "h', "ulm")
        }
    store.close()
    assert matches == {
        "mcd": ["u-1"],
        "MEIER": ["u-2"],
        "m": ["u-1", "u-2"],
        "17": [],
        'he said "h': ["u-3"],
        "ulm": [],
    }
