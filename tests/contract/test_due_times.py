"""A wall clock that is set forward or back: nothing waits for hours, and nothing unknown is read back too early."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from punchcard.delivery.attempts import SendBefore
from punchcard.delivery.clock_watch import ClockWatch
from punchcard.delivery.operator_retries import Retryable, find_retryable, retry
from punchcard.delivery.retry import longest_wait_seconds
from punchcard.delivery.stages import DeliveryTarget, cycle
from punchcard.delivery.telemetry import DeliveryTelemetry
from punchcard.destinations.port import DeliveryOptions
from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import AttemptOutcome, EffectState, StoredEffect
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.testing.effects import DESTINATION, attempt_result, begin_all, new_effect, stored_effect
from punchcard.testing.partner.scripted import ScriptedPartner, ScriptedSettings

HOUR = 3_600.0
OPTIONS = DeliveryOptions(requests_per_second=0)
CHANGES = [-HOUR * 24 * 365, -5 * HOUR, -HOUR, -90.0, 90.0, HOUR, 5 * HOUR, 24 * 365 * HOUR]
TELEMETRY = DeliveryTelemetry(DESTINATION)


class World:
    """A store and a clock, with a watch that a restart renews."""

    def __init__(self, url: str) -> None:
        self.store = Store(url)
        self.clock = ManualClock()
        self.partner = ScriptedPartner(clock=self.clock)
        self.watch = ClockWatch(self.clock)

    def restart(self) -> None:
        self.watch = ClockWatch(self.clock)

    def add(self, *keys: str) -> None:
        with self.store.unit_of_work() as work:
            effects = [new_effect(key, customer=f"{key}@example.com") for key in keys]
            outbox.add(work, effects, now=self.clock.now())

    def put_off(self, key: str, *, state: EffectState, seconds: float) -> None:
        """An attempt of an effect ends now, and it waits for so long."""
        with self.store.unit_of_work() as work:
            effect = stored_effect(work, key)
            begin_all(work, [effect], now=self.clock.now(), lease_until=self.clock.now())
            ended = attempt_result(
                effect,
                clock=self.clock,
                state=state,
                outcome=AttemptOutcome.UNKNOWN if state is EffectState.UNKNOWN else AttemptOutcome.RETRYABLE,
                reason="outcome_unknown" if state is EffectState.UNKNOWN else "partner_unavailable",
                due_at=self.clock.now() + timedelta(seconds=seconds),
            )
            assert outbox.record_results(work, [ended]) == 1

    def claimed(self, *, room: int = 100) -> list[str]:
        """The keys of what a cycle of delivery claims now."""
        settings = ScriptedSettings(options=OPTIONS)
        target = DeliveryTarget(
            slug=DESTINATION, partner=self.partner, settings=settings, options=OPTIONS, fingerprint=settings.token
        )
        done = cycle(self.store, target, [], room=room, clock=self.clock, telemetry=TELEMETRY, watch=self.watch)
        return sorted(attempt.effect.effect_key for attempt in done.attempts)

    def effect(self, key: str) -> StoredEffect:
        with self.store.reading() as connection:
            return stored_effect(connection, key)

    def retryable(self, **chosen: object) -> Retryable:
        requested = {"destination": None, "reason": None, "message_ids": [], **chosen}
        with self.store.reading() as connection:
            return find_retryable(
                connection,
                configured={DESTINATION: OPTIONS},
                now=self.clock.now(),
                **requested,  # type: ignore[arg-type]
            )


@pytest.fixture
def world(store_url: str) -> Iterator[World]:
    world = World(store_url)
    yield world
    world.store.close()


@pytest.fixture
def small_world(tmp_path: Path) -> Iterator[World]:
    world = World(f"sqlite:///{tmp_path / 'store.db'}")
    yield world
    world.store.close()


@pytest.mark.parametrize("restarts", [False, True], ids=["the same process", "a restart meanwhile"])
@pytest.mark.parametrize("change", CHANGES)
def test_after_the_clock_was_set_and_set_back_nothing_waits_for_it(
    small_world: World, change: float, restarts: bool
) -> None:
    world = small_world
    keys = [f"k{number}" for number in range(10)]
    world.add(*keys)
    world.claimed()  # so that the watch has seen the clock
    for key in keys:
        with world.store.unit_of_work() as work:
            outbox.put(work, world.effect(key).id, state=EffectState.PENDING, reason=None, detail=None,
                       due_at=world.clock.now(), now=world.clock.now())  # fmt: skip
    world.clock.set_wall_clock(by=change)
    for key in keys[:8]:
        world.put_off(key, state=EffectState.RETRYING, seconds=30)
    world.add("new")
    world.clock.advance(1)
    world.claimed(room=0)  # delivery looks several times a second
    world.clock.set_wall_clock(by=-change)
    if restarts:
        world.restart()
    due = world.claimed()
    if change > 0:
        assert due == sorted([*keys, "new"])  # what waited for 30 seconds from a time that has not come is due now
    else:
        # They were postponed in the past: by the current clock they are due, or due in 30 seconds.
        assert {"k8", "k9", "new"} <= set(due)
        world.clock.advance(31)
        assert set(due) | set(world.claimed()) == {*keys, "new"}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_unknown_is_not_read_back_before_its_request_can_have_landed(world: World, change: float) -> None:
    world.add("a")
    world.claimed()
    with world.store.unit_of_work() as work:
        outbox.release_orphans(
            work,
            DESTINATION,
            now=world.clock.now(),
            due_at=world.clock.now() + timedelta(seconds=OPTIONS.unknown_wait_seconds),
        )
    world.clock.advance(1)
    world.clock.set_wall_clock(by=change)
    for _ in range(3):
        assert world.claimed() == []  # the clock says that it is time, or that it will not be for years
        world.clock.advance(OPTIONS.unknown_wait_seconds / 4)
    world.clock.advance(OPTIONS.unknown_wait_seconds)
    assert world.claimed() == ["a"]


@pytest.mark.parametrize("change", CHANGES)
def test_an_effect_on_its_way_is_not_claimed_by_its_own_process_however_the_clock_is_set(
    world: World, change: float
) -> None:
    world.add("a")
    assert world.claimed() == ["a"]
    world.clock.set_wall_clock(by=change)
    ordering_group = world.effect("a").ordering_group
    settings = ScriptedSettings(options=OPTIONS)
    target = DeliveryTarget(
        slug=DESTINATION, partner=world.partner, settings=settings, options=OPTIONS, fingerprint=settings.token
    )
    done = cycle(
        world.store,
        target,
        [],
        room=9,
        clock=world.clock,
        telemetry=TELEMETRY,
        watch=world.watch,
        busy=[ordering_group],
    )
    assert list(done.attempts) == []


def test_a_new_leader_frees_what_others_had_on_their_way_and_leaves_its_own(world: World) -> None:
    world.add("own", "other")
    assert world.claimed() == ["other", "own"]
    own = world.effect("own")
    due_at = world.clock.now() + timedelta(seconds=25)
    with world.store.unit_of_work() as work:
        released = outbox.release_orphans(
            work, DESTINATION, now=world.clock.now(), due_at=due_at, own={(own.id, own.attempts)}
        )
    assert released == 1
    assert world.effect("own").state is EffectState.SENDING
    other = world.effect("other")
    assert (other.state, other.due_at) == (EffectState.UNKNOWN, due_at)


def test_a_due_time_further_away_than_any_wait_is_due_now_though_no_clock_is_seen_to_change(world: World) -> None:
    """Both clocks changed together, or the change was made by another machine: only the due time itself is absurd."""
    world.add("far", "near", "unknown")
    assert len(world.claimed()) == 3
    longest = longest_wait_seconds(OPTIONS)
    for key, state, seconds in (
        ("far", EffectState.RETRYING, longest + 60),
        ("near", EffectState.RETRYING, longest - 60),
        ("unknown", EffectState.UNKNOWN, longest + 60),
    ):
        with world.store.unit_of_work() as work:
            due_at = world.clock.now() + timedelta(seconds=seconds)
            outbox.put(
                work, world.effect(key).id, state=state, reason="x", detail=None, due_at=due_at, now=world.clock.now()
            )
    world.clock.advance(31)  # it is looked for now and then
    assert world.claimed() == ["far"]
    world.clock.advance(OPTIONS.unknown_wait_seconds)
    assert world.claimed() == ["unknown"]
    assert world.effect("near").state is EffectState.RETRYING


def test_five_hours_are_further_away_than_any_wait_of_the_default_schedule() -> None:
    assert longest_wait_seconds(DeliveryOptions()) < 5 * HOUR


def test_a_refund_that_was_put_off_by_another_clock_is_looked_at_again(small_world: World) -> None:
    world = small_world
    world.add("refund")
    world.claimed()
    world.clock.set_wall_clock(by=HOUR)
    world.claimed(room=0)
    with world.store.unit_of_work() as work:
        now = world.clock.now()
        outbox.put(
            work,
            world.effect("refund").id,
            state=EffectState.RETRYING,
            reason="waiting_for_order",
            detail=None,
            due_at=now + timedelta(seconds=2),
            now=now,
        )
    world.clock.set_wall_clock(by=-HOUR)
    assert world.claimed() == ["refund"]


@pytest.mark.parametrize("seconds", [5 * HOUR, 24 * 365 * HOUR])
def test_a_person_can_list_and_free_what_waits_for_a_time_that_was_never_meant(world: World, seconds: float) -> None:
    world.add("a", "b", "c")
    assert len(world.claimed()) == 3
    world.put_off("c", state=EffectState.RETRYING, seconds=30)
    world.clock.set_wall_clock(by=seconds)
    world.put_off("a", state=EffectState.RETRYING, seconds=30)
    world.put_off("b", state=EffectState.UNKNOWN, seconds=30)
    world.clock.set_wall_clock(by=-seconds)
    retryable = world.retryable()
    assert [item.effect_key for item in retryable.overlong] == ["a", "b"]
    assert not retryable.is_nothing
    assert [item.effect_key for item in world.retryable(message_ids=["message of a"]).overlong] == ["a"]
    assert [item.effect_key for item in world.retryable(reason="outcome_unknown").overlong] == ["b"]
    assert world.retryable(destination="another").is_nothing
    with world.store.unit_of_work() as work:
        assert retry(work, retryable, actor="ann", now=world.clock.now()) == 2
    assert world.retryable().is_nothing
    assert world.effect("a").due_at == world.clock.now()
    assert world.effect("b").due_at > world.clock.now() + timedelta(seconds=OPTIONS.unknown_wait_seconds)
    assert world.effect("b").state is EffectState.UNKNOWN


def test_a_claimed_request_is_late_by_whichever_clock_says_so() -> None:
    clock = ManualClock()
    before = SendBefore(instant=clock.now() + timedelta(seconds=5), elapsed=clock.monotonic() + 5)
    assert not before.is_over(clock)
    clock.set_wall_clock(by=-HOUR)
    clock.advance(6)  # the process was frozen, and the clock set back meanwhile
    assert before.is_over(clock)
    clock = ManualClock()
    clock.set_wall_clock(by=HOUR)  # the machine was suspended: only the wall clock went on
    assert before.is_over(clock)


def test_a_change_is_dealt_with_again_if_the_unit_of_work_failed(small_world: World) -> None:
    world = small_world
    world.claimed()
    assert not world.watch.read().was_set
    world.clock.set_wall_clock(by=HOUR)
    assert world.watch.read().was_set
    reading = world.watch.read()
    assert reading.was_set
    world.watch.done(reading)
    assert not world.watch.read().was_set
    world.clock.advance(10**6)
    assert not world.watch.read().was_set


def put_off_for_hours(world: World, key: str, *, state: EffectState = EffectState.RETRYING) -> None:
    world.add(key)
    world.put_off(key, state=state, seconds=4 * HOUR)
    world.clock.advance(seconds=60)


def wait_of(world: World, key: str) -> float:
    return (world.effect(key).due_at - world.clock.now()).total_seconds()


@pytest.mark.parametrize("state", [EffectState.RETRYING, EffectState.UNKNOWN])
def test_a_long_wait_that_the_partner_requested_ends_soon_after_it_takes_another_award(
    world: World, state: EffectState
) -> None:
    world.claimed()
    put_off_for_hours(world, "slow", state=state)
    world.claimed()
    assert wait_of(world, "slow") > 3 * HOUR
    world.add("other")
    world.put_off("other", state=EffectState.DELIVERED, seconds=0)
    world.clock.advance(seconds=60)
    world.claimed()
    assert wait_of(world, "slow") == 600
    assert "slow" not in world.claimed()
    world.clock.advance(seconds=601)
    assert "slow" in world.claimed()


def test_an_earlier_success_does_not_shorten_what_the_partner_requested(world: World) -> None:
    world.add("other")
    world.put_off("other", state=EffectState.DELIVERED, seconds=0)
    world.clock.advance(seconds=1)
    put_off_for_hours(world, "slow")
    world.claimed()
    assert wait_of(world, "slow") > 3 * HOUR


def test_a_wait_of_the_schedule_is_kept_whatever_the_partner_takes(world: World) -> None:
    world.add("slow")
    for tries in range(1, 9):
        world.put_off("slow", state=EffectState.RETRYING, seconds=1)
        assert world.effect("slow").tries == tries
    world.put_off("slow", state=EffectState.RETRYING, seconds=5_000)
    world.add("other")
    world.clock.advance(seconds=1)
    world.put_off("other", state=EffectState.DELIVERED, seconds=0)
    world.claimed()
    assert wait_of(world, "slow") == 4_999
