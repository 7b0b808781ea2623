"""Alerts as operators meet them: on pages, by the Public API and on the command line, each role as far as it may."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from punchcard.__main__ import main
from punchcard.engage.demand import request_engage
from punchcard.operations.alert_evaluation import AlertEvaluator
from punchcard.runtime.alerting import AlertLoop
from punchcard.runtime.settings import read_settings
from punchcard.store.access.audit import AuditQuery, list_events
from punchcard.store.operations.alerts import AlertState, list_alerts
from punchcard.store.operations.heartbeats import Heartbeat, expect_process, read_heartbeats, write_heartbeat
from punchcard.testing.clock import ManualClock
from punchcard.testing.operators import FormBrowser, add_operators
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.waiting import wait_until
from punchcard.testing.webhook_receiver import Reply, WebhookReceiver

CONFIG = """
[workspace]
webhookAllowedNetworks = ["127.0.0.0/8"]
[[sources]]
slug = "website"
write_key = "wk_website"
[[destinations]]
slug = "perkville"
type = "perkville"
source = "website"
enabled = false
[destinations.settings]
apiKey = "a-token"
businessId = "41"
locationId = "7"
eventToPerkMap = { "Checked In" = "123457" }
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PublicApiServer]:
    with PublicApiServer(tmp_path / "data", f"sqlite:///{tmp_path / 'data' / 'punchcard.db'}", CONFIG) as server:
        add_operators(server)
        yield server


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as running:
        yield running


def look(world: PublicApiServer) -> None:
    AlertEvaluator(world.store, clock=world.clock, current=world.watch.newest).step()


def call(world: PublicApiServer, method: str, path: str, body: object = None) -> Any:
    response = world.request(method, path, None if body is None else json.dumps(body).encode())
    return response.status, response.json()


def browser_of(world: PublicApiServer, role: str) -> FormBrowser:
    browser = FormBrowser(world)
    assert browser.sign_in(f"{role}@acme.example").status == 303
    return browser


def test_the_api_lists_acknowledges_and_resolves(world: PublicApiServer) -> None:
    assert call(world, "GET", "/api/alerts")[1]["data"]["alerts"] == []
    look(world)
    status, content = call(world, "GET", "/api/alerts?state=raised")
    assert status == 200
    (alert,) = content["data"]["alerts"]
    assert (alert["kind"], alert["state"], alert["destination"]) == ("off", "raised", "perkville")
    assert content["data"]["pagination"]["totalEntries"] == 1
    status, content = call(world, "POST", f"/api/alerts/{alert['id']}/acknowledge")
    assert (status, content["data"]["alert"]["state"]) == (200, "acknowledged")
    assert content["data"]["alert"]["acknowledgedBy"] == "token test"
    with world.store.reading() as work:
        (event,) = list_events(work, AuditQuery(resource_type="alert"), count=5)
    assert (event.actor, event.resource_id) == ("token test", alert["id"])
    assert call(world, "PATCH", "/api/destinations/perkville", {"enabled": True})[0] == 200
    look(world)
    assert call(world, "GET", f"/api/alerts/{alert['id']}")[1]["data"]["alert"]["state"] == "resolved"
    assert call(world, "GET", "/api/alerts?state=raised")[1]["data"]["alerts"] == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/alerts/99", 404),
        ("GET", "/api/alerts/x", 404),
        ("POST", "/api/alerts/99999999999999999999/acknowledge", 404),
        ("GET", "/api/alerts?state=lost", 400),
        ("GET", "/api/alert-channels/nobody", 404),
        ("POST", "/api/alert-channels/nobody/test", 404),
        ("DELETE", "/api/alert-channels/nobody", 404),
    ],
)
def test_what_is_not_there_is_an_error(world: PublicApiServer, method: str, path: str, status: int) -> None:
    assert world.request(method, path).status == status
    assert world.request(method, path).error


