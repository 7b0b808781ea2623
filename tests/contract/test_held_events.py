"""What an older version has stored and this one cannot use stops its own part alone, and loses no event.

Promise: the events of such a destination are held. They pass no filter unseen, they are planned in their order once it
is corrected, and everything else goes on meanwhile.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update

from punchcard.destinations.catalog import CATALOG
from punchcard.events.model import Event
from punchcard.filters.destination_filters import DestinationFilters
from punchcard.operations.attention import Concern, find_matters
from punchcard.runtime.readiness import read_problems
from punchcard.store.held import count_held, count_held_for
from punchcard.store.schema import configuration_documents, effects, held_records, revisions
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.snapshot import SnapshotWatch

DESTINATION = """
[[destinations]]
slug = "{slug}"
type = "perkville"
sources = ["website", "pos"]
[destinations.settings]
apiKey = "a-secret-that-nobody-sees"
businessId = "41"
locationId = "7"
eventToPerkMap = {{ "Order Completed" = "123456", "Order Refunded" = "123458", "Checked In" = "123457" }}
[[destinations.filters]]
title = "no staff"
if = "properties.staff"
actions = [{{ type = "DROP" }}]
"""
SOURCES = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[sources]]
slug = "pos"
write_key = "wk_pos"
"""
CONFIG = SOURCES + DESTINATION.format(slug="perkville") + DESTINATION.format(slug="second")
Damage = Callable[[dict[str, Any]], None]


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, store_url, CONFIG) as server:
        yield server


@pytest.fixture
def sqlite_world(tmp_path: Path, sqlite_url: str) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, sqlite_url, CONFIG) as server:
        yield server


def rewrite(world: PublicApiServer, kind: str, slug: str, change: Callable[[str], str]) -> str:
    """Replace a stored document past all validation, as an older version may have left it; returns what it was."""
    columns = configuration_documents.c
    with world.store.unit_of_work() as work:
        where = (columns.kind == kind, columns.slug == slug)
        before = work.scalar(select(columns.body).where(*where))
        if before is None:
            work.execute(
                insert(configuration_documents).values(
                    kind=kind, slug=slug, body=change("{}"), updated_at=world.clock.now()
                )
            )
        else:
            work.execute(update(configuration_documents).where(*where).values(body=change(before)))
        work.execute(update(revisions).where(revisions.c.name == "configuration").values(value=revisions.c.value + 1))
    return before or "{}"


def damage(world: PublicApiServer, change: Damage, *, kind: str = "destination", slug: str = "perkville") -> str:
    def changed(body: str) -> str:
        content = json.loads(body)
        change(content)
        return json.dumps(content)

    return rewrite(world, kind, slug, changed)


def restore(world: PublicApiServer, body: str, *, kind: str = "destination", slug: str = "perkville") -> None:
    rewrite(world, kind, slug, lambda _: body)


def with_condition(condition: str) -> Damage:
    return lambda content: content["filters"][0].update(condition=condition)


def with_actions(*actions: object) -> Damage:
    return lambda content: content["filters"][0].update(actions=list(actions))


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


def order(message_id: str, *, number: str, revenue: object = 9.99, **more: Any) -> dict[str, Any]:
    properties = {"email": "ann@example.com", "order_id": number, "revenue": revenue, **more}
    return {"messageId": message_id, "userId": "ann", "event": "Order Completed", "properties": properties}


def fates(world: PublicApiServer, message_id: str) -> dict[str, dict[str, Any]]:
    answer = world.request("GET", f"/api/events/{message_id}")
    assert answer.status == 200, answer.body
    return {one["destination"]: one for one in answer.json()["data"]["fates"]}


def awarded(world: PublicApiServer, slug: str) -> list[str]:
    """The message ids of a destination's effects, in the order in which they were planned."""
    with world.store.reading() as work:
        return list(work.scalars(select(effects.c.message_id).where(effects.c.destination == slug).order_by("id")))


