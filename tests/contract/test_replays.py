"""A replay plans past events again and delivers what now earns something, once, to one destination and no other."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from punchcard.cli.running import run
from punchcard.clock import to_iso
from punchcard.lake.reader import LakeReader
from punchcard.operations.replay_planning import plan_replay
from punchcard.operations.replays import save_replay, start_replay
from punchcard.routing.replay_record import REPLAY
from punchcard.store import ledger
from punchcard.store.counts import CountQuery, Dimension, read_counts
from punchcard.store.replays import Replay, ReplaySelection
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer

CONFIG = """
[[sources]]
slug = "website"
write_key = "wk_website"

[[sources]]
slug = "till"
write_key = "wk_till"

[[destinations]]
slug = "perkville"
type = "perkville"
sources = ["website", "till"]
[destinations.settings]
apiKey = "a-token"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Order Completed" = "123456" }
[destinations.options]
apiBaseUrl = "http://127.0.0.1:1"
requestsPerSecond = 0

[[destinations]]
slug = "hooks"
type = "webhooks"
sources = ["website"]
[destinations.settings]
url = "http://127.0.0.1:1/hook"
"""
WORKSPACE = '[workspace]\nwebhookAllowedNetworks = ["127.0.0.0/8"]\n'
MAPPED = CONFIG.replace('"Order Completed" = "123456"', '"Order Completed" = "123456", "Class Booked" = "123457"')
REPLAYS = "/api/destinations/perkville/replays"
BOOKED = {"event": "Class Booked", "userId": "ann"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", WORKSPACE + CONFIG) as server:
        add_operators(server)
        yield server


def configure(world: PublicApiServer, config: str) -> None:
    world.configure(WORKSPACE + config)


def book(world: PublicApiServer, *message_ids: str, email: str = "ann@example.com", source: str = "website") -> None:
    for message_id in message_ids:
        event = {**BOOKED, "messageId": message_id, "properties": {"email": email}}
        world.send(event, write_key=f"wk_{source}")
    world.route()
    world.feed_lake()


def call(world: PublicApiServer, method: str, path: str, body: object = None, *, status: int = 200) -> Any:
    response = world.request(method, path, None if body is None else json.dumps(body).encode())
    assert response.status == status, response.body
    return response.json()["data"] if status == 200 else response.error


def replay(world: PublicApiServer, **chosen: object) -> dict[str, Any]:
    return dict(call(world, "POST", REPLAYS, chosen)["replay"])


def get(world: PublicApiServer, id: str) -> dict[str, Any]:
    return dict(call(world, "GET", f"{REPLAYS}/{id}")["replay"])


def trace(world: PublicApiServer, message_id: str) -> dict[str, Any]:
    return dict(call(world, "GET", f"/api/events/{message_id}"))


def result(world: PublicApiServer, message_id: str, destination: str = "perkville") -> dict[str, Any]:
    return next(dict(result) for result in trace(world, message_id)["results"] if result["destination"] == destination)


def counted(world: PublicApiServer, destination: str = "perkville") -> Counter[str]:
    now = world.clock.now()
    query = CountQuery(begin=now - timedelta(days=40), end=now + timedelta(days=1), destination=destination)
    with world.store.reading() as work:
        counts = read_counts(work, query, by=[Dimension.STATUS])
    return Counter({str(status): count for (status,), count in counts.items()})


def effects(world: PublicApiServer, destination: str = "perkville") -> int:
    with world.store.reading() as work:
        return ledger.count(work, ledger.LedgerQuery(destination=destination))


# --- what is replayed ---


def test_events_that_came_before_they_were_mapped_are_awarded_once(world: PublicApiServer) -> None:
    book(world, *(f"m{number}" for number in range(41)))
    hooks_before = effects(world, "hooks")
    assert result(world, "m0")["reason"] == "not_allowlisted"
    configure(world, MAPPED)
    planned = replay(world, events=["Class Booked"], dryRun=True)
    assert planned["status"] == "planned"
    plan = planned["plan"]
    assert (plan["events"], plan["awards"], plan["quantity"], plan["alreadyInLedger"]) == (41, 41, "41", 0)
    assert plan["refused"] == {}
    assert plan["sample"][0]["messageId"] == "m0"
    assert effects(world) == 0
    started = call(world, "POST", f"{REPLAYS}/{planned['id']}/start")["replay"]
    assert started["status"] == "running"
    world.run_replays()
    done = get(world, planned["id"])
    assert (done["status"], done["done"], done["replayed"], done["results"]) == ("completed", 41, 41, {"pending": 41})
    assert len(world.partner.book) == 41
    shown = trace(world, "m7")
    assert [item["status"] for item in shown["results"] if item["destination"] == "perkville"] == ["delivered"]
    assert shown["replays"][0]["id"] == planned["id"]
    assert "copies" not in shown or shown["copies"] == []
    assert effects(world, "hooks") == hooks_before
    # The same replay again, and another one, add nothing.
    again = replay(world, events=["Class Booked"])
    assert (again["plan"]["awards"], again["plan"]["alreadyInLedger"]) == (0, 41)
    world.run_replays()
    assert effects(world) == 41
    assert len(world.partner.book) == 41


def test_a_replayed_event_keeps_its_id_its_times_and_its_key(world: PublicApiServer) -> None:
    world.send(
        {
            **BOOKED,
            "messageId": "m",
            "timestamp": to_iso(world.clock.now() - timedelta(days=3)),
            "properties": {"email": "Ann@Example.com", "order_id": "7", "revenue": "9.990"},
        }
    )
    world.route()
    world.feed_lake()
    before = trace(world, "m")
    world.clock.advance(86_400)
    configure(world, MAPPED)
    replay(world)
    world.run_replays()
    after = trace(world, "m")
    assert (after["receivedAt"], after["event"]) == (before["receivedAt"], before["event"])
    transaction = result(world, "m")["transaction"]
    assert transaction["effectKey"] == "SEG:perkville:ORDER:7:class-booked"
    assert (transaction["quantity"], transaction["email"]) == ("9.99", "Ann@Example.com")
    with world.store.reading() as work:
        (effect,) = ledger.page(work, ledger.LedgerQuery(destination="perkville"), count=10)
    assert to_iso(effect.received_at) == before["receivedAt"]


def test_a_replay_follows_todays_filters_and_says_why_events_earn_nothing(world: PublicApiServer) -> None:
    book(world, "a", "b")
    book(world, "staff", email="boss@gym.example")
    book(world, "none", email="")
    world.send({"event": "Order Completed", "messageId": "o", "userId": "x",
                "properties": {"email": "x@example.com", "order_id": "1", "revenue": "5"}})  # fmt: skip
    world.route()
    world.feed_lake()
    configure(
        world,
        MAPPED.replace(
            '[[destinations]]\nslug = "hooks"',
            """[[destinations.filters]]
