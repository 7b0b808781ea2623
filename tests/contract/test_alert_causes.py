"""Each alert comes and goes with its cause."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert, update
from tests.contract.alert_world import World, add_effects

from punchcard.operations.alert_evaluation import AlertEvaluator
from punchcard.store.delivery import outbox
from punchcard.store.delivery.counts import CountKey, add_counts
from punchcard.store.delivery.schema import delivery_attempts, effects
from punchcard.store.operations.alerts import AlertState
from punchcard.store.operations.heartbeats import Heartbeat, expect_process, write_heartbeat
from punchcard.store.workspace.config_file_status import (
    ConfigFileProblem,
    clear_config_file_problem,
    write_config_file_problem,
)
from punchcard.testing.effects import new_effect


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


def count_events(work: Any, world: World, name: str, per_hour: int, *, hours: range, status: str = "received") -> None:
    """Count events in hours before now."""
    for ago in hours:
        at = world.clock.now().replace(minute=1) - timedelta(hours=ago)
        key = CountKey(int(at.timestamp()) * 10**6, "website", "", "track", name, status, "")
        add_counts(work, {key: per_hour})


def fail_attempts(work: Any, world: World, *, started: timedelta, reason: str = "unreachable") -> None:
    add_effects(work, 2, state="retrying", reason=reason)
    for effect_id in (1, 2):
        work.execute(
            insert(delivery_attempts).values(
                effect_id=effect_id,
                number=1,
                action="send",
                started_at=world.clock.now() - started,
                finished_at=world.clock.now() - started,
                outcome="retryable",
                detail="no route",
            )
        )


def micros(world: World) -> int:
    return int(world.clock.now().timestamp()) * 10**6


def unreachable(work: Any, world: World) -> Callable[[Any], None]:
    fail_attempts(work, world, started=timedelta(minutes=6))
    return lambda work: add_effects(work, 1, state="delivered", begin=9, finished_at=world.clock.now())


def parked(work: Any, world: World) -> Callable[[Any], None]:
    add_effects(work, 2, state="parked", reason="perk_unknown")
    return lambda work: work.execute(update(effects).values(state="pending", is_open=True))


def rejected(work: Any, world: World) -> Callable[[Any], None]:
    add_effects(work, 2, state="rejected", reason="perk_unknown")
    return lambda work: work.execute(update(effects).values(reason="dismissed"))


def old_queue(work: Any, world: World) -> Callable[[Any], None]:
    add_effects(work, 1, state="pending", created_at=world.clock.now() - timedelta(minutes=61))
    return lambda work: work.execute(update(effects).values(state="delivered", is_open=False))


def hung(work: Any, world: World) -> Callable[[Any], None]:
    add_effects(work, 1, state="sending", lease_until=world.clock.now() - timedelta(minutes=6))
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
    "hung attempt": ("hung", hung),
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


def test_what_waits_for_a_customer_whom_the_partner_does_not_know_raises_no_alert(world: World) -> None:
    with world.store.unit_of_work() as work:
        fail_attempts(work, world, started=timedelta(minutes=6), reason="no_connection")
        work.execute(update(effects).values(item=None, kind="user_property"))
        later = new_effect("behind", customer="c0@example.com", attributes={"vip": False})
        outbox.add(work, [later], now=world.clock.now())
        work.execute(update(effects).values(created_at=world.clock.now() - timedelta(minutes=61)))
    world.look()
    assert not world.open_kinds() & {"unreachable", "queue_age"}


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
    "a slow attempt": lambda work, world: add_effects(
        work, 1, state="sending", lease_until=world.clock.now() - timedelta(minutes=4)
    ),
    "no process is expected": lambda work, world: None,
    "few completed awards": lambda work, world: add_counts(
        work,
        {CountKey(micros(world), "website", "perkville", "track", "", "rejected", ""): 9},
    ),
    "rejected long ago": lambda work, world: add_effects(
        work, 1, state="rejected", reason="perk_unknown", finished_at=world.clock.now() - timedelta(days=8)
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
        points_per_unit=lambda slug, item: Decimal(10) if item == "123457" else None,
    )
    with world.store.unit_of_work() as work:
        add_effects(work, 3, state="parked", reason="perk_unknown")
        add_effects(work, 1, state="parked", reason="perk_unknown", begin=5, customer="c1@example.com")
    world.look()
    (alert,) = world.alerts()
    assert (alert.content.count, alert.content.customers, alert.content.points) == (4, 3, Decimal(60))