def counted(world: PublicApiServer, slug: str = "perkville") -> dict[tuple[str, str], int]:
    with world.store.reading() as work:
        rows = work.execute(
            text("SELECT fate, reason, sum(count) FROM fate_counts WHERE destination = :slug GROUP BY fate, reason"),
            {"slug": slug},
        )
        return {(fate, reason): int(count) for fate, reason, count in rows if count}


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
        held = fates(world, message_id)["perkville"]
        assert (held["fate"], held["reason"]) == ("pending", "destination_on_hold")
        assert "perkville cannot be used as it is configured: " in held["detail"]
    snapshot = world.watch.newest()
    assert snapshot.destinations["second"].invalid is None
    with world.store.reading() as work:
        (matter,) = find_matters(work, snapshot, now=world.clock.now())
        assert (matter.concern, matter.subject) == (Concern.INVALID, "perkville")
        assert matter.count == count_held_for(work, "perkville")
    (problem,) = read_problems(world.watch)
    assert (problem["code"], problem["slug"]) == ("destination_invalid", "perkville")

    restore(world, whole)
    world.route()
    assert awarded(world, "perkville") == ["m1", "m3"]
    assert {one: fates(world, one)["perkville"]["fate"] for one in ("m1", "m2", "m3", "m4")} == {
        "m1": "pending",
        "m2": "filtered_at_destination",
        "m3": "pending",
        "m4": "refused",
    }
    assert fates(world, "m1")["perkville"]["transaction"]["quantity"] == "9.99"
    assert counted(world) == {
        ("pending", ""): 2,
        ("filtered_at_destination", "FILTERED_BY_RULES"): 1,
        ("refused", "not_allowlisted"): 1,
    }
    with world.store.reading() as work:
        assert count_held(work) == []
        assert work.execute(select(held_records)).all() == []
    assert read_problems(world.watch) == []


def test_held_events_are_planned_in_their_order_and_before_later_ones(world: PublicApiServer) -> None:
    whole = damage(world, with_condition("properties.staff = "))
    refund = {
        "messageId": "m2",
        "userId": "ann",
        "event": "Order Refunded",
        "properties": {"email": "ann@example.com", "order_id": "1", "revenue": 4},
    }
    world.send(order("m1", number="1"), refund, *[order(f"x{number}", number=f"x{number}") for number in range(1_200)])
    world.route()
    restore(world, whole)
    world.send(order("m3", number="3"))
    world.route()
    assert awarded(world, "perkville") == ["m1", "m2", *[f"x{number}" for number in range(1_200)], "m3"]
    assert awarded(world, "second") == awarded(world, "perkville")
    assert counted(world) == {("pending", ""): 1_203}


def test_an_event_that_comes_while_earlier_ones_are_planned_waits_behind_them(world: PublicApiServer) -> None:
    whole = damage(world, with_condition("properties.staff = "))
    world.send(*[order(f"x{number}", number=f"x{number}") for number in range(600)])
    world.route()
    restore(world, whole)
    world.send(order("late", number="late"), {"messageId": "page", "userId": "ann", "event": "Page Opened"})
    world._router.step()  # plans some of the 600, and routes what is new
    assert fates(world, "late")["perkville"]["reason"] == "behind_held_events"
    assert fates(world, "page")["perkville"]["reason"] == "not_allowlisted"
    assert awarded(world, "second")[-1] == "late"
    world.route()
    assert awarded(world, "perkville")[-2:] == ["x599", "late"]
    assert counted(world) == {("pending", ""): 601, ("refused", "not_allowlisted"): 1}


def test_events_that_are_held_survive_a_restart_and_the_end_of_their_log_records(world: PublicApiServer) -> None:
    whole = damage(world, with_condition("properties.staff = "))
    world.send(order("m1", number="1"), order("m2", number="2"))
    world.route()
    world.feed_lake()
    world.log.trim(2, records_max=10)
    world.restart_routing()
    world.route()
    assert fates(world, "m1")["perkville"]["reason"] == "destination_on_hold"
    restore(world, whole)
    world.route()
    assert awarded(world, "perkville") == ["m1", "m2"]
    assert fates(world, "m1")["perkville"]["fate"] == "pending"
    assert fates(world, "m1")["perkville"]["transaction"]["effectKey"].startswith("SEG:")


def test_a_copy_of_a_held_event_is_a_duplicate(world: PublicApiServer) -> None:
    whole = damage(world, with_condition("properties.staff = "))
    world.send(order("m1", number="1"), order("m1", number="1"), order("m2", number="1"))
    world.route()
    restore(world, whole)
    world.route()
    assert awarded(world, "perkville") == ["m1"]
    # The copy by its message id, the other message by its order.
    assert counted(world) == {("pending", ""): 1, ("duplicate", "same_effect"): 1}
    assert fates(world, "m2")["perkville"]["reason"] == "same_effect"