title = "no staff"
if = "contains( properties.email, 'gym.example' )"
actions = [{ type = "DROP" }]

[[destinations]]
slug = "hooks\"""",
        ),
    )
    plan = replay(world, dryRun=True)["plan"]
    assert (plan["events"], plan["awards"], plan["alreadyInLedger"]) == (5, 2, 1)
    assert plan["refused"] == {"FILTERED_BY_RULES": 1, "invalid_email": 1} or plan["refused"] == {
        "FILTERED_BY_RULES": 1,
        "missing_email": 1,
    }


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"customer": "BOB@example.com"}, {"b1"}),
        ({"messageIds": ["a1", "b1"]}, {"a1", "b1"}),
        ({"events": ["Nothing"]}, set()),
        ({"reasons": ["not_allowlisted"]}, {"a1", "a2", "b1", "till"}),
        ({"reasons": ["zero_amount"]}, set()),
        ({}, {"a1", "a2", "b1", "till"}),
    ],
)
def test_only_what_was_chosen_is_replayed(
    world: PublicApiServer, chosen: Mapping[str, object], expected: set[str]
) -> None:
    book(world, "a1", "a2")
    book(world, "b1", email="bob@example.com")
    book(world, "till", source="till")
    configure(world, MAPPED)
    replay(world, **chosen)
    world.run_replays()
    with world.store.reading() as work:
        rows = ledger.page(work, ledger.LedgerQuery(destination="perkville"), count=100)
    assert {effect.message_id for effect in rows} == expected


