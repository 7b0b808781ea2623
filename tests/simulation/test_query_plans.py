"""No statement of the path of an event gets slower as the ledger grows: each finds its rows by an index that fits.

SQLite has no statistics here: it may take any index with a given first column, such as that of the destination, which
all effects have in common. So each statement that a simulation runs is asked for its plan.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, update
from sqlalchemy.engine import Engine

from punchcard.operations.trends import compute_trends
from punchcard.store.delivery import ledger, outbox
from punchcard.store.delivery.conflicts import ConflictQuery, count_conflicts, list_conflicts
from punchcard.store.delivery.customer_awards import top_customers
from punchcard.store.delivery.delivered import open_effects_before
from punchcard.store.delivery.effects import EffectState
from punchcard.store.delivery.ledger import oldest_open, open_backlog
from punchcard.store.delivery.orders import wake_dependents
from punchcard.store.delivery.sync_results import failed_syncs, keys_of_failed_syncs
from punchcard.store.delivery.undelivered import attempts_without_response, parked_awards, rejected_awards
from punchcard.store.delivery.unknown_customers import NO_CONNECTION
from punchcard.store.delivery.waiting_attributes import wake_waiting
from punchcard.store.engage import profile_queries, profile_search
from punchcard.store.engage.engage_tables import advance_due
from punchcard.store.engage.sync_outcomes import outcome_of
from punchcard.store.engage.synced import count_cut_lists
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.testing.fresh_store import with_tables
from punchcard.testing.log_installation import effect
from punchcard.testing.simulation import simulate

# Tables that grow for ever.
GROWING = ("effects", "delivery_attempts", "effect_conflicts")
OF_PEOPLE = ("profiles", "external_ids", "profile_traits", "synced", "sync_queue", "computation_sizes")
# Hold only what is open; that is all of what such a statement asks for.
OF_WHAT_IS_OPEN = ("ix_effects_due", "ix_effects_ordering_key")
# Hold only what is an exception: reading all of it is what such a statement asks for.
OF_EXCEPTIONS = ("ix_synced_cut", "ix_sync_queue_waiting")
# Hold one row per destination.
OF_DESTINATIONS = ("sqlite_autoindex_sync_accounts_1",)
# The pages of the ledger, newest first.
IN_ORDER = ("ix_effects_destination",)
# The oracle of the simulation counts attempts over all.
ORACLES_OWN = re.compile(r"SELECT .*count\(\*\).*\sFROM delivery_attempts", re.DOTALL)
SCAN = re.compile(rf"SCAN (?:{'|'.join(GROWING)})\b")
BY_DESTINATION_ALONE = re.compile(r"USING (?:COVERING )?INDEX (\w+) \(destination=\?\)")


@contextmanager
def plans() -> Iterator[dict[str, list[str]]]:
    """The plan of each statement that SQLite runs, by the statement."""
    result: dict[str, list[str]] = {}

    def explain(
        connection: Connection, _cursor: object, statement: str, parameters: object, _context: object, is_many: bool
    ) -> None:
        if is_many or statement in result or not statement.startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            return
        raw = connection.connection.dbapi_connection
        assert raw is not None
        cursor = raw.cursor()
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        result[statement] = [row[3] for row in cursor.fetchall()]
        cursor.close()

    event.listen(Engine, "before_cursor_execute", explain)
    try:
        yield result
    finally:
        event.remove(Engine, "before_cursor_execute", explain)


def is_slow(step: str) -> bool:
    by_destination = BY_DESTINATION_ALONE.search(step)
    return bool(SCAN.search(step)) or (
        by_destination is not None and by_destination[1] not in OF_WHAT_IS_OPEN + OF_DESTINATIONS + IN_ORDER
    )


def test_every_statement_finds_its_rows_by_an_index_that_fits(tmp_path: Path) -> None:
    with plans() as result:
        simulate(tmp_path, seed=3, steps=200)
    matching_statements = [statement for statement in result if any(f" {table}" in statement for table in GROWING)]
    matching_statements = [statement for statement in matching_statements if not ORACLES_OWN.match(statement)]
    assert len(matching_statements) >= 8
    slow = {
        statement[-300:]: result[statement] for statement in matching_statements if any(map(is_slow, result[statement]))
    }
    assert slow == {}


def test_every_statement_about_people_finds_its_rows_by_an_index(tmp_path: Path) -> None:
    store = Store(with_tables(f"sqlite:///{tmp_path / 'store.db'}"))
    with plans() as result:
        compute_trends(store, {"regulars": 1}, clock=ManualClock())
        with store.reading() as work:
            outcome_of(work, "regulars", destination="perkville", source="engage-perkville")
            profile_search.find(work, "ann")
            profile_search.named(work, "ann", limit=20)
            profile_search.newest(work, limit=50, before=7)
            profile_search.with_trait(work, "plan", values=['"gold"'], limit=50, before=7)
            profile_search.names_of_traits(work, limit=50)
            profile_search.values_of_trait(work, "plan", limit=50)
            count_cut_lists(work)
        with store.unit_of_work() as work:
            at = ManualClock().now()
            advance_due(work, destination="perkville", keys=["regulars"], is_excluding=True, beyond=at, at=at)
    store.close()
    scan = re.compile(rf"SCAN (?:{'|'.join((*GROWING, *OF_PEOPLE))})\b")
    slow = {
        statement: plan
        for statement, plan in result.items()
        if any(
            (scan.search(step) and not any(index in step for index in OF_EXCEPTIONS)) or is_slow(step) for step in plan
        )
    }
    assert len(result) >= 8
    assert slow == {}


def test_what_is_open_is_found_by_its_own_index(tmp_path: Path) -> None:
    """Alerts, metrics and comparisons ask for it all day; the ledger is thousands of times larger."""
    store = Store(with_tables(f"sqlite:///{tmp_path / 'store.db'}"))
    at = ManualClock().now()
    with plans() as result, store.reading() as work:
        open_backlog(work, ["perkville", "webhooks"])
        open_effects_before(work, "perkville", before=at)
    store.close()
    steps = [step for plan in result.values() for step in plan if "effects" in step]
    assert [re.findall(r"ix_\w+", step) for step in steps] == [["ix_effects_due"], ["ix_effects_due"]]


def test_an_award_reads_what_waits_for_its_customer_or_order_and_nothing_else_that_waits(tmp_path: Path) -> None:
    """As many attributes as an audience has members may wait, and refunds of orders that earned nothing stay."""
    store = Store(with_tables(f"sqlite:///{tmp_path / 'store.db'}"))
    at = ManualClock().now()
    with store.unit_of_work() as work:
        outbox.add(work, [effect("waits", item=None, attributes={"vip": True})], now=at)
        work.execute(update(outbox.effects).values(state=EffectState.RETRYING, reason=NO_CONNECTION))
    with plans() as result, store.unit_of_work() as work:
        assert wake_waiting(work, "perkville", ["ann@example.com"], now=at) == 1
        wake_dependents(work, "perkville", delivered=["1"], reopened=["a"], reopened_on_delivery=["b"], now=at)
    store.close()
    steps = [step for plan in result.values() for step in plan if "effects" in step]
    assert [re.findall(r"ix_\w+", step) for step in steps] == [
        *(["ix_effects_no_connection"], ["ix_effects_no_connection"], ["ix_effects_order"]),
    ]


def test_home_reads_what_is_open_and_the_period_only(tmp_path: Path) -> None:
    store = Store(with_tables(f"sqlite:///{tmp_path / 'store.db'}"))
    at = ManualClock().now()
    with plans() as result, store.reading() as work:
        oldest_open(work, "perkville")
        top_customers(work, {"perkville": {}}, begin=at, end=at, counted_max=10, limit=5)
    store.close()
    steps = [step for plan in result.values() for step in plan if "effects" in step]
    assert [re.findall(r"ix_\w+", step) for step in steps] == [
        *(["ix_effects_due"], ["ix_effects_reason"], ["ix_effects_received"], ["ix_effects_received"]),
    ]


LISTS = {
    "one event": (ledger.LedgerQuery(destination="perkville", event_name="A"), "ix_effects_event_name"),
    "one reason": (ledger.LedgerQuery(destination="perkville", reason="a"), "ix_effects_reason"),
    "one customer": (ledger.LedgerQuery(destination="perkville", customer="ann@example.com"), "ix_effects_customer"),
    "one order": (ledger.LedgerQuery(destination="perkville", order_id="1"), "ix_effects_order"),
    "one property": (
        ledger.LedgerQuery(destination="perkville", sets="plan", source="engage-perkville"),
        "ix_effects_attributes",
    ),
    "failed ones of one event": (
        ledger.LedgerQuery(destination="perkville", states=[EffectState.PARKED], event_name="A"),
        "ix_effects_state",
    ),
    "parked": (ledger.LedgerQuery(destination="perkville", states=[EffectState.PARKED]), "ix_effects_state"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_nothing_matches_is_not_looked_for_in_the_whole_ledger(tmp_path: Path, name: str) -> None:
    query, index = LISTS[name]
    store = Store(with_tables(f"sqlite:///{tmp_path / 'store.db'}"))
    with plans() as result, store.reading() as work:
        ledger.page(work, query, count=50)
        ledger.count(work, query, at_most=10_000)
    store.close()
    steps = [step for plan in result.values() for step in plan if "SEARCH effects" in step or "SCAN effects" in step]
    assert steps
    assert {index_name for step in steps for index_name in re.findall(r"ix_\w+", step) or [step]} == {index}


def test_conflicts_and_effects_in_retry_are_not_looked_for_in_the_whole_ledger(tmp_path: Path) -> None:
    store = Store(with_tables(f"sqlite:///{tmp_path / 'store.db'}"))
    with plans() as result, store.reading() as work:
        list_conflicts(work, ConflictQuery(destination="perkville", is_resolved=False), count=50)
        count_conflicts(work, ConflictQuery(destination="perkville", is_resolved=False))
        attempts_without_response(work, "perkville")
    store.close()
    steps = [step for plan in result.values() for step in plan]
    assert not [step for step in steps if "ix_effects_destination" in step or step.startswith("SCAN effects")]


def test_awards_that_were_not_sent_are_counted_without_reading_their_rows(tmp_path: Path) -> None:
    """Home counts them at each visit, and thousands may be parked while a partner is away."""
    store = Store(with_tables(f"sqlite:///{tmp_path / 'store.db'}"))
    with plans() as result, store.reading() as work:
        list(parked_awards(work))
        list(rejected_awards(work, "perkville", since=ManualClock().now()))
    store.close()
    steps = [step for plan in result.values() for step in plan if " effects " in step]
    assert [step.partition(" (")[0] for step in steps] == [
        "SEARCH effects USING COVERING INDEX ix_effects_undelivered",
        "SEARCH effects USING COVERING INDEX ix_effects_undelivered",
        "SEARCH effects USING INDEX ix_effects_corrected",
    ]


def test_who_has_a_trait_or_a_value_is_found_without_those_who_do_not(tmp_path: Path) -> None:
    store = Store(with_tables(f"sqlite:///{tmp_path / 'store.db'}"))
    with plans() as result, store.reading() as work:
        profile_search.with_trait(work, "regulars", limit=50)
        profile_queries.members(work, "regulars", limit=50)
        profile_search.with_trait(work, "plan", values=['"gold"'], limit=50, before=7)
    store.close()
    steps = [step for plan in result.values() for step in plan if "profile_traits" in step]
    assert [step.partition("INDEX ")[2] for step in steps] == [
        "ix_profile_traits_held (name=?)",
        "ix_profile_traits_held (name=?)",
        "ix_profile_traits_value (name=? AND <expr>=? AND profile_id<?)",
    ]


def test_failed_syncs_are_read_of_what_failed_only(tmp_path: Path) -> None:
    store = Store(with_tables(f"sqlite:///{tmp_path / 'store.db'}"))
    with plans() as result, store.reading() as work:
        keys_of_failed_syncs(work, destination="perkville", source="engage-perkville")
        failed_syncs(work, "regulars", destination="perkville", source="engage-perkville")
    store.close()
    steps = [step for plan in result.values() for step in plan if " effects " in step and "effects_1" not in step]
    assert steps
    assert all("ix_effects_failed" in step for step in steps), steps
