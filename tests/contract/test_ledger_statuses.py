"""The filters of the ledger select exactly the transactions that they name, on both engines."""

import random
import string
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import text

from punchcard.operations.statuses import LEDGER_STATUSES, OPEN_STATUSES
from punchcard.store.delivery import ledger, outbox
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.ledger import LedgerQuery
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import EventStatus
from punchcard.testing.clock import ManualClock
from punchcard.testing.effects import DESTINATION, new_effect
from punchcard.traces.trace import current_status


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A store with one transaction per state and number of attempts."""
    store = Store(store_url)
    with store.unit_of_work() as work:
        for state in EffectState:
            for attempts in range(3):
                key = f"{state}-{attempts}"
                outbox.add(work, [new_effect(key, customer=f"{key}@example.com")], now=ManualClock().now())
                work.execute(
                    text("update effects set state = :state, attempts = :attempts where effect_key = :key"),
                    {"state": state.value, "attempts": attempts, "key": key},
                )
    yield store
    store.close()


@pytest.mark.parametrize(
    "statuses", [*[(status,) for status in LEDGER_STATUSES], OPEN_STATUSES], ids=lambda statuses: "+".join(statuses)
)
def test_the_filter_and_the_badge_agree(store: Store, statuses: tuple[EventStatus, ...]) -> None:
    with store.reading() as work:
        all_effects = ledger.page(work, LedgerQuery(destination=DESTINATION), count=100)
        selected = ledger.page(work, LedgerQuery(destination=DESTINATION, statuses=statuses), count=100)
    expected = {effect.effect_key for effect in all_effects if current_status(effect) in statuses}
    assert expected
    assert {effect.effect_key for effect in selected} == expected


def test_events_with_very_long_names_are_kept_and_found(store: Store) -> None:
    """A source may send a name of 32 KB, and PostgreSQL refuses rows with entries of an index over 2,704 bytes."""
    begin = "".join(random.Random(1).choices(string.ascii_letters, k=10_000))  # which cannot be compressed
    names = [begin[:99], begin[:100], begin, begin + "x"]
    with store.unit_of_work() as work:
        added = [replace(new_effect(str(number)), event_name=name) for number, name in enumerate(names)]
        outbox.add(work, added, now=ManualClock().now())
    with store.reading() as work:
        for name in names:
            query = LedgerQuery(destination=DESTINATION, event_name=name)
            assert [effect.event_name for effect in ledger.page(work, query, count=9)] == [name]
            assert ledger.count(work, query, at_most=9) == 1
            of_state = LedgerQuery(destination=DESTINATION, event_name=name, states=[EffectState.PARKED])
            assert ledger.page(work, of_state, count=9) == []
