"""An alert has one notice for each change of its state, whatever fails and whenever the process ends."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert, update
from tests.contract.mail_server import MailServer

from punchcard.operations.alert_channels import ChannelError, Notice, SendingContext, send_notice
from punchcard.operations.alert_evaluation import AlertEvaluator, send_time
from punchcard.operations.alert_model import Condition
from punchcard.operations.alert_notices import NoticeDispatcher
from punchcard.operations.alerts import CONDITIONS
from punchcard.store.alert_notices import NoticeState, list_notices, read_channel_health
from punchcard.store.alerts import AlertState, StoredAlert, acknowledge_alert, list_alerts, open_alerts, prune_alerts
from punchcard.store.config_file_status import ConfigFileProblem, clear_config_file_problem, write_config_file_problem
from punchcard.store.counts import CountKey, add_counts
from punchcard.store.engine import Store
from punchcard.store.heartbeats import Heartbeat, expect_process, write_heartbeat
from punchcard.store.schema import delivery_attempts, effects
from punchcard.testing.clock import ManualClock
from punchcard.testing.webhook_receiver import Reply, WebhookReceiver
from punchcard.workspace.alert_rules import AlertKind
from punchcard.workspace.apply import apply
from punchcard.workspace.file import read_content
from punchcard.workspace.keyring import Keyring
from punchcard.workspace.model import AlertChannel
from punchcard.workspace.snapshot import SnapshotWatch

CONFIG = """
[workspace]
timezone = "America/Los_Angeles"
webhookAllowedNetworks = ["127.0.0.0/8"]
[[sources]]
slug = "website"
write_key = "wk_website"
[[destinations]]
slug = "perkville"
type = "perkville"
source = "website"
enabled = {enabled}
[destinations.settings]
apiKey = "a-token"
businessId = "41"
locationId = "7"
eventToPerkMap = {{ "Checked In" = "123457" }}
"""
CHANNEL = """
[[alert_channels]]
name = "{name}"
url = "{url}"
severity = "{severity}"
"""
SECRET = "whsec_" + base64.b64encode(b"twenty-four secret bytes").decode()


class ProcessEnd(BaseException):
    """The process ends here, as by SIGKILL."""


@dataclass
class Taken:
    """A channel's other end, played: what it took, and what happens after it took something."""

    notices: list[tuple[str, Notice]] = field(default_factory=list)
    fails: set[str] = field(default_factory=set)
    ends_after: int = -1

    def __call__(self, channel: AlertChannel, notice: Notice, context: SendingContext) -> None:
        if channel.slug in self.fails:
            raise ChannelError("no connection")
        self.notices.append((channel.slug, notice))
        if self.ends_after == len(self.notices):
            raise ProcessEnd

    def types(self, channel: str = "ops") -> list[tuple[str, str]]:
        return [(notice.type.value, notice.body.kind) for slug, notice in self.notices if slug == channel]


class World:
    """A store with a configuration, and the two halves of the loop of alerts, moved by hand."""

    def __init__(self, url: str) -> None:
        self.clock = ManualClock()
        self.store = Store(url)
        self._keyring = Keyring("k")
        self.watch = SnapshotWatch(self.store, self._keyring, clock=self.clock)
        self.taken = Taken()
        self.channels = CHANNEL.format(name="ops", url="https://hooks.example.com/x", severity="info")
        self.configure()
        self.restart()

    def configure(self, *, enabled: bool = True, more: str = "") -> None:
        text = CONFIG.format(enabled=str(enabled).lower()) + self.channels + more
        workspace = read_content(text.encode(), "punchcard.toml", environment={})
        apply(self.store, workspace, clock=self.clock, keyring=self._keyring, actor="test")

    def restart(self) -> None:
        self.evaluator = AlertEvaluator(
            self.store, clock=self.clock, current=self.watch.newest, public_url="https://points.example.com/"
        )
        self.dispatcher = NoticeDispatcher(self.store, clock=self.clock, current=self.watch.newest, send=self.taken)

    def look(self) -> None:
        self.evaluator.step()

    def send(self, *channels: str) -> None:
        for slug in channels or ("ops",):
            self.dispatcher.send_due(slug, self.watch.newest())

    def alerts(self, *states: AlertState) -> list[StoredAlert]:
        with self.store.reading() as work:
            return list_alerts(work, states=states, limit=100)

    def open_kinds(self) -> set[str]:
        with self.store.reading() as work:
            return {alert.content.kind for alert in open_alerts(work).values()}

    def notice_states(self) -> list[NoticeState]:
        with self.store.reading() as work:
            return [notice.state for notice in reversed(list_notices(work, limit=100))]


