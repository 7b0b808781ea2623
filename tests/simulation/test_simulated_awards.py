"""For the current configuration, a simulation equals the ledger: random events through real routing and delivery."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import pytest

from punchcard.lake.reader import LakeReader
from punchcard.operations.proposals import ProposedFilter, compile_proposal, propose
from punchcard.operations.simulation import SimulationScope, plan_here, simulate
from punchcard.operations.simulation_outcome import SimulationOutcome
from punchcard.store.delivery.conflicts import ConflictQuery, list_conflicts
from punchcard.store.delivery.effects import EffectState
from punchcard.testing.public_api import PublicApiServer

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[sources]]
slug = "pos"
write_key = "wk_pos"

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website", "pos"]
[destinations.settings]
apiKey = "a-secret-that-nobody-sees"
businessId = "41"
locationId = "7"
[destinations.settings.eventToPerkMap]
"Order Completed" = "123456"
"Order Refunded" = "123456"
"Checked In" = "123457"
"Class Attended" = "123460"
[destinations.options]
oncePerDay = ["Class Attended"]
[[destinations.filters]]
title = "no staff"
if = "contains( properties.email, 'staff' )"
actions = [{ type = "DROP" }]
"""
POINTS = {"123456": Decimal(1), "123457": Decimal(10), "123460": Decimal(5)}
EMAILS = ("ann@example.com", "Bob@example.com", "bob@example.com", "staff@example.com", "cid@example.com")
NAMES = ("Order Completed", "Order Completed", "Order Refunded", "Checked In", "Class Attended", "Sauna Visited")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as opened:
        yield opened


def random_event(chance: Random, number: int) -> dict[str, Any]:
    """An event with everything that may go wrong with it, on few orders, so that they meet."""
    properties: dict[str, Any] = {"email": chance.choice(EMAILS)}
    name = chance.choice(NAMES)
    if name.startswith("Order"):
        properties["order_id"] = str(chance.randrange(6))
        if chance.random() < 0.9:
            properties["revenue"] = chance.choice(["5", "9.99", 20, "0", "x"])
    if chance.random() < 0.1:
        del properties["email"]
    return {
        "messageId": f"m{chance.randrange(number + 1) if chance.random() < 0.1 else number}",
        "userId": "u",
        "event": name,
        "properties": properties,
        **({"integrations": {"All": False}} if chance.random() < 0.05 else {}),
    }


def run(server: PublicApiServer, chance: Random, *, events: int, first: int) -> None:
    """Events are received, operators resolve conflicts, and everything follows until nothing waits any more."""
    for number in range(first, first + events):
        write_key = chance.choice(["wk_website", "wk_website", "wk_pos"])
        server.send(random_event(chance, number), write_key=write_key)
        if chance.random() < 0.3:
            settle(server)
            if chance.random() < 0.5:
                resolve_conflict(server, chance)
        if chance.random() < 0.1:
            server.clock.advance(chance.choice([60, 3_600, 40_000]))
    settle(server)


def resolve_conflict(server: PublicApiServer, chance: Random) -> None:
    """An operator decides about a conflict, and what follows is delivered."""
    with server.store.reading() as work:
        conflicts = list_conflicts(work, ConflictQuery(is_resolved=False), count=100)
    if not conflicts:
        return
    conflict, resolution = chance.choice(conflicts), chance.choice(["kept", "corrected", "corrected"])
    path = f"/api/destinations/perkville/conflicts/{conflict.id}/resolve"
    server.clock.advance(1)
    response = server.request("POST", path, json.dumps({"resolution": resolution}).encode())
    assert response.status in (200, 422), response.body  # some refunds cannot be corrected
    server.deliver(rounds=6)
    server.clock.advance(1)


def settle(server: PublicApiServer) -> None:
    server.route()
    server.deliver(rounds=6)


def wait_for_everything(server: PublicApiServer) -> None:
    """Refunds of orders that never arrive give up, and the lake gets all events."""
    for _ in range(3):
        server.clock.advance(25 * 3_600)
        server.deliver(rounds=12)
    server.feed_lake()


def simulated(server: PublicApiServer, begin: Any, **proposal: Any) -> SimulationOutcome:
    current = server.watch.newest().destinations["perkville"]
    scope = SimulationScope(
        destination=compile_proposal(current, propose(current, **proposal)),
        current=current,
        zone=server.watch.newest().zone,
        begin=begin,
        end=server.clock.now() + timedelta(seconds=1),
    )
    return simulate(scope, store=server.store, lake=LakeReader(server.lake_location), points=POINTS, plan=plan_here)