def test_channels_by_the_api(world: PublicApiServer, receiver: WebhookReceiver) -> None:
    made = {"name": "Ops team", "url": receiver.url, "secret": "sesame sesame sesame", "severity": "info"}
    status, content = call(world, "POST", "/api/alert-channels", made)
    assert status == 200, content
    channel = content["data"]["alertChannel"]
    assert (channel["id"], channel["type"], channel["severity"]) == ("ops-team", "webhook", "info")
    assert receiver.url not in json.dumps(content)
    assert "sesame sesame" not in json.dumps(content)
    assert call(world, "POST", "/api/alert-channels/ops-team/test") == (200, {"data": {"status": "SUCCESS"}})
    (request,) = receiver.requests
    assert json.loads(request.body)["type"] == "alert.test"
    assert json.loads(request.body)["data"]["url"] == f"http://127.0.0.1:{world.port}/alerts/channels"
    assert "webhook-signature" in request.headers
    status, content = call(
        world, "PATCH", "/api/alert-channels/ops-team", {"quietHours": "22:00-07:00", "url": channel["url"]}
    )
    assert content["data"]["alertChannel"]["quietHours"] == "22:00-07:00"
    receiver.replies.append(Reply(status=404, body=b"nobody here"))
    status, content = call(world, "POST", "/api/alert-channels/ops-team/test")
    assert status == 422
    assert "nobody here" in content["errors"][0]["message"]
    assert [channel["id"] for channel in call(world, "GET", "/api/alert-channels")[1]["data"]["alertChannels"]] == [
        "ops-team"
    ]
    status, content = call(world, "POST", "/api/alert-channels", {**made, "name": "ops TEAM"})
    assert (status, content["errors"][0]["field"]) == (422, "name")
    status, content = call(world, "POST", "/api/alert-channels", {**made, "name": "b", "url": "pigeon://"})
    assert (status, content["errors"][0]["field"]) == (422, "url")
    assert call(world, "DELETE", "/api/alert-channels/ops-team")[0] == 200
    assert call(world, "GET", "/api/alert-channels")[1]["data"]["alertChannels"] == []


def test_rules_by_the_api(world: PublicApiServer) -> None:
    rules = {rule["rule"]: rule for rule in call(world, "GET", "/api/alert-rules")[1]["data"]["alertRules"]}
    assert rules["queue_age"]["threshold"] == 60
    status, content = call(world, "PATCH", "/api/alert-rules/queue_age", {"threshold": 15, "severity": "critical"})
    rule = content["data"]["alertRule"]
    assert (status, rule["threshold"], rule["severity"], rule["isDefault"]) == (200, 15, "critical", False)
    assert "15 minutes" in rule["description"]
    status, content = call(world, "PATCH", "/api/alert-rules/queue_age", {"threshold": None, "severity": None})
    assert content["data"]["alertRule"]["isDefault"]
    assert call(world, "PATCH", "/api/alert-rules/weather", {"enabled": False})[0] == 404
    status, content = call(world, "PATCH", "/api/alert-rules/off", {"threshold": 3})
    assert (status, content["errors"][0]["field"]) == (422, "threshold")
    assert call(world, "PATCH", "/api/alert-rules/off", {"enabled": False})[0] == 200
    look(world)
    assert call(world, "GET", "/api/alerts")[1]["data"]["alerts"] == []


def test_home_and_the_page_of_alerts_show_the_same(world: PublicApiServer) -> None:
    browser = browser_of(world, "editor")
    for path in ("/", "/alerts"):  # match at once, before the loop has looked
        assert "Perkville is off" in browser.get(path).text
        assert "Acknowledge</button>" not in browser.get(path).text
    look(world)
    match = re.search(r'action="(/alerts/\d+/acknowledge)"', browser.get("/").text)
    assert match is not None
    response = browser.post(match[1], back="/")
    assert (response.status, response.headers["location"]) == (303, "/")
    for path in ("/", "/alerts"):
        assert "Acknowledged by operator editor@acme.example" in browser.get(path).text
    assert call(world, "PATCH", "/api/destinations/perkville", {"enabled": True})[0] == 200
    assert "Perkville is off" not in browser.get("/").text
    look(world)
    page = browser.get("/alerts").text
    assert "Perkville is off" in page.partition("Resolved</h2>")[2]
    assert "Nothing. All is well." in page
    assert browser.post(match[1], back="//evil.example").headers["location"] == "/"


