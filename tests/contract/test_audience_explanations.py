"""Why somebody is, or is not, in an audience: each condition with its value, and what destinations have of it."""

import html
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.contract.test_app_search import CONFIG

from punchcard.engage.computing import UTC_ZONE
from punchcard.engage.fact_store import FactStore
from punchcard.engage.requests import process_requests
from punchcard.errors import ConfigurationError
from punchcard.operations.computation_status import find_computation_status
from punchcard.operations.membership import Membership, explain_membership
from punchcard.store.engine import Store
from punchcard.testing.engage_samples import add_computation, add_person
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.partner.configuration import SLUG
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.sync_world import KEY, SyncWorld
from punchcard.testing.waiting import wait_until
from punchcard.workspace.editing import NotFoundError
from punchcard.workspace.model import Workspace


class _World(SyncWorld):
    definition = ""

    def define(self, definition: str, **more: Any) -> None:
        self.definition, self.options = definition, {"destinations": (SLUG,), **more}
        self.audience(definition=definition, **more)
        self.run_until_idle()

    def why(self, customer: str) -> Membership:
        """Explain the membership of a customer, as Engage answers it in its own process."""
        computation = self.world.audience(KEY, self.definition, **self.options)
        status = find_computation_status(self.store, Workspace(computations=(computation,)), KEY)
        facts, clock = self.world.facts, self.world.clock
        assert facts is not None
        with ThreadPoolExecutor(1) as pool:
            response = pool.submit(explain_membership, self.store, status, customer, clock=clock)
            wait_until(
                lambda: process_requests(self.store, facts, clock=clock, zone=self.world.zone) == 1 or response.done()
            )
            return response.result()


def lines(membership: Membership) -> list[tuple[int, str, bool, object]]:
    return [
        (line.depth, line.text, line.is_met, json.loads(line.value) if line.value else None)
        for line in membership.conditions
    ]


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[_World]:
    store = Store(store_url)
    opened = _World(tmp_path, store)
    yield opened
    opened.world.crash()
    opened.log.close()
    store.close()


_SPENT = "event('Order Completed').within(30 days).sum(property('revenue')) >= 100"
_OFTEN = "event('Order Completed').count() >= 2"
_GOLD = "trait('plan') = 'gold'"
_LEFT_CART = (
    "event('Cart Viewed').where( NOT ( event('Order Completed').within(parent: 1 day).count() >= 1 ) ).count() >= 1"
)
CASES = {
    "too few": (_OFTEN, False, [(0, _OFTEN, False, 1)]),
    "none at all": ("event('Checked In').count() >= 1", False, [(0, "event('Checked In').count() >= 1", False, 0)]),
    "none, as it should be": (
        "event('Checked In').count() = 0",
        True,
        [(0, "event('Checked In').count() = 0", True, 0)],
    ),
    "sum": (_SPENT, False, [(0, _SPENT, False, 60)]),
    "trait": (_GOLD, True, [(0, _GOLD, True, "gold")]),
    "no trait": ("trait('vip') = true", False, [(0, "trait('vip') = true", False, None)]),
    "nested trait": (
        "trait('address.city') = 'Bern'",
        True,
        [(0, "trait('address.city') = 'Bern'", True, {"city": "Bern"})],
    ),
    "all of": (
        f"{_GOLD} AND {_OFTEN}",
        False,
        [(0, "All of", False, None), (1, _GOLD, True, "gold"), (1, _OFTEN, False, 1)],
    ),
    "any of, and not": (
        f"NOT ( {_GOLD} ) OR {_SPENT}",
        False,
        [(0, "Any of", False, None), (1, "Not", False, None), (2, _GOLD, True, "gold"), (1, _SPENT, False, 60)],
    ),
    "funnel": (_LEFT_CART, False, [(0, _LEFT_CART, False, 0)]),
    "list": (f"list('{KEY}')", False, [(0, f"list('{KEY}')", False, None)]),
}


@pytest.mark.parametrize("case", CASES)
def test_each_condition_is_shown_with_its_value(world: _World, case: str) -> None:
    definition, is_member, conditions = CASES[case]
    world.identify("ann", email="ann@example.com", plan="gold", address={"city": "Bern"})
    world.order("ann", properties={"email": "ann@example.com", "revenue": 60})
    world.order("bob", properties={"email": "bob@example.com", "revenue": 500})
    world.define(definition)
    membership = world.why("ann@example.com")
    assert (membership.is_member, lines(membership), membership.notes) == (is_member, conditions, [])


