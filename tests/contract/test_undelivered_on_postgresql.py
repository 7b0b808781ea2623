"""PostgreSQL counts what was not sent by its own index: it expects about as many rows as there are."""

import re
from collections.abc import Callable, Iterator

import psycopg
import pytest
from sqlalchemy import event, update

from punchcard.store.delivery import outbox
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.schema import effects
from punchcard.store.delivery.undelivered import parked_awards, rejected_awards
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.testing.effects import new_effect

AWARDS, EVERY = 3_000, 60


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    """A ledger in which one award of sixty is parked, and another one rejected."""
    opened = Store(postgres_url)
    now = ManualClock().now()
    columns = effects.c
    with opened.unit_of_work() as work:
        outbox.add(work, [new_effect(f"key {number}") for number in range(AWARDS)], now=now)
        ended = {"is_open": False, "finished_at": now}
        work.execute(update(effects).values(state=EffectState.DELIVERED, **ended))
        for remainder, state in ((0, EffectState.PARKED), (1, EffectState.REJECTED)):
            failed = {"state": state, "reason": "outcome_unknown"}
            work.execute(update(effects).where(columns.id % EVERY == remainder).values(**failed))
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE effects")
    yield opened
    opened.close()


def plan_of(store: Store, query: Callable[..., object]) -> str:
    """Return the plan of the statement that a query runs."""
    plans: list[str] = []

    def explain(connection, _cursor, statement, parameters, _context, _is_many):  # type: ignore[no-untyped-def]
        cursor = connection.connection.cursor()
        cursor.execute(f"EXPLAIN ANALYZE {statement}", parameters)
        plans.append("\n".join(row[0] for row in cursor.fetchall()))

    with store.reading() as work:
        event.listen(work, "before_cursor_execute", explain)
        query(work)
    (plan,) = plans
    return plan


def test_parked_and_rejected_awards_are_counted_by_their_index_alone(store: Store) -> None:
    since = ManualClock().now()
    queries: list[Callable[..., object]] = [
        lambda work: list(parked_awards(work)),
        lambda work: list(rejected_awards(work, "perkville", since=since)),
    ]
    for query in queries:
        plan = plan_of(store, query)
        scan = re.search(r"Scan using ix_effects_undelivered .*? rows=(\d+) .*actual.* rows=(\d+)", plan)
        assert scan is not None, plan
        expected, actual = int(scan[1]), int(scan[2])
        assert actual == AWARDS // EVERY
        assert actual / 3 <= expected <= actual * 3, plan
