"""What the ledger makes of intents: new, duplicate or conflict, within one unit of work and for ever."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from punchcard.destinations.perkville.definition import TRANSACTION, USER_PROPERTY
from punchcard.destinations.perkville.keys import DayKey, OrderKey, RefundKey
from punchcard.destinations.port import EffectKey, Intent, KeyScope, OnRepeat, ScopedKey
from punchcard.errors import InvariantError
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.routing.conflicts import PlannedEffect, record_refusals, resolve_conflicts
from punchcard.routing.planning import Planned
from punchcard.store.delivery.conflicts import conflicts_of
from punchcard.store.delivery.ledger import LedgerQuery, effect_by_key, page
from punchcard.store.delivery.orders import RefusedOrder, refusal_of_order
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import EventResult, EventStatus
from punchcard.testing.clock import ManualClock
from punchcard.testing.fresh_store import with_tables
from punchcard.testing.partner.scripted import ScriptedPartner, ScriptedSettings
from punchcard.workspace.model import Destination
from punchcard.workspace.snapshot import RoutedDestination

CLOCK = ManualClock()
INTENT = Intent(
    kind=TRANSACTION,
    effect_key=EffectKey("SEG:website:ORDER:o1:order-completed"),
    customer="ann@example.com",
    email="Ann@example.com",
    event_name="Order Completed",
    item="123456",
    quantity=Decimal("9.99"),
    order_id="o1",
)


def destination(slug: str = "perkville") -> RoutedDestination:
    partner = ScriptedPartner(clock=CLOCK)
    return RoutedDestination(
        slug=slug,
        name="Perkville",
        partner=partner,
        settings=ScriptedSettings(),
        supported=frozenset(EventType),
        fingerprint="f",
        destination=Destination(slug=slug, type="scripted", sources=("website", "server")),
    )


PERKVILLE, SECOND = destination(), destination("second")


def planned_effect(
    message_id: str = "m1",
    *,
    at: RoutedDestination = PERKVILLE,
    seen_before: bool = False,
    position: int = 1,
    index: int = 0,
    source: str = "website",
    **changes: Any,
) -> PlannedEffect:
    event = Event(
        type=EventType.TRACK,
        message_id=MessageId(message_id),
        timestamp=CLOCK.now(),
        received_at=CLOCK.now(),
        wire=WireEvent(),
        raw=b"{}",
    )
    return PlannedEffect(
        planned=Planned(at, replace(INTENT, **changes)),
        event=event,
        source=source,
        position=position,
        index=index,
        seen_before=seen_before,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(with_tables(f"sqlite:///{tmp_path / 'store.db'}"))
    yield store
    store.close()


def resolve(store: Store, *planned_effects: PlannedEffect) -> list[EventResult]:
    with store.unit_of_work() as work:
        return resolve_conflicts(work, planned_effects, now=CLOCK.now())


def kinds(results: list[EventResult]) -> list[tuple[EventStatus, str | None]]:
    return [(result.status, result.reason) for result in results]


NEW = (EventStatus.PENDING, None)
SAME_EFFECT = (EventStatus.DUPLICATE, "same_effect")
SAME_MESSAGE = (EventStatus.DUPLICATE, "duplicate_message_id")
CONFLICT = (EventStatus.CONFLICT, "same_key_other_content")
OTHER_KEY = EffectKey("SEG:website:ORDER:o2:order-completed")


def test_a_new_intent_becomes_a_pending_effect_with_all_it_knows(store: Store) -> None:
    assert resolve(store, planned_effect()) == [
        EventResult("perkville", EventStatus.PENDING, effect_key=INTENT.effect_key)
    ]
    with store.reading() as connection:
        effect = effect_by_key(connection, "perkville", INTENT.effect_key)
    assert effect is not None
    assert (effect.customer, effect.email, effect.item) == ("ann@example.com", "Ann@example.com", "123456")
    assert (effect.quantity, effect.order_id, effect.source) == (Decimal("9.99"), "o1", "website")
    assert (effect.message_id, effect.received_at) == ("m1", CLOCK.now())


# What follows the first claim, and what it is: the same whether it arrives in the same unit of work or years later.
REPEATS: list[tuple[str, Mapping[str, Any], tuple[EventStatus, str | None]]] = [
    ("the same event again", {"message_id": "m1"}, SAME_MESSAGE),
    ("the same event again, known to the index", {"message_id": "m1", "seen_before": True}, SAME_MESSAGE),
    ("another event with the same content", {"message_id": "m2"}, SAME_EFFECT),
    ("the same amount written otherwise", {"message_id": "m2", "quantity": Decimal("9.990")}, SAME_EFFECT),
    ("the same email in other letters", {"message_id": "m2", "email": "ANN@example.com"}, SAME_EFFECT),
    ("another amount", {"message_id": "m2", "quantity": Decimal("10")}, CONFLICT),
    ("no amount", {"message_id": "m2", "quantity": None}, CONFLICT),
    ("another customer", {"message_id": "m2", "customer": "bob@example.com"}, CONFLICT),
    ("the same message, another amount", {"message_id": "m1", "quantity": Decimal("10")}, CONFLICT),
    ("the same message, another key", {"message_id": "m1", "effect_key": OTHER_KEY}, SAME_MESSAGE),
    ("another message and key", {"message_id": "m2", "effect_key": OTHER_KEY}, NEW),
    (
        "a message seen before that made nothing here",
        {"message_id": "m2", "effect_key": OTHER_KEY, "seen_before": True},
        SAME_MESSAGE,
    ),
    ("at another destination", {"message_id": "m1", "at": SECOND}, NEW),
    (
        "once a day, another amount",
        {
            "message_id": "m2",
            "quantity": Decimal("10"),
            "on_repeat": OnRepeat.DUPLICATE,
            "repeat_reason": "once_per_day",
        },
        (EventStatus.DUPLICATE, "once_per_day"),
    ),
    (
        "once a day, the same event",
        {"message_id": "m1", "on_repeat": OnRepeat.DUPLICATE, "repeat_reason": "once_per_day"},
        SAME_MESSAGE,
    ),
]


@pytest.mark.parametrize("together", [True, False], ids=["in row unit of work", "in another"])
@pytest.mark.parametrize(
    ("changes", "expected"), [pytest.param(changes, expected, id=name) for name, changes, expected in REPEATS]
)
def test_a_second_intent_is_evaluated_by_key_content_and_message(
    store: Store, changes: Mapping[str, Any], expected: tuple[EventStatus, str | None], together: bool
) -> None:
    second = planned_effect(position=2, **changes)
    if together:
        _, result = resolve(store, planned_effect(), second)
    else:
        resolve(store, planned_effect())
        (result,) = resolve(store, second)
    assert (result.status, result.reason) == expected
    with store.reading() as connection:
        stored = [
            row for slug in ("perkville", "second") for row in page(connection, LedgerQuery(destination=slug), count=9)
        ]
        assert len(stored) == (2 if expected == NEW else 1)
        stored_conflicts = conflicts_of(connection, [stored[-1].id])[stored[-1].id]
    assert len(stored_conflicts) == (1 if expected == CONFLICT else 0)


def test_a_conflict_is_kept_and_says_what_stands_and_what_came(store: Store) -> None:
    resolve(store, planned_effect())
    (result,) = resolve(store, planned_effect("m2", position=2, quantity=Decimal("10"), customer="bob@example.com"))
    assert result.detail is not None
    for words in ("9.99 for ann@example.com", "message m1", "10 for bob@example.com", "nothing was sent"):
        assert words in result.detail
    with store.reading() as connection:
        effect = effect_by_key(connection, "perkville", INTENT.effect_key)
        assert effect is not None
        (conflict,) = conflicts_of(connection, [effect.id])[effect.id]
    assert effect.quantity == Decimal("9.99")
    assert conflict.message_id == "m2"
    assert msgspec.json.decode(conflict.content)["quantity"] == "10"


def test_several_conflicts_of_one_unit_of_work_are_all_kept(store: Store) -> None:
    results = resolve(
        store,
        planned_effect("m1", index=0),
        planned_effect("m2", index=1, quantity=Decimal(1)),
        planned_effect("m3", index=2, quantity=Decimal(2)),
        planned_effect("m4", index=3),
    )
    assert kinds(results) == [NEW, CONFLICT, CONFLICT, SAME_EFFECT]
    with store.reading() as connection:
        effect = effect_by_key(connection, "perkville", INTENT.effect_key)
        assert effect is not None
        assert [conflict.message_id for conflict in conflicts_of(connection, [effect.id])[effect.id]] == ["m2", "m3"]


def test_user_properties_are_compared_by_what_they_set(store: Store) -> None:
    def trait(message_id: str, value: object, *, key: str = "SEG:website:EVENT:t") -> PlannedEffect:
        return planned_effect(
            message_id,
            kind=USER_PROPERTY,
            effect_key=EffectKey(key),
            quantity=None,
            item=None,
            order_id=None,
            attributes={"vip": value, "tags": ["a", "ä"]},
        )

    assert kinds(resolve(store, trait("t1", True))) == [NEW]
    assert kinds(resolve(store, trait("t2", True))) == [SAME_EFFECT]
    assert kinds(resolve(store, trait("t3", False))) == [CONFLICT]


def test_a_message_id_with_a_nul_is_remembered_as_well(store: Store) -> None:
    assert kinds(resolve(store, planned_effect("m\x00"))) == [NEW]
    assert kinds(resolve(store, planned_effect("m\x00", position=2))) == [SAME_MESSAGE]
    assert kinds(resolve(store, planned_effect("m\x00", position=3, effect_key=OTHER_KEY))) == [SAME_MESSAGE]


def test_the_results_stand_in_the_order_of_the_claims(store: Store) -> None:
    planned_effects = [
        planned_effect(f"m{number}", effect_key=EffectKey(f"k{number % 7}"), index=number) for number in range(500)
    ]
    results = resolve(store, *planned_effects)
    assert [result.effect_key for result in results] == [f"k{number % 7}" for number in range(500)]
    assert kinds(results[:8]) == [*[NEW] * 7, SAME_EFFECT]


@pytest.mark.parametrize("key", ["x" * 101, "ä", "a\x00b"], ids=["too long", "not ASCII", "NUL"])
def test_a_key_that_could_not_be_kept_stops_routing(store: Store, key: str) -> None:
    with pytest.raises(InvariantError):
        resolve(store, planned_effect(effect_key=EffectKey(key)))


def scoped(
    key: ScopedKey, message_id: str, source: str, *, scope: KeyScope = KeyScope.DESTINATION, **changes: Any
) -> PlannedEffect:
    """A claim of an order, refund or day as this version makes it."""
    slug = "perkville" if scope is KeyScope.DESTINATION else source
    return planned_effect(
        message_id, source=source, effect_key=key.within(slug), scoped_key=key, scope=scope, **changes
    )


ORDER = OrderKey("o1", "Order Completed")
REFUND = RefundKey("o1", "r1")
DAY = DayKey("123457", "ann@example.com", date(2026, 1, 31))
TAKEN = {"is_refund": True, "quantity": Decimal(-5), "refund_id": "r1"}
ONCE = {"on_repeat": OnRepeat.DUPLICATE, "repeat_reason": "once_per_day", "order_id": None}
ONCE_PER_DAY = (EventStatus.DUPLICATE, "once_per_day")
DESTINATION, SOURCE = KeyScope.DESTINATION, KeyScope.SOURCE
SCOPED = [pytest.param(ORDER, {}, SAME_EFFECT, id="order"), pytest.param(REFUND, TAKEN, SAME_EFFECT, id="refund")]
SCOPED_AND_DAY = [*SCOPED, pytest.param(DAY, ONCE, ONCE_PER_DAY, id="day")]


@pytest.mark.parametrize("together", [True, False], ids=["in row unit of work", "in another"])
@pytest.mark.parametrize(("key", "changes", "repeated"), SCOPED_AND_DAY)
def test_what_two_sources_tell_of_is_one_effect_unless_each_counts_its_own(
    store: Store, key: ScopedKey, changes: Mapping[str, Any], repeated: tuple[EventStatus, str], together: bool
) -> None:
    for scope, expected in ((DESTINATION, repeated), (SOURCE, NEW)):
        at = PERKVILLE if scope is DESTINATION else SECOND
        planned_effects = [scoped(key, "m", source, scope=scope, at=at, **changes) for source in ("website", "server")]
        results = (
            resolve(store, *planned_effects)
            if together
            else [result for planned_effect in planned_effects for result in resolve(store, planned_effect)]
        )
        assert kinds(results) == [NEW, expected]


@pytest.mark.parametrize(("key", "changes", "repeated"), SCOPED_AND_DAY)
@pytest.mark.parametrize("old_source", ["website", "server"])
def test_keys_of_before_count_from_every_source(
    store: Store, key: ScopedKey, changes: Mapping[str, Any], repeated: tuple[EventStatus, str], old_source: str
) -> None:
    old = planned_effect("old", source=old_source, effect_key=key.within(old_source), **changes)
    assert kinds(resolve(store, old)) == [NEW]
    (result,) = resolve(store, scoped(key, "new", "website", **changes))
    assert (result.status, result.reason) == repeated
    assert result.effect_key == key.within(old_source)


@pytest.mark.parametrize(("key", "changes", "repeated"), SCOPED)
def test_an_order_of_a_source_that_is_gone_is_found(
    store: Store, key: ScopedKey, changes: Mapping[str, Any], repeated: tuple[EventStatus, str]
) -> None:
    resolve(store, planned_effect("old", source="removed", effect_key=key.within("removed"), **changes))
    assert kinds(resolve(store, scoped(key, "new", "website", **changes))) == [repeated]


@pytest.mark.parametrize(("key", "changes", "repeated"), SCOPED_AND_DAY)
@pytest.mark.parametrize(
    ("first", "then"), [(DESTINATION, SOURCE), (SOURCE, DESTINATION)], ids=["to source", "to destination"]
)
def test_nothing_is_awarded_twice_when_the_scope_is_changed_and_changed_back(
    store: Store,
    key: ScopedKey,
    changes: Mapping[str, Any],
    repeated: tuple[EventStatus, str],
    first: KeyScope,
    then: KeyScope,
) -> None:
    assert kinds(resolve(store, scoped(key, "m1", "website", scope=first, **changes))) == [NEW]
    for number, scope in enumerate((then, first, then)):
        again = scoped(key, f"again {number}", "website", scope=scope, **changes)
        assert kinds(resolve(store, again)) == [repeated]


def test_after_each_source_counted_its_own_the_same_content_is_nothing_new(store: Store) -> None:
    first = scoped(ORDER, "m1", "website", scope=SOURCE)
    second = scoped(ORDER, "m2", "server", scope=SOURCE, quantity=Decimal(7))
    assert kinds(resolve(store, first, second)) == [NEW, NEW]
    for amount, expected in (("9.99", SAME_EFFECT), ("7", SAME_EFFECT), ("8", CONFLICT)):
        again = scoped(ORDER, f"m{amount}", "server", quantity=Decimal(amount), position=9)
        assert kinds(resolve(store, again)) == [expected]


def test_another_event_of_an_order_is_another_award(store: Store) -> None:
    updated = scoped(OrderKey("o1", "Order Updated"), "m2", "server")
    assert kinds(resolve(store, scoped(ORDER, "m1", "website"), updated)) == [NEW, NEW]


def test_a_refund_is_no_award_of_its_order(store: Store) -> None:
    assert kinds(resolve(store, scoped(ORDER, "m1", "website"), scoped(REFUND, "m2", "server", **TAKEN))) == [NEW, NEW]


def test_a_conflict_of_two_sources_is_kept_with_both(store: Store) -> None:
    resolve(store, planned_effect("old", source="server", effect_key=ORDER.within("server")))
    (result,) = resolve(store, scoped(ORDER, "new", "website", position=2, quantity=Decimal(10)))
    assert (result.status, result.effect_key) == (EventStatus.CONFLICT, "SEG:server:ORDER:o1:order-completed")
    assert "from source server" in (result.detail or "")
    with store.reading() as connection:
        effect = effect_by_key(connection, "perkville", "SEG:server:ORDER:o1:order-completed")
        assert effect is not None
        (conflict,) = conflicts_of(connection, [effect.id])[effect.id]
    assert msgspec.json.decode(conflict.content)["source"] == "website"


def test_two_sources_may_number_their_events_alike(store: Store) -> None:
    def visit(source: str, message_id: str) -> PlannedEffect:
        key = EffectKey(f"SEG:{source}:EVENT:{message_id}")
        return planned_effect(message_id, source=source, effect_key=key, order_id=None, quantity=Decimal(1))

    results = resolve(store, *(visit(source, number) for source in ("website", "server") for number in ("1", "2")))
    assert kinds(results) == [NEW] * 4
    assert kinds(resolve(store, visit("server", "1"), visit("website", "2"))) == [SAME_MESSAGE] * 2


def test_a_note_stays_with_the_event(store: Store) -> None:
    (result,) = resolve(store, planned_effect(note="It looks like an order.", note_code="looks_like_order"))
    assert (result.status, result.reason, result.detail) == (
        EventStatus.PENDING,
        "looks_like_order",
        "It looks like an order.",
    )


def test_a_refused_order_is_kept_and_wakes_its_refunds(store: Store) -> None:
    resolve(store, scoped(REFUND, "m1", "website", **TAKEN))
    refused = RefusedOrder(
        destination="perkville",
        order_id="o1",
        source="server",
        reason="zero_amount",
        message_id="m2",
        received_at=CLOCK.now(),
    )
    with store.unit_of_work() as work:
        record_refusals(work, [refused, refused], destinations={"perkville": PERKVILLE}, now=CLOCK.now())
        assert refusal_of_order(work, "perkville", "o1", source=None) == "zero_amount"
        assert refusal_of_order(work, "perkville", "o1", source="website") is None
        assert refusal_of_order(work, "second", "o1", source=None) is None


def test_no_claims_are_no_results(store: Store) -> None:
    assert resolve(store) == []


@pytest.mark.parametrize("scope", [DESTINATION, SOURCE])
@pytest.mark.parametrize("together", [True, False], ids=["in row unit of work", "in another"])
@pytest.mark.parametrize(
    ("stored", "key", "others", "changes"),
    [
        pytest.param(
            OrderKey("1001.0", "Order Completed"),
            OrderKey("1001", "Order Completed"),
            [OrderKey("1001.0", "Order Completed")],
            {},
            id="order",
        ),
        pytest.param(
            RefundKey("1001.0", "7.0"),
            RefundKey("1001", "7"),
            [RefundKey("1001.0", "7"), RefundKey("1001", "7.0"), RefundKey("1001.0", "7.0")],
            TAKEN,
            id="refund",
        ),
    ],
)
def test_a_key_of_an_id_with_the_zero_of_a_float_counts_for_the_whole_number(
    store: Store,
    stored: ScopedKey,
    key: ScopedKey,
    others: list[ScopedKey],
    changes: Mapping[str, Any],
    together: bool,
    scope: KeyScope,
) -> None:
    """Earlier versions kept order `1001.0` apart from `1001`; their rows are found under either."""
    old = scoped(stored, "old", "website", scope=scope, **{"order_id": "1001.0"} | changes)
    again = scoped(key, "new", "website", scope=scope, other_keys=others, **{"order_id": "1001"} | changes)
    results = resolve(store, old, again) if together else [*resolve(store, old), *resolve(store, again)]
    assert kinds(results) == [NEW, SAME_EFFECT]
    assert results[1].effect_key == results[0].effect_key
    other = scoped(
        key,
        "other",
        "website",
        scope=scope,
        other_keys=others,
        position=9,
        **{"order_id": "1001", **changes, "quantity": Decimal(3)},
    )
    assert kinds(resolve(store, other)) == [CONFLICT]


def test_a_repetition_says_how_its_order_id_was_read(store: Store) -> None:
    note = 'properties.order_id was sent as "1001.0" and is read as 1001.'
    resolve(store, planned_effect())
    for message_id, changes in (("m2", {}), ("m3", {"quantity": Decimal(1)})):
        (result,) = resolve(store, planned_effect(message_id, position=2, note=note, **changes))
        assert note in (result.detail or "")


def test_a_refusal_is_found_for_the_whole_number(store: Store) -> None:
    refused = [
        RefusedOrder(
            destination="perkville",
            order_id="1001.0",
            source="website",
            reason="zero_amount",
            message_id="m",
            received_at=CLOCK.now(),
        )
    ]
    with store.unit_of_work() as work:
        record_refusals(work, refused, destinations={"perkville": PERKVILLE}, now=CLOCK.now())
    with store.reading() as connection:
        for order_id, reason in (("1001", "zero_amount"), ("1001.0", "zero_amount"), ("1001.00", None)):
            assert refusal_of_order(connection, "perkville", order_id, source="website") == reason
