"""The steps of an audience's funnel: which conditions are steps, and how many people are in each."""

import json
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.test_app_search import CONFIG
from tests.contract.test_computations_sql import EXAMPLES, NOW, fill, lives, zones

from punchcard.clock import Clock, from_micros, to_micros
from punchcard.computations.funnels import split_into_funnel
from punchcard.computations.model import And, Comparison, Condition, Events, LiteralValue, Operator, Reducer
from punchcard.computations.parser import checked, parse_audience
from punchcard.computations.printer import to_text
from punchcard.engage.fact_store import FactStore
from punchcard.engage.facts import TimeLimitError
from punchcard.engage.funnel_counts import FunnelCounts, FunnelRequest, count_funnel
from punchcard.engage.requests import FUNNEL, process_requests
from punchcard.store.engage import engage_tables
from punchcard.store.engage.engage_tables import Request
from punchcard.store.engine import Store
from punchcard.testing import definitions as random
from punchcard.testing.clock import ManualClock
from punchcard.testing.fresh_store import with_tables
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.reference import expected_result
from punchcard.testing.waiting import wait_until

UTC_ZONE = ZoneInfo("UTC")
VIEWED = "event('Cart Viewed').count() >= 1"
ORDERED = "event('Order Completed').count() >= 1"
FOLLOWED = "event('Cart Viewed').where( event('Order Completed').within(parent: 1 hour).count() >= 1 ).count() >= 1"


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FactStore]:
    fact_store = FactStore(tmp_path_factory.mktemp("facts") / "engage.duckdb")
    yield fact_store
    fact_store.close()


@pytest.mark.parametrize(
    ("definition", "steps", "filters"),
    [
        (f"{VIEWED} AND {ORDERED}", [("Cart Viewed", "", VIEWED), ("Order Completed", "", ORDERED)], []),
        (
            FOLLOWED,
            [
                ("Cart Viewed", "", VIEWED),
                ("Order Completed", "Cart Viewed", "event('Order Completed').within(parent: 1 hour).count() >= 1"),
            ],
            [],
        ),
        (
            f"trait('vip') = true AND {VIEWED} AND event('Refunded').count() = 0 AND {ORDERED}",
            [("Cart Viewed", "", VIEWED), ("Order Completed", "", ORDERED)],
            ["trait('vip') = true", "event('Refunded').count() = 0"],
        ),
        (
            f"{VIEWED} AND ( {ORDERED} OR event('Renewed').sum(property('total')) > 5 )",
            [
                ("Cart Viewed", "", VIEWED),
                ("Order Completed or Renewed", "", f"{ORDERED} OR event('Renewed').sum(property('total')) > 5"),
            ],
            [],
        ),
        (
            f"{FOLLOWED} AND event('Renewed').count() > 1",
            [
                ("Cart Viewed", "", VIEWED),
                ("Order Completed", "Cart Viewed", "event('Order Completed').within(parent: 1 hour).count() >= 1"),
                ("Renewed", "", "event('Renewed').count() > 1"),
            ],
            [],
        ),
    ],
)
def test_conditions_that_require_events_are_steps(
    definition: str, steps: list[tuple[str, str, str]], filters: list[str]
) -> None:
    funnel = split_into_funnel(parse_audience(definition))
    assert funnel is not None
    assert [(" or ".join(step.events), step.follows, to_text(step.part)) for step in funnel.steps] == steps
    assert [to_text(condition) for condition in funnel.filters] == filters


@pytest.mark.parametrize(
    "definition",
    [
        VIEWED,
        f"{VIEWED} OR {ORDERED}",
        f"NOT ( {VIEWED} AND {ORDERED} )",
        f"{VIEWED} AND event('Order Completed').count() = 0",
        f"{VIEWED} AND event('Order Completed').count() < 3",
        f"{VIEWED} AND event('Order Completed').count() >= trait('age')",
        f"{VIEWED} AND trait('vip') = true",
        "trait('vip') = true AND trait('age') > 5",
        "event('Cart Viewed').where( NOT ( event('Order Completed').count() >= 1 ) ).count() >= 1",
        "event('Cart Viewed').where( event('Order Completed').count() >= 1 ).count() = 2",  # fewer is not more
        "event('Cart Viewed').where( property('sku') = 'a' ).count() >= 1",
    ],
)
def test_other_definitions_have_no_funnel(definition: str) -> None:
    assert split_into_funnel(parse_audience(definition)) is None


