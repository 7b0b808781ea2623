"""A destination is on, paused or off: nothing that arrives meanwhile is lost, and everybody sees since when and why."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from punchcard.cli.running import run
from punchcard.clock import to_iso
from punchcard.delivery.operator_retries import find_retryable, options_by_slug
from punchcard.store.delivery.pauses import Pause, PauseEnd, last_pause_of, pause, pause_of
from punchcard.testing.operators import FormBrowser, add_operators
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
apiKey = "a-token"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Checked In" = "123457" }
"""
DESTINATION = "/api/destinations/perkville"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path, f"sqlite:///{tmp_path / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        yield server


def check_in(world: PublicApiServer, message_id: str) -> None:
    world.send(
        {"userId": "ann", "event": "Checked In", "messageId": message_id, "properties": {"email": "ann@example.com"}}
    )
    world.route()


def call(world: PublicApiServer, method: str, path: str, body: object = None) -> Any:
    response = world.request(method, path, None if body is None else json.dumps(body).encode())
    assert response.status == 200, response.body
    return response.json()["data"]


def result(world: PublicApiServer, message_id: str) -> dict[str, Any]:
    return dict(call(world, "GET", f"/api/events/{message_id}")["results"][0])


def refuse_credentials(world: PublicApiServer) -> None:
    with world.store.unit_of_work() as work:
        pause(
            work,
            Pause(
                destination="perkville",
                reason="credentials_refused",
                detail="401",
                since=world.clock.now(),
                settings_fingerprint=world.watch.current().destinations["perkville"].fingerprint,
            ),
        )


def current_pause(world: PublicApiServer) -> Pause | None:
    with world.store.reading() as work:
        return pause_of(work, "perkville")


# --- paused ---


def test_while_it_is_paused_events_are_queued_and_all_are_sent_once_it_is_resumed(world: PublicApiServer) -> None:
    state = call(world, "POST", f"{DESTINATION}/pause", {"reason": "new perks on Monday"})["state"]
    assert (state["state"], state["reason"], state["detail"]) == ("paused", "destination_paused", "new perks on Monday")
    assert state["since"] == to_iso(world.clock.now())
    for number in range(3):
        check_in(world, f"m{number}")
    world.deliver(rounds=3)
    assert world.partner.book == []
    waiting = result(world, "m1")
    assert (waiting["status"], waiting["reason"]) == ("pending", "destination_paused")
    assert "paused by token test since" in waiting["detail"]
    assert "new perks on Monday" in waiting["detail"]
    assert call(world, "POST", f"{DESTINATION}/resume")["state"]["state"] == "on"
    world.deliver(rounds=3)
    assert len(world.partner.book) == 3
    assert result(world, "m1")["status"] == "delivered"


def test_a_pause_with_an_end_ends_by_itself(world: PublicApiServer) -> None:
    until = world.clock.now() + timedelta(hours=2)
    state = call(world, "POST", f"{DESTINATION}/pause", {"until": to_iso(until)})["state"]
    assert state["until"] == to_iso(until)
    check_in(world, "m")
    world.clock.advance(2 * 3600 - 1)
    world.deliver()
    assert world.partner.book == []
    world.clock.advance(1)
    world.deliver()
    assert len(world.partner.book) == 1
    with world.store.reading() as work:
        last = last_pause_of(work, "perkville")
    assert last is not None
    assert last.ended_by is PauseEnd.SCHEDULE


def test_a_second_pause_replaces_reason_and_end_and_keeps_its_beginning(world: PublicApiServer) -> None:
    first = call(
        world, "POST", f"{DESTINATION}/pause", {"reason": "a", "until": to_iso(world.clock.now() + timedelta(1))}
    )
    world.clock.advance(60)
    second = call(world, "POST", f"{DESTINATION}/pause", {"reason": "b"})["state"]
    assert (second["since"], second["detail"], second["until"]) == (first["state"]["since"], "b", None)


