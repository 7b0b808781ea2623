"""Audiences and computed traits by the Public API: who made them, and what they may say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, update

from punchcard.store.schema import audit_events
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

[[audiences]]
name = "From A File"
definition = "event('Checked In').count() >= 1"
"""
SPACE = "/api/spaces/punchcard"
PATHS = {"audience": f"{SPACE}/audiences", "computedTrait": f"{SPACE}/computed-traits"}
QUERY = {"audience": "event('Order Completed').count() >= 1", "computedTrait": "event('Order Completed').count()"}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        yield server


def call(api: PublicApiServer, method: str, path: str, body: object = None, *, token: str | None = None) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return api.request(method, path, None if body is None else json.dumps(body).encode(), headers=headers)


def done(api: PublicApiServer, method: str, path: str, body: object = None, *, token: str | None = None) -> Any:
    """The data of a call that succeeds."""
    answer = call(api, method, path, body, token=token)
    assert answer.status == 200, answer.body
    return answer.json()["data"]


def made(api: PublicApiServer, kind: str = "audience", **more: object) -> Any:
    """A computation as it was created."""
    body = {"name": "Some One", "definition": {"query": QUERY[kind]}, **more}
    return done(api, "POST", PATHS[kind], body)[kind]


# --- who made it


def author(one: dict[str, str]) -> tuple[str, str, bool]:
    """Who made it, who changed it last, and whether that was later."""
    assert one["createdAt"] <= one["updatedAt"]
    return one["createdBy"], one["updatedBy"], one["createdAt"] < one["updatedAt"]


@pytest.mark.parametrize("kind", PATHS)
def test_who_made_a_computation_and_who_changed_it_last_is_told(api: PublicApiServer, kind: str) -> None:
    shop = done(api, "POST", "/api/tokens", {"name": "the shop", "role": "editor"})["secret"]
    id_ = made(api, kind)["id"]
    assert author(done(api, "GET", f"{PATHS[kind]}/{id_}")[kind]) == ("token test", "token test", False)
    api.clock.advance(60)
    changed = done(api, "PATCH", f"{PATHS[kind]}/{id_}", {"enabled": False}, token=shop)[kind]
    assert author(changed) == ("token test", "token the shop", True)
    api.clock.advance(60)
    assert done(api, "PATCH", f"{PATHS[kind]}/{id_}", {"enabled": False})[kind] == changed


def test_telling_everybody_again_is_no_change_of_the_audience(api: PublicApiServer) -> None:
    one = made(api, destinations=["perkville"])
    api.clock.advance(60)
    done(api, "POST", f"{PATHS['audience']}/{one['id']}/resync", {})
    assert author(done(api, "GET", f"{PATHS['audience']}/{one['id']}")["audience"]) == (
        "token test",
        "token test",
        False,
    )


def test_one_made_again_under_its_key_begins_anew(api: PublicApiServer) -> None:
    first = made(api)
    done(api, "PATCH", f"{PATHS['audience']}/{first['id']}", {"enabled": False})
    done(api, "DELETE", f"{PATHS['audience']}/{first['id']}")
    api.clock.advance(60)
    second = made(api)
    assert second["createdAt"] > first["createdAt"]
    assert author(second) == ("token test", "token test", False)


def test_where_the_audit_log_says_nothing_the_author_is_unknown(api: PublicApiServer) -> None:
    made(api)
    with api.store.unit_of_work() as work:
        work.execute(update(audit_events).values(resource_id="another"))
    (one, _) = done(api, "GET", PATHS["audience"])["audiences"]
    assert author(one) == ("unknown", "unknown", False)
    assert one["createdAt"].endswith("Z")


def test_the_authors_of_a_page_cost_one_query(api: PublicApiServer) -> None:
    for number in range(5):
        made(api, name=f"Number {number}")
    asked: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        if "FROM audit_events" in statement:
            asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        found = done(api, "GET", PATHS["audience"])["audiences"]
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert [one["createdBy"] for one in found] == ["config file", *["token test"] * 5]
    assert len(asked) == 1
