"""An alert has one notice for each change of its state, whatever fails and whenever the process ends."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs
from tests.contract.alert_world import CHANNEL, ProcessEnd, World, add_effects

from punchcard.errors import StorageError
from punchcard.operations.alert_evaluation import send_time
from punchcard.operations.alert_model import Condition
from punchcard.operations.alerts import CONDITIONS
from punchcard.store.delivery.schema import effects
from punchcard.store.operations.alert_notices import NoticeState, read_channel_health
from punchcard.store.operations.alerts import AlertState, acknowledge_alert, prune_alerts
from punchcard.workspace.alert_rules import AlertKind
from punchcard.workspace.model import AlertChannel


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
    assert body.title.startswith("Perkville is off")
    assert body.url == "https://points.example.com/destinations/perkville"
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
    for _ in range(15):
        world.clock.advance(120)
        world.send("ops")
        world.look()
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


@pytest.mark.parametrize(
    ("error", "event"),
    [
        pytest.param(RuntimeError("a defect"), "alert_condition_failed", id="defect"),
        pytest.param(StorageError("the store is away"), "alert_storage_failed", id="store away"),
    ],
)
def test_a_condition_that_fails_hides_no_other_and_keeps_its_alerts(
    sqlite_world: World, monkeypatch: pytest.MonkeyPatch, error: Exception, event: str
) -> None:
    world = sqlite_world
    world.configure(enabled=False)
    with world.store.unit_of_work() as work:
        add_effects(work, 1, state="parked", reason="perk_unknown")
    world.look()
    assert world.open_kinds() == {"off", "parked"}

    def fail(*_: object) -> list[Any]:
        raise error

    broken = tuple(
        Condition(kinds=condition.kinds, find=fail) if AlertKind.OFF in condition.kinds else condition
        for condition in CONDITIONS
    )
    monkeypatch.setattr("punchcard.operations.alert_evaluation.CONDITIONS", broken)
    with world.store.unit_of_work() as work:
        work.execute(update(effects).values(state="delivered"))
    world.configure()
    with capture_logs() as logged:
        world.look()
    assert world.open_kinds() == {"off"}
    assert event in {entry["event"] for entry in logged if entry["log_level"] != "info"}


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