def has_happened(name: str, least: int, child: Condition | None) -> Comparison:
    return Comparison(Events(name, Reducer.COUNT, where=child), Operator.AT_LEAST, (LiteralValue(least),))


_children = random.comparisons(random.events(is_child=True)) | st.builds(
    has_happened, st.sampled_from(random.NAMES), st.integers(1, 2), st.none()
)
_happened = st.builds(
    has_happened,
    st.sampled_from(random.NAMES),
    st.integers(1, 2),
    st.none() | _children | st.builds(And, st.tuples(_children, _children)) | random.wheres(is_child=False),
)
_definitions = st.lists(_happened | _happened | random.audiences(), min_size=1, max_size=3).map(
    lambda conditions: And(tuple(conditions)) if len(conditions) > 1 else conditions[0]
)


@EXAMPLES
@given(definition=_definitions, life=lives, known=random.traits(), zone=zones)
def test_any_funnel_counts_what_the_reference_says(  # type: ignore[no-untyped-def]
    facts, definition, life, known, zone
):
    people = fill(facts, life, known)
    definition = checked(definition)
    counts = count(facts, FunnelRequest(to_text(definition)), zone=zone)
    assert counts.error == ""
    funnel = split_into_funnel(definition)
    if funnel is None:
        assert counts.people == ()
        return
    members = [
        {profile for profile, person in people.items() if expected_result(step.condition, person, NOW, zone)}
        for step in funnel.steps
    ]
    assert counts.people == tuple(map(len, members))
    assert all(after <= before for before, after in pairwise(members))  # nobody skips a step
    assert members[-1] == {
        profile for profile, person in people.items() if expected_result(definition, person, NOW, zone)
    }


def count(facts: FactStore, request: FunnelRequest, *, zone: ZoneInfo = UTC_ZONE, **more: float) -> FunnelCounts:
    clock = ManualClock(from_micros(NOW))
    return count_funnel(facts, msgspec.json.encode(request).decode(), clock=clock, zone=zone, **more)


LIFE: list[tuple[Any, ...]] = [
    (1, -6, "Cart Viewed", "web", {}, {}),
    (1, -6, "Order Completed", "web", {}, {}),
    (2, -7, "Cart Viewed", "web", {}, {}),
    (2, -1, "Order Completed", "web", {}, {}),
    (3, -1, "Cart Viewed", "web", {}, {}),
]
HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("request_", "people"),
    [
        (FunnelRequest(f"{VIEWED} AND {ORDERED}"), (3, 2)),
        (FunnelRequest(f"{ORDERED} AND {VIEWED}"), (2, 2)),
        (FunnelRequest(FOLLOWED), (3, 1)),
        (FunnelRequest(f"{VIEWED} AND {ORDERED}", since=NOW - 6 * HOUR), (2, 1)),
        (FunnelRequest(VIEWED), ()),
    ],
)
def test_people_are_counted_in_each_step(facts: FactStore, request_: FunnelRequest, people: tuple[int, ...]) -> None:
    fill(facts, LIFE, {})
    assert count(facts, request_).people == people


def test_anonymous_people_are_counted_only_where_the_audience_has_them(facts: FactStore) -> None:
    fill(facts, LIFE, {})
    facts.run("UPDATE people SET known = false WHERE profile = 1")
    assert count(facts, FunnelRequest(f"{VIEWED} AND {ORDERED}")).people == (2, 1)
    assert count(facts, FunnelRequest(f"{VIEWED} AND {ORDERED}", include_anonymous=True)).people == (3, 2)