def ledger(server: PublicApiServer, begin: Any) -> Mapping[tuple[str, str], tuple[int, Decimal]]:
    """Awards and units in the ledger by event and perk, read by a query of its own."""
    sums: defaultdict[tuple[str, str], list[Any]] = defaultdict(lambda: [0, Decimal(0)])
    with server.store.reading() as work:
        rows = work.exec_driver_sql("SELECT event_name, item, quantity, state, received_at FROM effects").all()
    from punchcard.clock import to_micros

    for event_name, perk, quantity, state, received_at in rows:
        assert state in (EffectState.DELIVERED, EffectState.REJECTED, EffectState.PARKED), "nothing waits any more"
        if state == EffectState.DELIVERED and received_at >= to_micros(begin):
            sums[event_name, perk][0] += 1
            sums[event_name, perk][1] += Decimal(quantity)
    return {key: (count, units) for key, (count, units) in sums.items()}


@pytest.mark.parametrize("seed", [0, 1, 2, 5, 11, 55])
def test_the_current_configuration_earns_what_the_ledger_has(server: PublicApiServer, seed: int) -> None:
    assert_simulation_equals_ledger(server, seed)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(100))
def test_any_history_earns_what_the_ledger_has(server: PublicApiServer, number: int) -> None:
    assert_simulation_equals_ledger(server, SystemRandom().randrange(10**9))


def assert_simulation_equals_ledger(server: PublicApiServer, seed: int) -> None:
    chance = Random(seed)
    run(server, chance, events=25, first=0)
    server.clock.advance(1)
    begin = server.clock.now()
    run(server, chance, events=40, first=25)
    wait_for_everything(server)
    for since in (begin, begin - timedelta(days=300)):
        outcome = simulated(server, since)
        expected = ledger(server, since)
        rows = {(row.event, row.item): row for row in outcome.by_event if row.awards or row.actual_awards}
        assert {key: (row.actual_awards, Decimal(row.actual_quantity)) for key, row in rows.items()} == expected, (
            f"seed {seed}"
        )
        assert {key: (row.awards, Decimal(row.quantity)) for key, row in rows.items()} == expected, f"seed {seed}"
        assert (outcome.gaining, outcome.losing) == ([], []), f"seed {seed}"
        assert outcome.totals.points == outcome.totals.actual_points


def test_an_event_that_is_mapped_would_earn(server: PublicApiServer) -> None:
    for number, email in enumerate(["ann@example.com", "ann@example.com", "bob@example.com"]):
        event = {"messageId": f"s{number}", "userId": "u", "event": "Sauna Visited", "properties": {"email": email}}
        server.send(event)
    server.send({"messageId": "c1", "userId": "u", "event": "Checked In", "properties": {"email": "cid@example.com"}})
    settle(server)
    server.feed_lake()
    begin = server.clock.now() - timedelta(days=1)
    before = simulated(server, begin)
    assert before.refused == {"not_allowlisted": 3}
    outcome = simulated(
        server, begin, settings={"eventToPerkMap": {"Sauna Visited": "123460", "Class Attended": "123460"}}
    )
    rows = {row.event: row for row in outcome.by_event}
    sauna, checked_in = rows["Sauna Visited"], rows["Checked In"]
    assert (sauna.events, sauna.awards, sauna.customers, sauna.quantity, sauna.points) == (3, 3, 2, "3", "15")
    assert (sauna.actual_awards, sauna.actual_quantity) == (0, "0")
    assert (checked_in.awards, checked_in.actual_awards, checked_in.actual_points) == (0, 1, "10")
    assert [(change.email, change.change) for change in outcome.gaining] == [
        ("ann@example.com", "10"),
        ("bob@example.com", "5"),
    ]
    assert [(change.email, change.change) for change in outcome.losing] == [("cid@example.com", "-10")]
    assert (outcome.totals.points, outcome.totals.actual_points) == ("15", "10")
    assert outcome.refused == {"not_allowlisted": 1}


def test_a_filter_takes_events_away_and_says_why(server: PublicApiServer) -> None:
    for number, email in enumerate(["ann@example.com", "bob@example.com"]):
        event = {"messageId": f"c{number}", "userId": "u", "event": "Checked In", "properties": {"email": email}}
        server.send(event)
    settle(server)
    server.feed_lake()
    begin = server.clock.now() - timedelta(days=1)
    outcome = simulated(server, begin, filters=[ProposedFilter(if_="properties.email = 'bob@example.com'")])
    (row,) = [row for row in outcome.by_event if row.event == "Checked In"]
    assert (row.events, row.awards, row.actual_awards) == (2, 1, 2)
    assert outcome.refused == {"FILTERED_BY_RULES": 1}
