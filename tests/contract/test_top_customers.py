"""Home's list of customers: who was given most, by points, of the newest awards, on every database."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import update

from punchcard.store.delivery import outbox
from punchcard.store.delivery.customer_awards import top_customers
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.schema import effects
from punchcard.store.engine import Store
from punchcard.testing.effects import DESTINATION, new_effect
from punchcard.testing.fresh_store import with_tables

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
END = NOW + timedelta(days=1)
AWARDS = [  # oldest first: customer, item, quantity
    ("ann@example.com", "visit", "1"),
    ("ann@example.com", "visit", "1"),
    ("bob@example.com", "order", "9.99"),
    ("", "order", "500"),
    ("cy@example.com", "unknown", "12.5"),
    ("ann@example.com", "order", "-2.50"),
]


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = Store(with_tables(store_url))
    with opened.unit_of_work() as work:
        for number, (customer, item, quantity) in enumerate(AWARDS):
            at = NOW + timedelta(minutes=number)
            effect = new_effect(f"SEG:{number}", customer=customer or "x@example.com", received_at=at)
            outbox.add(work, [replace(effect, item=item, requested_quantity=Decimal(quantity))], now=at)
            work.execute(
                update(effects)
                .where(effects.c.effect_key == effect.effect_key)
                .values(state=EffectState.DELIVERED, is_open=False, quantity=quantity, customer=customer)
            )
        outbox.add(work, [new_effect("SEG:open", customer="open@example.com", received_at=NOW)], now=NOW)
    yield opened
    opened.close()


def top(
    store: Store, weights: dict[str, dict[str, Decimal]], *, counted_max: int = 99
) -> tuple[list[tuple[str, int, Decimal]], bool]:
    with store.reading() as work:
        customers, is_partial = top_customers(work, weights, begin=NOW, end=END, counted_max=counted_max, limit=2)
    return [(customer, awards, amount) for customer, awards, amount in customers], is_partial


def test_quantities_are_weighted_by_the_points_of_their_items(store: Store) -> None:
    weights = {DESTINATION: {"visit": Decimal(20), "order": Decimal(2)}}
    assert top(store, weights) == (
        [("ann@example.com", 3, Decimal("35.00")), ("bob@example.com", 1, Decimal("19.98"))],
        False,
    )


def test_without_points_units_are_added(store: Store) -> None:
    assert top(store, {DESTINATION: {}}) == (
        [("cy@example.com", 1, Decimal("12.50")), ("bob@example.com", 1, Decimal("9.99"))],
        False,
    )


def test_only_the_newest_awards_of_a_destination_are_counted(store: Store) -> None:
    weights = {DESTINATION: {"visit": Decimal(10)}, "other": {}}
    assert top(store, weights, counted_max=2) == (
        [("cy@example.com", 1, Decimal("12.50")), ("ann@example.com", 1, Decimal("-2.50"))],
        True,
    )
    assert top(store, weights, counted_max=len(AWARDS))[1] is False


def test_without_destinations_there_are_no_customers(store: Store) -> None:
    assert top(store, {}) == ([], False)


def test_hundreds_of_destinations_are_counted_together(store: Store) -> None:
    with store.unit_of_work() as work:
        for number in (0, 600):
            effect = new_effect(f"SEG:club:{number}", destination=f"club-{number}", received_at=NOW)
            outbox.add(work, [replace(effect, customer="bob@example.com", item="order")], now=NOW)
        work.execute(
            update(effects)
            .where(effects.c.destination.startswith("club-"))
            .values(state=EffectState.DELIVERED, is_open=False, quantity="10")
        )
    weights: dict[str, dict[str, Decimal]] = {DESTINATION: {}}
    weights.update({f"club-{number}": {} for number in range(601)})
    assert top(store, weights) == (
        [("bob@example.com", 3, Decimal("29.99")), ("cy@example.com", 1, Decimal("12.50"))],
        False,
    )
