"""Transformations that meet each other, duplicates, plans and replays: each order is awarded once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.privacy_world import ANN, CONFIG, order, process

from punchcard.errors import ConfigurationError
from punchcard.testing.public_api import PublicApiServer
from punchcard.workspace.file import read_content

PLACE = "/api/destinations/perkville"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    """A running installation without transformations."""
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        yield server


def configure(world: PublicApiServer, *transformations: str, plan: str = "") -> None:
    """Make transformations the running configuration, each the text of its keys."""
    tables = [
        f'[[transformations]]\nname = "T {number}"\nsource = "website"\norder = {number}\n{text}\n'
        for number, text in enumerate(transformations, start=1)
    ]
    enforced = '[sources.enforcement]\nunplanned_events = "BLOCK"\n' if plan else ""
    config = CONFIG.replace('write_key = "wk_website"\n', f'write_key = "wk_website"\n{enforced}', 1)
    world.configure("\n".join([config, *tables, plan]))
    world.watch.refresh()


def results_of(world: PublicApiServer, message_id: str) -> list[tuple[str, str | None]]:
    """The results of an event."""
    rows = world.request("GET", f"/api/events/{message_id}").json()["data"]["results"]
    return [(row["status"], row["reason"]) for row in rows]


def event_of(world: PublicApiServer, message_id: str) -> dict[str, Any]:
    """The event as it is stored."""
    return dict(world.request("GET", f"/api/events/{message_id}").json()["data"]["event"])


RENAMED = """if = "event = 'order_completed'"\nnewEventName = "Order Completed" """


def test_an_order_that_is_renamed_onto_a_mapped_event_is_awarded_once(world: PublicApiServer) -> None:
    configure(world, RENAMED)
    same = order(ANN, 1)["properties"]
    world.send(
        order(ANN, 1, event="order_completed"),
        {**order(ANN, 2), "properties": same},
        {**order(ANN, 3, event="order_completed"), "properties": same},
        order(ANN, 1, event="order_completed"),
    )
    process(world)
    assert world.partner.keys() == ["SEG:perkville:ORDER:o-1:order-completed"]
    assert results_of(world, "m-2") == results_of(world, "m-3") == [("duplicate", "same_effect")]
    configure(world)  # without it, the same order is still the same
    world.send({**order(ANN, 4), "properties": same}, {**order(ANN, 5, event="order_completed"), "properties": same})
    process(world)
    assert results_of(world, "m-4") == [("duplicate", "same_effect")]
    assert results_of(world, "m-5") == [("refused", "not_allowlisted")]
    assert len(world.partner.keys()) == 1


def test_names_that_are_swapped_become_one_name_in_the_order_of_the_transformations(world: PublicApiServer) -> None:
    configure(
        world,
        """if = "event = 'A'"\nnewEventName = "Order Completed" """,
        """if = "event = 'Order Completed'"\nnewEventName = "A" """,
    )
    world.send(order(ANN, 1, event="A"), order(ANN, 2))
    process(world)
    assert [event_of(world, f"m-{number}")["event"] for number in (1, 2)] == ["A", "A"]
    assert world.partner.keys() == []


@pytest.mark.parametrize("name", ["messageId", "timestamp", "type", "sentAt", "originalTimestamp", "receivedAt"])
def test_by_what_an_event_is_recognized_cannot_be_changed(name: str) -> None:
    change = f'propertyValueTransformations = [{{ propertyPaths = ["{name}"], propertyValue = "x" }}]'
    text = f'{CONFIG}[[transformations]]\nname = "T"\nsource = "website"\nif = "all"\n{change}\n'
    with pytest.raises(ConfigurationError, match=f'"{name}" cannot be set'):
        read_content(text.encode(), "punchcard.toml", environment={})


def test_dropped_properties_with_the_names_of_members_leave_the_members(world: PublicApiServer) -> None:
    names = ["messageId", "userId", "timestamp", "anonymousId"]
    configure(world, f'if = "all"\npropertyDrops = {json.dumps(names)}')
    event = order(ANN, 1)
    event["properties"] |= dict.fromkeys(names, "a property")
    world.send(event, event)
    process(world)
    stored = event_of(world, "m-1")
    assert (stored["userId"], stored["anonymousId"], stored["messageId"]) == (ANN[0], ANN[2], "m-1")
    assert not set(names) & set(stored["properties"])
    assert len(world.partner.keys()) == 1


def test_another_user_id_leaves_the_order_and_the_message_what_they_are(world: PublicApiServer) -> None:
    values = '[{ propertyPaths = ["userId", "anonymousId"], propertyValue = "somebody" }]'
    configure(world, f'if = "all"\npropertyValueTransformations = {values}')
    world.send(order(ANN, 1), order(ANN, 1), {**order(ANN, 2), "properties": order(ANN, 1)["properties"]})
    process(world)
    assert event_of(world, "m-1")["userId"] == "somebody"
    assert results_of(world, "m-2") == [("duplicate", "same_effect")]
    assert len(world.partner.keys()) == 1


PLAN = """
[tracking_plans.shop]
name = "Shop"
sources = ["website"]
[[tracking_plans.shop.rules]]
type = "TRACK"
key = "Order Completed"
jsonSchema = '{"type": "object"}'
"""


def test_a_plan_that_blocks_sees_the_renamed_event_and_blocked_events_are_awarded_once(world: PublicApiServer) -> None:
    configure(world, RENAMED, plan=PLAN)
    world.send(order(ANN, 1, event="order_completed"), order(ANN, 2, event="bestellt"))
    process(world)
    assert results_of(world, "m-1") == [("delivered", None)]
    assert results_of(world, "m-2") == [("filtered_at_source", "unplanned")]
    configure(world, RENAMED, RENAMED.replace("order_completed", "bestellt"), plan=PLAN)
    for _ in range(3):
        body = json.dumps({"messageIds": ["m-1", "m-2"]}).encode()
        response = world.request("POST", f"{PLACE}/replays", body)
        assert response.status == 200, response.body
        world.run_replays()
        world.deliver(rounds=3)
    assert sorted(world.partner.keys()) == [f"SEG:perkville:ORDER:o-{number}:order-completed" for number in (1, 2)]
    assert world.partner.booked_twice() == []