def test_what_is_held_stays_held_while_the_destination_is_switched_off(world: PublicApiServer) -> None:
    whole = damage(world, with_condition("properties.staff = "))
    world.send(order("m1", number="1"))
    world.route()
    off = json.loads(whole) | {"enabled": False}
    restore(world, json.dumps(off))
    world.route()
    world.send(order("m2", number="2"))
    world.route()
    assert awarded(world, "perkville") == []
    assert fates(world, "m1")["perkville"]["fate"] == "pending"
    assert fates(world, "m2")["perkville"]["reason"] == "destination_disabled"
    restore(world, whole)
    world.route()
    assert awarded(world, "perkville") == ["m1"]


def test_a_destination_with_held_events_is_not_removed(sqlite_world: PublicApiServer) -> None:
    world = sqlite_world
    damage(world, with_condition("properties.staff = "))
    world.send(order("m1", number="1"))
    world.route()
    answer = world.request("DELETE", "/api/destinations/perkville")
    assert answer.status == 422
    assert "1 transactions" in answer.error["message"]


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
    assert {one["reason"] for one in fates(world, "m1").values()} == {"destination_on_hold"}
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
    fresh = SnapshotWatch(world.store, world._keyring, clock=world.clock)
    assert fresh.has_write_key("wk_website")
    assert not fresh.has_write_key("wk_nobody")
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
    assert fates(world, "m1")["perkville"]["reason"] == "destination_on_hold"
    subjects = {(one["kind"], one["slug"]) for one in read_problems(world.watch)}
    assert subjects == {("destination", "perkville"), ("source", "pos"), ("computation", "broken")}
    restore(world, body)
    world.route()
    assert awarded(world, "perkville") == ["m1"]


# --- exceptions that one event causes


