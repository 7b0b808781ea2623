"""The promise of positions, results, pauses and the ledger's readings, on both engines."""

import re
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text

from punchcard.errors import InvariantError
from punchcard.store.delivery import ledger, outbox
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.ledger import LedgerQuery
from punchcard.store.delivery.pauses import Pause, PauseEnd, pause, pause_of, resume
from punchcard.store.delivery.queue import next_due
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import (
    EventResult,
    EventStatus,
    ResultBatch,
    RoutedRecord,
    decode_batch,
    encode_batch,
)
from punchcard.store.routing.positions import ROUTING, advance, forget_results, position_of, results_after, save_results
from punchcard.testing.clock import ManualClock
from punchcard.testing.effects import DESTINATION, attempt_result, begin_all, new_effect


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


# --- positions ---


def test_a_consumer_starts_at_zero_and_moves_only_from_where_it_stands(store: Store) -> None:
    with store.unit_of_work() as work:
        assert position_of(work, ROUTING) == 0
        assert not advance(work, ROUTING, expected=3, to=7)
        assert advance(work, ROUTING, expected=0, to=7)
        assert not advance(work, ROUTING, expected=0, to=9)
        assert advance(work, ROUTING, expected=7, to=2**53)
        assert position_of(work, ROUTING) == 2**53
        assert position_of(work, "other") == 0


