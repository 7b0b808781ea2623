"""The promise of isolation in delivery: whatever one effect meets, that effect alone is held, and it can be seen."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from punchcard.clock import SystemClock
from punchcard.delivery import loop, stages
from punchcard.delivery.loop import DestinationDelivery
from punchcard.delivery.stages import DeliveryTarget
from punchcard.destinations.network import PUBLIC_ONLY, NetworkPolicy
from punchcard.destinations.port import DeliveryOptions, Effect, PartnerClient, Performed
from punchcard.errors import DeliveryError, RejectedError, RetryableError, StorageError
from punchcard.store.delivery import ledger, outbox
from punchcard.store.delivery.effects import EffectState, NewEffect, StoredEffect
from punchcard.store.delivery.operator_actions import reopen
from punchcard.store.engine import Store
from punchcard.testing.effects import DESTINATION, new_effect, stored_effect
from punchcard.testing.partner.scripted import ScriptedClient, ScriptedPartner, ScriptedSettings

pytestmark = pytest.mark.anyio

ANN, BOB = "ann@example.com", "bob@example.com"
OPTIONS = DeliveryOptions(
    requests_per_second=0, concurrency=16, retry_base_seconds=0.01, tries_max=3, unknown_wait_seconds=0.02
)
ABSURD = 9 * 10**18  # microseconds: the year 287,000


class OddPartner(ScriptedPartner):
    """A partner with a client that ends requests for the key `bad` in a way that no port declares.

    Args:
        answer: What `perform` returns or raises, after the request was booked or not.
        books: True if the partner performs the request first.
    """

    def __init__(self, client_result: object, *, books: bool) -> None:
        super().__init__(clock=SystemClock(), refuses_used_keys=False, late_seconds=0.01)
        self.client_result = client_result
        self.books = books

    def client(self, settings: object, *, network: NetworkPolicy = PUBLIC_ONLY) -> PartnerClient:
        assert isinstance(settings, ScriptedSettings)
        return OddClient(self, settings)


class OddClient(ScriptedClient):
    def __init__(self, partner: OddPartner, settings: ScriptedSettings) -> None:
        super().__init__(partner, settings)
        self._odd = partner

    async def perform(self, effect: Effect) -> Performed:
        if effect.effect_key != "bad":
            return await super().perform(effect)
        if self._odd.books:
            self._odd.enter(effect)
        if isinstance(self._odd.client_result, BaseException):
            raise self._odd.client_result
        result: Any = self._odd.client_result
        return result  # type: ignore[no-any-return]


class Rig:
    """Real deliveries of one destination; a test may damage its rows."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.partner = ScriptedPartner(clock=SystemClock(), refuses_used_keys=False)
        self.before_sending: Callable[[], None] = lambda: None
        self.options = OPTIONS

    def add(self, *effects: NewEffect) -> None:
        with self.store.unit_of_work() as work:
            outbox.add(work, effects, now=SystemClock().now())

    def execute(self, *statements: str) -> None:
        with self.store.unit_of_work() as work:
            for statement in statements:
                work.execute(text(statement))

    def effect(self, key: str) -> StoredEffect:
        with self.store.reading() as connection:
            return stored_effect(connection, key)

    def row(self, key: str) -> tuple[object, ...]:
        """State, reason and detail, read by themselves."""
        with self.store.reading() as connection:
            chosen = text("SELECT state, reason, detail FROM effects WHERE effect_key = :key")
            return tuple(connection.execute(chosen, {"key": key}).one())

    def states(self, *keys: str) -> list[object]:
        return [self.row(key)[0] for key in keys]

    def is_idle(self) -> bool:
        with self.store.reading() as connection:
            return connection.scalar(text("SELECT count(*) FROM effects WHERE is_open")) == 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        settings = ScriptedSettings(options=self.options)
        target = DeliveryTarget(
            slug=DESTINATION, partner=self.partner, settings=settings, options=self.options, fingerprint=settings.token
        )
        stopping = asyncio.Event()
        delivery = DestinationDelivery(
            DESTINATION,
            store=self.store,
            clock=SystemClock(),
            current=lambda: target,
            poll_seconds=0.01,
            before_sending=lambda: self.before_sending(),
        )
        task = asyncio.create_task(delivery.run(stopping, grace_seconds=5))
        try:
            yield
            assert not task.done(), "the destination's loop has ended"
        finally:
            stopping.set()
            delivery.wake()
            await task


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def rig(store_url: str) -> Iterator[Rig]:
    store = Store(store_url)
    yield Rig(store)
    store.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110  # the condition reads a database
            await asyncio.sleep(0.01)