@pytest.mark.parametrize("is_first", [True, False], ids=["before", "after"])
def test_a_persons_pause_is_not_ended_by_what_ends_a_refusal_of_credentials(
    world: PublicApiServer, *, is_first: bool
) -> None:
    if not is_first:
        refuse_credentials(world)
    call(world, "POST", f"{DESTINATION}/pause", {"reason": "until I say so"})
    if is_first:
        refuse_credentials(world)
    world.configure(CONFIG.replace("a-token", "another-token"))
    check_in(world, "m")
    world.deliver(rounds=2)
    with world.store.reading() as work:
        options = options_by_slug(world.watch.current())
        retryable = find_retryable(
            work, configured=options, destination=None, reason=None, message_ids=[], now=world.clock.now()
        )
    assert list(retryable.pauses) == []
    pause_now = current_pause(world)
    assert pause_now is not None
    assert pause_now.is_by_operator
    assert world.partner.book == []


def test_a_person_ends_a_refusal_of_credentials_too(world: PublicApiServer) -> None:
    refuse_credentials(world)
    assert call(world, "GET", f"{DESTINATION}/state")["state"]["reason"] == "credentials_refused"
    assert call(world, "POST", f"{DESTINATION}/resume")["state"]["state"] == "on"
    assert call(world, "POST", f"{DESTINATION}/resume")["state"]["state"] == "on"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"until": "2026-02-30"}, "until"),
        ({"until": "tomorrow"}, "until"),
        ({"until": "2020-03-01T10:00:00Z"}, "until"),
        ({"reason": "x" * 501}, "reason"),
    ],
)
def test_a_pause_that_cannot_be_meant_is_refused(world: PublicApiServer, body: dict[str, str], field: str) -> None:
    response = world.request("POST", f"{DESTINATION}/pause", json.dumps(body).encode())
    assert response.status == 400
    assert response.error["field"] == field
    assert current_pause(world) is None


def test_a_destination_that_is_not_there_cannot_be_paused(world: PublicApiServer) -> None:
    for action in ("pause", "resume"):
        assert world.request("POST", f"/api/destinations/nowhere/{action}", b"{}").status == 404


# --- off ---


def test_while_it_is_off_events_are_recorded_with_since_when_and_why(world: PublicApiServer) -> None:
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    form = {"state": "off", "reason": "the programme rests"}
    assert browser.post("/destinations/perkville/pause", **form).status == 303
    world.clock.advance(30)
    check_in(world, "m")
    recorded = result(world, "m")
    assert (recorded["status"], recorded["reason"]) == ("destination_off", "destination_off")
    assert "operator owner@acme.example" in recorded["detail"]
    assert "the programme rests" in recorded["detail"]
    assert "replay" in recorded["detail"]
    state = call(world, "GET", f"{DESTINATION}/state")["state"]
    assert (state["state"], state["detail"]) == ("off", "the programme rests")
    for path in ("/", "/destinations/perkville", "/events/m"):
        text = browser.get(path).text
        assert "he programme rests" in text, path
    assert "Destination off" in browser.get("/events").text
    assert ">Off<" in browser.get("/destinations").text
    assert browser.post("/destinations/perkville/resume").status == 303
    assert call(world, "GET", f"{DESTINATION}/state")["state"]["state"] == "on"
    # What was recorded is shown as it was, also after it is on again.
    assert "the programme rests" in result(world, "m")["detail"]


def test_what_was_queued_waits_while_it_is_off_and_says_so(world: PublicApiServer) -> None:
    check_in(world, "queued")
    call(world, "PATCH", DESTINATION, {"enabled": False})
    world.deliver()
    waiting = result(world, "queued")
    assert waiting["status"] == "pending"
    assert "is off since" in waiting["detail"]
    assert world.partner.book == []
    assert world.request("POST", f"{DESTINATION}/pause", b"{}").status == 422
    call(world, "PATCH", DESTINATION, {"enabled": True})
    world.deliver()
    assert result(world, "queued")["status"] == "delivered"


def test_a_reason_belongs_to_its_own_switch(world: PublicApiServer) -> None:
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    browser.post("/destinations/perkville/pause", state="off", reason="first")
    browser.post("/destinations/perkville/resume")
    world.clock.advance(5)
    call(world, "PATCH", DESTINATION, {"enabled": False})
    state = call(world, "GET", f"{DESTINATION}/state")["state"]
    assert (state["detail"], state["actor"]) == (None, "token test")


