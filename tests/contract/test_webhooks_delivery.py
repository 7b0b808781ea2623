"""Delivery to a receiver that cannot be read back: at least once in order, or parked, whatever it answers."""

import asyncio
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from punchcard.clock import SystemClock
from punchcard.delivery.loop import DestinationDelivery
from punchcard.delivery.stages import DeliveryTarget, claim
from punchcard.destinations.network import NetworkPolicy, read_networks
from punchcard.destinations.webhooks.partner import WebhooksPartner
from punchcard.store.delivery import ledger, outbox
from punchcard.store.delivery.effects import EffectState, NewEffect, StoredEffect
from punchcard.store.engine import Store
from punchcard.testing.effects import begin_all
from punchcard.testing.webhook_receiver import ReceivedRequest, Reply, WebhookReceiver

pytestmark = pytest.mark.anyio

SLUG = "hook"
QUICK = {"retryBaseSeconds": 0.02, "retryAttemptsMax": 5, "requestTimeoutSeconds": 5}


@dataclass
class Rig:
    """A store, a receiver, and delivery between them."""

    store: Store
    receiver: WebhookReceiver
    settings: dict[str, object] = field(default_factory=dict)
    options: dict[str, object] = field(default_factory=lambda: dict(QUICK))

    def target(self) -> DeliveryTarget:
        partner = WebhooksPartner()
        settings = partner.read_settings({"url": self.receiver.url, **self.settings}, self.options)
        return DeliveryTarget(
            slug=SLUG,
            partner=partner,
            settings=settings,
            options=settings.delivery,
            fingerprint="1",
            network=NetworkPolicy(allowed=read_networks(["127.0.0.0/8"])),
        )

    def add(self, *message_ids: str, user: str | None = None) -> None:
        with self.store.unit_of_work() as work:
            outbox.add(
                work, [_new(message_id, user or message_id) for message_id in message_ids], now=SystemClock().now()
            )

    def effect(self, message_id: str) -> StoredEffect:
        with self.store.reading() as connection:
            effect_by_key = ledger.effect_by_key(connection, SLUG, f"SEG:website:EVENT:{message_id}")
        assert effect_by_key is not None
        return effect_by_key

    def actions(self, message_id: str) -> list[tuple[str, str | None]]:
        effect_id = self.effect(message_id).id
        with self.store.reading() as connection:
            return [
                (attempt.action, attempt.outcome) for attempt in ledger.attempts_of(connection, [effect_id])[effect_id]
            ]

    def open_count(self) -> int:
        states = [state for state in EffectState if state.is_open]
        with self.store.reading() as connection:
            return ledger.count(connection, ledger.LedgerQuery(destination=SLUG, states=states))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stopping = asyncio.Event()
        delivery = DestinationDelivery(
            SLUG, store=self.store, clock=SystemClock(), current=self.target, poll_seconds=0.01
        )
        task = asyncio.create_task(delivery.run(stopping, grace_seconds=5))
        try:
            yield
        finally:
            stopping.set()
            delivery.wake()
            await task

    async def drain(self) -> None:
        async with self.running():
            await wait_until(lambda: self.open_count() == 0)


def _new(message_id: str, user: str) -> NewEffect:
    payload: Mapping[str, object] = {"messageId": message_id, "body": {"messageId": message_id, "userId": user}}
    return NewEffect(
        destination=SLUG,
        effect_key=f"SEG:website:EVENT:{message_id}",
        kind="webhook_call",
        source="website",
        message_id=message_id,
        event_name="Order Completed",
        log_position=1,
        event_index=0,
        received_at=datetime(2026, 1, 2, tzinfo=UTC),
        customer="",
        email="",
        item=None,
        requested_quantity=None,
        attributes=None,
        order_id=None,
        is_refund=False,
        ordering_key=f"website:user:{user}",
        event_type="track",
        payload=json.dumps(payload),
        summary="track call",
    )