def test_channels_on_their_page(world: PublicApiServer, receiver: WebhookReceiver) -> None:
    browser = browser_of(world, "owner")
    form = {"name": "<b>Ops</b>", "url": receiver.url, "severity": "info", "enabled": "on", "secret": "sesame sesame"}
    assert browser.post("/alerts/channels", **form).status == 303
    page = browser.get("/alerts/channels").text
    assert "&lt;b&gt;Ops&lt;/b&gt;" in page
    assert receiver.url not in page
    slug = "b-ops-b"
    assert browser.post(f"/alerts/channels/{slug}/test").status == 303
    assert len(receiver.requests) == 1
    receiver.replies.append(Reply(status=500, body=b"<i>down</i>"))
    response = browser.post(f"/alerts/channels/{slug}/test")
    assert response.status == 422
    assert "&lt;i&gt;down" in response.text
    edit = browser.get(f"/alerts/channels/{slug}").text
    masked = re.search(r'name="url"[^>]*value="([^"]*)"', edit)
    assert masked is not None
    saved = browser.post(f"/alerts/channels/{slug}", **{**form, "url": masked[1], "quiet_hours": "22:00-7:00"})
    assert saved.status == 303, saved.text
    assert browser.post(f"/alerts/channels/{slug}/test").status == 303
    refused = browser.post(f"/alerts/channels/{slug}", **{**form, "url": "pigeon://coop"})
    assert refused.status == 422
    assert "pigeon://coop" in refused.text
    refused = browser.post("/alerts/channels", name="", url="", severity="info")
    assert refused.status == 422
    assert browser.post(f"/alerts/channels/{slug}/remove").status == 303
    assert "b-ops-b" not in browser.get("/alerts/channels").text


def test_rules_on_their_page(world: PublicApiServer) -> None:
    browser = browser_of(world, "editor")
    assert browser.post("/alerts/rules/queue_age", enabled="on", severity="warning", threshold="15").status == 303
    assert world.watch.newest().alert_rules
    page = browser.get("/alerts/rules").text
    assert 'value="15"' in page
    assert "An award has waited in the queue for 15 minutes." in page
    assert browser.post("/alerts/rules/queue_age", enabled="on", severity="warning", threshold="soon").status == 422
    assert browser.post("/alerts/rules/queue_age", enabled="on", severity="warning", threshold="0").status == 422
    assert browser.post("/alerts/rules/queue_age", reset="1").status == 303
    assert 'value="60"' in browser.get("/alerts/rules").text
    # What is saved as the default is not kept as a change.
    assert browser.post("/alerts/rules/queue_age", enabled="on", severity="warning", threshold="60").status == 303
    assert ">changed<" not in browser.get("/alerts/rules").text
    assert browser.post("/alerts/rules/weather", enabled="on").status == 404


@pytest.mark.parametrize("role", ["read_only", "editor"])
def test_who_is_no_owner_changes_no_channel(world: PublicApiServer, role: str) -> None:
    browser = browser_of(world, role)
    assert browser.get("/alerts/channels").status == 200
    for path in (
        "/alerts/channels",
        "/alerts/channels/ops",
        "/alerts/channels/ops/test",
        "/alerts/channels/ops/remove",
    ):
        assert browser.post(path, name="a", url="https://a.example").status == 403
    if role == "read_only":
        assert browser.post("/alerts/1/acknowledge").status == 403
        assert browser.post("/alerts/rules/off", reset="1").status == 403


