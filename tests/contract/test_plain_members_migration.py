"""Migration 0028 on both engines: stored comparisons and simulations are read under their new names."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import MetaData, NullPool, Table, create_engine, insert, inspect
from sqlalchemy.engine import make_url

from punchcard.clock import to_micros
from punchcard.operations.simulation_outcome import read_outcome
from punchcard.store.engine import Store
from punchcard.store.migrations.upgrade import upgrade
from punchcard.store.operations.reconciliation_differences import (
    DifferenceKind,
    DifferenceQuery,
    DifferenceState,
    NewDifference,
    add_differences,
    list_differences,
)
from punchcard.store.operations.simulations import simulation_by_id

AT = to_micros(datetime(2026, 1, 2, 3, tzinfo=UTC))
OURS = {"status": "delivered", "quantity": "1", "perk": "123456", "email": "ann@example.com", "settledAt": "2026"}
THEIRS = {"transactionId": "9", "quantity": "2", "perk": "123457", "email": None}
RUN = {
    "id": 1,
    "destination": "points",
    "requested_by": "test",
    "requested_at": AT,
    "since": AT,
    "status": "finished",
    "read": 1,
    "detail": "",
    **{f"{side}_{measure}": 0 for side in ("ledger", "partner", "others") for measure in ("count", "quantity")},
    "not_compared": 0,
    "customers_unchecked": 0,
}
DIFFERENCE = {
    "reconciliation_id": 1,
    "destination": "points",
    "kind": "content_differs",
    "effect_key": "key",
    "effect_id": 1,
    "email": "ann@example.com",
    "detail": "",
    "state": "dismissed",
    "resolved_by": "ann",
}
SUMS = {"awards": 1, "quantity": "1", "points": None, "actualAwards": 0, "actualQuantity": "0", "actualPoints": None}
OUTCOME = {
    "byEvent": [{"event": "Döner", "perk": "123456", "events": 1, "customers": 1, **SUMS}],
    "refused": {},
    "gaining": [],
    "losing": [],
    "totals": SUMS,
}


@pytest.fixture
def store(empty_store_url: str) -> Iterator[Store]:
    """A store that version 0027 wrote, opened by this version."""
    driver = "sqlite" if empty_store_url.startswith("sqlite") else "postgresql+psycopg"
    engine = create_engine(make_url(empty_store_url).set(drivername=driver), poolclass=NullPool)
    with engine.begin() as connection:
        upgrade(connection, revision="0027")
        tables = MetaData()
        connection.execute(insert(Table("reconciliations", tables, autoload_with=connection)), RUN)
        differences = Table("reconciliation_differences", tables, autoload_with=connection)
        for ours in (OURS, None):
            sides = {"ours": ours and json.dumps(ours, sort_keys=True), "theirs": json.dumps(THEIRS, sort_keys=True)}
            connection.execute(insert(differences), {**DIFFERENCE, **sides})
        simulation = {
            **{name: RUN[name] for name in ("id", "destination", "requested_by", "requested_at", "since", "status")},
            "until": AT,
            "proposal": "{}",
            "done": 1,
            "total": 1,
            "detail": "",
        }
        rows = Table("simulations", tables, autoload_with=connection)
        connection.execute(insert(rows), {**simulation, "outcome": json.dumps(OUTCOME, ensure_ascii=False)})
    engine.dispose()
    store = Store(empty_store_url)
    yield store
    store.close()


def test_stored_comparisons_are_recognised_after_the_migration(store: Store) -> None:
    ours = {"status": "delivered", "quantity": "1", "item": "123456", "email": "ann@example.com", "finishedAt": "2026"}
    theirs = {"transactionId": "9", "quantity": "2", "item": "123457", "email": None}
    with store.unit_of_work() as work:
        both, lost = list_differences(work, DifferenceQuery(reconciliation_id=1), count=9)
        assert (both.ours, both.theirs, lost.ours) == (ours, theirs, None)
        same = NewDifference(
            kind=DifferenceKind.CONTENT_DIFFERS,
            effect_key="key",
            effect_id=1,
            email="ann@example.com",
            ours=ours,
            theirs=theirs,
            detail="",
        )
        add_differences(work, 1, "points", [same])
        (remembered,) = list_differences(work, DifferenceQuery(reconciliation_id=1), count=9, after_id=2)
        assert (remembered.state, remembered.resolved_by) == (DifferenceState.DISMISSED, "ann")


def test_stored_simulations_are_read_after_the_migration(store: Store) -> None:
    with store.reading() as work:
        stored = simulation_by_id(work, "points", 1)
        assert stored is not None
        outcome = read_outcome(stored)
        assert outcome is not None
        assert [(row.event, row.item, row.quantity) for row in outcome.by_event] == [("Döner", "123456", "1")]


def test_columns_have_their_new_names(store: Store) -> None:
    with store.reading() as work:
        columns = {
            table: {column["name"] for column in inspect(work).get_columns(table)}
            for table in ("effects", "delivery_attempts", "alert_notices", "profile_conflicts")
        }
        assert "finished_at" in columns["effects"] & columns["delivery_attempts"] & columns["alert_notices"]
        assert "owner_id" in columns["profile_conflicts"]