def test_a_period_is_of_receipt_and_has_no_end_before_its_beginning(world: PublicApiServer) -> None:
    book(world, "early")
    world.clock.advance(3_600)
    middle = world.clock.now()
    book(world, "late")
    configure(world, MAPPED)
    assert replay(world, since=to_iso(middle), dryRun=True)["plan"]["events"] == 1
    assert replay(world, until=to_iso(middle), dryRun=True)["plan"]["events"] == 1
    refused = call(
        world, "POST", REPLAYS, {"since": to_iso(middle), "until": to_iso(middle - timedelta(1))}, status=400
    )
    assert refused["field"] == "until"
    assert call(world, "POST", REPLAYS, {"since": "yesterday"}, status=400)["field"] == "since"


def test_events_of_the_time_while_it_was_off_are_delivered_by_a_replay(world: PublicApiServer) -> None:
    configure(world, MAPPED)
    call(world, "PATCH", "/api/destinations/perkville", {"enabled": False})
    book(world, "m1", "m2")
    planned = replay(world, reasons=["destination_off"], dryRun=True)
    assert planned["plan"]["awards"] == 2
    assert call(world, "POST", f"{REPLAYS}/{planned['id']}/start", status=422)["type"] == "destination_off"
    call(world, "POST", REPLAYS, {}, status=422)
    call(world, "PATCH", "/api/destinations/perkville", {"enabled": True})
    call(world, "POST", f"{REPLAYS}/{planned['id']}/start")
    world.run_replays()
    assert result(world, "m1")["status"] == "delivered"


def test_a_source_that_reached_nobody_can_be_replayed_once_it_is_connected(world: PublicApiServer) -> None:
    configure(world, MAPPED.replace('["website", "till"]', '["website"]'))
    book(world, "m", source="till")
    assert trace(world, "m")["results"][0]["reason"] == "no_destination"
    configure(world, MAPPED)
    replay(world)
    world.run_replays()
    assert [item["status"] for item in trace(world, "m")["results"]] == ["delivered"]


def test_a_repeated_message_id_is_not_replayed_as_another_event(world: PublicApiServer) -> None:
    book(world, "m", "m", "m")
    configure(world, MAPPED)
    assert replay(world, dryRun=True)["plan"]["events"] == 1


# --- seen by nobody else, counted once ---


def test_counts_move_and_do_not_grow_and_the_lake_stays_as_it_is(world: PublicApiServer, tmp_path: Path) -> None:
    book(world, "m1", "m2", "m3")
    before, hooks = counted(world), counted(world, "hooks")
    assert before == {"refused": 3}
    in_lake = LakeReader(str(tmp_path / "lake")).between(0, 10**9)
    configure(world, MAPPED)
    for _ in range(2):
        replay(world)
        world.run_replays()
        world.feed_lake()
    after = counted(world)
    assert after["refused"] == 0
    assert (after["pending"], after["delivered"]) == (3, 3)
    assert counted(world, "hooks") == hooks
    assert counted(world, "") == {"received": 3}
    assert LakeReader(str(tmp_path / "lake")).between(0, 10**9) == in_lake
    page = call(world, "GET", "/api/destinations/perkville/pipeline")
    assert '"received": 3' in json.dumps(page)


def test_no_audience_sees_a_replayed_event_again(world: PublicApiServer) -> None:
    configure(
        world,
        CONFIG
        + """
[[computed_traits]]
name = "Bookings"
definition = "event('Class Booked').count()"
destinations = []
""",
    )
    book(world, "m1", "m2")
    world.engage()
    configure(world, MAPPED + world_traits())
    replay(world)
    world.run_replays()
    world.feed_lake()
    world.engage()
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    page = browser.get("/customers/ann@example.com").text
    assert ">2<" in page.replace(" ", "").replace("\n", "")
    assert ">4<" not in page.replace(" ", "").replace("\n", "")


def world_traits() -> str:
    return """
[[computed_traits]]
name = "Bookings"
definition = "event('Class Booked').count()"
destinations = []
"""


def test_lists_show_a_replayed_event_once_with_its_newest_result(world: PublicApiServer) -> None:
    book(world, "m1")
    configure(world, MAPPED)
    replay(world)
    world.run_replays()
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    for fed in (False, True):
        if fed:
            world.feed_lake()
        page = browser.get("/events").text
        assert page.count('href="/events/m1"') == 1
        assert "Delivered" in page


# --- nobody outside can do it ---


