"""Changes of one part of the configuration at the same moment: no error, no lost version."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.privacy_world import CONFIG

from punchcard.testing.public_api import ApiResponse, PublicApiServer

AT_ONCE = 5


@pytest.fixture
def api(tmp_path: Path, store_url: str) -> Iterator[PublicApiServer]:
    """A running API with a tracking plan."""
    with PublicApiServer(tmp_path, store_url, CONFIG) as server:
        body = {"name": "Shop", "type": "LIVE"}
        assert server.request("POST", "/api/tracking-plans", json.dumps(body).encode()).status == 200
        yield server


def rules_of(number: int) -> bytes:
    """A rule of its own for each caller."""
    rule = {"type": "TRACK", "key": f"Event {number}", "version": 1, "jsonSchema": {"type": "object"}}
    return json.dumps({"rules": [rule]}).encode()


def at_once(call: Callable[[int], ApiResponse]) -> list[ApiResponse]:
    """Call from several threads; return the responses."""
    responses: list[ApiResponse] = []
    barrier = threading.Barrier(AT_ONCE)

    def wait_and_call(number: int) -> None:
        barrier.wait()
        responses.append(call(number))

    threads = [threading.Thread(target=wait_and_call, args=(number,)) for number in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return responses


def call_at_once(api: PublicApiServer, method: str) -> list[int]:
    """Change the rules of the plan from several threads; return the statuses of the responses."""
    path = "/api/tracking-plans/shop/rules"
    return [response.status for response in at_once(lambda number: api.request(method, path, rules_of(number)))]


def keys(api: PublicApiServer) -> list[Any]:
    """The names of the events that the plan has."""
    return [rule["key"] for rule in api.request("GET", "/api/tracking-plans/shop/rules").json()["data"]["rules"]]


def test_added_rules_of_several_callers_are_all_kept(api: PublicApiServer) -> None:
    before = api.watch.newest().revision
    assert call_at_once(api, "PATCH") == [200] * AT_ONCE
    assert keys(api) == [f"Event {number}" for number in range(AT_ONCE)]
    assert api.watch.newest().revision == before + AT_ONCE


def test_of_callers_that_replace_all_rules_the_last_one_wins_and_each_is_a_version(api: PublicApiServer) -> None:
    before = api.watch.newest().revision
    assert call_at_once(api, "PUT") == [200] * AT_ONCE
    assert len(keys(api)) == 1
    assert api.watch.newest().revision == before + AT_ONCE


@pytest.mark.parametrize(
    ("path", "body", "part"),
    [
        ("/api/tracking-plans", {"name": "Summer", "type": "LIVE"}, "trackingPlan"),
        (
            "/api/transformations",
            {"name": "Rename", "sourceId": "website", "enabled": True, "if": "all", "newEventName": "A"},
            "transformation",
        ),
        (
            "/api/destinations",
            {"sourceId": "website", "metadataId": "webhooks", "settings": {"url": "https://hooks.example.com/"}},
            "destination",
        ),
    ],
    ids=["tracking-plan", "transformation", "destination"],
)
def test_parts_with_one_name_that_are_created_at_once_all_get_a_slug(
    api: PublicApiServer, path: str, body: dict[str, Any], part: str
) -> None:
    responses = at_once(lambda _: api.request("POST", path, json.dumps(body).encode()))
    assert [response.status for response in responses] == [200] * AT_ONCE
    assert len({response.json()["data"][part]["id"] for response in responses}) == AT_ONCE
