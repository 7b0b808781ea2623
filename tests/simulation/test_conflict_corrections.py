"""Orders with contradicting contents, refunds and operators who choose, with crashes and lost responses in between."""

from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest

from punchcard.errors import ConfigurationError, StorageError
from punchcard.operations.conflict_resolution import (
    CANNOT_CORRECT,
    AlreadyResolvedError,
    correct_to_second,
    keep_first,
)
from punchcard.store.delivery import ledger
from punchcard.store.delivery.conflicts import ConflictQuery, StoredConflict, list_conflicts
from punchcard.store.delivery.effects import ConflictResolution, EffectState, StoredEffect
from punchcard.testing.examples import examples
from punchcard.testing.partner.scripted import Step
from punchcard.testing.simulation import run_until_idle, set_fuse
from punchcard.testing.world import SLUG, ProcessEnd, World, batch_of, track

_CUSTOMERS = ("ann@example.com", "bob@example.com")
_STEPS = 200
_ZERO = Decimal(0)


@pytest.mark.parametrize("seed", range(examples(12, part=6)))
def test_an_order_is_worth_what_its_chosen_content_says(tmp_path: Path, seed: int) -> None:
    """Whatever happens in between, the partner's total of an order is that of the chosen content less its refunds."""
    chance = Random(f"corrections of {seed}")
    world = World(tmp_path, seed=seed, refuses_used_keys=chance.random() < 0.5)
    try:
        for order_id in ("o0", "o2"):
            if chance.random() < 0.5:
                world.partner.script(f"SEG:{SLUG}:ORDER:{order_id}", [Step.REJECT] * 2)
        for number in range(_STEPS):
            set_fuse(world, chance)
            _step(world, chance, number)
            _check_always(world)
        run_until_idle(world)
        for _ in range(8):
            _resolve_one(world, chance)
        run_until_idle(world)
        _check_always(world)
        _check_idle(world)
    finally:
        world.close()


def _step(world: World, chance: Random, number: int) -> None:
    match chance.randrange(100):
        case kind if kind < 14:
            world.send(batch_of(_event(chance, f"m{number}")))
        case kind if kind < 32:
            world.route()
        case kind if kind < 52:
            world.deliver(room=chance.randint(1, 4))
        case kind if kind < 68:
            world.perform(chance.randrange(8))
        case kind if kind < 84:
            world.receive_result(chance.randrange(8))
        case kind if kind < 91:
            _resolve_one(world, chance)
        case kind if kind < 96:
            world.pass_time(chance.choice((0.1, 6.0, 31.0, 400.0)))
        case kind if kind < 98:
            world.crash()
        case _:
            world.retry()


def _event(chance: Random, message_id: str) -> dict[str, object]:
    order_id = f"o{chance.randrange(4)}"
    # Most contents name the same customer, so that there are refunds with amounts contradict.
    email = chance.choices(_CUSTOMERS, weights=(4, 1) if order_id in ("o0", "o1") else (1, 1))[0]
    quantity = f"{chance.randint(1, 12)}"
    if chance.random() < 0.6:
        return track(message_id, email=email, quantity=quantity, order_id=order_id)
    refund_id = chance.choice((None, "r1", "r1"))
    refunded = None if chance.random() < 0.3 else quantity
    return track(message_id, email=email, quantity=refunded, order_id=order_id, refund=True, refund_id=refund_id)


def _resolve_one(world: World, chance: Random) -> None:
    with world.store.reading() as work:
        # Also those that are resolved already: somebody clicks twice.
        conflicts = list_conflicts(work, ConflictQuery(), count=100)
    if conflicts:
        resolution = chance.choice((ConflictResolution.KEPT, *[ConflictResolution.CORRECTED] * 4))
        _resolve(world, chance.choice(conflicts), resolution)


def _resolve(world: World, conflict: StoredConflict, resolution: ConflictResolution) -> None:
    """Resolve a conflict like an operator; the process may end between any two writes."""
    now = world.clock.now()
    try:
        with world.store.unit_of_work() as work:
            if resolution is ConflictResolution.KEPT:
                keep_first(work, conflict, actor="operator", now=now)
            else:
                destination = world.configuration.destinations[SLUG]
                correct_to_second(work, conflict, destination, actor="operator", now=now)
    except ProcessEnd:
        world.crash()
    except StorageError:
        return
    except ConfigurationError as error:
        if error.code not in (AlreadyResolvedError.code, CANNOT_CORRECT):
            raise


def _check_always(world: World) -> None:
    assert not world.crowded
    assert world.partner.booked_twice() == []
    for order_id, units in _units_by_order(world).items():
        assert sum(units.values()) >= 0, f"more was taken than given for {order_id}"


def _check_idle(world: World) -> None:
    with world.store.reading() as work:
        rows = ledger.page(work, ledger.LedgerQuery(destination=SLUG), count=10**6)
    by_id = {row.id: row for row in rows}
    assert not [row for row in rows if row.state.is_open]
    for row in rows:
        booking = world.partner.first_booking(row.effect_key)
        assert (booking is not None) == (row.state is EffectState.DELIVERED), row
        assert booking is None or booking.effect.quantity == row.quantity, row
    units = _units_by_order(world)
    for order_id in {row.order_id for row in rows if row.order_id}:
        own = sorted((row for row in rows if row.order_id == order_id), key=lambda row: row.id)
        _check_order(own, units[order_id], by_id)


def _check_order(own: list[StoredEffect], units: dict[str, Decimal], by_id: dict[int, StoredEffect]) -> None:
    awards = [row for row in own if not row.is_refund]
    if not awards or not _is_settled(awards[0], own):
        return
    (award,) = awards
    customer, quantity = _chosen(award)
    assert quantity is not None
    refunds = [row for row in own if row.is_refund and row.corrects is None]
    taken = [row for row in refunds if row.state is EffectState.DELIVERED]
    futile = [row for row in refunds if row.reason == "refund_nothing_left" and row.customer == customer]
    # What found nothing left was requested again, and would have taken more had there been more.
    assert sum(units.values(), _ZERO) == _left(quantity, [*taken, *futile]), own
    for other, net in units.items():
        assert net >= 0, (other, own)
        assert other == customer or net == 0, (other, net, own)


def _is_settled(award: StoredEffect, own: list[StoredEffect]) -> bool:
    """Whether the award and its corrections came to an end that a correction may have to bring about."""
    return award.state is EffectState.DELIVERED or award.corrected_content is not None


def _chosen(row: StoredEffect) -> tuple[str, Decimal | None]:
    content = row.corrected_content
    if content is None:
        return row.customer, row.requested_quantity
    quantity = content["quantity"]
    return str(content["email"]).lower(), None if quantity is None else Decimal(str(quantity))


def _left(awarded: Decimal, refunds: list[StoredEffect]) -> Decimal:
    for refund in refunds:
        _, requested = _chosen(refund)
        awarded -= awarded if requested is None else min(-requested, awarded)
    return awarded


def _units_by_order(world: World) -> dict[str, dict[str, Decimal]]:
    with world.store.reading() as work:
        rows = ledger.page(work, ledger.LedgerQuery(destination=SLUG), count=10**6)
    order_of = {row.effect_key: (row.order_id or "", row.customer) for row in rows}
    units: defaultdict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(lambda: _ZERO))
    for booking in world.partner.book:
        order_id, customer = order_of[booking.effect.effect_key]
        units[order_id][customer] += booking.effect.quantity or _ZERO
    return units
