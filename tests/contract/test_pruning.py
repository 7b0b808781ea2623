"""Refused orders and counts of notes are kept for a time, and no longer; what a refund still needs stays."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from punchcard.clock import to_micros
from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.orders import RefusedOrder, prune_refused_orders, record_refused_orders, refusal_of_order
from punchcard.store.delivery.schema import refused_orders
from punchcard.store.engine import Store
from punchcard.store.routing.note_counts import add_note_counts, prune_note_counts, read_note_counts
from punchcard.testing.effects import new_effect, stored_effect

NOW = datetime(2026, 3, 1, tzinfo=UTC)
OLD = NOW - timedelta(days=500)
CUTOFF = NOW - timedelta(days=400)
DESTINATION = "perkville"


@pytest.fixture
def store(store_url):
    made = Store(store_url)
    yield made
    made.close()


def refuse(work, order_id: str, *, at: datetime) -> None:
    order = RefusedOrder(
        destination=DESTINATION, order_id=order_id, source="web", reason="missing_email", message_id="m", received_at=at
    )
    record_refused_orders(work, [order])


def refund(work, order_id: str, state: EffectState) -> None:
    new = replace(
        new_effect(f"refund:{order_id}", customer=f"{order_id}@example.com", quantity=None),
        destination=DESTINATION,
        order_id=order_id,
        is_refund=True,
    )
    outbox.add(work, [new], now=NOW)
    effect = stored_effect(work, new.effect_key, destination=DESTINATION)
    outbox.put(work, effect.id, state=state, reason="waiting_for_order", detail=None, due_at=NOW, now=NOW)


def test_old_refusals_are_pruned_in_chunks_and_those_that_a_refund_needs_stay(store):
    with store.unit_of_work() as work:
        for number in range(5):
            refuse(work, f"old-{number}", at=OLD)
        refuse(work, "new", at=NOW)
        for state in (EffectState.RETRYING, EffectState.PARKED, EffectState.REJECTED):
            refuse(work, state, at=OLD)
            refund(work, state, state)
    pruned = []
    while not pruned or pruned[-1]:
        with store.unit_of_work() as work:
            pruned.append(prune_refused_orders(work, before=CUTOFF, limit=4))
    assert pruned == [4, 2, 0]
    with store.reading() as work:
        left = work.scalars(select(refused_orders.c.order_id).order_by(refused_orders.c.order_id)).all()
        assert left == ["new", "parked", "retrying"]
        assert refusal_of_order(work, DESTINATION, "retrying", source=None) == "missing_email"


def test_old_note_counts_are_pruned_in_chunks(store):
    with store.unit_of_work() as work:
        add_note_counts(work, {(to_micros(OLD), "web", f"reason-{number}"): 1 for number in range(5)})
        add_note_counts(work, {(to_micros(NOW), "web", "new"): 3})
    pruned = []
    while not pruned or pruned[-1]:
        with store.unit_of_work() as work:
            pruned.append(prune_note_counts(work, before=CUTOFF, limit=3))
    assert pruned == [3, 2, 0]
    with store.reading() as work:
        assert read_note_counts(work, "web", since=OLD) == {"new": 3}