def test_the_command_line(
    world: PublicApiServer,
    receiver: WebhookReceiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["punchcard", "alerts", *words, "--data", str(tmp_path / "data")])
        status = main()
        output = capsys.readouterr()
        return status, output.out, output.err

    assert run("list") == (0, "No alerts\n", "")
    look(world)
    status, out, _ = run("list")
    assert status == 0
    assert "Perkville is off" in out
    (alert,) = [json.loads(line) for line in run("list", "--json")[1].splitlines()]
    assert run("acknowledge", alert["id"])[1].startswith("acknowledged: Perkville is off")
    assert json.loads(run("list", "--json")[1])["state"] == "acknowledged"
    status, _, err = run("acknowledge", "77")
    assert (status, "There is no alert 77." in err) == (2, True)
    made = {"name": "Ops", "url": receiver.url}
    assert call(world, "POST", "/api/alert-channels", made)[0] == 200
    assert run("test", "Ops") == (0, "A test was sent to Ops\n", "")
    receiver.replies.append(Reply(status=410))
    status, _, err = run("test", "ops")
    assert (status, "410" in err) == (1, True)
    status, _, err = run("test", "chat")
    assert (status, "Use one of: ops" in err) == (2, True)


# --- the loop ---


def loop_of(world: PublicApiServer, tmp_path: Path, process: str) -> AlertLoop:
    environment = {"PUNCHCARD_DATA": str(tmp_path / "data"), "PUNCHCARD_ALERT_POLL_SECONDS": "0.05"}
    settings = read_settings(environment)
    return AlertLoop(settings, world.store, current=world.watch.newest, clock=world.clock, process=process)


def open_kinds(world: PublicApiServer) -> set[str]:
    with world.store.reading() as work:
        states = [AlertState.RAISED, AlertState.ACKNOWLEDGED]
        return {alert.content.kind for alert in list_alerts(work, states=states, limit=100)}


def seen_at(world: PublicApiServer, process: str) -> Any:
    with world.store.reading() as work:
        return max((beat.seen_at for beat in read_heartbeats(work) if beat.process == process), default=None)


def test_a_worker_looks_sends_and_reports(world: PublicApiServer, receiver: WebhookReceiver, tmp_path: Path) -> None:
    assert call(world, "POST", "/api/alert-channels", {"name": "ops", "url": receiver.url})[0] == 200
    loop = loop_of(world, tmp_path, "worker")
    loop.start()
    try:
        wait_until(lambda: receiver.requests, "no notice came")
        assert json.loads(receiver.requests[0].body)["data"]["kind"] == "off"
        assert call(world, "PATCH", "/api/destinations/perkville", {"enabled": True})[0] == 200
        wait_until(lambda: len(receiver.requests) == 2, "the end was not told")
        assert json.loads(receiver.requests[1].body)["type"] == "alert.resolved"
        wait_until(lambda: seen_at(world, "worker") == world.clock.now())
    finally:
        loop.stop()


def test_a_worker_with_a_stalled_loop_is_missing(world: PublicApiServer, tmp_path: Path) -> None:
    loop = loop_of(world, tmp_path, "worker")
    progress = loop.progress
    with progress.watch("routing", stalled_after_seconds=60):
        loop.start()
        try:
            wait_until(lambda: seen_at(world, "worker") is not None, "no heartbeat")
            world.clock.advance(200)
            progress.mark("routing")
            wait_until(lambda: seen_at(world, "worker") == world.clock.now(), "a loop that goes on is not reported")
            world.clock.advance(200)  # the process lives, and its loop does not go round
            wait_until(lambda: "worker" in open_kinds(world), "nobody misses the worker")
            progress.mark("routing")
            wait_until(lambda: "worker" not in open_kinds(world), "the worker is missed for ever")
        finally:
            loop.stop()
    assert progress.stalled() == []