@pytest.fixture
def world(store_url: str) -> Iterator[World]:
    world = World(store_url)
    yield world
    world.store.close()


@pytest.fixture
def sqlite_world(sqlite_url: str) -> Iterator[World]:
    world = World(sqlite_url)
    yield world
    world.store.close()


def test_one_notice_for_each_change_of_state(world: World) -> None:
    world.look()
    assert world.alerts() == []
    world.configure(enabled=False)
    for _ in range(3):
        world.look()
        world.send()
    (alert,) = world.alerts()
    assert (alert.state, alert.content.kind, alert.content.subject) == (AlertState.RAISED, "off", "perkville")
    assert world.taken.types() == [("alert.raised", "off")]
    body = world.taken.notices[0][1].body
    assert body.title == "perkville is switched off."
    assert body.url == "https://points.example.com/destinations/perkville/settings"
    for hours in (23, 2, 20, 5):
        world.clock.advance(hours * 3600)
        world.look()
        world.send()
    assert world.taken.types() == [("alert.raised", "off"), ("alert.reminder", "off"), ("alert.reminder", "off")]
    world.configure()
    world.look()
    world.look()
    world.send()
    assert world.taken.types()[3:] == [("alert.resolved", "off")]
    (alert,) = world.alerts()
    assert alert.state is AlertState.RESOLVED
    assert alert.resolved_at == world.clock.now()
    world.configure(enabled=False)
    world.look()
    assert [alert.state for alert in world.alerts()] == [AlertState.RAISED, AlertState.RESOLVED]


def test_an_acknowledged_alert_reminds_nobody_and_is_raised_again_when_it_is_much_worse(world: World) -> None:
    with world.store.unit_of_work() as work:
        add_effects(work, 3, state="parked", reason="perk_unknown")
    world.look()
    (alert,) = world.alerts()
    with world.store.unit_of_work() as work:
        assert acknowledge_alert(work, alert.id, actor="ann", now=world.clock.now())
        assert not acknowledge_alert(work, alert.id, actor="ben", now=world.clock.now())
    world.clock.advance(3 * 86_400)
    world.look()
    world.send()
    assert world.taken.types() == [("alert.raised", "parked")]
    (alert,) = world.alerts(AlertState.ACKNOWLEDGED)
    assert (alert.acknowledged_by, alert.acknowledged_count) == ("ann", 3)
    with world.store.unit_of_work() as work:
        add_effects(work, 4, state="parked", reason="perk_unknown", begin=10)
    world.look()
    world.send()
    assert world.taken.types() == [("alert.raised", "parked")] * 2
    (alert,) = world.alerts(AlertState.RAISED)
    assert (alert.content.count, alert.content.customers) == (7, 7)


def test_a_crash_between_sending_and_writing_it_down_repeats_the_notice_with_its_id(world: World) -> None:
    world.configure(enabled=False)
    world.look()
    world.taken.ends_after = 1
    with pytest.raises(ProcessEnd):
        world.send()
    world.taken.ends_after = -1
    world.restart()
    world.look()
    world.send()
    world.send()
    assert world.taken.types() == [("alert.raised", "off")] * 2
    assert len({notice.id for _, notice in world.taken.notices}) == 1
    assert world.notice_states() == [NoticeState.SENT]


