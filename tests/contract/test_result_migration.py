"""Migration 0026 on both engines: results of requests and of events are read under their new names."""

from datetime import UTC, datetime

import msgspec
from sqlalchemy import MetaData, NullPool, Table, create_engine, insert
from sqlalchemy.engine import make_url

from punchcard.clock import to_micros
from punchcard.store.engage.engage_tables import result_of
from punchcard.store.engine import Store
from punchcard.store.migrations.upgrade import upgrade
from punchcard.store.routing.event_results import EventResult, EventStatus, ResultBatch, RoutedRecord
from punchcard.store.routing.positions import results_after

CREATED_AT = to_micros(datetime(2026, 1, 2, 3, tzinfo=UTC))
OLD_BATCH = {
    "distinct": [
        [{"destination": "perkville", "fate": "pending", "reason": None, "detail": None, "effectKey": "key"}],
        [],
    ],
    "records": [
        {"position": 1, "source": "website", "fates": [0, 1]},
        {"position": 2, "source": None, "fates": [1]},
    ],
}


def test_stored_results_are_read_after_the_migration(empty_store_url: str) -> None:
    driver = "sqlite" if empty_store_url.startswith("sqlite") else "postgresql+psycopg"
    engine = create_engine(make_url(empty_store_url).set(drivername=driver), poolclass=NullPool)
    batch = {"first_position": 1, "last_position": 2, "body": msgspec.msgpack.encode(OLD_BATCH)}
    request = {"id": "r1", "kind": "preview", "body": "{}", "answer": '{"size": 3}', "created_at": CREATED_AT}
    with engine.begin() as connection:
        upgrade(connection, revision="0023")
        tables = MetaData()
        connection.execute(insert(Table("result_batches", tables, autoload_with=connection)), batch)
        requests = Table("engage_requests", tables, autoload_with=connection)
        assert {column.name for column in requests.columns} == set(request)
        connection.execute(insert(requests), request)
    engine.dispose()
    store = Store(empty_store_url)
    with store.reading() as work:
        assert result_of(work, "r1") == '{"size": 3}'
        assert results_after(work, 0, batches_max=9) == [
            ResultBatch(
                distinct=[
                    (EventResult(destination="perkville", status=EventStatus.PENDING, effect_key="key"),),
                    (),
                ],
                records=[
                    RoutedRecord(position=1, source="website", results=[0, 1]),
                    RoutedRecord(position=2, source=None, results=[1]),
                ],
            )
        ]
    store.close()