async def wait_until(is_reached: Callable[[], bool], *, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(is_reached):  # noqa: ASYNC110  # of threads and a database
            await asyncio.sleep(0.02)


async def test_the_calls_of_one_user_are_sent_one_at_a_time_and_those_of_several_users_at_once(rig: Rig) -> None:
    users, per_user = ["ann", "bob", "cy"], 4
    lock = threading.Lock()
    in_flight: Counter[str] = Counter()
    most: Counter[str] = Counter()
    order: dict[str, list[str]] = defaultdict(list)
    all_at_once = threading.Barrier(len(users))

    def decide(request: ReceivedRequest) -> Reply:
        (call,) = request.events
        user = call["userId"]
        with lock:
            in_flight[user] += 1
            most[user] = max(most[user], in_flight[user])
            is_first = not order[user]
            order[user].append(call["messageId"])
        if is_first:
            all_at_once.wait(60)  # fails unless the first calls of all users are in flight together
        time.sleep(0.02)  # a second call of the same user, if there were one, would come now
        with lock:
            in_flight[user] -= 1
        return Reply()

    rig.receiver.decide = decide
    expected = {user: [f"{user}{number}" for number in range(per_user)] for user in users}
    for user in users:
        rig.add(*expected[user], user=user)
    await rig.drain()
    assert most == dict.fromkeys(users, 1)
    assert order == expected


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def rig(store_url: str) -> Iterator[Rig]:
    store = Store(store_url)
    with WebhookReceiver() as receiver:
        yield Rig(store, receiver)
    store.close()


async def test_events_arrive_once_and_are_on_record(rig: Rig) -> None:
    rig.add(*(f"m{number}" for number in range(20)))
    await rig.drain()
    assert rig.receiver.message_ids() == {f"m{number}": 1 for number in range(20)}
    effect = rig.effect("m0")
    assert (effect.state, effect.summary, rig.actions("m0")) == (
        EffectState.DELIVERED,
        "track call",
        [("send", "delivered")],
    )


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [(Reply(resets=True), "unknown"), (Reply(status=504), "unknown"), (Reply(status=503), "retryable")],
    ids=["reset", "504", "503"],
)
async def test_after_a_lost_response_it_is_sent_again_and_never_read_back(rig: Rig, reply: Reply, outcome: str) -> None:
    rig.receiver.replies.append(reply)
    rig.add("m1")
    await rig.drain()
    assert rig.actions("m1") == [("send", outcome), ("send", "delivered")]
    assert rig.receiver.message_ids() == {"m1": 2}
    bodies = {request.body for request in rig.receiver.requests}
    assert len(bodies) == 1  # the same bytes, so the same signature


async def test_park_leaves_a_lost_response_to_an_operator(rig: Rig) -> None:
    rig.options["unknownOutcome"] = "park"
    rig.receiver.replies.append(Reply(resets=True))
    rig.add("m1")
    await rig.drain()
    effect = rig.effect("m1")
    assert (effect.state, effect.reason) == (EffectState.PARKED, "outcome_unknown")
    assert "cannot be asked" in (effect.detail or "")
    assert rig.receiver.message_ids() == {"m1": 1}


@pytest.mark.sample(2)
@pytest.mark.parametrize("choice", ["resend", "park"])
async def test_what_a_killed_worker_had_in_flight_follows_the_choice(rig: Rig, choice: str) -> None:
    rig.options["unknownOutcome"] = choice
    rig.add("m1")
    now = SystemClock().now()
    with rig.store.unit_of_work() as work:  # a worker claims it, and dies before it says more
        begin_all(work, outbox.claimable(work, SLUG, now=now, limit=1), now=now, lease_until=now)
    await rig.drain()
    effect = rig.effect("m1")
    if choice == "resend":
        assert (effect.state, rig.receiver.message_ids()) == (EffectState.DELIVERED, {"m1": 1})
        assert rig.actions("m1") == [("send", "unknown"), ("send", "delivered")]
    else:
        assert (effect.state, effect.reason, rig.receiver.requests) == (EffectState.PARKED, "outcome_unknown", [])


async def test_a_receiver_that_never_answers_ends_parked_and_other_users_go_on(rig: Rig) -> None:
    rig.receiver.decide = lambda request: Reply(resets=request.events[0]["userId"] == "bad")
    rig.add("b1", "b2", user="bad")
    rig.add("g1", "g2", user="good")
    await rig.drain()
    assert [rig.effect(item).state for item in ("b1", "b2", "g1", "g2")] == [
        EffectState.PARKED,
        EffectState.PARKED,
        EffectState.DELIVERED,
        EffectState.DELIVERED,
    ]
    assert rig.effect("b1").reason == "outcome_unknown"
    assert len(rig.actions("b1")) == QUICK["retryAttemptsMax"]


