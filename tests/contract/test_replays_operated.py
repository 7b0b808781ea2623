"""Replays are paused and canceled, survive a crash, give way to live awards, and are the same in App and CLI."""

import html
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from punchcard.cli.replaying import Selected
from punchcard.cli.running import run
from punchcard.errors import ConfigurationError
from punchcard.lake.listing import EventQuery
from punchcard.lake.reader import LakeReader
from punchcard.operations.replay_planning import plan_replay
from punchcard.operations.replays import save_replay, start_replay
from punchcard.store.delivery.recoveries import RecoveryReason, start_recovery
from punchcard.store.operations.replays import Replay, ReplaySelection
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.replays import (
    CONFIG,
    MAPPED,
    REPLAYS,
    WORKSPACE,
    book,
    call,
    configure,
    counted,
    effects,
    get,
    replay,
    result,
    trace,
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", WORKSPACE + CONFIG) as server:
        add_operators(server)
        yield server


# --- pause, resume, cancel, crash ---


def started(world: PublicApiServer, **options: Any) -> Replay:
    """A replay of everything in the lake, started at a pace of one award at a time."""
    rows = plan_replay(
        world.store,
        LakeReader(world.lake_location),
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

        from punchcard.store.operations.schema import replays

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
    assert "Perkville is off" in get(world, running.id)["detail"]
    call(world, "PATCH", "/api/destinations/perkville", {"enabled": True})
    world.run_replays()
    assert effects(world) == 2


def test_what_does_not_exist_is_not_found(world: PublicApiServer) -> None:
    assert call(world, "POST", "/api/destinations/nowhere/replays", {}, status=404)
    assert call(world, "GET", f"{REPLAYS}/none", status=404)


def test_after_a_restore_replayed_awards_of_earlier_events_are_read_back_first(world: PublicApiServer) -> None:
    book(world, "early")
    configure(world, MAPPED)
    world.clock.advance(60)
    now = world.clock.now()
    with world.store.unit_of_work() as work:
        start_recovery(
            work,
            reason=RecoveryReason.DECLARED,
            from_position=0,
            through_position=0,
            read_back_from=now,
            doubt_until=None,
            now=now,
        )
    world.clock.advance(60)
    book(world, "live")
    world.restart_routing()
    started(world)
    world.replay_runner().step()
    world.route()
    assert result(world, "early")["status"] == "unknown"
    assert result(world, "early")["reason"] == "store_restored"
    assert result(world, "live")["status"] == "pending"


# --- App and command line ---


def test_the_app_leads_from_a_list_of_events_to_the_plan_and_through_it(world: PublicApiServer) -> None:
    book(world, "m1", "m2")
    configure(world, MAPPED)
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    listed = browser.get("/events?status=refused&destination=perkville&reason=not_allowlisted&name=Class+Booked").text
    (link,) = re.findall(r'href="(/destinations/perkville/replays\?[^"]+)"', listed)
    assert {"event=Class%20Booked", "reason=not_allowlisted"} < set(html.unescape(link).partition("?")[2].split("&"))
    form = browser.get(html.unescape(link)).text
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


def test_lists_by_status_follow_the_newest_replay(world: PublicApiServer) -> None:
    book(world, "m1", "m2", "m3")
    configure(world, MAPPED)
    replay(world, messageIds=["m1", "m3"])
    world.run_replays()
    world.feed_lake()
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303

    def listed(status: str, destination: str = "perkville") -> list[str]:
        page = browser.get(f"/events?time=30d&destination={destination}&status={status}").text
        return [message_id for message_id in ("m1", "m2", "m3") if f'href="/events/{message_id}"' in page]

    assert listed("refused") == ["m2"]
    assert listed("pending") == ["m1", "m3"]
    assert listed("refused", destination="") == ["m2"]  # any
    assert listed("refused", destination="-") == []  # before any


def test_a_list_by_status_reads_no_events_that_a_large_replay_has_changed(
    world: PublicApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed = [f"m{number}" for number in range(5, 60)]
    book(world, "m1", "m2", *replayed)
    configure(world, MAPPED)
    replay(world, messageIds=replayed)
    world.run_replays()
    world.feed_lake()
    read: list[int] = []
    read_page = LakeReader.page

    def counted(reader: LakeReader, query: EventQuery, **options: Any) -> Any:
        events = read_page(reader, query, **options)
        read.append(len(events))
        return events

    monkeypatch.setattr(LakeReader, "page", counted)
    page = world.browser.page(EventQuery(status="refused"), limit=1)
    assert [seen.event.message_id for seen in page.events] == ["m2"]
    assert sum(read) <= 4  # two at a time: the newest, and those that are refused still


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
    assert "2 at Perkville" in shown
    assert "m1" in shown
    assert run([*common]) == 2  # nobody to ask
    assert "--yes" in capsys.readouterr().err
    assert run([*common, "--yes", "--no-wait"]) == 0
    assert "has started" in capsys.readouterr().out
    world.run_replays()
    assert effects(world) == 2
    world.feed_lake()  # the next plan would wait for it
    assert run([*common, "--list"]) == 0
    assert "completed" in capsys.readouterr().out
    assert run([*common, "--yes"]) == 0
    assert "2 already" in capsys.readouterr().out
    assert run(["trace", "m1", "--data", str(tmp_path)]) == 0
    assert "Replayed to perkville" in capsys.readouterr().out
    assert run(["replay", "--destination", "nowhere", "--data", str(tmp_path)]) == 2


# --- the command line ---


def test_command_prints_the_replay_as_the_public_api_does(
    world: PublicApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book(world, "m1", "m2")
    configure(world, MAPPED)

    def printed(*options: str) -> dict[str, Any]:
        capsys.readouterr()
        assert run(["replay", "--destination", "perkville", "--data", str(tmp_path), "--json", *options]) == 0
        (line,) = capsys.readouterr().out.splitlines()
        return dict(json.loads(line))

    planned = printed("--dry-run")
    assert (planned["status"], planned["plan"]["awards"]) == ("planned", 2)
    assert run(["replay", "--destination", "perkville", "--data", str(tmp_path), "--json"]) == 2
    assert "Use --yes" in capsys.readouterr().err
    started = printed("--yes", "--no-wait")
    assert started["status"] == "running"
    assert printed("--pause", started["id"])["status"] == "paused"
    assert (
        printed("--cancel", started["id"])
        == world.request("GET", f"/api/destinations/perkville/replays/{started['id']}").json()["data"]["replay"]
    )


def test_command_selects_blocked_events_of_a_source(world: PublicApiServer) -> None:
    chosen = selected(sources=["website"], statuses=["filtered_at_source"]).read(world.watch.newest())
    assert (chosen.sources, chosen.statuses) == (("website",), ("filtered_at_source",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sources": ["webiste"]}, "--source webiste: There is no source webiste. Use one of: "),
        ({"statuses": ["blocked"]}, "--status blocked: There is no status blocked. Use one of: "),
        ({"statuses": ["rejected"]}, "--status rejected: This is a status of awards"),
    ],
    ids=["source", "status", "status of awards"],
)
def test_command_refuses_what_would_select_nothing(
    world: PublicApiServer, options: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        selected(**options).read(world.watch.newest())


def selected(*, sources: Sequence[str] = (), statuses: Sequence[str] = ()) -> Selected:
    return Selected(
        since=None, until=None, events=(), sources=sources, customer=None, statuses=statuses, reasons=(), message_ids=()
    )