def test_a_funnel_that_takes_too_long_is_stopped_and_says_so(facts: FactStore) -> None:
    fill(facts, [(1, -6, "Cart Viewed", "web", {}, {})], {})
    facts.run("INSERT INTO facts SELECT f.* FROM facts AS f, range(30000)")
    facts.run("UPDATE facts SET seq = rowid")
    slow = "event('Cart Viewed').where( event('Cart Viewed').count() >= 1 ).count() >= 1"
    stopped = count(facts, FunnelRequest(slow), time_limit_seconds=0.01)
    assert stopped == FunnelCounts(error="The query was stopped after 0.01 s.")
    fill(facts, LIFE, {})
    assert count(facts, FunnelRequest(FOLLOWED)).people == (3, 1)  # the connection is usable


def test_a_time_limit_that_ends_before_the_query_begins_stops_it(
    facts: FactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB forgets the interrupt, as it happens on a machine that is busy with other things."""
    read = facts.rows

    def read_late(sql: str, *values: object) -> list[tuple[object, ...]]:
        time.sleep(0.3)
        return read(sql, *values)

    monkeypatch.setattr(facts, "rows", read_late)
    with pytest.raises(TimeLimitError):
        facts.totals("SELECT count(*) FROM range(3000000) AS a, range(3000) AS b WHERE a <> b", seconds_max=0.01)
    assert facts.totals("SELECT 1", seconds_max=60.0) == (1,)


@pytest.mark.parametrize("definition", ["event(", "event('A').count() >= 'x' AND event('B').count() >= 1"])
def test_an_invalid_definition_is_an_error_of_its_request_only(
    facts: FactStore, tmp_path: Path, definition: str
) -> None:
    fill(facts, LIFE, {})
    clock = ManualClock(datetime(2026, 3, 8, 20, tzinfo=UTC))
    store = Store(with_tables(f"sqlite:///{tmp_path / 'store.db'}"))
    bodies = {"bad": FunnelRequest(definition), "good": FunnelRequest(FOLLOWED)}
    with store.unit_of_work() as work:
        for name, body in bodies.items():
            request = Request(id=name, kind=FUNNEL, body=msgspec.json.encode(body).decode())
            engage_tables.add_request(work, request, at=clock.now())
        engage_tables.add_request(work, Request(id="broken", kind=FUNNEL, body="{}"), at=clock.now())
    assert process_requests(store, facts, clock=clock, zone=UTC_ZONE) == 3
    with store.reading() as work:
        results = {name: json.loads(engage_tables.result_of(work, name) or "") for name in ("bad", "good", "broken")}
    store.close()
    assert results["bad"]["error"]
    assert results["broken"]["error"]
    assert results["good"]["people"] == [3, 1]


def process_next_request(store: Store, facts: FactStore, clock: Clock) -> None:
    wait_until(lambda: process_requests(store, facts, clock=clock, zone=UTC_ZONE) == 1)


def test_pages_show_a_funnel_only_where_there_is_one(tmp_path: Path, facts: FactStore) -> None:
    fill(facts, LIFE, {})
    config = CONFIG + "".join(
        f'\n[[audiences]]\nname = "{key.title()}"\ndefinition = "{definition}"\n'
        for key, definition in {"buyers": FOLLOWED, "viewers": VIEWED}.items()
    )
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", config) as server:
        add_operators(server)
        viewer = FormBrowser(server)
        viewer.sign_in("read_only@acme.example")
        assert 'hx-get="/audiences/buyers/funnel"' in viewer.get("/audiences/buyers").text
        assert "unnel" not in viewer.get("/audiences/viewers").text.split("<main", 1)[1]
        assert "has no funnel" in viewer.get("/audiences/viewers/funnel").text
        facts.run(f"UPDATE facts SET happened = happened - {NOW - to_micros(server.clock.now())}")
        engage = threading.Thread(target=process_next_request, args=(server.store, facts, server.clock))
        engage.start()
        text = " ".join(re.sub(r"<[^>]*>", " ", viewer.get("/audiences/buyers/funnel").text).split())
        engage.join()
    assert "1. Cart Viewed 3 100 % – 2. then Order Completed 1 33 % 33 %" in text