async def test_events_of_one_user_arrive_in_order_whatever_is_answered(rig: Rig) -> None:
    rig.receiver.replies.extend(Reply(status=status) for status in (503, 200, 502, 200, 408, 503, 200))
    for number in range(5):
        for user in ("ann", "bob", "cid"):
            rig.add(f"{user}{number}", user=user)
    await rig.drain()
    arrived: dict[str, list[str]] = defaultdict(list)
    for request in rig.receiver.requests:
        event = request.events[0]
        if event["messageId"] not in arrived[event["userId"]]:
            arrived[event["userId"]].append(event["messageId"])
    assert arrived == {user: [f"{user}{number}" for number in range(5)] for user in ("ann", "bob", "cid")}


async def test_a_rejection_is_kept_with_the_receivers_response(rig: Rig) -> None:
    rig.receiver.replies.append(Reply(status=422, body=b"no such user"))
    rig.add("m1")
    await rig.drain()
    effect = rig.effect("m1")
    assert (effect.state, effect.reason) == (EffectState.REJECTED, "webhook_refused")
    assert "no such user" in (effect.detail or "")


async def test_batches_carry_what_is_due_and_one_bad_event_is_alone_rejected(rig: Rig) -> None:
    def decide(request: ReceivedRequest) -> Reply:
        return Reply(status=400 if any(event["messageId"] == "m7" for event in request.events) else 200)

    rig.receiver.decide = decide
    rig.settings["batchSize"] = 10
    rig.add(*(f"m{number}" for number in range(40)))
    await rig.drain()
    states = {number: rig.effect(f"m{number}").state for number in range(40)}
    assert states == {n: EffectState.REJECTED if n == 7 else EffectState.DELIVERED for n in range(40)}
    sizes = [len(request.events) for request in rig.receiver.requests]
    assert max(sizes) == 10
    delivered = {name for request in rig.receiver.requests if decide(request).status == 200 for name in _ids(request)}
    assert delivered == {f"m{number}" for number in range(40)} - {"m7"}


def _ids(request: ReceivedRequest) -> list[str]:
    return [event["messageId"] for event in request.events]


async def test_a_batch_stays_within_its_bytes(rig: Rig) -> None:
    rig.settings["batchSize"] = 1000
    with rig.store.unit_of_work() as work:
        large = [_new(f"m{number}", f"u{number}") for number in range(12)]
        payloads = [
            json.dumps({"messageId": item.message_id, "body": {"messageId": item.message_id, "x": "y" * 300_000}})
            for item in large
        ]
        outbox.add(
            work,
            [_with_payload(item, payload) for item, payload in zip(large, payloads, strict=True)],
            now=SystemClock().now(),
        )
    await rig.drain()
    assert rig.receiver.message_ids() == {f"m{number}": 1 for number in range(12)}
    assert max(len(request.body) for request in rig.receiver.requests) <= 1_000_000


def _with_payload(effect: NewEffect, payload: str) -> NewEffect:
    return replace(effect, payload=payload)


async def test_a_private_address_is_retried_and_then_parked_with_what_to_do(rig: Rig) -> None:
    rig.options["retryAttemptsMax"] = 2
    rig.add("m1")
    target = rig.target
    rig.target = lambda: replace(target(), network=NetworkPolicy())  # type: ignore[method-assign]
    await rig.drain()
    effect = rig.effect("m1")
    assert (effect.state, effect.reason) == (EffectState.PARKED, "address_not_allowed")
    assert rig.receiver.requests == []


async def test_no_more_is_claimed_than_the_requests_that_may_be_sent_carry(rig: Rig) -> None:
    rig.settings["batchSize"] = 10
    effects = [_new(f"m{number}", f"u{number}") for number in range(30)]
    large = json.dumps({"messageId": "m", "body": {"x": "y" * 300_000}})
    with rig.store.unit_of_work() as work:
        outbox.add(
            work, [_with_payload(effect, large) for effect in effects[:6]] + effects[6:], now=SystemClock().now()
        )
    with rig.store.unit_of_work() as work:
        now = SystemClock().now()
        claimed = {
            requests: len(claim(work, rig.target(), room=requests, busy=(), now=now)) for requests in (0, 1, 2, 3, 4, 9)
        }
    # Two of the large ones fit into a request, then ten small ones.
    assert claimed == {0: 0, 1: 2, 2: 4, 3: 14, 4: 24, 9: 30}
