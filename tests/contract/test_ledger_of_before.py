"""The promise of migrations of the ledger, on both engines: what an earlier version stored goes on to count."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import MetaData, NullPool, Table, create_engine, insert
from sqlalchemy.engine import make_url

from punchcard.clock import to_micros
from punchcard.delivery.stages import CompletedAttempt, DeliveryTarget, cycle
from punchcard.delivery.telemetry import DeliveryTelemetry
from punchcard.destinations.perkville.definition import TRANSACTION
from punchcard.destinations.port import DeliveryOptions, EffectKey, Intent, Performed
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.routing.conflicts import PlannedEffect, resolve_conflicts
from punchcard.routing.planning import Planned
from punchcard.store.delivery.counts import AwardTotal, read_award_totals
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.ledger import LedgerQuery, page
from punchcard.store.engine import Store
from punchcard.store.migrations.upgrade import upgrade
from punchcard.store.routing.event_results import EventStatus
from punchcard.testing.clock import ManualClock
from punchcard.testing.partner.scripted import ScriptedPartner, ScriptedSettings
from punchcard.workspace.model import Destination
from punchcard.workspace.snapshot import RoutedDestination

SLUG = "perkville"
PERK = "123456"
HOUR = datetime(2026, 1, 2, 3, tzinfo=UTC)
ORDER_KEY = "SEG:perkville:ORDER:o1:order-completed"
OPTIONS = DeliveryOptions(requests_per_second=0)


def row(effect_key: str, **changes: object) -> dict[str, object]:
    """A delivered award, as version 0020 stored it."""
    at = to_micros(HOUR)
    return {
        "destination": SLUG,
        "effect_key": effect_key,
        "kind": "transaction",
        "source": "website",
        "message_id": f"message of {effect_key}",
        "event_name": "Order Completed",
        "log_position": 1,
        "event_index": 0,
        "received_at": at,
        "customer": "ann@example.com",
        "email": "Ann@example.com",
        "perk": PERK,
        "requested_quantity": "9.99",
        "quantity": "9.99",
        "attributes": None,
        "order_id": "o1",
        "is_refund": False,
        "state": "delivered",
        "is_open": False,
        "reason": None,
        "detail": None,
        "attempts": 1,
        "tries": 1,
        "due_at": at,
        "created_at": at,
        "settled_at": at,
        "ordering_key": "ann@example.com",
        "event_type": "track",
        **changes,
    }


PENDING = {"state": "pending", "is_open": True, "attempts": 0, "tries": 0, "settled_at": None}
ROWS = [
    row(ORDER_KEY),
    row(
        "SEG:perkville:REFUND:o1:r1",
        event_name="Order Refunded",
        requested_quantity="-20",
        quantity=None,
        is_refund=True,
        refund_id="r1",
        **PENDING,
    ),
    row(
        "SEG:website:EVENT:visit",
        event_name="Checked In",
        perk="123457",
        customer="bob@example.com",
        ordering_key="bob@example.com",
        order_id=None,
        requested_quantity="1",
        quantity="1",
        **PENDING,
    ),
    row(
        "SEG:website:EVENT:trait",
        kind="user_property",
        event_name="identify",
        event_type="identify",
        perk=None,
        order_id=None,
        requested_quantity=None,
        quantity=None,
        attributes='{"vip": true}',
    ),
]


@pytest.fixture
def store(empty_store_url: str) -> Iterator[Store]:
    """A store that version 0020 wrote, opened by this version."""
    is_sqlite = empty_store_url.startswith("sqlite")
    engine = create_engine(
        make_url(empty_store_url).set(drivername="sqlite" if is_sqlite else "postgresql+psycopg"), poolclass=NullPool
    )
    with engine.begin() as connection:
        upgrade(connection, revision="0020")
        tables = MetaData()
        connection.execute(insert(Table("effects", tables, autoload_with=connection)), ROWS)
        total = {"bucket": to_micros(HOUR), "destination": SLUG, "perk": PERK, "hundredths": 999, "transactions": 1}
        connection.execute(insert(Table("award_totals", tables, autoload_with=connection)), total)
    engine.dispose()
    store = Store(empty_store_url)
    yield store
    store.close()


def totals(store: Store) -> list[AwardTotal]:
    with store.reading() as work:
        return read_award_totals(work, begin=HOUR, end=HOUR + timedelta(hours=1), destination=SLUG)


def test_every_row_is_read_with_its_item(store: Store) -> None:
    with store.reading() as work:
        effects = {effect.effect_key: effect for effect in page(work, LedgerQuery(destination=SLUG), count=9)}
    assert {key: effect.item for key, effect in effects.items()} == {
        ORDER_KEY: PERK,
        "SEG:perkville:REFUND:o1:r1": PERK,
        "SEG:website:EVENT:visit": "123457",
        "SEG:website:EVENT:trait": None,
    }
    assert [effect for effect in effects.values() if effect.unreadable] == []
    assert effects["SEG:website:EVENT:trait"].attributes == {"vip": True}


@pytest.mark.parametrize(
    ("quantity", "status", "reason"),
    [
        pytest.param("9.99", EventStatus.DUPLICATE, "same_effect", id="same-content"),
        pytest.param("8", EventStatus.CONFLICT, "same_key_other_content", id="other-content"),
    ],
)
def test_an_order_of_before_is_not_awarded_again(store: Store, quantity: str, status: EventStatus, reason: str) -> None:
    clock = ManualClock()
    partner = ScriptedPartner(clock=clock)
    destination = RoutedDestination(
        slug=SLUG,
        name="Perkville",
        partner=partner,
        settings=ScriptedSettings(),
        supported=frozenset(EventType),
        fingerprint="f",
        destination=Destination(slug=SLUG, type="scripted", sources=("website",)),
    )
    intent = Intent(
        kind=TRANSACTION,
        effect_key=EffectKey(ORDER_KEY),
        customer="ann@example.com",
        email="ann@example.com",
        event_name="Order Completed",
        item="another item of a map that was changed meanwhile",
        quantity=Decimal(quantity),
        order_id="o1",
    )
    event = Event(
        type=EventType.TRACK,
        message_id=MessageId("again"),
        timestamp=clock.now(),
        received_at=clock.now(),
        wire=WireEvent(),
        raw=b"{}",
    )
    planned_effect = PlannedEffect(
        planned=Planned(destination, intent), event=event, source="website", position=2, index=0, seen_before=False
    )
    with store.unit_of_work() as work:
        (result,) = resolve_conflicts(work, [planned_effect], now=clock.now())
    assert (result.status, result.reason) == (status, reason)


def test_what_was_open_is_delivered_against_the_balance_of_before_and_counted_by_its_item(store: Store) -> None:
    clock = ManualClock()
    settings = ScriptedSettings(options=OPTIONS)
    target = DeliveryTarget(
        slug=SLUG, partner=ScriptedPartner(clock=clock), settings=settings, options=OPTIONS, fingerprint="f"
    )
    assert totals(store) == [AwardTotal(begin=HOUR, destination=SLUG, item=PERK, units=Decimal("9.99"), transactions=1)]
    done = cycle(store, target, [], room=8, clock=clock, telemetry=DeliveryTelemetry(SLUG))
    sent = {attempt.effect.effect_key: (attempt.item, attempt.quantity) for attempt in done.attempts}
    # The refund asks for 20: no more than was awarded is taken.
    assert sent == {
        "SEG:perkville:REFUND:o1:r1": (PERK, Decimal("-9.99")),
        "SEG:website:EVENT:visit": ("123457", Decimal(1)),
    }
    completed = [
        CompletedAttempt(attempt=attempt, result=Performed(status=201, partner_id="7"), seconds=0, fingerprint="f")
        for attempt in done.attempts
    ]
    cycle(store, target, completed, room=8, clock=clock, telemetry=DeliveryTelemetry(SLUG))
    with store.reading() as work:
        states = {effect.state for effect in page(work, LedgerQuery(destination=SLUG), count=9)}
    assert states == {EffectState.DELIVERED}
    counted = sorted(totals(store), key=lambda total: total.item)
    assert counted == [
        AwardTotal(begin=HOUR, destination=SLUG, item=PERK, units=Decimal(0), transactions=2),
        AwardTotal(begin=HOUR, destination=SLUG, item="123457", units=Decimal(1), transactions=1),
    ]