def batch() -> list[NewEffect]:
    """Three customers' effects, all due at once; `behind` is of the customer of `bad`."""
    return [
        new_effect("before"),
        new_effect("bad", customer=BOB),
        new_effect("behind", customer=BOB),
        new_effect("after", customer="cid@example.com"),
    ]


def set_bad(columns: str) -> str:
    return f"UPDATE effects SET {columns} WHERE effect_key = 'bad'"


ATTEMPT = (
    "INSERT INTO delivery_attempts (effect_id, number, action, started_at)"
    " SELECT id, 1, 'send', 1 FROM effects WHERE effect_key = 'bad'"
)
FAILED, IN_DOUBT = "preparation_failed", "outcome_unknown"


@pytest.mark.sample(10)
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(set_bad("quantity = 'ten'"), FAILED, id="a quantity that is no number"),
        pytest.param(set_bad("requested_quantity = 'NaN'"), FAILED, id="a requested quantity that is not finite"),
        pytest.param(set_bad("requested_quantity = NULL"), FAILED, id="no quantity"),
        pytest.param(set_bad("requested_quantity = '0'"), FAILED, id="a quantity of zero"),
        pytest.param(set_bad("attributes = '{'"), FAILED, id="attributes that are no JSON"),
        pytest.param(set_bad("event_settings = '[1]'"), FAILED, id="event settings that are no object"),
        pytest.param(set_bad("kind = 'gift'"), FAILED, id="a kind of another version"),
        pytest.param(set_bad("state = 'later'"), IN_DOUBT, id="a state of another version"),
        pytest.param(set_bad(f"received_at = {ABSURD}"), FAILED, id="a time of receipt beyond all years"),
        pytest.param(set_bad(f"created_at = {ABSURD}"), FAILED, id="a time of creation beyond all years"),
        pytest.param(set_bad(f"due_at = -{ABSURD}"), FAILED, id="a due time before all years"),
        pytest.param(ATTEMPT, FAILED, id="an attempt that is there already"),
        pytest.param(set_bad("state = 'unknown', attempts = 1, quantity = 'x'"), IN_DOUBT, id="an unknown outcome"),
        pytest.param(
            set_bad("state = 'sending', attempts = 1, lease_until = 1, quantity = 'x'"), IN_DOUBT, id="a lost lease"
        ),
    ],
)
async def test_a_damaged_effect_is_parked_and_all_others_go_on(rig: Rig, damage: str, reason: str) -> None:
    rig.add(*batch())
    rig.execute(damage)
    async with rig.running():
        await until(rig.is_idle)
        rig.add(new_effect("later", customer=BOB), new_effect("later still"))
        await until(rig.is_idle)
    assert sorted(rig.partner.keys()) == ["after", "before", "behind", "later", "later still"]
    state, given, detail = rig.row("bad")
    assert (state, given) == (EffectState.PARKED, reason)
    assert "Punchcard failed on this effect" in str(detail)


async def test_a_damaged_effect_hides_no_others_and_is_delivered_once_it_is_repaired(rig: Rig) -> None:
    rig.add(*batch())
    rig.execute(set_bad("quantity = 'ten'"))
    async with rig.running():
        await until(rig.is_idle)
        with rig.store.unit_of_work() as work:
            listed = ledger.needing_a_person(work, destination=DESTINATION, reason=None, message_ids=[])
            assert [item.effect_key for item in listed] == ["bad"]
            assert "ten" in (listed[0].unreadable or "")
            work.execute(text(set_bad("quantity = '1'")))
            assert reopen(work, [item.id for item in listed], now=SystemClock().now()) == 1
        await until(rig.is_idle)
    assert sorted(rig.partner.keys()) == ["after", "bad", "before", "behind"]


async def test_a_refund_of_a_damaged_order_takes_nothing_and_is_parked(rig: Rig) -> None:
    """A row that cannot be read does not show what is left of an order."""
    rig.add(new_effect("order", quantity="5", order_id="o1"))
    async with rig.running():
        await until(rig.is_idle)
        rig.execute("UPDATE effects SET quantity = 'five'")
        rig.add(new_effect("refund", quantity="-5", order_id="o1", is_refund=True), new_effect("other", customer=BOB))
        await until(rig.is_idle)
    assert sorted(rig.partner.keys()) == ["order", "other"]
    assert rig.row("refund")[:2] == (EffectState.PARKED, FAILED)


async def test_an_order_is_delivered_whatever_its_delivery_wakes(rig: Rig) -> None:
    rig.add(new_effect("refund", quantity="-5", order_id="o1", is_refund=True, customer=BOB))
    rig.execute(
        "UPDATE effects SET state = 'parked', is_open = (1 = 0), reason = 'refund_unknown_order',"
        f" finished_at = 1, received_at = {ABSURD}"
    )
    rig.add(new_effect("order", quantity="5", order_id="o1"), new_effect("other", customer="cid@example.com"))
    async with rig.running():
        await until(rig.is_idle)
    assert sorted(rig.partner.keys()) == ["order", "other"]
    assert rig.states("order", "other") == [EffectState.DELIVERED, EffectState.DELIVERED]