def test_a_crash_while_a_change_is_written_down_leaves_it_to_the_next_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.configure(enabled=False)

    def end(*_: object, **__: object) -> None:
        raise ProcessEnd

    with monkeypatch.context() as patched:
        patched.setattr("punchcard.operations.alert_evaluation.add_notice", end)
        with pytest.raises(ProcessEnd):
            world.look()
    assert world.alerts() == []
    world.restart()
    world.look()
    world.send()
    assert world.taken.types() == [("alert.raised", "off")]


def test_a_failing_channel_is_retried_and_the_others_report_it(world: World) -> None:
    world.channels += CHANNEL.format(name="Chat", url="https://chat.example.com/x", severity="warning")
    world.configure(enabled=False)
    world.taken.fails = {"ops"}
    world.look()
    world.send("ops", "chat")
    assert world.taken.types("chat") == [("alert.raised", "off")]
    with world.store.reading() as work:
        health = read_channel_health(work, ["ops", "chat"])
    assert (health["ops"].pending, health["ops"].error) == (1, "no connection")
    assert health["chat"].failing_since is None
    attempts = 0
    for _ in range(60):
        world.clock.advance(30)
        before = len(world.notice_states())
        world.send("ops")
        world.look()
        attempts += len(world.notice_states()) - before
    assert "channel" in world.open_kinds()
    world.send("chat")
    assert world.taken.types("chat") == [("alert.raised", "off"), ("alert.raised", "channel")]
    world.taken.fails = set()
    world.clock.advance(3600)
    world.send("ops")
    world.look()
    world.send("ops", "chat")
    assert world.taken.types("ops") == [("alert.raised", "off")]
    assert world.taken.types("chat")[2:] == [("alert.resolved", "channel")]


def test_a_notice_waits_for_those_of_the_same_alert_before_it(world: World) -> None:
    world.configure(enabled=False)
    world.taken.fails = {"ops"}
    world.look()
    world.send()
    world.configure()
    world.look()
    world.taken.fails = set()
    world.send()
    assert world.taken.types() == []
    world.clock.advance(60)
    world.send()
    world.send()
    assert world.taken.types() == [("alert.raised", "off"), ("alert.resolved", "off")]


def test_a_notice_that_no_channel_takes_is_given_up_after_days(world: World) -> None:
    world.configure(enabled=False)
    world.look()
    world.taken.fails = {"ops"}
    for _ in range(80):
        world.clock.advance(3600)
        world.send()
    assert world.notice_states() == [NoticeState.FAILED]


def test_a_channel_that_goes_cancels_its_notices(world: World) -> None:
    world.configure(enabled=False)
    world.look()
    world.channels = ""
    world.configure(enabled=False)
    world.send()
    assert world.notice_states() == [NoticeState.CANCELED]
    assert world.taken.notices == []


def test_severities_choose_the_channels(world: World) -> None:
    world.channels = CHANNEL.format(name="ops", url="https://hooks.example.com/x", severity="critical")
    world.configure(enabled=False)
    world.look()
    assert world.notice_states() == []
    world.configure(enabled=False, more='[[alert_rules]]\nrule = "parked"\nseverity = "info"\n')
    with world.store.unit_of_work() as work:
        add_effects(work, 1, state="parked", reason="perk_unknown")
    world.look()
    assert world.notice_states() == []
    world.configure(enabled=False, more='[[alert_rules]]\nrule = "off"\nseverity = "critical"\n')
    world.look()
    world.clock.advance(25 * 3600)
    world.look()
    world.send()
    assert ("alert.reminder", "off") in world.taken.types()


def test_a_rule_that_is_disabled_resolves_its_alerts(world: World) -> None:
    world.configure(enabled=False)
    world.look()
    world.configure(enabled=False, more='[[alert_rules]]\nrule = "off"\nenabled = false\n')
    world.look()
    assert world.open_kinds() == set()