def test_after_a_stop_no_process_is_missed_before_it_could_report(world: PublicApiServer, tmp_path: Path) -> None:
    with world.store.unit_of_work() as work:
        for process in ("worker", "engage"):
            expect_process(work, process, host="a", now=world.clock.now() - timedelta(days=1))
    loop = loop_of(world, tmp_path, "worker")
    loop.start()
    try:
        wait_until(lambda: "off" in open_kinds(world), "nobody has looked")
        assert not open_kinds(world) & {"worker", "engage"}
        world.clock.advance(61)
        wait_until(lambda: "engage" in open_kinds(world), "Engage is not missed")
    finally:
        loop.stop()


def test_what_was_missing_before_a_start_stays_missing(world: PublicApiServer) -> None:
    with world.store.unit_of_work() as work:
        expect_process(work, "worker", host="a", now=world.clock.now() - timedelta(days=1))
    look(world)
    AlertEvaluator(world.store, clock=world.clock, current=world.watch.newest, start_seconds=60).step()
    assert "worker" in open_kinds(world)


def test_engage_is_missed_once_it_has_work(world: PublicApiServer, tmp_path: Path) -> None:
    loop = loop_of(world, tmp_path, "worker")
    loop.start()
    try:
        wait_until(lambda: seen_at(world, "worker") is not None)
        world.clock.advance(3_600)
        wait_until(lambda: seen_at(world, "worker") == world.clock.now())
        assert seen_at(world, "engage") is None
        request_engage(world.store)
        wait_until(lambda: seen_at(world, "engage") is not None, "Engage is not expected")
        assert "engage" not in open_kinds(world)
        world.clock.advance(3_600)
        wait_until(lambda: "engage" in open_kinds(world), "Engage is not missed")
    finally:
        loop.stop()


def test_a_serving_process_takes_over_while_no_worker_runs(world: PublicApiServer, tmp_path: Path) -> None:
    serving = loop_of(world, tmp_path, "serve")
    serving.start()
    try:
        wait_until(lambda: seen_at(world, "worker") is not None, "no worker is expected")
        wait_until(lambda: seen_at(world, "serve") is not None)
        assert open_kinds(world) == set()  # the worker has not been missing for long
        world.clock.advance(121)
        wait_until(lambda: {"worker", "off"} <= open_kinds(world))
        with world.store.unit_of_work() as work:
            write_heartbeat(work, Heartbeat(process="worker", host="another", seen_at=world.clock.now()))
            write_heartbeat(work, Heartbeat(process="engage", host="another", seen_at=world.clock.now()))
        worker = loop_of(world, tmp_path, "worker")
        worker.start()
        try:
            wait_until(lambda: "worker" not in open_kinds(world))
        finally:
            worker.stop()
    finally:
        serving.stop()


def test_the_loop_survives_what_goes_wrong(
    world: PublicApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([RuntimeError("a defect"), RuntimeError("another")])
    step: Callable[[AlertEvaluator], int] = AlertEvaluator.step
    failed = threading.Event()

    def sometimes(evaluator: AlertEvaluator) -> int:
        if (error := next(failures, None)) is not None:
            failed.set()
            raise error
        return step(evaluator)

    monkeypatch.setattr(AlertEvaluator, "step", sometimes)
    loop = loop_of(world, tmp_path, "worker")
    loop.start()
    try:
        wait_until(lambda: "off" in open_kinds(world))
        assert failed.is_set()
    finally:
        loop.stop()


def test_old_machines_are_forgotten_but_never_the_last_of_a_kind(world: PublicApiServer) -> None:
    from punchcard.store.operations.heartbeats import forget_old_heartbeats

    now = ManualClock().now()
    with world.store.unit_of_work() as work:
        for host, age in (("a", 30), ("b", 40)):
            write_heartbeat(work, Heartbeat(process="worker", host=host, seen_at=now - timedelta(hours=age)))
        forget_old_heartbeats(work, before=now - timedelta(hours=24))
        assert [(beat.process, beat.host) for beat in read_heartbeats(work)] == [("worker", "a")]