def test_an_exception_in_a_filter_concerns_its_event_and_destination_alone(
    world: PublicApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = DestinationFilters.apply

    def fails_on_m2(self: DestinationFilters, event: Event) -> object:
        if event.message_id == "m2" and event.wire.event == "Order Completed":
            raise ZeroDivisionError("a defect")
        return apply(self, event)

    monkeypatch.setattr(DestinationFilters, "apply", fails_on_m2)
    world.send(order("m1", number="1"), order("m2", number="2"), order("m3", number="3"))
    world.route()
    assert awarded(world, "perkville") == ["m1", "m3"]
    held = fates(world, "m2")["perkville"]
    assert (held["fate"], held["reason"]) == ("pending", "planning_failed")
    assert "ZeroDivisionError: a defect" in held["detail"]
    with world.store.reading() as work:
        matters = find_matters(work, world.watch.newest(), now=world.clock.now())
    assert {(one.concern, one.subject, one.count) for one in matters} == {
        (Concern.HELD, "perkville", 1),
        (Concern.HELD, "second", 1),
    }
    # Nothing changes by waiting, nor does it hold up what comes later; a new version plans it at its start.
    world.send(order("m4", number="4"))
    world.route()
    assert awarded(world, "perkville") == ["m1", "m3", "m4"]
    monkeypatch.undo()
    world.restart_routing()
    world.route()
    assert awarded(world, "perkville") == ["m1", "m3", "m4", "m2"]


def test_an_exception_in_the_mapping_concerns_its_event_and_destination_alone(
    world: PublicApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    partner = CATALOG["perkville"]
    plan = type(partner).plan

    def fails_on_m1(self: object, event: Event, *arguments: Any, **more: Any) -> object:
        if event.message_id == "m1":
            raise KeyError("a defect")
        return plan(partner, event, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(type(partner), "plan", fails_on_m1)
    world.send(order("m1", number="1"), order("m2", number="2"))
    world.route()
    assert awarded(world, "perkville") == ["m2"]
    assert fates(world, "m1")["perkville"]["reason"] == "planning_failed"


# --- what people see and can do


def test_a_held_destination_is_shown_and_corrected_in_the_app(sqlite_world: PublicApiServer) -> None:
    world = sqlite_world
    add_operators(world)
    owner = FormBrowser(world)
    assert owner.sign_in("owner@acme.example").status == 303
    damage(world, with_condition("properties.staff = "))
    world.send(order("m1", number="1"), order("m2", number="2"))
    world.route()
    home = owner.get("/").text
    assert "perkville cannot be used" in home
    assert "2 events are held" in home
    assert 'href="/destinations/perkville/filters"' in home
    page = owner.get("/destinations/perkville").text
    assert "This destination is on hold" in page
    assert "2 events are held" in page
    for path in ("/destinations", "/events", "/events/m1", "/audiences", "/sources", "/transactions"):
        assert owner.get(path).status in (200, 303, 404), path
    for part in ("settings", "map", "filters", "tester", "transactions"):
        assert owner.get(f"/destinations/perkville/{part}").status == 200, part
    (filter_id,) = re.findall(
        r"/destinations/perkville/filters/(flt_\w+)", owner.get("/destinations/perkville/filters").text
    )[:1]
    assert owner.get(f"/destinations/perkville/filters/{filter_id}").status == 200
    saved = owner.post(
        f"/destinations/perkville/filters/{filter_id}",
        **{"title": "no staff", "if": "properties.staff", "action": "DROP", "enabled": "on"},
    )
    assert saved.status in (200, 303), saved.text
    world.route()
    assert awarded(world, "perkville") == ["m1", "m2"]
    assert "held" not in owner.get("/").text


def test_anything_else_can_be_changed_while_a_part_cannot_be_used(sqlite_world: PublicApiServer) -> None:
    world = sqlite_world
    damage(world, with_condition("properties.staff = "))
    added = world.request(
        "POST", "/api/sources", json.dumps({"slug": "app", "enabled": True, "metadataId": "x"}).encode()
    )
    assert added.status in (200, 400, 422)
    renamed = world.request("PATCH", "/api/destinations/perkville", json.dumps({"name": "Points"}).encode())
    assert renamed.status == 200, renamed.body
    # What is wrong already may stay, but nothing wrong is added.
    refused = world.request(
        "POST",
        "/api/destination/second/filters",
        json.dumps({"if": "a =", "title": "x", "enabled": True, "actions": [{"type": "DROP"}]}).encode(),
    )
    assert refused.status == 422
    world.send(order("m1", number="1"))
    world.route()
    assert fates(world, "m1")["perkville"]["reason"] == "destination_on_hold"


def test_what_is_left_of_an_unreadable_destination_is_never_saved_as_the_whole(sqlite_world: PublicApiServer) -> None:
    world = sqlite_world
    damage(world, lambda content: content.update(filters="none"))
    world.send(order("m1", number="1", staff=True))
    world.route()
    # Its filters cannot be read, so an edit would lose them, and staff would get points.
    refused = world.request("PATCH", "/api/destinations/perkville", json.dumps({"name": "Points"}).encode())
    assert refused.status == 422
    assert "cannot be changed piece by piece" in refused.body.decode()
    world.configure(CONFIG)
    world.route()
    assert fates(world, "m1")["perkville"]["reason"] == "FILTERED_BY_RULES"


def test_the_tester_says_that_an_event_would_be_held(sqlite_world: PublicApiServer) -> None:
    world = sqlite_world
    damage(world, with_condition("properties.staff = "))
    answer = world.request("POST", "/api/events/test?source=website", json.dumps(order("m1", number="1")).encode())
    assert answer.status == 200
    found = {one["destination"]: one for one in answer.json()["data"]["fates"]}
    assert (found["perkville"]["fate"], found["perkville"]["reason"]) == ("pending", "destination_on_hold")
    assert found["second"]["request"] is not None


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
    answer = world.request("POST", "/api/destination/perkville/filters", json.dumps(body).encode())
    assert answer.status == 200, answer.body
    assert answer.json()["data"]["filter"]["if"] == condition
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
    answer = world.request("POST", "/api/destination/perkville/filters", json.dumps(body).encode())
    assert answer.status == 422
    assert message in answer.error["message"]
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
    answer = sqlite_world.request("POST", "/api/destination/filters/preview", json.dumps(body).encode())
    assert answer.status in (200, 400), answer.body


@pytest.mark.parametrize("depth", [500, 5_000, 200_000])
def test_a_preview_of_a_payload_of_any_depth_does_not_fail(sqlite_world: PublicApiServer, depth: int) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    body = '{"filter": {"if": "a.a.a = 1", "actions": [{"type": "DROP"}]}, "payload": %s}' % deep
    answer = sqlite_world.request("POST", "/api/destination/filters/preview", body.encode())
    assert answer.status in (200, 400), answer.body


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