def test_who_has_left_sees_when_and_what_the_destination_has(world: _World) -> None:
    world.order("ann")
    world.define("event('Order Completed').within(30 days).count() >= 1")
    assert world.why("ann").is_member
    world.world.advance(days=31)
    world.run_until_idle()
    membership = world.why("ann")
    assert (membership.is_member, membership.since) == (False, world.world.clock.now())
    (destination,) = membership.destinations
    assert destination.detail == "Last sent: false for ann@example.com at 2026-04-01 00:00:00 UTC."


def test_who_has_no_email_is_a_member_of_whom_nothing_is_sent(world: _World) -> None:
    world.order("ann", properties={})
    world.define(_OFTEN.replace("2", "1"))
    membership = world.why("ann")
    assert membership.is_member
    assert membership.destinations[0].detail == (
        "Nothing was sent. Nothing is sent before the customer has an email address."
    )


def test_anonymous_customers_are_left_out(world: _World) -> None:
    world.world.receive([{"type": "track", "event": "Order Completed", "anonymousId": "a1", "messageId": "x"}])
    world.define(_OFTEN.replace("2", "1"))
    membership = world.why("a1")
    assert (membership.is_member, lines(membership)[0][2:]) == (False, (True, 1))
    assert membership.notes == ["The customer has only anonymous ids. Such customers are left out of this audience."]


def test_events_from_before_may_not_count(world: _World) -> None:
    world.order("ann")
    world.run_until_idle()
    world.world.advance(days=1)
    world.define(_OFTEN.replace("2", "1"), include_history=False)
    membership = world.why("ann")
    assert (membership.is_member, lines(membership)[0][2:]) == (False, (False, 0))
    assert membership.notes == ["Events from before the audience was created do not count."]


def test_nobody_and_no_audience(world: _World) -> None:
    world.define(_OFTEN)
    with pytest.raises(NotFoundError, match="nobody"):
        world.why("nobody")
    computation = world.world.trait("spent", "event('Order Completed').count()")
    status = find_computation_status(world.store, Workspace(computations=(computation,)), "spent")
    with pytest.raises(ConfigurationError, match="not an audience"):
        explain_membership(world.store, status, "ann", clock=world.world.clock)


def test_pages_lead_to_the_explanation(tmp_path: Path) -> None:
    config = CONFIG + "\n[[audiences]]\nname = \"Gold\"\ndefinition = \"trait('plan') = 'gold'\"\n"
    with (
        PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", config) as server,
        closing(FactStore(tmp_path / "engage.duckdb")) as facts,
        ThreadPoolExecutor(1) as pool,
    ):
        now = server.clock.now()
        with server.store.unit_of_work() as work:
            number = add_person(work, ("user_id", "ann"), at=now, traits={"plan": "gold"})
            add_computation(work, "gold", size=0, now=now)
        with facts.unit_of_work():
            facts.add_people([(number, True)])
            facts.set_traits([(number, "plan", '"silver"', "")])
        add_operators(server)
        viewer = FormBrowser(server)
        viewer.sign_in("read_only@acme.example")
        assert 'href="/audiences/gold?customer=ann"' in viewer.get("/customers/ann?tab=audiences").text
        page = viewer.get("/audiences/gold?customer=ann").text
        assert 'hx-get="/audiences/gold/membership"' in page
        assert 'value="ann"' in page
        response = pool.submit(viewer.get, "/audiences/gold/membership?customer=ann")
        wait_until(lambda: process_requests(server.store, facts, clock=server.clock, zone=UTC_ZONE) == 1)
        text = " ".join(re.sub(r"<[^>]*>", " ", response.result().text).split())
        assert "No customer has the id nobody" in viewer.get("/audiences/gold/membership?customer=nobody").text
        assert "Enter an email" in viewer.get("/audiences/gold/membership").text
    assert "ann is not a member ." in text
    assert html.unescape(text).endswith("trait('plan') = 'gold' No \"silver\"")