@pytest.mark.parametrize(
    "body",
    [
        {"call": "replay", "replay": "x", "destination": "perkville", "source": "website", "events": []},
        {"type": "replay", "event": "Class Booked", "userId": "ann", "messageId": "m"},
    ],
)
def test_a_request_cannot_claim_to_be_a_replay(world: PublicApiServer, body: dict[str, object]) -> None:
    configure(world, MAPPED)
    book(world, "m")
    world.send({**body, "properties": {"email": "ann@example.com"}}, call="batch")
    world.send({**body, "properties": {"email": "ann@example.com"}}, call="track")
    world.route()
    assert effects(world) == 1
    assert all(record.call != REPLAY for record in world.log.read(0, records_max=100, bytes_max=10**9))


# --- pause, resume, cancel, crash ---


def started(world: PublicApiServer, **options: Any) -> Replay:
    """A replay of everything in the lake, started at a pace of one award at a time."""
    rows = plan_replay(
        world.store,
        LakeReader(world._lake),
        world.watch.newest(),
        "perkville",
        ReplaySelection(**options),
        clock=world.clock,
        actor="a test",
    )
    with world.store.unit_of_work() as work:
        save_replay(work, rows)
        routed = world.watch.newest().destinations["perkville"]
        return start_replay(work, rows.id, routed, actor="a test", now=world.clock.now())


def test_it_is_paused_resumed_and_canceled_between_portions(world: PublicApiServer) -> None:
    slow = MAPPED.replace("requestsPerSecond = 0", "requestsPerSecond = 2")
    book(world, *(f"m{number}" for number in range(6)))
    configure(world, slow)
    running = started(world)
    runner = world.replay_runner()
    path = f"{REPLAYS}/{running.id}"

    def steps(number: int) -> None:
        for _ in range(number):
            runner.step()
            world.route()
            world.deliver()
            world.clock.advance(1)

    steps(2)
    assert get(world, running.id)["replayed"] == 2
    assert get(world, running.id)["secondsLeft"] == 4
    assert call(world, "POST", f"{path}/pause")["replay"]["status"] == "paused"
    steps(3)
    assert effects(world) == 2
    call(world, "POST", f"{path}/pause", status=422)
    assert call(world, "POST", f"{path}/resume")["replay"]["status"] == "running"
    steps(2)
    assert call(world, "POST", f"{path}/cancel")["replay"]["status"] == "canceled"
    steps(5)
    assert effects(world) == 4
    call(world, "POST", f"{path}/resume", status=422)
    assert [item["status"] for item in call(world, "GET", REPLAYS)["replays"]] == ["canceled"]
    audit = json.dumps(call(world, "GET", "/api/audit-events"))
    for kind in ("replay_start", "replay_pause", "replay_resume", "replay_cancel"):
        assert kind in audit


def test_a_portion_that_was_cut_off_is_done_again_without_doubling(world: PublicApiServer) -> None:
    """The process ends between the two writes of a portion: its records are in the log, its place is not noted."""
    book(world, *(f"m{number}" for number in range(3)))
    configure(world, MAPPED)
    running = started(world)
    runner = world.replay_runner()
    runner.step()
    with world.store.unit_of_work() as work:
        from sqlalchemy import update

        from punchcard.store.schema_replay import replays

        at_start = update(replays).where(replays.c.id == running.id)
        work.execute(at_start.values(done=0, appended=0, after_position=0, after_index=-1, appended_position=0))
    world.run_replays()
    done = get(world, running.id)
    assert done["status"] == "completed"
    assert effects(world) == 3
    assert len(world.partner.book) == 3
    assert counted(world)["pending"] == 3
    assert len(trace(world, "m1")["replays"]) == 1


def test_it_gives_way_to_live_awards_and_waits_while_it_is_paused(world: PublicApiServer) -> None:
    book(world, *(f"m{number}" for number in range(50)))
    configure(world, MAPPED)
    running = started(world)
    call(world, "POST", "/api/destinations/perkville/pause", {"reason": "stock taking"})
    runner = world.replay_runner()
    for _ in range(10):
        runner.step()
        world.route()
    assert effects(world) <= 20
    assert "paused" in get(world, running.id)["detail"]
    call(world, "POST", "/api/destinations/perkville/resume")
    world.deliver(rounds=2)
    world.run_replays()
    assert effects(world) == 50
    assert get(world, running.id)["detail"] is None


def test_a_replay_of_a_destination_that_was_removed_fails_alone(world: PublicApiServer) -> None:
    book(world, "m")
    configure(world, MAPPED)
    running = started(world)
    begin, end = MAPPED.index('[[destinations]]\nslug = "perkville"'), MAPPED.index('[[destinations]]\nslug = "hooks"')
    configure(world, MAPPED[:begin] + MAPPED[end:])
    world.replay_runner().step()
    configure(world, MAPPED)
    failed = get(world, running.id)
    assert failed["status"] == "failed"
    assert "perkville" in failed["detail"]


