"""Audiences and computed traits by the Public API: who made them, and what they may say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, update

from punchcard.store.access.schema import audit_events
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
    response = call(api, method, path, body, token=token)
    assert response.status == 200, response.body
    return response.json()["data"]


def made(api: PublicApiServer, kind: str = "audience", **more: object) -> Any:
    """A computation as it was created."""
    body = {"name": "Some One", "definition": {"query": QUERY[kind]}, **more}
    return done(api, "POST", PATHS[kind], body)[kind]


# --- who made it


def author(computation: dict[str, str]) -> tuple[str, str, bool]:
    """Who made it, who changed it last, and whether that was later."""
    assert computation["createdAt"] <= computation["updatedAt"]
    return computation["createdBy"], computation["updatedBy"], computation["createdAt"] < computation["updatedAt"]


@pytest.mark.parametrize("kind", PATHS)
def test_who_made_a_computation_and_who_changed_it_last_is_reported(api: PublicApiServer, kind: str) -> None:
    shop = done(api, "POST", "/api/tokens", {"name": "the shop", "role": "editor"})["secret"]
    id_ = made(api, kind)["id"]
    assert author(done(api, "GET", f"{PATHS[kind]}/{id_}")[kind]) == ("token test", "token test", False)
    api.clock.advance(60)
    changed = done(api, "PATCH", f"{PATHS[kind]}/{id_}", {"enabled": False}, token=shop)[kind]
    assert author(changed) == ("token test", "token the shop", True)
    api.clock.advance(60)
    assert done(api, "PATCH", f"{PATHS[kind]}/{id_}", {"enabled": False})[kind] == changed


def test_syncing_everybody_again_is_no_change_of_the_audience(api: PublicApiServer) -> None:
    item = made(api, destinations=["perkville"])
    api.clock.advance(60)
    done(api, "POST", f"{PATHS['audience']}/{item['id']}/resync", {})
    assert author(done(api, "GET", f"{PATHS['audience']}/{item['id']}")["audience"]) == (
        "token test",
        "token test",
        False,
    )


def test_a_computation_created_again_under_its_key_starts_again(api: PublicApiServer) -> None:
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
    (audience, _) = done(api, "GET", PATHS["audience"])["audiences"]
    assert author(audience) == ("unknown", "unknown", False)
    assert audience["createdAt"].endswith("Z")


def test_the_authors_of_a_page_cost_one_query(api: PublicApiServer) -> None:
    for number in range(5):
        made(api, name=f"Number {number}")
    requested: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        if "FROM audit_events" in statement:
            requested.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        audiences = done(api, "GET", PATHS["audience"])["audiences"]
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert [item["createdBy"] for item in audiences] == ["config file", *["token test"] * 5]
    assert len(requested) == 1


# --- what it asks, as text and as JSON

BOUGHT = {"kind": "events", "name": "Order Completed", "reducer": "count"}
ONCE = {"kind": "comparison", "left": BOUGHT, "operator": "at_least", "right": [{"kind": "literal", "value": 1}]}
MODEL = {"audience": ONCE, "computedTrait": BOUGHT}


@pytest.mark.parametrize("kind", PATHS)
def test_a_definition_given_as_json_is_kept_as_text_and_read_back_as_both(api: PublicApiServer, kind: str) -> None:
    item = made(api, kind, definition={"model": MODEL[kind]})
    assert item["definition"] == {"query": QUERY[kind], "model": MODEL[kind], "type": "USERS"}
    assert done(api, "PATCH", f"{PATHS[kind]}/{item['id']}", {"definition": item["definition"]})[kind] == item
    daily = {**BOUGHT, "window": {"end": {"amount": 1, "unit": "day"}}}
    created = {"model": {**ONCE, "left": daily} if kind == "audience" else daily}
    changed = done(api, "PATCH", f"{PATHS[kind]}/{item['id']}", {"definition": created})[kind]
    assert changed["definition"]["query"] == QUERY[kind].replace(".count", ".within(1 day).count")


@pytest.mark.parametrize("path", [*PATHS.values(), *(f"{path}/previews" for path in PATHS.values())])
def test_a_definition_that_cannot_be_meant_is_refused_with_its_place(api: PublicApiServer, path: str) -> None:
    problem = {
        "definition.model.left.reducer": {"model": {**ONCE, "left": {**BOUGHT, "reducer": "product"}}},
        "definition.query": {"query": "event('Order Completed').coun()"},
        "definition.model": {"query": QUERY["audience" if "audiences" in path else "computedTrait"], "model": ONCE
                             if "computed" in path else BOUGHT},
    }  # fmt: skip
    for field, definition in problem.items():
        (error,) = call(api, "POST", path, {"name": "FormErrors", "definition": definition}).json()["errors"]
        assert (error["field"], error["status"], error["type"]) == (field, 422, "invalid_definition"), error
        assert error.get("data") == ({"position": 25} if field == "definition.query" else None)
    none = call(api, "POST", path, {"name": "None", "definition": {}})
    assert (none.status, none.error["field"]) == (400, "definition")
    accounts = {"query": QUERY["audience"], "type": "ACCOUNTS"}
    assert call(api, "POST", path, {"name": "Accounts", "definition": accounts}).status == 400
    deep = b'{"name": "Deep", "definition": {"model": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_002
    assert api.request("POST", path, deep).status == 400
    assert len(done(api, "GET", PATHS["audience"])["audiences"]) == 1


def test_history_can_be_left_out_later_and_what_is_fixed_is_refused(api: PublicApiServer) -> None:
    item = made(api, options={"includeAnonymousUsers": True})
    path = f"{PATHS['audience']}/{item['id']}"
    changed = done(api, "PATCH", path, {"options": {"includeHistoricalData": False, "includeAnonymousUsers": True}})
    assert changed["audience"]["options"] == {"includeAnonymousUsers": True, "includeHistoricalData": False}
    same = {"key": item["key"], "computeCadence": item["computeCadence"], "options": changed["audience"]["options"]}
    assert done(api, "PATCH", path, same) == changed
    for field, body in {
        "options.includeAnonymousUsers": {"name": "No", "options": {"includeAnonymousUsers": False}},
        "computeCadence.type": {"name": "No", "computeCadence": {"type": "BATCH"}},
        "key": {"name": "No", "key": "another"},
    }.items():
        refused = call(api, "PATCH", path, body)
        assert (refused.status, refused.error["field"]) == (422, field)
    unknown = call(api, "PATCH", path, {"name": "No", "options": {"backfillEventDataDays": 30}})
    assert unknown.status == 400
    assert "backfillEventDataDays" in unknown.error["message"]
    assert changed.pop("warnings") == [], "the definition is the same"
    assert done(api, "GET", path) == changed


def test_looking_at_what_a_definition_would_hold_needs_no_editor(api: PublicApiServer) -> None:
    reader = done(api, "POST", "/api/tokens", {"name": "reader", "role": "read_only"})["secret"]
    for path in PATHS.values():
        assert call(api, "POST", f"{path}/previews", {"definition": {"query": "x"}}, token=reader).status == 422
        assert call(api, "POST", path, {"name": "x", "definition": {"query": "x"}}, token=reader).status == 403
