"""Filters by the Public API: what is saved compiles and works, what is too large is refused, a preview never fails."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from punchcard.testing.damage import (
    CONFIG,
    awarded,
    order,
)
from punchcard.testing.public_api import PublicApiServer


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, store_url, CONFIG) as server:
        yield server


@pytest.fixture
def sqlite_world(tmp_path: Path, sqlite_url: str) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, sqlite_url, CONFIG) as server:
        yield server


SAVED = {
    "quote": 'properties.a\\"b = 1',
    "backslash": "properties.a\\\\b = 1",
    "newline": "properties.a\\\nb = 1",
    "line separator": "properties.a\\\u2028b = 1",
    "null character": "properties.a\\\x00b = 1",
    "quotes in a text": "properties.a = 'x\"y' or properties.b = \"it's\"",
}


@pytest.mark.parametrize("condition", SAVED.values(), ids=SAVED)
def test_odd_names_are_saved_by_the_api_and_work(world: PublicApiServer, condition: str) -> None:
    body = {"if": condition, "title": "odd", "enabled": True, "actions": [{"type": "DROP"}]}
    response = world.request("POST", "/api/destination/perkville/filters", json.dumps(body).encode())
    assert response.status == 200, response.body
    assert response.json()["data"]["filter"]["if"] == condition
    world.send(order("m1", number="1"))
    world.route()
    assert awarded(world, "perkville") == ["m1"]


REFUSED = {
    "path of 400 parts": ({"if": "properties." + ".".join(["a"] * 399)}, "at most 100 parts"),
    "parentheses": ({"if": "(" * 200 + "a" + ")" * 200}, "50 levels"),
    "path of an action": ({"actions": [{"type": "SAMPLE", "percent": 1, "path": "a." * 400}]}, "at most 100 parts"),
    "actions": ({"actions": [{"type": "DROP"}] * 51}, "at most 50 actions"),
}


@pytest.mark.parametrize(("part", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_compile_is_refused_and_not_saved(
    sqlite_world: PublicApiServer, part: dict[str, Any], message: str
) -> None:
    world = sqlite_world
    body = {"if": "all", "title": "odd", "enabled": True, "actions": [{"type": "DROP"}], **part}
    before = world.watch.newest().revision
    response = world.request("POST", "/api/destination/perkville/filters", json.dumps(body).encode())
    assert response.status == 422
    assert message in response.error["message"]
    assert world.watch.newest().revision == before


PREVIEWS = {
    "path of 190 parts": {"filter": {"if": "properties." + ".".join(["a"] * 189), "actions": [{"type": "DROP"}]}},
    "quote": {"filter": {"if": 'properties.a\\"b = 1', "actions": [{"type": "DROP"}]}},
    "number beyond bounds": {"payload": {"a": 10**400}},
    "path of an action": {"filter": {"if": "all", "actions": [{"type": "SAMPLE", "percent": 1, "path": "." * 9_999}]}},
    "action is no object": {"filter": {"if": "all", "actions": ["DROP"]}},
    "title is missing": {"filter": {"if": "all", "actions": [{"type": "DROP", "fields": {}}]}},
    "list of numbers": {
        "filter": {"if": "string( a ) = 'x'", "actions": [{"type": "DROP"}]},
        "payload": {"a": [10**30]},
    },
}


@pytest.mark.parametrize("part", PREVIEWS.values(), ids=PREVIEWS)
def test_a_preview_never_fails(sqlite_world: PublicApiServer, part: dict[str, Any]) -> None:
    body = {"filter": {"if": "a", "actions": [{"type": "DROP"}]}, "payload": {"a": 1}, **part}
    response = sqlite_world.request("POST", "/api/destination/filters/preview", json.dumps(body).encode())
    assert response.status in (200, 400), response.body


@pytest.mark.parametrize("depth", [500, 5_000, 200_000])
def test_a_preview_of_a_payload_of_any_depth_does_not_fail(sqlite_world: PublicApiServer, depth: int) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    body = '{"filter": {"if": "a.a.a = 1", "actions": [{"type": "DROP"}]}, "payload": ' + deep + "}"
    response = sqlite_world.request("POST", "/api/destination/filters/preview", body.encode())
    assert response.status in (200, 400), response.body