def test_what_it_meets_while_the_destination_is_switched_off_waits(world: PublicApiServer) -> None:
    book(world, "m1", "m2")
    configure(world, MAPPED)
    running = started(world)
    call(world, "PATCH", "/api/destinations/perkville", {"enabled": False})
    assert not world.replay_runner().step()
    assert "is off" in get(world, running.id)["detail"]
    call(world, "PATCH", "/api/destinations/perkville", {"enabled": True})
    world.run_replays()
    assert effects(world) == 2


def test_an_event_that_is_held_is_left_to_be_planned_by_itself(world: PublicApiServer) -> None:
    assert call(world, "POST", "/api/destinations/nowhere/replays", {}, status=404)
    assert call(world, "GET", f"{REPLAYS}/none", status=404)


# --- App and command line ---


def test_the_app_leads_from_a_list_of_events_to_the_plan_and_through_it(world: PublicApiServer) -> None:
    book(world, "m1", "m2")
    configure(world, MAPPED)
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    listed = browser.get("/events?status=refused&destination=perkville&reason=not_allowlisted&name=Class+Booked").text
    assert "/destinations/perkville/replays?event=Class+Booked" in listed
    form = browser.get("/destinations/perkville/replays?event=Class+Booked&reason=not_allowlisted&time=24h").text
    assert 'value="Class Booked"' in form
    response = browser.post("/destinations/perkville/replays", event="Class Booked", reason="not_allowlisted")
    assert response.status == 303
    path = response.headers["location"]
    page = browser.get(path).text
    assert "Replay 2 awards" in page
    assert effects(world) == 0
    assert browser.post(f"{path}/start").status == 303
    assert "Running" in browser.get(f"{path}/progress").text
    world.run_replays()
    assert "Completed" in browser.get(path).text
    assert "by <a" in browser.get("/events/m1").text
    assert "replay_start" in browser.get("/settings/audit").text
    refused = browser.post("/destinations/perkville/replays", since="never")
    assert refused.status == 422
    assert "not a date and time" in refused.text


def test_whoever_saves_a_map_is_offered_a_replay(world: PublicApiServer) -> None:
    book(world, *(f"m{number}" for number in range(3)))
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    assert "would now earn" not in browser.get("/destinations/perkville/replay-offer").text
    configure(world, MAPPED)
    offered = browser.get("/destinations/perkville/replay-offer").text
    assert "3 events of the last 30 days would now earn 3 awards" in offered
    assert "replay-offer" in browser.get("/destinations/perkville/map?saved=1").text
    assert "replay-offer" not in browser.get("/destinations/perkville/map").text


def test_viewers_see_plans_and_cannot_start_them(world: PublicApiServer) -> None:
    book(world, "m1")
    configure(world, MAPPED)
    planned = replay(world, dryRun=True)
    browser = FormBrowser(world)
    assert browser.sign_in("read_only@acme.example").status == 303
    path = f"/destinations/perkville/replays/{planned['id']}"
    assert "Replay 1 award" not in browser.get(path).text
    assert browser.post(f"{path}/start").status == 403


def test_the_command_line_shows_the_plan_asks_and_starts(
    world: PublicApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book(world, "m1", "m2")
    configure(world, MAPPED)
    common = ["replay", "--destination", "perkville", "--data", str(tmp_path)]
    assert run([*common, "--event", "Class Booked", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "2 at perkville" in shown
    assert "m1" in shown
    assert run([*common]) == 2  # nobody to ask
    assert "--yes" in capsys.readouterr().err
    assert run([*common, "--yes", "--no-wait"]) == 0
    assert "has started" in capsys.readouterr().out
    world.run_replays()
    assert effects(world) == 2
    assert run([*common, "--list"]) == 0
    assert "completed" in capsys.readouterr().out
    assert run([*common, "--yes"]) == 0
    assert "2 already" in capsys.readouterr().out
    assert run(["trace", "m1", "--data", str(tmp_path)]) == 0
    assert "Replayed to perkville" in capsys.readouterr().out
    assert run(["replay", "--destination", "nowhere", "--data", str(tmp_path)]) == 2
