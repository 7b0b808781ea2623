"""The promise of the outbox on both engines: in order within a customer, one worker each, nothing forgotten."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from punchcard.errors import InvariantError
from punchcard.store.delivery import outbox
from punchcard.store.delivery.conflicts import add_conflict, conflicts_of
from punchcard.store.delivery.effects import Action, AttemptOutcome, AttemptResult, EffectState, StoredEffect
from punchcard.store.delivery.ledger import attempts_of, needing_a_person
from punchcard.store.delivery.operator_actions import reopen
from punchcard.store.delivery.queue import destinations_due, next_due
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.testing.effects import (
    DESTINATION,
    LEASE_SECONDS,
    attempt_result,
    begin_all,
    new_effect,
    started,
    stored_effect,
)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def add(store: Store, clock: ManualClock, *keys: str, customer: str = "ann@example.com") -> None:
    with store.unit_of_work() as work:
        outbox.add(work, [new_effect(key, customer=customer) for key in keys], now=clock.now())


def claimable_keys(store: Store, clock: ManualClock, *, limit: int = 100) -> list[str]:
    with store.unit_of_work() as work:
        return [item.effect_key for item in outbox.claimable(work, DESTINATION, now=clock.now(), limit=limit)]


def claim(store: Store, clock: ManualClock, *, limit: int = 100) -> list[StoredEffect]:
    with store.unit_of_work() as work:
        claimed = outbox.claimable(work, DESTINATION, now=clock.now(), limit=limit)
        begin_all(work, claimed, now=clock.now(), lease_until=clock.now() + timedelta(seconds=LEASE_SECONDS))
    return claimed


def record_results(store: Store, *attempt_results: AttemptResult) -> int:
    with store.unit_of_work() as work:
        return outbox.record_results(work, attempt_results)


def read(store: Store, key: str) -> StoredEffect:
    with store.reading() as connection:
        return stored_effect(connection, key)


def test_an_added_effect_is_pending_and_keeps_every_value(store: Store, clock: ManualClock) -> None:
    with store.unit_of_work() as work:
        outbox.add(
            work,
            [
                new_effect("order", quantity="9.99", order_id="o-1"),
                new_effect("trait", quantity=None, attributes={"vip": True, "visits": 3, "name": "Ännchen"}),
                new_effect("refund", quantity="-0.10", order_id="o-1", is_refund=True),
                new_effect("open refund", quantity=None, order_id="o-1", is_refund=True),
            ],
            now=clock.now(),
        )
    order, trait, refund, open_refund = (read(store, key) for key in ("order", "trait", "refund", "open refund"))
    assert (order.state, order.tries, order.attempts, order.due_at) == (EffectState.PENDING, 0, 0, clock.now())
    assert (order.requested_quantity, order.quantity, order.order_id) == (Decimal("9.99"), Decimal("9.99"), "o-1")
    assert str(order.requested_quantity) == "9.99"
    assert order.received_at.utcoffset() == timedelta(0)
    assert (trait.kind, trait.attributes) == ("user_property", {"vip": True, "visits": 3, "name": "Ännchen"})
    assert (refund.is_refund, str(refund.requested_quantity), refund.quantity) == (True, "-0.10", None)
    assert open_refund.requested_quantity is None


def test_a_key_is_added_once_per_destination_and_the_index_is_the_last_defence(
    store: Store, clock: ManualClock
) -> None:
    add(store, clock, "a")
    with pytest.raises(InvariantError, match="added twice"), store.unit_of_work() as work:
        outbox.add(work, [new_effect("b"), new_effect("a")], now=clock.now())
    with store.unit_of_work() as work:
        assert outbox.effects_by_key(work, DESTINATION, ["a", "b"]).keys() == {"a"}
        outbox.add(work, [new_effect("a", destination="other")], now=clock.now())


def test_effects_are_found_by_key_and_by_message_in_any_number(store: Store, clock: ManualClock) -> None:
    keys = [f"k{number}" for number in range(1_000)]
    with store.unit_of_work() as work:
        outbox.add(work, [new_effect(key, message_id=f"m-{key}") for key in keys], now=clock.now())
        assert outbox.effects_by_key(work, DESTINATION, [*keys, "absent"]).keys() == set(keys)
        assert len(outbox.request_effects_by_message(work, DESTINATION, [f"m-{key}" for key in keys])()) == len(keys)
        assert outbox.effects_by_key(work, "other", keys) == {}


def test_claiming_takes_one_effect_of_each_customer_in_order(store: Store, clock: ManualClock) -> None:
    add(store, clock, "ann 1", "ann 2")
    add(store, clock, "bob 1", "bob 2", customer="bob@example.com")
    assert claimable_keys(store, clock) == ["ann 1", "bob 1"]
    assert claimable_keys(store, clock, limit=1) == ["ann 1"]
    ann, _bob = claim(store, clock)
    assert claimable_keys(store, clock) == []
    assert record_results(store, attempt_result(ann, clock=clock)) == 1
    assert claimable_keys(store, clock) == ["ann 2"]


def test_live_effects_are_claimed_before_those_of_replays(store: Store, clock: ManualClock) -> None:
    replayed = [replace(new_effect(f"past {number}", customer=f"{number}@example.com"), replay="r") for number in "123"]
    with store.unit_of_work() as work:
        outbox.add(work, replayed, now=clock.now())
    clock.advance(1)
    add(store, clock, "live ann")
    add(store, clock, "live bob", customer="bob@example.com")
    assert claimable_keys(store, clock) == ["live ann", "live bob", "past 1", "past 2", "past 3"]
    assert claimable_keys(store, clock, limit=3) == ["live ann", "live bob", "past 1"]
    assert claimable_keys(store, clock, limit=1) == ["live ann"]
    with store.unit_of_work() as work:
        ids = outbox.claimable_ids(work, DESTINATION, now=clock.now(), limit=2)
        assert [outbox.effect_by_id(work, id_).effect_key for id_ in ids] == ["live ann", "live bob"]
    add(store, clock, "live after", customer="1@example.com")  # behind the replayed one of its customer
    assert claimable_keys(store, clock) == ["live ann", "live bob", "past 1", "past 2", "past 3"]


def test_other_destinations_have_separate_queues(store: Store, clock: ManualClock) -> None:
    add(store, clock, "a")
    with store.unit_of_work() as work:
        outbox.add(work, [new_effect("b", destination="other")], now=clock.now())
        other = outbox.claimable(work, "other", now=clock.now(), limit=9)
    assert [item.effect_key for item in other] == ["b"]


def test_a_queue_waits_while_its_first_effect_waits_for_its_retry(store: Store, clock: ManualClock) -> None:
    add(store, clock, "first", "second")
    (first,) = claim(store, clock)
    later = clock.now() + timedelta(seconds=60)
    record_results(
        store,
        attempt_result(first, clock=clock, state=EffectState.RETRYING, outcome=AttemptOutcome.RETRYABLE, due_at=later),
    )
    assert claimable_keys(store, clock) == []
    clock.advance(60)
    assert claimable_keys(store, clock) == ["first"]


def test_a_user_property_that_waits_for_its_customer_holds_up_no_transaction(store: Store, clock: ManualClock) -> None:
    def add_property(key: str) -> None:
        with store.unit_of_work() as work:
            outbox.add(work, [new_effect(key, quantity=None, attributes={"vip": True})], now=clock.now())

    add_property("vip")
    (waiting,) = claim(store, clock)
    later = clock.now() + timedelta(seconds=60)
    record_results(
        store,
        attempt_result(
            waiting, clock=clock, state=EffectState.RETRYING, outcome=AttemptOutcome.RETRYABLE, due_at=later
        ),
    )
    add_property("vip again")
    add(store, clock, "order", "next order")
    assert claimable_keys(store, clock) == ["order"]
    claim(store, clock)
    clock.advance(10)
    assert claimable_keys(store, clock) == []


@pytest.mark.parametrize("end", [EffectState.PARKED, EffectState.REJECTED, EffectState.DELIVERED])
def test_a_queue_continues_after_an_effect_that_has_come_to_an_end(
    store: Store, clock: ManualClock, end: EffectState
) -> None:
    add(store, clock, "first", "second")
    (first,) = claim(store, clock)
    record_results(store, attempt_result(first, clock=clock, state=end, outcome=AttemptOutcome.REJECTED))
    assert claimable_keys(store, clock) == ["second"]


def test_a_reopened_effect_goes_first_but_not_beside_one_in_flight(store: Store, clock: ManualClock) -> None:
    add(store, clock, "first", "second", "third")
    (first,) = claim(store, clock)
    record_results(
        store, attempt_result(first, clock=clock, state=EffectState.PARKED, outcome=AttemptOutcome.RETRYABLE)
    )
    (second,) = claim(store, clock)
    with store.unit_of_work() as work:
        assert reopen(work, [first.id], now=clock.now()) == 1
    assert claimable_keys(store, clock) == []  # the second is in flight
    record_results(store, attempt_result(second, clock=clock))
    assert claimable_keys(store, clock) == ["first"]


def test_a_reopened_effect_does_not_wait_for_an_effect_with_an_expired_lease(store: Store, clock: ManualClock) -> None:
    add(store, clock, "first", "second")
    (first,) = claim(store, clock)
    record_results(
        store, attempt_result(first, clock=clock, state=EffectState.PARKED, outcome=AttemptOutcome.RETRYABLE)
    )
    claim(store, clock)
    with store.unit_of_work() as work:
        reopen(work, [first.id], now=clock.now())
    clock.advance(LEASE_SECONDS + 1)
    assert claimable_keys(store, clock) == ["first"]


def test_an_effect_on_its_way_is_claimable_again_only_after_its_lease(store: Store, clock: ManualClock) -> None:
    add(store, clock, "a")
    claim(store, clock)
    clock.advance(LEASE_SECONDS)
    assert claimable_keys(store, clock) == []
    clock.advance(0.001)
    with store.unit_of_work() as work:
        (again,) = outbox.claimable(work, DESTINATION, now=clock.now(), limit=9)
    assert (again.state, again.attempts) == (EffectState.SENDING, 1)


def test_starting_makes_the_attempt_durable_and_settling_ends_it(store: Store, clock: ManualClock) -> None:
    add(store, clock, "a")
    (effect,) = claim(store, clock)
    with store.reading() as connection:
        (attempt,) = attempts_of(connection, [effect.id])[effect.id]
    assert (attempt.number, attempt.action, attempt.outcome) == (1, Action.SEND, None)
    clock.advance(2)
    assert record_results(store, attempt_result(effect, clock=clock, partner_id="p1", detail="rounded")) == 1
    with store.reading() as connection:
        (attempt,) = attempts_of(connection, [effect.id])[effect.id]
    assert (attempt.outcome, attempt.status, attempt.detail) == (AttemptOutcome.DELIVERED, 201, "rounded")
    assert attempt.finished_at == clock.now()
    done = read(store, "a")
    assert (done.state, done.partner_id, done.tries) == (EffectState.DELIVERED, "p1", 1)
    assert done.finished_at == clock.now()


def test_a_try_that_does_not_count_leaves_the_tries_alone(store: Store, clock: ManualClock) -> None:
    add(store, clock, "a")
    (effect,) = claim(store, clock)
    record_results(
        store,
        attempt_result(effect, clock=clock, state=EffectState.RETRYING, outcome=AttemptOutcome.RETRYABLE, counts=False),
    )
    assert (read(store, "a").tries, read(store, "a").attempts) == (0, 1)


def test_a_late_answer_changes_nothing_that_its_successor_decides(store: Store, clock: ManualClock) -> None:
    add(store, clock, "a", "b")
    (late,) = claim(store, clock)
    clock.advance(LEASE_SECONDS + 1)
    with store.unit_of_work() as work:
        (again,) = outbox.claimable(work, DESTINATION, now=clock.now(), limit=9)
        outbox.abandon(work, again, now=clock.now())
        outbox.start(
            work,
            [started(again, action=Action.READ_BACK)],
            now=clock.now(),
            lease_until=clock.now() + timedelta(seconds=LEASE_SECONDS),
        )
    assert (
        record_results(
            store, attempt_result(late, clock=clock, state=EffectState.REJECTED, outcome=AttemptOutcome.REJECTED)
        )
        == 0
    )
    assert read(store, "a").state is EffectState.SENDING
    assert record_results(store, attempt_result(again, clock=clock)) == 1
    assert record_results(store, attempt_result(again, clock=clock, state=EffectState.RETRYING)) == 0
    assert read(store, "a").state is EffectState.DELIVERED
    with store.reading() as connection:
        first, second = attempts_of(connection, [late.id])[late.id]
    assert (first.outcome, second.action, second.outcome) == (AttemptOutcome.REJECTED, Action.READ_BACK, "delivered")


def test_several_settlements_say_how_many_of_them_moved_something(store: Store, clock: ManualClock) -> None:
    for number in range(5):
        add(store, clock, f"k{number}", customer=f"c{number}@example.com")
    claimed = claim(store, clock)
    record_results(store, attempt_result(claimed[3], clock=clock))
    assert record_results(store, *(attempt_result(item, clock=clock) for item in claimed)) == 4


def test_orphans_become_unknown_and_wait_until_their_request_can_no_longer_land(
    store: Store, clock: ManualClock
) -> None:
    add(store, clock, "a")
    add(store, clock, "b", customer="bob@example.com")
    (orphan, _) = claim(store, clock)
    with store.unit_of_work() as work:
        outbox.add(work, [new_effect("z", destination="other", customer="z@example.com")], now=clock.now())
        due = clock.now() + timedelta(seconds=10)
        assert outbox.release_orphans(work, DESTINATION, now=clock.now(), due_at=due) == 2
        assert outbox.release_orphans(work, DESTINATION, now=clock.now(), due_at=due) == 0
    released = read(store, "a")
    assert (released.state, released.reason) == (EffectState.UNKNOWN, "worker_stopped")
    assert (released.due_at - clock.now()).total_seconds() == 10
    with store.reading() as connection:
        (attempt,) = attempts_of(connection, [orphan.id])[orphan.id]
        assert stored_effect(connection, "z", destination="other").state is EffectState.PENDING
    assert (attempt.outcome, attempt.finished_at) == (AttemptOutcome.UNKNOWN, clock.now())
    assert record_results(store, attempt_result(orphan, clock=clock)) == 0  # its answer comes too late


@pytest.mark.parametrize(
    ("state", "reason", "after"),
    [
        pytest.param(EffectState.PARKED, "partner_unavailable", EffectState.PENDING, id="surely not performed"),
        pytest.param(EffectState.PARKED, "outcome_unknown", EffectState.UNKNOWN, id="perhaps performed"),
        pytest.param(EffectState.PARKED, "duplicate_key", EffectState.UNKNOWN, id="the key is used"),
        pytest.param(EffectState.REJECTED, "perk_unknown", EffectState.PENDING, id="rejected"),
        pytest.param(EffectState.REJECTED, None, EffectState.PENDING, id="rejected without a reason"),
    ],
)
def test_reopening_gives_fresh_tries_and_asks_first_where_the_outcome_is_not_known(
    store: Store, clock: ManualClock, state: EffectState, reason: str | None, after: EffectState
) -> None:
    add(store, clock, "a")
    (effect,) = claim(store, clock)
    record_results(
        store, attempt_result(effect, clock=clock, state=state, outcome=AttemptOutcome.UNKNOWN, reason=reason)
    )
    with store.unit_of_work() as work:
        assert [item.id for item in needing_a_person(work)] == [effect.id]
    clock.advance(3_600)
    with store.unit_of_work() as work:
        assert reopen(work, [effect.id], now=clock.now()) == 1
    again = read(store, "a")
    assert (again.state, again.tries, again.attempts, again.reason) == (after, 0, 1, "retried")
    assert (again.due_at, again.finished_at) == (clock.now(), None)
    assert claimable_keys(store, clock) == ["a"]


@pytest.mark.parametrize(
    ("later", "state", "reopened"),
    [
        pytest.param({"vip": True}, EffectState.DELIVERED, 0, id="a newer value was sent"),
        pytest.param({"vip": True}, None, 0, id="a newer value is queued"),
        pytest.param({"vip": True}, EffectState.REJECTED, 1, id="a newer value was refused"),
        pytest.param({"tier": 1}, EffectState.DELIVERED, 1, id="another property"),
    ],
)
def test_an_older_value_is_not_reopened_behind_a_newer_one(
    store: Store, clock: ManualClock, later: dict[str, object], state: EffectState | None, reopened: int
) -> None:
    def put(key: str, attributes: Mapping[str, object], state: EffectState | None) -> None:
        with store.unit_of_work() as work:
            outbox.add(work, [new_effect(key, quantity=None, attributes=attributes)], now=clock.now())
            if state is not None:
                ended = {"state": state, "reason": None, "detail": None, "due_at": clock.now(), "now": clock.now()}
                outbox.put(work, stored_effect(work, key).id, **ended)  # type: ignore[arg-type]

    put("older", {"vip": False}, EffectState.PARKED)
    put("newer", later, state)
    with store.unit_of_work() as work:
        assert reopen(work, [stored_effect(work, "older").id], now=clock.now()) == reopened


def test_only_parked_and_rejected_effects_are_reopened(store: Store, clock: ManualClock) -> None:
    add(store, clock, "delivered")
    add(store, clock, "sending", customer="bob@example.com")
    add(store, clock, "pending", customer="cid@example.com")
    delivered, sending = claim(store, clock, limit=2)
    record_results(store, attempt_result(delivered, clock=clock))
    with store.unit_of_work() as work:
        ids = [delivered.id, sending.id, sending.id + 1]
        assert reopen(work, ids, now=clock.now()) == 0
    assert read(store, "delivered").state is EffectState.DELIVERED


def test_an_effect_is_put_aside_without_an_attempt(store: Store, clock: ManualClock) -> None:
    add(store, clock, "a", "b")
    with store.unit_of_work() as work:
        (effect,) = outbox.claimable(work, DESTINATION, now=clock.now(), limit=9)
        outbox.put(
            work,
            effect.id,
            state=EffectState.PARKED,
            reason="refund_unknown_order",
            detail="why\x00",
            due_at=clock.now(),
            now=clock.now(),
        )
    parked = read(store, "a")
    assert (parked.state, parked.attempts, parked.finished_at) == (EffectState.PARKED, 0, clock.now())
    assert claimable_keys(store, clock) == ["b"]


def test_the_next_due_moment_is_that_of_the_open_effects(store: Store, clock: ManualClock) -> None:
    with store.reading() as connection:
        assert next_due(connection, DESTINATION) is None
    add(store, clock, "a")
    (effect,) = claim(store, clock)
    later = clock.now() + timedelta(seconds=60)
    record_results(store, attempt_result(effect, clock=clock, state=EffectState.RETRYING, due_at=later))
    with store.reading() as connection:
        assert next_due(connection, DESTINATION) == later
    clock.advance(60)
    (effect,) = claim(store, clock)
    record_results(store, attempt_result(effect, clock=clock))
    with store.reading() as connection:
        assert next_due(connection, DESTINATION) is None


def test_destinations_with_a_due_effect_are_seen_at_once(store: Store, clock: ManualClock) -> None:
    slugs = [DESTINATION, "others", "no-effects"]
    add(store, clock, "a")
    with store.unit_of_work() as work:
        outbox.add(work, [new_effect("b", destination="others")], now=clock.now() + timedelta(seconds=60))
    with store.reading() as work:
        assert destinations_due(work, slugs, now=clock.now() - timedelta(seconds=1)) == set()
        assert destinations_due(work, slugs, now=clock.now()) == {DESTINATION}
        assert destinations_due(work, ["no-effects"], now=clock.now()) == set()
        assert destinations_due(work, slugs, now=clock.now() + timedelta(seconds=60)) == {DESTINATION, "others"}


def test_nul_characters_from_anywhere_are_kept_as_their_symbol(store: Store, clock: ManualClock) -> None:
    with store.unit_of_work() as work:
        outbox.add(work, [new_effect("a", message_id="m\x00", order_id="o\x00")], now=clock.now())
        assert outbox.request_effects_by_message(work, DESTINATION, ["m\x00", ""])().keys() == {("website", "m\u2400")}
        add_conflict(work, stored_effect(work, "a").id, new_effect("a", message_id="x\x00", quantity="2"))
    (effect,) = claim(store, clock)
    record_results(
        store, attempt_result(effect, clock=clock, detail="<html>\x00", partner_id="p\x00", reason="rejected")
    )
    done = read(store, "a")
    assert (done.message_id, done.order_id) == ("m\u2400", "o\u2400")
    assert (done.detail, done.partner_id) == ("<html>\u2400", "p\u2400")
    with store.reading() as connection:
        assert [conflict.message_id for conflict in conflicts_of(connection, [done.id])[done.id]] == ["x\u2400"]


def test_threads_that_claim_at_once_never_get_the_same_effect_nor_two_of_a_customer(
    store: Store, clock: ManualClock
) -> None:
    with store.unit_of_work() as work:
        outbox.add(
            work,
            [
                new_effect(f"{customer}/{number}", customer=f"c{customer}@example.com")
                for number in range(3)
                for customer in range(20)
            ],
            now=clock.now(),
        )
    got: list[tuple[str, str]] = []
    failures: list[BaseException] = []
    barrier = threading.Barrier(4)

    def work_until_done() -> None:
        try:
            barrier.wait()
            quiet = 0
            while quiet < 20:
                claimed = claim(store, clock, limit=3)
                quiet = 0 if claimed else quiet + 1
                got.extend((item.customer, item.effect_key) for item in claimed)
                record_results(store, *(attempt_result(item, clock=clock) for item in claimed))
        except BaseException as error:  # noqa: BLE001  # a thread's failure must reach the test
            failures.append(error)

    threads = [threading.Thread(target=work_until_done) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(got) == len(set(got)) == 60
    for customer in {customer for customer, _ in got}:
        own = [key for item, key in got if item == customer]
        assert own == sorted(own)
    with store.reading() as connection:
        assert connection.scalar(text("SELECT count(*) FROM delivery_attempts")) == 60