QUIET = {
    "before": ("22:00-07:00", "2026-01-02T05:59:00+00:00", None),  # 21:59 in Los Angeles
    "begin": ("22:00-07:00", "2026-01-02T06:00:00+00:00", "2026-01-02T15:00:00+00:00"),
    "after midnight": ("22:00-07:00", "2026-01-02T14:59:00+00:00", "2026-01-02T15:00:00+00:00"),
    "end": ("22:00-07:00", "2026-01-02T15:00:00+00:00", None),
    "within a day": ("12:00-13:30", "2026-01-02T21:00:00+00:00", "2026-01-02T21:30:00+00:00"),
    "night of the change of clocks": ("22:00-07:00", "2026-03-08T07:00:00+00:00", "2026-03-08T14:00:00+00:00"),
    "none": ("", "2026-01-02T06:00:00+00:00", None),
}


@pytest.mark.parametrize(("hours", "now", "sent"), QUIET.values(), ids=QUIET)
def test_quiet_hours_delay_all_but_critical_notices(
    sqlite_world: World, hours: str, now: str, sent: str | None
) -> None:
    zone = sqlite_world.watch.newest().zone
    instant = datetime.fromisoformat(now)
    channel = AlertChannel(slug="ops", name="ops", url="https://a.example", quiet_hours=hours)
    due_at = send_time(channel, "warning", now=instant, zone=zone)
    assert due_at == (instant if sent is None else datetime.fromisoformat(sent))
    assert send_time(channel, "critical", now=instant, zone=zone) == instant


def test_notices_of_quiet_hours_are_sent_when_they_end(sqlite_world: World) -> None:
    world = sqlite_world
    world.clock.advance(6 * 3600)  # 1 a.m. in Los Angeles
    world.channels += 'quiet_hours = "22:00-07:00"\n'
    world.configure(enabled=False)
    world.look()
    world.send()
    assert world.taken.types() == []
    world.clock.advance(7 * 3600)
    world.send()
    assert world.taken.types() == [("alert.raised", "off")]


