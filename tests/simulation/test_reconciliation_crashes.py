"""A reconciliation, and resolving its differences, while the process ends between any two writes."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from punchcard.delivery.request_permits import OwnPermits
from punchcard.delivery.stages import DeliveryTarget
from punchcard.errors import StorageError
from punchcard.operations.reconciliation import DifferenceAction, resolve_differences
from punchcard.operations.reconciliation_runner import (
    ReconciledDestination,
    ReconciliationPlan,
    ReconciliationRunner,
)
from punchcard.store.delivery.effects import EffectState
from punchcard.store.operations.reconciliation_differences import DifferenceQuery, DifferenceState, list_differences
from punchcard.store.operations.reconciliations import (
    Reconciliation,
    ReconciliationStatus,
    add_reconciliation,
    list_reconciliations,
)
from punchcard.testing.effects import stored_effect
from punchcard.testing.partner.scripted import LIST, Booking, ScriptedSettings, Step
from punchcard.testing.world import OPTIONS, SLUG, ProcessEnd, World, batch_of, track

CUSTOMERS = ("ann@example.com", "bob@example.com", "cid@example.com")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, seed=1, refuses_used_keys=True)
    world.partner.mishaps = 0
    yield world
    world.close()


def key(number: int) -> str:
    return f"SEG:website:EVENT:m{number}"


def awarded(world: World) -> None:
    """Three awards, of which the partner loses one and books another twice."""
    world.send(batch_of(*(track(f"m{number}", email=email, quantity="2") for number, email in enumerate(CUSTOMERS))))
    world.route()
    for _ in range(4):
        world.deliver(room=10)
        for number in range(3):
            world.perform(number)
            world.receive_result(0)
    world.deliver(room=0)
    assert sorted(world.partner.keys()) == [key(0), key(1), key(2)]
    book: dict[str, Booking] = {booking.effect.effect_key: booking for booking in world.partner.book}
    again = Booking(partner_id="again", effect=book[key(2)].effect)
    world.partner.book[:] = [book[key(1)], book[key(2)], again]
    world.clock.advance(1)


def request(world: World) -> None:
    with world.store.unit_of_work() as work:
        now = world.clock.now()
        add_reconciliation(work, SLUG, since=now.replace(year=now.year - 1), requested_by="test", now=now)


def reconcile(world: World) -> bool:
    """One process takes the oldest reconciliation as far as possible."""
    settings = ScriptedSettings(token=next(iter(world.partner.tokens)), options=OPTIONS)
    target = DeliveryTarget(slug=SLUG, partner=world.partner, settings=settings, options=OPTIONS, fingerprint="f")
    destination = ReconciledDestination(
        target=target, scopes=frozenset({SLUG, "website", "server"}), zone=ZoneInfo("UTC")
    )
    runner = ReconciliationRunner(
        SLUG,
        store=world.store,
        clock=world.clock,
        current=lambda: destination,
        permits=OwnPermits(0, world.clock),
        plan=ReconciliationPlan(),
    )

    async def run() -> bool:
        return await runner.run_once(asyncio.Event())

    return asyncio.run(run())


def newest(world: World) -> Reconciliation:
    with world.store.reading() as work:
        return list_reconciliations(work, SLUG, count=1)[0]


def differences(world: World) -> list[tuple[str, str]]:
    with world.store.reading() as work:
        differences_found = list_differences(work, DifferenceQuery(reconciliation_id=newest(world).id), count=100)
    return sorted((difference.kind.value, difference.effect_key) for difference in differences_found)


EXPECTED = [("doubled", key(2)), ("missing_at_partner", key(0))]


def test_it_ends_alike_wherever_its_process_ended(world: World) -> None:
    awarded(world)
    for points in range(1, 100):
        request(world)
        world.fuse.set(points, error=ProcessEnd())
        try:
            reconcile(world)
        except ProcessEnd:
            world.crash()
        else:
            world.fuse.clear()
            break
        reconcile(world)
        run = newest(world)
        assert run.status is ReconciliationStatus.FINISHED, points
        assert (run.totals.ledger_count, run.totals.partner_count, run.read) == (3, 3, 3), points
        assert differences(world) == EXPECTED, points
        assert not reconcile(world)
    assert points > 8  # a page, the comparison and its end are several units of work
    assert differences(world) == EXPECTED


def test_a_storage_fault_anywhere_is_tried_again(world: World) -> None:
    awarded(world)
    for points in (1, 3, 5, 7, 9):
        request(world)
        world.fuse.set(points, error=StorageError("the disk is full"))
        with pytest.raises(StorageError):
            reconcile(world)
        assert reconcile(world)
        assert (newest(world).status, differences(world)) == (ReconciliationStatus.FINISHED, EXPECTED)


@pytest.mark.parametrize("step", [Step.BUSY, Step.SLOW_DOWN, Step.REFUSE_TOKEN])
def test_whatever_the_partner_answers_between_pages_it_goes_on_where_it_was(world: World, step: Step) -> None:
    awarded(world)
    world.partner.script(LIST, reads=[Step.PERFORM, step, Step.PERFORM])
    request(world)
    reconcile(world)
    waiting = newest(world)
    assert (waiting.status, waiting.read) == (ReconciliationStatus.READING, 2)
    assert waiting.waiting_since is not None
    reconcile(world)
    assert (newest(world).read, differences(world)) == (3, EXPECTED)


def test_a_defect_ends_it_and_says_so(world: World) -> None:
    awarded(world)
    world.partner.script(LIST, reads=[Step.BREAK])
    request(world)
    reconcile(world)
    run = newest(world)
    assert run.status is ReconciliationStatus.FAILED
    assert "KeyError" in run.detail
    request(world)
    reconcile(world)
    assert newest(world).status is ReconciliationStatus.FINISHED


def test_a_decision_is_whole_or_not_made_at_all(world: World) -> None:
    """The award is queued and its difference resolved in one unit of work, and nothing is sent twice."""
    awarded(world)
    request(world)
    reconcile(world)
    query = DifferenceQuery(reconciliation_id=newest(world).id, kind="missing_at_partner")
    for points in range(1, 20):
        world.fuse.set(points, error=ProcessEnd())
        try:
            resolve_differences(
                world.store, None, query, action=DifferenceAction.SEND_AGAIN, actor="test", clock=world.clock
            )
        except ProcessEnd:
            world.crash()
        else:
            world.fuse.clear()
            break
        with world.store.reading() as work:
            (difference,) = list_differences(work, query, count=10)
            state = stored_effect(work, key(0), destination=SLUG).state
        is_resolved = difference.state is DifferenceState.RESENT
        assert state is (EffectState.UNKNOWN if is_resolved else EffectState.DELIVERED)
    for _ in range(4):
        world.pass_time(60)
        world.deliver(room=10)
        world.perform(0)
        world.receive_result(0)
    world.deliver(room=0)
    assert world.partner.keys().count(key(0)) == 1