def odd(error: DeliveryError, **attributes: object) -> DeliveryError:
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


ODD_ANSWERS: dict[str, Any] = {
    "a status that no database keeps": Performed(status=10**30, partner_id="p1"),
    "a number as partner id": Performed(status=201, partner_id=5),  # type: ignore[arg-type]
    "a list as note": Performed(status=201, partner_id="p1", note=["x"]),  # type: ignore[arg-type]
    "nothing": None,
    "text": "yes",
    "a defect of the client": KeyError("objects"),
    "a cancellation": asyncio.CancelledError(),
}
ODD_REFUSALS: dict[str, DeliveryError] = {  # from which it is sure that nothing was performed
    "words as time to wait": odd(RetryableError("busy"), retry_after_seconds="soon"),
    "words after a 429": odd(RetryableError("busy", status=429), retry_after_seconds="soon"),
    "NaN as time to wait": odd(RetryableError("busy"), retry_after_seconds=float("nan")),
    "an object as message": odd(RejectedError("no"), message={"a": 1}),
}


@pytest.mark.sample(10)
@pytest.mark.parametrize(
    ("client_result", "books"),
    [pytest.param(client_result, True, id=f"{name}, performed") for name, client_result in ODD_ANSWERS.items()]
    + [pytest.param(client_result, False, id=name) for name, client_result in (ODD_ANSWERS | ODD_REFUSALS).items()],
)
async def test_an_answer_that_cannot_be_recorded_concerns_its_effect_alone(
    rig: Rig, client_result: object, books: bool
) -> None:
    """Nothing is sent twice for it: what cannot be recorded is an unknown outcome, and is read back."""
    partner = OddPartner(client_result, books=books)
    rig.partner = partner
    rig.add(*batch())
    async with rig.running():
        await until(rig.is_idle)
        rig.add(new_effect("later"))
        await until(rig.is_idle)
    booked = sorted(partner.keys())
    state, _, detail = rig.row("bad")
    if books:
        assert booked == ["after", "bad", "before", "behind", "later"]
        assert state == EffectState.DELIVERED
    else:
        assert booked == ["after", "before", "behind", "later"]
        assert state in (EffectState.PARKED, EffectState.REJECTED)
        assert detail


async def test_nothing_leaves_and_nothing_ends_while_it_cannot_be_noted_that_something_is_sent(rig: Rig) -> None:
    failures = [OSError("disk full"), ValueError("a defect")]

    def fail_twice() -> None:
        if failures:
            assert not rig.partner.requests
            raise failures.pop()

    rig.before_sending = fail_twice
    rig.add(*batch())
    async with rig.running():
        await until(rig.is_idle)
    assert sorted(rig.partner.keys()) == ["after", "bad", "before", "behind"]


# A single try, and the next one far away: what is not sent must neither use it up nor wait for the next one.
ONE_TRY = replace(OPTIONS, tries_max=1, retry_base_seconds=3_600)


async def test_awards_wait_for_log_and_database_no_longer_than_necessary(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while Kafka elects a leader: nothing may be sent for seconds. Each award gets one attempt that is none."""
    monkeypatch.setattr(loop, "_STORAGE_RETRY_SECONDS", 0.05)
    failures = [StorageError("the brokers elect a leader")] * 5

    def fail_for_a_while() -> None:
        if failures:
            raise failures.pop()

    rig.before_sending, rig.options = fail_for_a_while, ONE_TRY
    rig.add(new_effect("first", customer=ANN), new_effect("second", customer=BOB))
    async with rig.running():
        await until(rig.is_idle)
    assert sorted(rig.partner.keys()) == ["first", "second"]
    assert [
        (rig.effect(key).state, rig.effect(key).attempts, rig.effect(key).tries) for key in ("first", "second")
    ] == [(EffectState.DELIVERED, 2, 1)] * 2


async def test_awards_that_were_claimed_too_long_ago_are_claimed_again_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the brokers had needed so long to take what must be written before anything is sent."""
    monkeypatch.setattr(stages, "_LEASE_MARGIN_SECONDS", 0.2)
    waits = [0.3]
    rig.before_sending, rig.options = lambda: time.sleep(waits.pop() if waits else 0.0), ONE_TRY
    rig.add(new_effect("late", customer=ANN))
    async with rig.running():
        await until(rig.is_idle)
    assert rig.partner.keys() == ["late"]
    effect = rig.effect("late")
    assert (effect.state, effect.attempts, effect.tries) == (EffectState.DELIVERED, 2, 1)
