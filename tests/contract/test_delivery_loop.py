"""The promise of delivery: in order within a customer, each effect performed once, whatever one partner answers."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, event
from structlog.testing import capture_logs

from punchcard.clock import SystemClock
from punchcard.delivery.loop import DestinationDelivery
from punchcard.delivery.request_permits import SparePermits
from punchcard.delivery.stages import DeliveryTarget
from punchcard.destinations.perkville.definition import TRANSACTION
from punchcard.destinations.perkville.refunds import RefundFollows, RefundRules
from punchcard.destinations.port import DeliveryOptions, Effect, EffectKey
from punchcard.errors import StorageError
from punchcard.store.delivery import ledger, outbox
from punchcard.store.delivery.effects import Action, EffectState, StoredEffect
from punchcard.store.delivery.pauses import pause_of
from punchcard.store.delivery.undelivered import overdue_attempts
from punchcard.store.engine import Store
from punchcard.testing.effects import DESTINATION, begin_all, new_effect, stored_effect
from punchcard.testing.examples import examples
from punchcard.testing.fresh_store import with_tables
from punchcard.testing.partner.scripted import ScriptedPartner, ScriptedSettings, Step
from punchcard.testing.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.anyio

# Waits so short that a test need not stand for them; their lengths are tested elsewhere, on a clock that is moved.
QUICK = DeliveryOptions(
    requests_per_second=0,
    concurrency=16,
    retry_base_seconds=0.01,
    tries_max=10,
    unknown_wait_seconds=0.03,
    request_timeout_seconds=1,
    check_base_seconds=0.01,
    check_longest_seconds=0.1,
)
LATE_SECONDS = 0.02  # below the wait after an unknown outcome


@dataclass
class Rig:
    """A store, a partner, and settings that a test may change while delivery runs."""

    store: Store
    partner: ScriptedPartner
    settings: ScriptedSettings = field(default_factory=lambda: ScriptedSettings(options=QUICK))
    configured: bool = True
    before_sending: Callable[[], None] = lambda: None
    looks: int = 0  # how often delivery has looked at the configuration
    delivery: DestinationDelivery | None = None
    spare: SparePermits = field(default_factory=SparePermits)

    def target(self) -> DeliveryTarget | None:
        self.looks += 1
        if not self.configured:
            return None
        return DeliveryTarget(
            slug=DESTINATION,
            partner=self.partner,
            settings=self.settings,
            options=self.settings.options,
            fingerprint=self.settings.token,
        )

    def add(self, *keys: str, customer: str = "ann@example.com") -> None:
        with self.store.unit_of_work() as work:
            outbox.add(work, [new_effect(key, customer=customer) for key in keys], now=SystemClock().now())

    def state(self, key: str) -> EffectState:
        with self.store.reading() as connection:
            return stored_effect(connection, key).state

    def effect(self, key: str) -> StoredEffect:
        with self.store.reading() as connection:
            return stored_effect(connection, key)

    def actions(self, key: str) -> list[tuple[str, str | None]]:
        with self.store.reading() as connection:
            effect = stored_effect(connection, key)
            return [
                (attempt.action, attempt.outcome) for attempt in ledger.attempts_of(connection, [effect.id])[effect.id]
            ]

    def open_count(self) -> int:
        states = [state for state in EffectState if state.is_open]
        with self.store.reading() as connection:
            return ledger.count(connection, ledger.LedgerQuery(destination=DESTINATION, states=states))

    def is_paused(self) -> bool:
        with self.store.reading() as connection:
            return pause_of(connection, DESTINATION) is not None

    @asynccontextmanager
    async def running(self, *, grace_seconds: float = 5.0, poll_seconds: float = 0.01) -> AsyncIterator[None]:
        stopping = asyncio.Event()
        self.delivery = DestinationDelivery(
            DESTINATION,
            store=self.store,
            clock=SystemClock(),
            current=self.target,
            poll_seconds=poll_seconds,
            before_sending=self.before_sending,
            spare=self.spare,
        )
        task = asyncio.create_task(self.delivery.run(stopping, grace_seconds=grace_seconds))
        try:
            yield
        finally:
            stopping.set()
            await task


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def rig(store_url: str) -> Iterator[Rig]:
    store = Store(store_url)
    yield Rig(store, ScriptedPartner(clock=SystemClock(), late_seconds=LATE_SECONDS))
    store.close()


@pytest.fixture
def small_rig(tmp_path: Path) -> Iterator[Rig]:
    """For what does not depend on the engine."""
    store = Store(with_tables(f"sqlite:///{tmp_path / 'store.db'}"))
    yield Rig(store, ScriptedPartner(clock=SystemClock(), late_seconds=LATE_SECONDS))
    store.close()


class FailingPartner(ScriptedPartner):
    """A partner with a defect in its code that only some events meet."""

    def remap(self, event_name: str, settings: object) -> str | None:
        if event_name == "Broken":
            raise KeyError("no map")
        return super().remap(event_name, settings)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110  # the condition reads a database
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("refuses_used_keys", [True, False], ids=["partner knows its keys", "partner books anything"])
async def test_every_customer_gets_every_effect_once_and_in_order_whatever_is_answered(
    rig: Rig, refuses_used_keys: bool
) -> None:
    # PostgreSQL gets the whole load once, in CI, from the partner that is the harder one to be exact with.
    customers, each = (50, 40)
    if not rig.store.is_sqlite:
        customers, each = (20, 20) if refuses_used_keys else (examples(50, part=20), examples(40, part=20))
    rig.partner = ScriptedPartner(clock=SystemClock(), refuses_used_keys=refuses_used_keys, late_seconds=LATE_SECONDS)
    chance = random.Random(7)
    bad = [Step.BUSY, Step.LOSE_RESPONSE, Step.LOSE_REQUEST, Step.LAND_LATE, Step.SLOW_DOWN, Step.BREAK]
    rig.partner.retry_after_seconds = 0.001
    with rig.store.unit_of_work() as work:
        for number in range(each):
            effects = []
            for customer in range(customers):
                key = f"{customer}/{number:02}"
                effects.append(new_effect(key, customer=f"c{customer}@example.com"))
                if chance.random() < 0.15:
                    reads = [chance.choice([Step.BUSY, Step.LOSE_RESPONSE])] if chance.random() < 0.3 else []
                    rig.partner.script(key, chance.choices(bad, k=chance.randint(1, 3)), reads=reads)
                elif chance.random() < 0.02:
                    rig.partner.script(key, [Step.REJECT])
            outbox.add(work, effects, now=SystemClock().now())
    async with rig.running():
        await until(lambda: rig.open_count() == 0)

    with rig.store.reading() as connection:
        rejected = ledger.page(
            connection, ledger.LedgerQuery(destination=DESTINATION, states=[EffectState.REJECTED]), count=9_999
        )
        delivered = ledger.count(
            connection, ledger.LedgerQuery(destination=DESTINATION, states=[EffectState.DELIVERED])
        )
    assert delivered + len(rejected) == customers * each
    assert 0 < len(rejected) < delivered
    booked = rig.partner.keys()
    assert rig.partner.booked_twice() == []
    by_customer: dict[str, list[str]] = defaultdict(list)
    for key in booked:
        by_customer[key.split("/")[0]].append(key)
    refused = {item.effect_key for item in rejected}
    for customer in range(customers):
        expected = [f"{customer}/{number:02}" for number in range(each) if f"{customer}/{number:02}" not in refused]
        assert by_customer[str(customer)] == expected


async def test_a_stop_does_not_wait_for_the_next_look_at_the_outbox(small_rig: Rig) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        async with small_rig.running(poll_seconds=10 * PATIENCE_SECONDS):
            small_rig.add("k1")
            assert small_rig.delivery is not None
            small_rig.delivery.wake()
            await until(lambda: small_rig.state("k1") is EffectState.DELIVERED)


async def test_a_lost_answer_is_read_back_and_never_sent_again(rig: Rig) -> None:
    rig.partner.script("a", [Step.LOSE_RESPONSE])
    rig.add("a")
    async with rig.running():
        await until(lambda: rig.state("a") is EffectState.DELIVERED)
    assert rig.actions("a") == [(Action.SEND, "unknown"), (Action.READ_BACK, "delivered")]
    assert rig.partner.requests == ["a"]
    assert rig.effect("a").partner_id == "p1"


async def test_a_lost_request_is_sent_again_under_the_same_key(rig: Rig) -> None:
    rig.partner.script("a", [Step.LOSE_REQUEST])
    rig.add("a")
    async with rig.running():
        await until(lambda: rig.state("a") is EffectState.DELIVERED)
    assert rig.actions("a") == [
        (Action.SEND, "unknown"),
        (Action.READ_BACK, "not_found"),
        (Action.SEND, "delivered"),
    ]
    assert rig.partner.keys() == ["a"]


async def test_tries_used_up_park_the_effect_and_the_queue_continues(small_rig: Rig) -> None:
    small_rig.partner.script("a", [Step.BUSY] * 10)
    small_rig.settings = ScriptedSettings(options=replace(QUICK, retry_base_seconds=0.001))
    small_rig.add("a", "b")
    async with small_rig.running():
        await until(lambda: small_rig.state("b") is EffectState.DELIVERED)
    assert small_rig.state("a") is EffectState.PARKED
    assert small_rig.effect("a").attempts == 10
    assert small_rig.partner.keys() == ["b"]


async def test_refused_credentials_pause_say_so_once_and_lose_nothing(rig: Rig) -> None:
    rig.partner.tokens = {"new"}
    for number in range(10):
        rig.add(f"k{number}", customer=f"c{number}@example.com")
    with capture_logs() as logs:
        async with rig.running():
            await until(rig.is_paused)
            await until(lambda: rig.open_count() == 10 and rig.delivery is not None and not rig.delivery._in_flight)
            sent = len(rig.partner.requests)
            rig.add("later")
            await asyncio.sleep(0.1)
            assert len(rig.partner.requests) == sent
            rig.settings = replace(rig.settings, token="new")
            rig.delivery.wake()
            await until(lambda: rig.open_count() == 0)
    assert [log["event"] for log in logs if log["event"].startswith("destination_")] == [
        "destination_paused",
        "destination_resumed",
    ]
    assert len(rig.partner.keys()) == 11
    assert rig.partner.booked_twice() == []
    assert all(rig.effect(f"k{number}").tries == 1 for number in range(10))
    assert all(client.closed for client in rig.partner.clients)


async def test_a_refusal_of_old_credentials_does_not_pause_the_new_ones(small_rig: Rig) -> None:
    rig = small_rig
    rig.partner.script("a", [Step.HANG])
    rig.partner.tokens = {"good", "new"}
    rig.settings = replace(rig.settings, options=replace(QUICK, concurrency=1))
    rig.add("a")
    async with rig.running():
        await until(lambda: rig.partner.requests == ["a"])
        rig.settings = replace(rig.settings, token="new")
        rig.partner.release(Step.REFUSE_TOKEN)
        await until(lambda: rig.open_count() == 0)
        assert not rig.is_paused()
    assert rig.state("a") is EffectState.DELIVERED


async def test_too_many_requests_slow_down_and_use_up_no_tries(small_rig: Rig) -> None:
    rig = small_rig
    rig.partner.retry_after_seconds = 0.005
    rig.partner.script("a", [Step.SLOW_DOWN] * 15)
    rig.add("a")
    async with rig.running():
        await until(lambda: rig.state("a") is EffectState.DELIVERED)
    effect = rig.effect("a")
    assert (effect.tries, effect.attempts) == (1, 16)


async def test_a_request_beside_deliveries_is_permitted_while_they_have_nothing_to_send(small_rig: Rig) -> None:
    rig = small_rig
    rig.settings = replace(rig.settings, options=replace(QUICK, requests_per_second=200))
    assert not rig.spare.is_open  # nobody leads the deliveries yet
    async with rig.running():
        async with asyncio.timeout(PATIENCE_SECONDS):
            for _ in range(5):
                await rig.spare.acquire()
        assert rig.spare.is_open
        # What they have used is used: deliveries go on within the same limit.
        rig.add("a")
        await until(lambda: rig.state("a") is EffectState.DELIVERED)
    assert not rig.spare.is_open


async def test_awards_that_use_the_whole_rate_limit_come_before_any_other_request(small_rig: Rig) -> None:
    rig = small_rig
    rig.settings = replace(rig.settings, options=replace(QUICK, requests_per_second=20))
    for number in range(6):
        rig.add(f"k{number}", customer=f"c{number}@example.com")
    waiting = [asyncio.create_task(rig.spare.acquire()) for _ in range(2)]
    sent_before: list[int] = []
    for task in waiting:
        task.add_done_callback(lambda _: sent_before.append(len(rig.partner.requests)))
    async with rig.running():
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*waiting)
    assert sent_before == [6, 6]


async def test_stopping_waits_for_answers_and_hands_back_the_rest(rig: Rig) -> None:
    rig.partner.script("hangs", [Step.HANG])
    rig.add("hangs", "behind")
    rig.add("done", customer="bob@example.com")
    async with rig.running(grace_seconds=0.05):
        await until(lambda: "hangs" in rig.partner.requests and rig.state("done") is EffectState.DELIVERED)
    handed_back = rig.effect("hangs")
    assert (handed_back.state, handed_back.reason) == (EffectState.UNKNOWN, "outcome_unknown")
    assert rig.state("behind") is EffectState.PENDING
    assert all(client.closed for client in rig.partner.clients)
    async with rig.running():
        await until(lambda: rig.open_count() == 0)
    assert rig.partner.keys() == ["done", "hangs", "behind"]


async def test_an_attempt_that_never_ends_is_found_while_others_are_delivered(rig: Rig) -> None:
    rig.partner.script("hangs", [Step.HANG])
    rig.add("hangs", "behind")
    rig.add("other", customer="bob@example.com")
    later = SystemClock().now() + timedelta(hours=1)
    async with rig.running():
        await until(lambda: "hangs" in rig.partner.requests and rig.state("other") is EffectState.DELIVERED)
        with rig.store.reading() as work:
            overdue = overdue_attempts(work, DESTINATION, before=later)
            assert overdue_attempts(work, DESTINATION, before=SystemClock().now()) is None
        assert overdue is not None
        assert (overdue.effects, overdue.customers) == (1, 1)
        rig.partner.release()
        await until(lambda: rig.open_count() == 0)
    with rig.store.reading() as work:
        assert overdue_attempts(work, DESTINATION, before=later) is None
    assert rig.partner.keys() == ["other", "hangs", "behind"]


async def test_what_a_killed_worker_had_on_its_way_is_read_back_by_the_next(rig: Rig) -> None:
    rig.add("sent", "behind")
    rig.add("never left", customer="bob@example.com")
    clock = SystemClock()
    with rig.store.unit_of_work() as work:
        claimed = outbox.claimable(work, DESTINATION, now=clock.now(), limit=9)
        begin_all(work, claimed, now=clock.now(), lease_until=clock.now())
    client = rig.partner.client(rig.settings)
    with rig.store.reading() as connection:
        sent = stored_effect(connection, "sent")
    await client.perform(
        Effect(
            kind=TRANSACTION,
            effect_key=EffectKey("sent"),
            email=sent.email,
            event_name=sent.event_name,
            item=sent.item,
            quantity=sent.quantity,
            attributes=None,
        )
    )
    await client.close()
    async with rig.running():
        await until(lambda: rig.open_count() == 0)
    assert sorted(rig.partner.keys()) == ["behind", "never left", "sent"]
    assert rig.actions("sent") == [(Action.SEND, "unknown"), (Action.READ_BACK, "delivered")]
    assert [action for action, _ in rig.actions("never left")] == [Action.SEND, Action.READ_BACK, Action.SEND]


async def test_answers_survive_a_store_that_cannot_be_written_for_a_while(small_rig: Rig) -> None:
    rig = small_rig
    broken = {"times": 0}

    def fail(connection: Connection) -> None:
        if broken["times"] > 0 and connection.get_execution_options().get("writes"):
            broken["times"] -= 1
            raise StorageError("the disk is full")

    event.listen(rig.store._engine, "commit", fail)
    rig.partner.script("a", [Step.HANG])
    rig.add("a", "b")
    async with rig.running():
        await until(lambda: rig.partner.requests == ["a"])
        broken["times"] = 2
        rig.partner.release()
        rig.delivery.wake()
        await until(lambda: rig.open_count() == 0)
    assert rig.partner.keys() == ["a", "b"]
    assert rig.actions("a") == [(Action.SEND, "delivered")]


async def test_a_defect_that_one_effect_meets_concerns_that_effect_alone(rig: Rig) -> None:
    rig.partner = FailingPartner(clock=SystemClock(), late_seconds=LATE_SECONDS)
    with rig.store.unit_of_work() as work:
        bad = replace(new_effect("bad", customer="bob@example.com"), event_name="Broken")
        outbox.add(work, [new_effect("before"), bad, new_effect("after")], now=SystemClock().now())
        outbox.add(work, [new_effect("behind", customer="bob@example.com")], now=SystemClock().now())
    async with rig.running():
        await until(lambda: rig.open_count() == 0)
    assert sorted(rig.partner.keys()) == ["after", "before", "behind"]
    effect = rig.effect("bad")
    assert (effect.state, effect.reason, effect.attempts) == (EffectState.PARKED, "preparation_failed", 0)
    assert "no map" in (effect.detail or "")


async def test_a_destination_that_is_removed_settles_what_is_on_its_way_and_rests(small_rig: Rig) -> None:
    rig = small_rig
    rig.partner.script("a", [Step.HANG])
    rig.add("a", "b")
    async with rig.running():
        await until(lambda: rig.partner.requests == ["a"])
        looks = rig.looks
        rig.configured = False
        await until(lambda: rig.looks > looks)  # a step that has begun goes on with what it has seen
        rig.partner.release()
        await until(lambda: rig.state("a") is EffectState.DELIVERED)
        assert rig.state("b") is EffectState.PENDING
        rig.configured = True
        rig.delivery.wake()
        await until(lambda: rig.state("b") is EffectState.DELIVERED)


async def test_only_one_of_two_deliveries_of_a_destination_sends(rig: Rig) -> None:
    for number in range(30):
        rig.add(f"k{number}", customer=f"c{number}@example.com")
    async with rig.running(), rig.running():
        await until(lambda: rig.open_count() == 0)
    assert len(rig.partner.keys()) == 30
    assert len(rig.partner.clients) == 1


async def test_two_refunds_of_one_order_by_two_customers_remove_no_more_than_was_awarded(small_rig: Rig) -> None:
    rig = small_rig
    # As Segment's page says: of the person that the event names.
    rig.settings = replace(rig.settings, refunds=RefundRules(follows=RefundFollows.EVENT))
    now = SystemClock().now()
    with rig.store.unit_of_work() as work:
        outbox.add(work, [new_effect("award", quantity="10", order_id="o")], now=now)
    async with rig.running():
        await until(lambda: rig.state("award") is EffectState.DELIVERED)
    with rig.store.unit_of_work() as work:
        for customer in ("ann@example.com", "bob@example.com"):
            refund = new_effect(f"refund {customer}", order_id="o", is_refund=True, quantity="-8", customer=customer)
            outbox.add(work, [refund], now=now)
    async with rig.running():
        await until(lambda: rig.open_count() == 0)
    assert sorted(str(item.effect.quantity) for item in rig.partner.book) == ["-2", "-8", "10"]


async def test_nothing_leaves_before_it_is_noted_that_something_is_sent(small_rig: Rig) -> None:
    """As `LogGuard.advance` fails while the disk of the log is full: a copy of the store could not be detected then."""
    calls = 0

    def note() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            assert small_rig.partner.requests == []
            raise StorageError("the log cannot be written")

    small_rig.add("a")
    small_rig.before_sending = note
    async with small_rig.running():
        await until(lambda: small_rig.state("a") is EffectState.DELIVERED)
    assert calls >= 2
    assert small_rig.actions("a")[0] == ("send", "retryable")
    assert small_rig.partner.keys() == ["a"]