def test_of_two_processes_that_advance_at_once_one_wins(store_url: str) -> None:
    stores = [Store(store_url), Store(store_url)]
    barrier = threading.Barrier(2)
    for expected in (0, 10):
        won: list[bool] = []

        def move(store: Store, expected: int = expected, won: list[bool] = won) -> None:
            barrier.wait()
            with store.unit_of_work() as work:
                won.append(advance(work, ROUTING, expected=expected, to=expected + 10))

        threads = [threading.Thread(target=move, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == [False, True]
    for store in stores:
        store.close()


# --- results ---


def batch(first: int, last: int) -> ResultBatch:
    results = (
        EventResult("perkville", EventStatus.REFUSED, "not_allowlisted", "why"),
        EventResult(None, EventStatus.DUPLICATE),
    )
    return ResultBatch(
        distinct=[results, ()],
        records=[
            RoutedRecord(position=position, source="website", results=[0, 1]) for position in range(first, last + 1)
        ],
    )


def test_results_are_kept_in_order_until_the_lake_holds_them(store: Store) -> None:
    with store.unit_of_work() as work:
        save_results(work, batch(5, 9))
        save_results(work, batch(1, 4))
        save_results(work, batch(10, 10))
        assert results_after(work, 0, batches_max=2) == [batch(1, 4), batch(5, 9)]
        assert results_after(work, 4, batches_max=9) == [batch(5, 9), batch(10, 10)]
        forget_results(work, 9)
        assert results_after(work, 0, batches_max=9) == [batch(10, 10)]


texts = st.text(max_size=20)
results = st.builds(
    EventResult,
    destination=st.none() | texts,
    status=st.sampled_from(EventStatus),
    reason=st.none() | texts,
    detail=st.none() | texts,
    effect_key=st.none() | texts,
)


@given(
    st.builds(
        ResultBatch,
        distinct=st.lists(st.lists(results, max_size=3).map(tuple), max_size=4),
        records=st.lists(
            st.builds(
                RoutedRecord,
                position=st.integers(0, 2**62),
                source=st.none() | texts,
                results=st.lists(st.integers(0, 9), max_size=5),
            ),
            max_size=4,
        ),
    )
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_a_batch_of_results_survives_encoding(original: ResultBatch) -> None:
    assert decode_batch(encode_batch(original)) == original


# --- pauses ---


def test_a_destination_is_paused_once_and_resumed_once(store: Store) -> None:
    now = ManualClock().now()
    expected = Pause(
        destination="perkville",
        reason="credentials_refused",
        detail="no",
        since=now,
        settings_fingerprint="f1",
    )
    other = Pause(destination="perkville", reason="x", detail="nul\x00", since=now, settings_fingerprint="f2")
    with store.unit_of_work() as work:
        assert pause_of(work, "perkville") is None
        assert not resume(work, "perkville", by=PauseEnd.OPERATOR, now=now)
        assert pause(work, expected)
        assert not pause(work, other)
        assert pause_of(work, "perkville") == expected
        assert pause_of(work, "other") is None
        assert resume(work, "perkville", by=PauseEnd.OPERATOR, now=now)
        assert pause(work, other)


# --- the ledger's readings ---


def fill(store: Store, clock: ManualClock) -> None:
    with store.unit_of_work() as work:
        outbox.add(
            work,
            [new_effect(f"k{number}", customer=f"c{number % 3}@example.com") for number in range(9)],
            now=clock.now(),
        )
        claimed = outbox.claimable(work, DESTINATION, now=clock.now(), limit=9)
        begin_all(work, claimed, now=clock.now(), lease_until=clock.now() + timedelta(seconds=25))
        states = [EffectState.DELIVERED, EffectState.PARKED, EffectState.REJECTED]
        outbox.record_results(
            work, [attempt_result(item, clock=clock, state=state) for item, state in zip(claimed, states, strict=True)]
        )


def test_the_ledger_is_paged_newest_first_and_filtered(store: Store) -> None:
    fill(store, ManualClock())
    with store.reading() as connection:
        first = ledger.page(connection, LedgerQuery(destination=DESTINATION), count=4)
        second = ledger.page(connection, LedgerQuery(destination=DESTINATION), count=99, before_id=first[-1].id)
        assert [item.effect_key for item in [*first, *second]] == [f"k{number}" for number in range(8, -1, -1)]
        assert ledger.page(connection, LedgerQuery(destination="other"), count=9) == []
        of_one = ledger.page(connection, LedgerQuery(destination=DESTINATION, customer=" C1@Example.com "), count=9)
        assert [item.effect_key for item in of_one] == ["k7", "k4", "k1"]
        states = [EffectState.PARKED, EffectState.REJECTED]
        parked = ledger.page(connection, LedgerQuery(destination=DESTINATION, states=states), count=9)
        assert [item.effect_key for item in parked] == ["k2", "k1"]
        assert ledger.count(connection, LedgerQuery(destination=DESTINATION)) == 9
        assert ledger.count(connection, LedgerQuery(destination=DESTINATION, states=[EffectState.PENDING])) == 6


def test_the_ledger_is_queried_by_time_order_reason_and_name(store: Store) -> None:
    clock = ManualClock()
    start = clock.now()
    with store.unit_of_work() as work:
        new = [
            new_effect(f"t{number}", order_id=f"o{number}", received_at=start + timedelta(hours=number))
            for number in range(6)
        ]
        outbox.add(work, new, now=start)
    ledger_query = LedgerQuery(destination=DESTINATION)

    def keys(**more: object) -> list[str]:
        with store.reading() as work:
            query = replace(ledger_query, **more)  # type: ignore[arg-type]
            effect_key = [item.effect_key for item in ledger.page(work, query, count=99)]
            assert ledger.count(work, query) == len(effect_key)
            assert ledger.count(work, query, at_most=2) == min(2, len(effect_key))
            assert len(ledger.ids(work, query)) == len(effect_key)
            return effect_key

    hour = timedelta(hours=1)
    assert keys(begin=start + 2 * hour, end=start + 4 * hour) == ["t3", "t2"]
    assert keys(begin=start + 99 * hour) == []
    assert keys(begin=start, states=[EffectState.PENDING, EffectState.RETRYING])[0] == "t5"
    assert keys(order_id="o4") == ["t4"]
    assert keys(reason="perk_unknown") == []
    assert len(keys(event_name="Order Completed")) == 6
    with store.reading() as work:
        assert ledger.customers_like(work, "ANN", limit=9) == ["ann@example.com"]
        assert ledger.customers_like(work, "bob", limit=9) == []


def test_what_needs_a_person_is_found_by_destination_reason_and_message(store: Store) -> None:
    fill(store, ManualClock())
    with store.reading() as connection:
        assert [item.effect_key for item in ledger.needing_a_person(connection)] == ["k1", "k2"]
        assert ledger.needing_a_person(connection, destination="other") == []
        assert ledger.needing_a_person(connection, reason="perk_unknown") == []
        chosen = ledger.needing_a_person(connection, message_ids=["message of k2", "message of k0"])
        assert [item.effect_key for item in chosen] == ["k2"]


def test_the_backlog_counts_what_is_open_or_parked(store: Store) -> None:
    clock = ManualClock()
    fill(store, clock)
    with store.reading() as connection:
        counted = {item.state: item.count for item in ledger.backlog(connection, [DESTINATION, "other"])}
    assert counted == {EffectState.PENDING: 6, EffectState.PARKED: 1}


def test_a_message_knows_its_effects_of_every_destination(store: Store) -> None:
    with store.unit_of_work() as work:
        outbox.add(
            work,
            [new_effect("a", message_id="m"), new_effect("a", message_id="m", destination="other")],
            now=ManualClock().now(),
        )
        assert [effect.destination for effect in ledger.effects_of_message(work, "m")] == [DESTINATION, "other"]
        assert ledger.effects_of_message(work, "n") == []


# --- the work stays small however long the ledger becomes ---


def test_claiming_reads_the_small_indexes_of_open_effects(sqlite_url: str) -> None:
    store = Store(sqlite_url)
    statements: list[tuple[str, object]] = []
    clock = ManualClock()
    with store.unit_of_work() as work:
        outbox.add(work, [new_effect("a")], now=clock.now())
    with store.unit_of_work() as work:

        def remember(_c: object, _cursor: object, statement: str, parameters: object, *_rest: object) -> None:
            statements.append((statement, parameters))

        event.listen(work, "before_cursor_execute", remember)
        outbox.claimable(work, DESTINATION, now=clock.now(), limit=5)
        next_due(work, DESTINATION)
        event.remove(work, "before_cursor_execute", remember)
    plans = []
    with store.reading() as connection:
        for statement, parameters in statements:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]
            plans.append("\n".join(row.detail for row in rows))
    store.close()
    claiming, due = plans
    assert "USING INDEX ix_effects_due" in claiming
    assert "ix_effects_ordering_key" in claiming
    assert "ix_effects_state" in claiming
    assert "SCAN effects" not in claiming
    assert "USE TEMP B-TREE" not in claiming
    assert "ix_effects_due" in due


@pytest.mark.parametrize("status", [EventStatus.PENDING, EventStatus.RETRYING, EventStatus.UNKNOWN])
def test_effects_in_delivery_are_counted_by_a_small_index(sqlite_url: str, status: EventStatus) -> None:
    plans: list[str] = []
    query = ledger.LedgerQuery(destination=DESTINATION, statuses=[status])
    with closing(Store(sqlite_url)) as store, store.reading() as connection:

        def explain(_c: Any, cursor: Any, statement: str, parameters: Any, *_rest: object) -> None:
            plans.append(str(cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()))

        event.listen(connection, "before_cursor_execute", explain)
        assert ledger.count(connection, query, at_most=10) == 0
    assert re.search("ix_effects_(state|due)", plans[0]), plans


def test_claiming_on_postgresql_reads_the_small_indexes_of_open_effects(empty_postgres_url: str) -> None:
    """On tables that never had a row: what the server remembers of former rows decides, too."""
    with closing(Store(empty_postgres_url)) as store, store.reading() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = connection.execute(
            text("EXPLAIN SELECT min(due_at) FROM effects WHERE destination = 'd' AND is_open = true")
        )
        assert "ix_effects_due" in "\n".join(row[0] for row in plan)


def test_a_log_record_with_stored_results_is_refused(store: Store) -> None:
    with store.unit_of_work() as work:
        save_results(work, batch(1, 4))
    with pytest.raises(InvariantError, match="routed twice"), store.unit_of_work() as work:
        save_results(work, batch(1, 2))
