"""Conditions on keys of several columns: SQLite would read the whole table for them without their first column."""

import pytest
from sqlalchemy import Select, select
from sqlalchemy.dialects import sqlite

from punchcard.store.access.schema import audit_events
from punchcard.store.engine import Store
from punchcard.store.keys import key_in
from punchcard.store.routing.schema import held_events, replayed_events

KEYS = [(7, 1), (7, 2), (9, 1)]
held, replayed, audit = held_events.c, replayed_events.c, audit_events.c
STATEMENTS: dict[str, Select[int]] = {
    "held events": select(held.id).where(key_in([held.log_position, held.event_index], KEYS)),
    "replayed events": select(replayed.id)
    .where(key_in([replayed.original_position, replayed.original_index], KEYS))
    .order_by(replayed.id),
    "audit log": select(audit.id).where(key_in([audit.resource_type, audit.resource_id], [("source", "website")])),
}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_an_index_is_searched(sqlite_url: str, statement: Select[int]) -> None:
    compiled = statement.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    store = Store(sqlite_url)
    try:
        with store.reading() as work:
            plan = [row[3] for row in work.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]
    finally:
        store.close()
    assert plan[0].startswith("SEARCH")
