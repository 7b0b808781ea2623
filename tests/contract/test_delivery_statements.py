"""A delivery cycle is a fixed number of statements: what each costs is paid once, not once for every effect."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import Engine, event, update

from punchcard.clock import SystemClock
from punchcard.delivery.stages import CompletedAttempt, Cycle, DeliveryTarget, cycle, record_results
from punchcard.delivery.telemetry import DeliveryTelemetry
from punchcard.destinations.port import DeliveryOptions, Performed
from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import Attempt, NewEffect, OrderingGroup
from punchcard.store.delivery.schema import effects
from punchcard.store.engine import Store
from punchcard.testing.effects import DESTINATION, new_effect
from punchcard.testing.partner.scripted import ScriptedPartner, ScriptedSettings

FEW, MANY = 2, 450  # the latter is more than one statement may list on old builds of SQLite
STATEMENTS_MAX = 20
# With the one that begins the unit of work.
SINGLE_CLAIM_STATEMENTS_MAX = 6
SINGLE_RESULT_STATEMENTS_MAX = 13


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements that are run, each once for all of its rows."""
    texts: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        texts.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield texts
    finally:
        event.remove(Engine, "before_cursor_execute", note)


class World:
    """A store with one destination. A test runs its cycles one by one."""

    def __init__(self, store: Store) -> None:
        self.store = store
        options = DeliveryOptions(requests_per_second=0, concurrency=MANY)
        self.target = DeliveryTarget(
            slug=DESTINATION,
            partner=ScriptedPartner(clock=SystemClock()),
            settings=ScriptedSettings(options=options),
            options=options,
            fingerprint="good",
        )

    def add(self, orders: Sequence[str], *, is_refund: bool = False) -> None:
        with self.store.unit_of_work() as work:
            outbox.add(work, [_of_order(order, is_refund=is_refund) for order in orders], now=SystemClock().now())

    def cycle(self, performed: Sequence[Attempt] = (), *, room: int = 0, busy: Collection[OrderingGroup] = ()) -> Cycle:
        completed = [
            CompletedAttempt(
                attempt=attempt, result=Performed(status=201, partner_id="1"), seconds=0.1, fingerprint="good"
            )
            for attempt in performed
        ]
        telemetry = DeliveryTelemetry(DESTINATION)
        return cycle(self.store, self.target, completed, room=room, clock=SystemClock(), telemetry=telemetry, busy=busy)


def _of_order(order: str, *, is_refund: bool) -> NewEffect:
    effect = new_effect(f"{order}{'-refund' if is_refund else ''}", customer=f"{order}@example.com")
    quantity = Decimal(-1) if is_refund else Decimal(1)
    return replace(effect, order_id=order, is_refund=is_refund, requested_quantity=quantity)


@pytest.fixture
def world(store_url: str) -> Iterator[World]:
    store = Store(store_url)
    yield World(store)
    store.close()


def test_results_and_claims_of_many_effects_take_as_many_statements_as_those_of_few(world: World) -> None:
    def count_of(number: int) -> int:
        world.add([f"{number}-{order}" for order in range(number)])
        first = world.cycle(room=number)
        world.add([f"{number}-{order}-next" for order in range(number)])
        with statements() as texts:
            second = world.cycle(first.attempts, room=number)
        assert (len(first.attempts), len(second.attempts)) == (number, number)
        world.cycle(second.attempts)
        return len(texts)

    few = count_of(FEW)
    assert count_of(MANY) == few
    assert few <= STATEMENTS_MAX


def test_refunds_that_are_decided_together_read_their_orders_at_once(world: World) -> None:
    def count_of(number: int) -> int:
        orders = [f"{number}-{order}" for order in range(number)]
        world.add(orders)
        world.cycle(world.cycle(room=number).attempts)
        world.add(orders, is_refund=True)
        with statements() as texts:
            refunds = world.cycle(room=number)
        assert [attempt.quantity for attempt in refunds.attempts] == [Decimal(-1)] * number
        world.cycle(refunds.attempts)
        return len(texts)

    few = count_of(FEW)
    assert count_of(MANY) == few
    assert few <= STATEMENTS_MAX


def test_a_cycle_finds_out_by_itself_what_the_loop_waits_for(world: World) -> None:
    world.add(["1"])
    sent = world.cycle(room=4)
    assert (len(sent.attempts), sent.next_due, sent.holds_back) == (1, None, False)
    world.add(["1"], is_refund=True)  # of the same customer
    busy = [attempt.effect.ordering_group for attempt in sent.attempts]
    behind = world.cycle(room=4, busy=busy)
    assert (behind.attempts, behind.next_due, behind.holds_back) == ([], None, True)
    refund = world.cycle(sent.attempts, room=4)
    assert [attempt.effect.is_refund for attempt in refund.attempts] == [True]
    done = world.cycle(refund.attempts, room=4)
    assert (done.attempts, done.next_due, done.holds_back) == ([], None, False)
    world.add(["2"])
    assert world.cycle(room=0).next_due is None  # nothing could be claimed, so another wait comes first
    due_at = SystemClock().now() + timedelta(hours=1)
    with world.store.unit_of_work() as work:
        work.execute(update(effects).where(effects.c.is_open).values(due_at=due_at))
    assert world.cycle(room=4).next_due == due_at


def test_a_single_event_takes_two_units_of_work_and_few_statements(world: World) -> None:
    """An event that comes alone costs what these cost."""
    world.add(["1"])
    with statements() as texts:
        sent = world.cycle(room=4)
    assert len(texts) <= SINGLE_CLAIM_STATEMENTS_MAX
    with statements() as texts:
        world.cycle(sent.attempts, room=4)
    assert len(texts) <= SINGLE_RESULT_STATEMENTS_MAX


def test_a_result_has_the_time_at_which_it_came(world: World) -> None:
    world.add(["1"])
    (attempt,) = world.cycle(room=4).attempts
    came_at = SystemClock().now() - timedelta(milliseconds=20)
    performed = Performed(status=201, partner_id="1")
    completed = CompletedAttempt(
        attempt=attempt, result=performed, seconds=0.1, fingerprint="good", finished_at=came_at
    )
    with world.store.unit_of_work() as work:
        record_results(work, world.target, [completed], clock=SystemClock())
        stored = outbox.effect_by_id(work, attempt.effect.id)
    assert stored.finished_at == came_at
