"""What the ledger makes of intents: new, duplicate or conflict, within one unit of work and for ever."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from punchcard.destinations.port import EffectKey, EffectKind, Intent, OnRepeat
from punchcard.errors import InvariantError
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.routing.planning import Planned
from punchcard.routing.settling import Claim, settle_claims
from punchcard.store.engine import Store
from punchcard.store.fates import Fate, FateKind
from punchcard.store.ledger import LedgerQuestion, conflicts_of, effect_by_key, page
from punchcard.testing.clock import ManualClock
from punchcard.testing.partner import ScriptedPartner, ScriptedSettings
from punchcard.workspace.model import Destination
from punchcard.workspace.snapshot import RoutedDestination

CLOCK = ManualClock()
INTENT = Intent(
    kind=EffectKind.TRANSACTION,
    effect_key=EffectKey("SEG:website:ORDER:o1:order-completed"),
    customer="ann@example.com",
    email="Ann@example.com",
    event_name="Order Completed",
    perk="123456",
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
        destination=Destination(slug=slug, type="scripted", sources=("website",)),
    )


PERKVILLE, SECOND = destination(), destination("second")


def claim(
    message_id: str = "m1",
    *,
    at: RoutedDestination = PERKVILLE,
    seen_before: bool = False,
    position: int = 1,
    index: int = 0,
    **changes: Any,
) -> Claim:
    event = Event(
        type=EventType.TRACK,
        message_id=MessageId(message_id),
        timestamp=CLOCK.now(),
        received_at=CLOCK.now(),
        wire=WireEvent(),
        raw=b"{}",
    )
    return Claim(
        planned=Planned(at, replace(INTENT, **changes)),
        event=event,
        source="website",
        position=position,
        index=index,
        seen_before=seen_before,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    yield store
    store.close()


def settle(store: Store, *claims: Claim) -> list[Fate]:
    with store.unit_of_work() as work:
        return settle_claims(work, claims, now=CLOCK.now())


def kinds(fates: list[Fate]) -> list[tuple[FateKind, str | None]]:
    return [(fate.fate, fate.reason) for fate in fates]


NEW = (FateKind.PENDING, None)
SAME_EFFECT = (FateKind.DUPLICATE, "same_effect")
SAME_MESSAGE = (FateKind.DUPLICATE, "duplicate_message_id")
CONFLICT = (FateKind.CONFLICT, "same_key_other_content")
OTHER_KEY = EffectKey("SEG:website:ORDER:o2:order-completed")


def test_a_new_intent_becomes_a_pending_effect_with_all_it_knows(store: Store) -> None:
    assert settle(store, claim()) == [Fate("perkville", FateKind.PENDING, effect_key=INTENT.effect_key)]
    with store.reading() as connection:
        effect = effect_by_key(connection, "perkville", INTENT.effect_key)
    assert effect is not None
    assert (effect.customer, effect.email, effect.perk) == ("ann@example.com", "Ann@example.com", "123456")
    assert (effect.quantity, effect.order_id, effect.source) == (Decimal("9.99"), "o1", "website")
    assert (effect.message_id, effect.received_at) == ("m1", CLOCK.now())


# What follows the first claim, and what it is: the same whether it comes in the same unit of work or years later.
REPEATS: list[tuple[str, Mapping[str, Any], tuple[FateKind, str | None]]] = [
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
        (FateKind.DUPLICATE, "once_per_day"),
    ),
    (
        "once a day, the same event",
        {"message_id": "m1", "on_repeat": OnRepeat.DUPLICATE, "repeat_reason": "once_per_day"},
        SAME_MESSAGE,
    ),
]


@pytest.mark.parametrize("together", [True, False], ids=["in one unit of work", "in another"])
@pytest.mark.parametrize(
    ("changes", "expected"), [pytest.param(changes, expected, id=name) for name, changes, expected in REPEATS]
)
def test_a_second_intent_is_judged_by_key_content_and_message(
    store: Store, changes: Mapping[str, Any], expected: tuple[FateKind, str | None], together: bool
) -> None:
    second = claim(position=2, **changes)
    if together:
        _, fate = settle(store, claim(), second)
    else:
        settle(store, claim())
        (fate,) = settle(store, second)
    assert (fate.fate, fate.reason) == expected
    with store.reading() as connection:
        stored = [
            one
            for slug in ("perkville", "second")
            for one in page(connection, LedgerQuestion(destination=slug), count=9)
        ]
        assert len(stored) == (2 if expected == NEW else 1)
        kept = conflicts_of(connection, [stored[-1].id])[stored[-1].id]
    assert len(kept) == (1 if expected == CONFLICT else 0)


def test_a_conflict_is_kept_and_says_what_stands_and_what_came(store: Store) -> None:
    settle(store, claim())
    (fate,) = settle(store, claim("m2", position=2, quantity=Decimal("10"), customer="bob@example.com"))
    assert fate.detail is not None
    for words in ("9.99 for ann@example.com", "message m1", "10 for bob@example.com", "nothing was sent"):
        assert words in fate.detail
    with store.reading() as connection:
        effect = effect_by_key(connection, "perkville", INTENT.effect_key)
        assert effect is not None
        (conflict,) = conflicts_of(connection, [effect.id])[effect.id]
    assert effect.quantity == Decimal("9.99")
    assert conflict.message_id == "m2"
    assert msgspec.json.decode(conflict.content)["quantity"] == "10"


def test_several_conflicts_of_one_unit_of_work_are_all_kept(store: Store) -> None:
    fates = settle(
        store,
        claim("m1", index=0),
        claim("m2", index=1, quantity=Decimal(1)),
        claim("m3", index=2, quantity=Decimal(2)),
        claim("m4", index=3),
    )
    assert kinds(fates) == [NEW, CONFLICT, CONFLICT, SAME_EFFECT]
    with store.reading() as connection:
        effect = effect_by_key(connection, "perkville", INTENT.effect_key)
        assert effect is not None
        assert [one.message_id for one in conflicts_of(connection, [effect.id])[effect.id]] == ["m2", "m3"]


def test_user_properties_are_compared_by_what_they_set(store: Store) -> None:
    def trait(message_id: str, value: object, *, key: str = "SEG:website:EVENT:t") -> Claim:
        return claim(
            message_id,
            kind=EffectKind.USER_PROPERTY,
            effect_key=EffectKey(key),
            quantity=None,
            perk=None,
            order_id=None,
            attributes={"vip": value, "tags": ["a", "ä"]},
        )

    assert kinds(settle(store, trait("t1", True))) == [NEW]
    assert kinds(settle(store, trait("t2", True))) == [SAME_EFFECT]
    assert kinds(settle(store, trait("t3", False))) == [CONFLICT]


def test_a_message_id_with_a_nul_is_remembered_as_well(store: Store) -> None:
    assert kinds(settle(store, claim("m\x00"))) == [NEW]
    assert kinds(settle(store, claim("m\x00", position=2))) == [SAME_MESSAGE]
    assert kinds(settle(store, claim("m\x00", position=3, effect_key=OTHER_KEY))) == [SAME_MESSAGE]


def test_the_fates_stand_in_the_order_of_the_claims(store: Store) -> None:
    claims = [claim(f"m{number}", effect_key=EffectKey(f"k{number % 7}"), index=number) for number in range(500)]
    fates = settle(store, *claims)
    assert [fate.effect_key for fate in fates] == [f"k{number % 7}" for number in range(500)]
    assert kinds(fates[:8]) == [*[NEW] * 7, SAME_EFFECT]


@pytest.mark.parametrize("key", ["x" * 101, "ä", "a\x00b"], ids=["too long", "not ASCII", "NUL"])
def test_a_key_that_could_not_be_kept_stops_routing(store: Store, key: str) -> None:
    with pytest.raises(InvariantError):
        settle(store, claim(effect_key=EffectKey(key)))


def test_no_claims_are_no_fates(store: Store) -> None:
    assert settle(store) == []