def test_the_numbers_show_what_was_recorded(world: PublicApiServer) -> None:
    call(world, "PATCH", DESTINATION, {"enabled": False})
    for number in range(2):
        check_in(world, f"m{number}")
    pipeline = call(world, "GET", f"{DESTINATION}/pipeline")
    assert "destination_off" in json.dumps(pipeline)
    metrics = call(world, "GET", f"{DESTINATION}/delivery-metrics")
    assert '"destination_off"' in json.dumps(metrics)


# --- the App and the command line ---


def test_the_app_asks_which_is_meant_and_keeps_what_was_typed(world: PublicApiServer) -> None:
    browser = FormBrowser(world)
    assert browser.sign_in("owner@acme.example").status == 303
    page = browser.get("/destinations/perkville/state").text
    assert "Pause: queue them" in page
    assert "Switch off: only record them" in page
    refused = browser.post("/destinations/perkville/pause", state="paused", reason="audit <week>", until="yesterday")
    assert refused.status == 422
    assert "audit &lt;week&gt;" in refused.text
    assert "not a date and time" in refused.text
    until = world.clock.now() + timedelta(days=1)
    form = {"state": "paused", "reason": "audit <week>", "until": f"{until:%Y-%m-%dT%H:%M}"}
    assert browser.post("/destinations/perkville/pause", **form).status == 303
    for path in ("/", "/destinations/perkville", "/destinations/perkville/state"):
        text = browser.get(path).text
        assert "udit &lt;week&gt;" in text, path
        assert "operator owner@acme.example" in text, path
        assert "eliveries resume" in text, path
    audit = browser.get("/settings/audit").text
    assert "pause" in audit


def test_viewers_see_the_state_and_cannot_change_it(world: PublicApiServer) -> None:
    call(world, "POST", f"{DESTINATION}/pause", {"reason": "why"})
    browser = FormBrowser(world)
    assert browser.sign_in("read_only@acme.example").status == 303
    assert "why" in browser.get("/destinations/perkville").text
    assert browser.post("/destinations/perkville/resume").status == 403
    assert browser.post("/destinations/perkville/pause", state="off").status == 403
    assert current_pause(world) is not None


def test_the_command_line_does_the_same(
    world: PublicApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(tmp_path)]

    def ran(*arguments: str) -> str:
        assert run(["destination", *arguments, *data]) == 0
        return capsys.readouterr().out

    assert "Perkville is paused by command line" in ran(
        "pause", "perkville", "--reason", "stock taking", "--until", "2h"
    )
    pause_now = current_pause(world)
    assert pause_now is not None
    assert pause_now.until is not None
    assert timedelta(0) <= pause_now.since - (pause_now.until - timedelta(hours=2)) < timedelta(minutes=5)
    assert "Perkville delivers again" in ran("resume", "perkville")
    assert current_pause(world) is None
    assert "Perkville is off" in ran("off", "perkville", "--reason", "the end")
    assert call(world, "GET", f"{DESTINATION}/state")["state"]["detail"] == "the end"
    assert "Perkville is off already" in ran("off", "perkville")
    is_on = ran("on", "perkville")
    assert "Perkville is on" in is_on
    assert "punchcard replay --destination perkville" in is_on
    assert call(world, "GET", f"{DESTINATION}/state")["state"]["state"] == "on"
    assert run(["destination", "pause", "nowhere", *data]) == 2
    assert run(["destination", "pause", "perkville", "--until", "soon", *data]) == 2
    assert "--until soon" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-01", "2026-11-01T07:00:00+00:00"),
        ("2026-11-01T09:30", "2026-11-01T17:30:00+00:00"),
        ("2026-11-01T09:30Z", "2026-11-01T09:30:00+00:00"),
        ("30d", "2026-10-02T12:00:00+00:00"),
        ("12H", "2026-11-01T00:00:00+00:00"),
        ("0001-01-01", "1970-01-01T00:00:00+00:00"),
        ("9999w", "1970-01-01T00:00:00+00:00"),
        ("999999d", "1970-01-01T00:00:00+00:00"),
    ],
)
def test_instants_are_read_as_people_type_them(text: str, expected: str) -> None:
    from zoneinfo import ZoneInfo

    from punchcard.operations.instants import read_instant

    now = datetime.fromisoformat("2026-11-01T12:00:00+00:00")
    zone = ZoneInfo("America/Los_Angeles")
    assert read_instant(text, option="--since", now=now, zone=zone, is_past=True).isoformat() == expected
