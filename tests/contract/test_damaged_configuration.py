"""What an older version has stored and this one cannot use stops its own part alone, and loses no event.

Promise: the events of such a destination are held. They pass no filter unseen, they are planned in their order once it
is corrected, and everything else goes on meanwhile.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from punchcard.operations.alert_evaluation import build_content
from punchcard.operations.alerts import find_alerts
from punchcard.runtime.readiness import read_problems
from punchcard.store.routing.held import count_held, count_held_for
from punchcard.store.routing.schema import held_records
from punchcard.store.workspace.schema import configuration_documents
from punchcard.testing.damage import (
    CONFIG,
    Damage,
    awarded,
    counted,
    damage,
    order,
    restore,
    results,
    rewrite,
    with_actions,
    with_condition,
)
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer
from punchcard.workspace.alert_rules import AlertKind
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.snapshot import SnapshotWatch


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, store_url, CONFIG) as server:
        yield server


@pytest.fixture
def sqlite_world(tmp_path: Path, sqlite_url: str) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, sqlite_url, CONFIG) as server:
        yield server


DAMAGES: dict[str, Damage] = {
    "path of 400 parts": with_condition("properties." + ".".join(["a"] * 399) + " = 1"),
    "condition that does not parse": with_condition("properties.staff = "),
    "empty condition": with_condition(""),
    "unknown function": with_condition("sentiment( event ) = 1"),
    "too many parentheses": with_condition("(" * 300 + "a" + ")" * 300),
    "unknown action": with_actions({"type": "TRANSFORM"}),
    "no action": with_actions(),
    "endless path of an action": with_actions({"type": "SAMPLE", "percent": 0.5, "path": "a." * 5_000}),
    "too many actions": with_actions(*[{"type": "DROP"}] * 1_000),
    "share beyond one": with_actions({"type": "SAMPLE", "percent": 50}),
    "filters are no list": lambda content: content.update(filters={"title": "x"}),
    "filter is no object": lambda content: content.update(filters=["properties.staff"]),
    "condition is no text": lambda content: content["filters"][0].update(condition=7),
    "actions are no list": lambda content: content["filters"][0].update(actions="DROP"),
    "setting is missing": lambda content: content["settings"].pop("businessId"),
    "setting of another type": lambda content: content["settings"].update(eventToPerkMap=[1]),
    "setting is an object": lambda content: content["settings"].update(businessId={"id": 41}),
    "settings are no object": lambda content: content.update(settings="none"),
    "unknown option": lambda content: content["options"].update(speed=9),
    "option out of range": lambda content: content["options"].update(requestsPerSecond=-1),
    "options are null": lambda content: content.update(options=None),
    "type that is gone": lambda content: content.update(type="loyaltylion"),
    "type is missing": lambda content: content.pop("type"),
    "sources are no list": lambda content: content.update(sources=7),
    "sources are missing": lambda content: content.pop("sources"),
    "consent is no list": lambda content: content.update(consent="ads"),
    "secret of another key": lambda content: content["settings"].update(
        apiKey={"$sealed": Keyring("another").encrypt("a-token")}
    ),
    "secret that is no token": lambda content: content["settings"].update(apiKey={"$sealed": "ä"}),
}


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES)
def test_a_destination_that_cannot_be_used_is_held_alone_and_loses_nothing(
    sqlite_world: PublicApiServer, change: Damage
) -> None:
    world = sqlite_world
    whole = damage(world, change)
    world.send(order("m1", number="1"), order("m2", number="2", staff=True), order("m3", number="3"))
    world.send({"messageId": "m4", "userId": "ann", "event": "Page Opened"})
    world.route()

    assert awarded(world, "second") == ["m1", "m3"]
    assert awarded(world, "perkville") == []
    for message_id in ("m1", "m2", "m3"):
        held = results(world, message_id)["perkville"]
        assert (held["status"], held["reason"]) == ("pending", "destination_on_hold")
        assert "the destination cannot be used as it is configured: " in held["detail"]
    snapshot = world.watch.newest()
    assert snapshot.destinations["second"].invalid is None
    with world.store.reading() as work:
        (alert,) = find_alerts(work, snapshot, now=world.clock.now())
        assert (alert.kind, alert.subject) == (AlertKind.INVALID, "perkville")
        assert alert.count == count_held_for(work, "perkville")
    (problem,) = read_problems(world.watch)
    assert (problem["code"], problem["slug"]) == ("destination_invalid", "perkville")

    restore(world, whole)
    world.route()
    assert awarded(world, "perkville") == ["m1", "m3"]
    assert {item: results(world, item)["perkville"]["status"] for item in ("m1", "m2", "m3", "m4")} == {
        "m1": "pending",
        "m2": "filtered_at_destination",
        "m3": "pending",
        "m4": "refused",
    }
    assert results(world, "m1")["perkville"]["transaction"]["quantity"] == "9.99"
    assert counted(world) == {
        ("pending", ""): 2,
        ("filtered_at_destination", "FILTERED_BY_RULES"): 1,
        ("refused", "not_allowlisted"): 1,
    }
    with world.store.reading() as work:
        assert count_held(work) == []
        assert work.execute(select(held_records)).all() == []
    assert read_problems(world.watch) == []


WORKSPACE_DAMAGES: dict[str, Damage] = {
    "time zone that does not exist": lambda content: content.update(timezone="Mars/Phobos"),
    "time zone outside of its folder": lambda content: content.update(timezone="../../etc/passwd"),
    "empty time zone": lambda content: content.update(timezone=""),
    "time zone is no text": lambda content: content.update(timezone=5),
    "name is no text": lambda content: content.update(name=None),
}


@pytest.mark.parametrize("change", WORKSPACE_DAMAGES.values(), ids=WORKSPACE_DAMAGES)
def test_a_workspace_that_cannot_be_used_holds_every_destination(sqlite_world: PublicApiServer, change: Damage) -> None:
    world = sqlite_world
    assert world.request("GET", "/api/").status == 200
    whole = damage(world, change, kind="workspace", slug="")
    world.send(order("m1", number="1"))
    world.route()
    assert {result["reason"] for result in results(world, "m1").values()} == {"destination_on_hold"}
    assert world.watch.has_write_key("wk_website")
    restore(world, whole, kind="workspace", slug="")
    world.route()
    assert awarded(world, "perkville") == awarded(world, "second") == ["m1"]


SOURCE_DAMAGES: dict[str, Damage] = {
    "type is no text": lambda content: content.update(type=7),
    "enabled is a text": lambda content: content.update(enabled="yes"),
    "name is missing": lambda content: content.pop("name"),
    "keys are one text": lambda content: content.update(write_keys="wk_website"),
    "a key is no text": lambda content: content.update(write_keys=["wk_website", 7]),
    "slug differs": lambda content: content.update(slug="other"),
}


@pytest.mark.parametrize("change", SOURCE_DAMAGES.values(), ids=SOURCE_DAMAGES)
def test_a_source_is_found_by_its_write_key_whatever_else_its_row_holds(
    sqlite_world: PublicApiServer, change: Damage
) -> None:
    world = sqlite_world
    damage(world, change, kind="source", slug="website")
    snapshot_watch = SnapshotWatch(world.store, world._keyring, clock=world.clock)
    assert snapshot_watch.has_write_key("wk_website")
    assert not snapshot_watch.has_write_key("wk_nobody")
    world.send(order("m1", number="1"))
    world.route()
    assert awarded(world, "perkville") == ["m1"]


def test_write_keys_are_known_when_nothing_can_be_compiled(
    sqlite_world: PublicApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a defect of the compiler")

    monkeypatch.setattr("punchcard.workspace.snapshot.compile_snapshot", fail)
    watch = SnapshotWatch(sqlite_world.store, sqlite_world._keyring, clock=sqlite_world.clock)
    assert watch.has_write_key("wk_website")
    assert not watch.has_write_key("wk_nobody")
    (problem,) = read_problems(watch)
    assert problem["code"] == "unusable_configuration"


def test_rows_that_are_no_json_at_all_stop_nothing_else(sqlite_world: PublicApiServer) -> None:
    world = sqlite_world
    body = rewrite(world, "destination", "perkville", lambda _: '{"slug": "perkv')
    rewrite(world, "source", "pos", lambda _: "[]")
    rewrite(world, "audience", "broken", lambda _: "null")
    rewrite(world, "something-new", "x", lambda _: "{}")
    world.send(order("m1", number="1"))
    world.route()
    assert awarded(world, "second") == ["m1"]
    assert results(world, "m1")["perkville"]["reason"] == "destination_on_hold"
    subjects = {(problem["kind"], problem["slug"]) for problem in read_problems(world.watch)}
    assert subjects == {("destination", "perkville"), ("source", "pos"), ("computation", "broken")}
    restore(world, body)
    world.route()
    assert awarded(world, "perkville") == ["m1"]


@pytest.mark.parametrize("kind", ["tracking_plan", "transformation", "alert_channel"])
def test_every_kind_of_part_that_cannot_be_read_is_reported(sqlite_world: PublicApiServer, kind: str) -> None:
    rewrite(sqlite_world, kind, "torn", lambda _: '{"slug": "to')
    messages = {problem["slug"]: problem["message"] for problem in read_problems(sqlite_world.watch)}
    assert messages["torn"].startswith(f"{kind.replace('_', ' ').capitalize()} torn cannot be used as it is stored.")


@pytest.mark.parametrize(("kind", "part"), [("audience", "computation"), ("tracking_plan", "tracking_plan")])
def test_alerts_say_the_names_of_parts_that_cannot_be_used(sqlite_world: PublicApiServer, kind: str, part: str) -> None:
    world = sqlite_world
    body = {"key": "buyers", "slug": "buyers", "kind": kind, "name": "Best buyers", "definition": "event("}
    rewrite(
        world, kind, "buyers", lambda _: json.dumps(body if kind == "audience" else body | {"rules": [{"type": 5}]})
    )
    snapshot = world.watch.newest()
    assert {(problem.kind, problem.slug) for problem in snapshot.problems()} == {(part, "buyers")}
    with world.store.reading() as work:
        (alert,) = find_alerts(work, snapshot, now=world.clock.now())
    title = build_content(alert, snapshot, now=world.clock.now()).title
    assert title in ("Best buyers cannot be computed.", "Best buyers cannot be used.")


@pytest.mark.parametrize("change", WORKSPACE_DAMAGES.values(), ids=WORKSPACE_DAMAGES)
def test_a_workspace_that_cannot_be_used_is_shown_and_corrected_by_a_config_file(
    sqlite_world: PublicApiServer, change: Damage
) -> None:
    world = sqlite_world
    add_operators(world)
    owner = FormBrowser(world)
    assert owner.sign_in("owner@acme.example").status == 303
    damage(world, change, kind="workspace", slug="")
    world.send(order("m1", number="1"))
    world.route()
    assert "cannot be used" in owner.get("/").text
    for path in ("/destinations", "/destinations/perkville", "/events", "/sources", "/audiences"):
        assert owner.get(path).status == 200, path
    world.configure(CONFIG)
    world.route()
    assert read_problems(world.watch) == []
    assert awarded(world, "perkville") == ["m1"]


def test_a_part_that_cannot_be_read_does_not_keep_others_from_being_changed(sqlite_world: PublicApiServer) -> None:
    world = sqlite_world

    def change(content: dict[str, Any]) -> None:
        content["consent"] = "ads"
        for filter in content["filters"]:
            del filter["id"]  # completing it would give one, and save what is left of the rest

    damage(world, change)
    with world.store.reading() as work:
        columns = configuration_documents.c
        chosen = select(columns.body).where(columns.kind == "destination", columns.slug == "perkville")
        before = work.scalar(chosen)
        renamed = world.request("PATCH", "/api/sources/pos", json.dumps({"name": "Register"}).encode())
    assert renamed.status == 200, renamed.body
    with world.store.reading() as work:
        assert work.scalar(chosen) == before
    assert world.request("DELETE", "/api/destinations/perkville").status == 200
    assert read_problems(world.watch) == []