def test_a_condition_that_fails_hides_no_other_and_keeps_its_alerts(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = sqlite_world
    world.configure(enabled=False)
    with world.store.unit_of_work() as work:
        add_effects(work, 1, state="parked", reason="perk_unknown")
    world.look()
    assert world.open_kinds() == {"off", "parked"}

    def fail(*_: object) -> list[Any]:
        raise RuntimeError("a defect")

    broken = tuple(
        Condition(kinds=condition.kinds, find=fail) if AlertKind.OFF in condition.kinds else condition
        for condition in CONDITIONS
    )
    monkeypatch.setattr("punchcard.operations.alert_evaluation.CONDITIONS", broken)
    with world.store.unit_of_work() as work:
        work.execute(update(effects).values(state="delivered"))
    world.configure()
    world.look()
    assert world.open_kinds() == {"off"}


def test_resolved_alerts_are_pruned_with_their_notices(world: World) -> None:
    world.configure(enabled=False)
    world.look()
    world.configure()
    world.look()
    with world.store.unit_of_work() as work:
        assert prune_alerts(work, before=world.clock.now() + timedelta(days=1), limit=10) == 0  # notices wait
    world.send()
    world.send()
    with world.store.unit_of_work() as work:
        assert prune_alerts(work, before=world.clock.now(), limit=10) == 0
        assert prune_alerts(work, before=world.clock.now() + timedelta(days=1), limit=10) == 1
    assert world.alerts() == []
    assert world.notice_states() == []


# --- what raises each alert, and that it goes with its cause ---


def add_effects(work: Any, count: int, *, state: str, reason: str | None = None, begin: int = 0, **values: Any) -> None:
    now = ManualClock().now()
    for number in range(begin, begin + count):
        row = {
            "destination": "perkville",
            "effect_key": f"key-{number}",
            "kind": "transaction",
            "source": "website",
            "message_id": f"m{number}",
            "event_name": "Checked In",
            "log_position": number,
            "event_index": 0,
            "received_at": now,
            "customer": f"c{number}@example.com",
            "email": f"c{number}@example.com",
            "perk": "123457",
            "quantity": "1.50",
            "is_refund": False,
            "state": state,
            "is_open": state in ("pending", "retrying", "unknown", "sending"),
            "reason": reason,
            "attempts": 1,
            "tries": 1,
            "due_at": now,
            "created_at": now,
            "settled_at": None if state in ("pending", "retrying", "unknown") else now,
            "ordering_key": f"c{number}@example.com",
        }
        work.execute(insert(effects).values(**{**row, **values}))


def count_events(work: Any, world: World, name: str, per_hour: int, *, hours: range, status: str = "received") -> None:
    """Count events in hours before now."""
    for ago in hours:
        at = world.clock.now().replace(minute=1) - timedelta(hours=ago)
        key = CountKey(int(at.timestamp()) * 10**6, "website", "", "track", name, status, "")
        add_counts(work, {key: per_hour})


def fail_attempts(work: Any, world: World, *, started: timedelta) -> None:
    add_effects(work, 2, state="retrying", reason="unreachable")
    for effect_id in (1, 2):
        work.execute(
            insert(delivery_attempts).values(
                effect_id=effect_id,
                number=1,
                action="send",
                started_at=world.clock.now() - started,
                settled_at=world.clock.now() - started,
                outcome="retryable",
                detail="no route",
            )
        )


def micros(world: World) -> int:
    return int(world.clock.now().timestamp()) * 10**6


def unreachable(work: Any, world: World) -> Callable[[Any], None]:
    fail_attempts(work, world, started=timedelta(minutes=6))
    return lambda work: add_effects(work, 1, state="delivered", begin=9, settled_at=world.clock.now())


def parked(work: Any, world: World) -> Callable[[Any], None]:
    add_effects(work, 2, state="parked", reason="perk_unknown")
    return lambda work: work.execute(update(effects).values(state="pending", is_open=True))


def rejected(work: Any, world: World) -> Callable[[Any], None]:
    add_effects(work, 2, state="rejected", reason="perk_unknown")
    return lambda work: work.execute(update(effects).values(reason="dismissed"))


def old_queue(work: Any, world: World) -> Callable[[Any], None]:
    add_effects(work, 1, state="pending", created_at=world.clock.now() - timedelta(minutes=61))
    return lambda work: work.execute(update(effects).values(state="delivered", is_open=False))


def low_rate(work: Any, world: World) -> Callable[[Any], None]:
    now = int(world.clock.now().timestamp()) * 10**6
    for status, count in (("delivered", 18), ("rejected", 2)):
        add_counts(work, {CountKey(now, "website", "perkville", "track", "Checked In", status, ""): count})
    more = CountKey(now, "website", "perkville", "track", "Checked In", "delivered", "")
    return lambda work: add_counts(work, {more: 100})


def silent(work: Any, world: World) -> Callable[[Any], None]:
    count_events(work, world, "Checked In", 20, hours=range(2, 24 * 8))
    return lambda work: count_events(work, world, "Checked In", 1, hours=range(1))


def loud(work: Any, world: World) -> Callable[[Any], None]:
    count_events(work, world, "Checked In", 10, hours=range(25, 24 * 8))
    count_events(work, world, "Checked In", 50, hours=range(24))
    return lambda work: count_events(work, world, "Checked In", -40, hours=range(24))


def quieter(work: Any, world: World) -> Callable[[Any], None]:
    count_events(work, world, "Checked In", 10, hours=range(25, 24 * 8))
    count_events(work, world, "Checked In", 2, hours=range(24))
    return lambda work: count_events(work, world, "Checked In", 7, hours=range(24))


def disk(work: Any, world: World) -> Callable[[Any], None]:
    beat = Heartbeat(process="worker", host="a", seen_at=world.clock.now(), disk_free_bytes=9, disk_total_bytes=100)
    write_heartbeat(work, beat)
    return lambda work: write_heartbeat(work, replace(beat, disk_free_bytes=11))


def certificate(work: Any, world: World) -> Callable[[Any], None]:
    now = world.clock.now()
    beat = Heartbeat(process="serve", host="a", seen_at=now, certificate_expires_at=now + timedelta(days=13))
    write_heartbeat(work, beat)
    return lambda work: write_heartbeat(work, replace(beat, certificate_expires_at=now + timedelta(days=90)))


def missing(process: str, minutes: int) -> Callable[[Any, World], Callable[[Any], None]]:
    def begin(work: Any, world: World) -> Callable[[Any], None]:
        expect_process(work, process, host="a", now=world.clock.now() - timedelta(minutes=minutes))
        return lambda work: write_heartbeat(work, Heartbeat(process=process, host="b", seen_at=world.clock.now()))

    return begin


def config_file(code: str) -> Callable[[Any, World], Callable[[Any], None]]:
    def begin(work: Any, world: World) -> Callable[[Any], None]:
        problem = ConfigFileProblem(path="punchcard.toml", code=code, detail="no", since=world.clock.now())
        write_config_file_problem(work, problem)
        return clear_config_file_problem

    return begin


CAUSES: dict[str, tuple[str, Callable[[Any, World], Callable[[Any], None]]]] = {
    "unreachable": ("unreachable", unreachable),
    "parked": ("parked", parked),
    "rejected": ("rejected", rejected),
    "old queue": ("queue_age", old_queue),
    "success rate": ("success_rate", low_rate),
    "silent source": ("source_silent", silent),
    "more than usual": ("volume", loud),
    "less than usual": ("volume", quieter),
    "disk": ("disk", disk),
    "certificate": ("certificate", certificate),
    "worker": ("worker", missing("worker", 3)),
    "engage": ("engage", missing("engage", 11)),
    "rename": ("rename", config_file("rename_unconfirmed")),
    "config file": ("config_file", config_file("invalid_configuration")),
}


@pytest.mark.parametrize(("kind", "cause"), CAUSES.values(), ids=CAUSES)
def test_an_alert_comes_and_goes_with_its_cause(
    world: World, kind: str, cause: Callable[[Any, World], Callable[[Any], None]]
) -> None:
    with world.store.unit_of_work() as work:
        end = cause(work, world)
    world.look()
    assert kind in world.open_kinds()
    with world.store.unit_of_work() as work:
        end(work)
    world.restart()  # what compares with a week is looked at every few minutes
    world.look()
    assert kind not in world.open_kinds()
    assert {alert.content.kind for alert in world.alerts(AlertState.RESOLVED)} >= {kind}


NO_CAUSES: dict[str, Callable[[Any, World], object]] = {
    "closed on this weekday": lambda work, world: count_events(work, world, "Checked In", 20, hours=range(24, 24 * 6)),
    "few events a day": lambda work, world: count_events(work, world, "Checked In", 1, hours=range(25, 24 * 8)),
    "a new event": lambda work, world: count_events(work, world, "New", 50, hours=range(30)),
    "a short outage": lambda work, world: fail_attempts(work, world, started=timedelta(minutes=4)),
    "no process is expected": lambda work, world: None,
    "few completed awards": lambda work, world: add_counts(
        work,
        {CountKey(micros(world), "website", "perkville", "track", "", "rejected", ""): 9},
    ),
    "rejected long ago": lambda work, world: add_effects(
        work, 1, state="rejected", reason="perk_unknown", settled_at=world.clock.now() - timedelta(days=8)
    ),
}


@pytest.mark.parametrize("cause", NO_CAUSES.values(), ids=NO_CAUSES)
def test_what_is_no_cause_raises_nothing(sqlite_world: World, cause: Callable[[Any, World], object]) -> None:
    with sqlite_world.store.unit_of_work() as work:
        cause(work, sqlite_world)
    sqlite_world.look()
    assert sqlite_world.open_kinds() == set()


def test_points_and_customers_are_counted(world: World) -> None:
    world.evaluator = AlertEvaluator(
        world.store,
        clock=world.clock,
        current=world.watch.newest,
        points_per_unit=lambda slug, perk: Decimal(10) if perk == "123457" else None,
    )
    with world.store.unit_of_work() as work:
        add_effects(work, 3, state="parked", reason="perk_unknown")
        add_effects(work, 1, state="parked", reason="perk_unknown", begin=5, customer="c1@example.com")
    world.look()
    (alert,) = world.alerts()
    assert (alert.content.count, alert.content.customers, alert.content.points) == (4, 3, Decimal(60))


# --- real receivers ---


def context_of(world: World) -> SendingContext:
    snapshot = world.watch.newest()
    return SendingContext(network=snapshot.network, zone=snapshot.zone, clock=world.clock)


def test_the_webhook_is_signed_and_repeats_the_same_bytes(sqlite_world: World) -> None:
    world = sqlite_world
    with WebhookReceiver() as receiver:
        world.channels = CHANNEL.format(name="ops", url=receiver.url, severity="info") + f'secret = "{SECRET}"\n'
        world.configure(enabled=False)
        world.dispatcher = NoticeDispatcher(world.store, clock=world.clock, current=world.watch.newest)
        receiver.replies.append(Reply(status=500))
        world.look()
        world.send()
        assert world.notice_states() == [NoticeState.PENDING]
        world.clock.advance(31)
        world.send()
        assert world.notice_states() == [NoticeState.SENT]
        first, second = receiver.requests
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    content = json.loads(second.body)
    assert set(content) == {"type", "timestamp", "data"}
    assert content["type"] == "alert.raised"
    assert {"kind", "severity", "title", "detail", "remedy", "url", "since"} <= set(content["data"])
    signed = f"{second.headers['webhook-id']}.{second.headers['webhook-timestamp']}.".encode() + second.body
    digest = base64.b64encode(hmac.new(b"twenty-four secret bytes", signed, hashlib.sha256).digest()).decode()
    assert second.headers["webhook-signature"] == f"v1,{digest}"


def test_a_webhook_reaches_no_private_address_that_is_not_allowed(sqlite_world: World) -> None:
    world = sqlite_world
    with WebhookReceiver() as receiver:
        world.channels = CHANNEL.format(name="ops", url=receiver.url, severity="info")
        world.configure(enabled=False)
        world.dispatcher = NoticeDispatcher(world.store, clock=world.clock, current=world.watch.newest)
        world.look()
        strict = replace(world.watch.newest(), network=type(world.watch.newest().network)())
        world.dispatcher.send_due("ops", strict)
        assert receiver.requests == []
    with world.store.reading() as work:
        assert "private address" in read_channel_health(work, ["ops"])["ops"].error


def test_a_mail_is_sent_and_a_refused_one_is_sent_again(sqlite_world: World) -> None:
    world = sqlite_world
    with MailServer() as server:
        world.channels = CHANNEL.format(name="ops", url=server.url, severity="warning")
        world.configure(enabled=False)
        world.dispatcher = NoticeDispatcher(world.store, clock=world.clock, current=world.watch.newest)
        server.refusals = 1
        world.look()
        world.send()
        with world.store.reading() as work:
            assert read_channel_health(work, ["ops"])["ops"].error
        world.clock.advance(31)
        world.send()
        (mail,) = server.mails
    assert mail["Subject"] == "[Punchcard] Warning: perkville is switched off."
    assert mail["To"] == "ops@example.com"
    text = mail.get_content()
    assert "Its events earn nothing" in text
    assert "https://points.example.com/destinations/perkville/settings" in text
    assert "<" not in text


def test_a_server_that_is_away_is_an_error_with_its_reason(sqlite_world: World) -> None:
    channel = AlertChannel(slug="ops", name="ops", url="mailto://127.0.0.1:9?from=a@example.com&to=b@example.com")
    body = _any_body()
    with pytest.raises(ChannelError, match=r"127\.0\.0\.1"):
        send_notice(channel, body, context_of(sqlite_world))


def _any_body() -> Notice:
    from punchcard.operations.alert_channels import check_notice

    channel = AlertChannel(slug="ops", name="ops", url="https://a.example")
    return check_notice(channel, public_url="https://points.example.com", clock=ManualClock())
