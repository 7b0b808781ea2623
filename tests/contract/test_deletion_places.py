"""Deletion of a person where the data is elsewhere: a lake on S3, an event log in Kafka or PostgreSQL."""

import dataclasses
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.contract.privacy_world import (
    ANN,
    BOB,
    CONFIG,
    get,
    order,
    process,
    regulate,
    traces_of,
    transactions,
    unpacked,
)

from punchcard.clock import SystemClock, from_micros
from punchcard.events.model import Event, EventType, MessageId, WireEvent
from punchcard.lake import erasure
from punchcard.lake.data_file import DataFile
from punchcard.lake.erasure import LakeEraser
from punchcard.lake.query import run_query
from punchcard.lake.schema import LakeRows
from punchcard.lake.writer import LakeWriter
from punchcard.log.opening import open_event_log
from punchcard.log.port import NewRecord
from punchcard.log.postgres import PostgresEventLog
from punchcard.profiles.erasure import ErasedIds
from punchcard.store.engine import Store
from punchcard.testing.public_api import PublicApiServer
from punchcard.testing.s3_server import S3Server, lake_folder
from punchcard.testing.waiting import wait_until

RECEIVED = 1_767_312_000_000_000
ANN_IDS = ErasedIds(user_ids=frozenset({ANN[0]}))


def append(writer: LakeWriter, position: int, *users: str) -> None:
    """Append an event of each user at a log position."""
    rows, instant = LakeRows(), from_micros(RECEIVED)
    for index, user in enumerate(users):
        wire = WireEvent(event="Visit", user_id=user)
        event = Event(EventType.TRACK, MessageId(f"m-{position}-{index}"), instant, instant, wire, b"{}")
        rows.add(event, source="web", received_at=RECEIVED, position=position, index=index, results="[]")
    writer.append(rows, first_position=position, last_position=position)


def message_ids(url: str) -> list[str]:
    """Return what the lake has."""
    return [row[0] for row in run_query(url, "SELECT message_id FROM events ORDER BY 1", limit=1_000)[1]]


def test_no_object_on_s3_names_a_deleted_person(tmp_path: Path, sqlite_url: str, s3_server: S3Server) -> None:
    url = s3_server.new_lake()
    with PublicApiServer(tmp_path, sqlite_url, CONFIG, lake_url=url) as api:
        api.send({"batch": [order(ANN, 1), order(BOB, 2)]}, call="batch")
        process(api)
        api.send(order(ANN, 3))
        # A conflict: the results of another person's event name the deleted one.
        api.send(order(BOB, 4, properties={"email": BOB[1], "order_id": "o-1", "revenue": "9.99"}))
        process(api)
        bobs = api.request("GET", "/api/events/m-2").json()
        assert any(ANN[0].encode() in unpacked(path) for path in lake_folder(url).rglob("*.parquet"))
        regulation = regulate(api, "DELETE_INTERNAL", ANN[0])
        api.run_regulations()
        view = get(api, regulation)
        assert view["overallStatus"] == "FINISHED", view
        assert {"id": "lake", "name": "Data lake", "status": "FINISHED", "count": 2}.items() <= next(
            step for step in view["storeStatus"] if step["id"] == "lake"
        ).items()
        assert traces_of(lake_folder(url), sqlite_url, *ANN) == []
        assert api.request("GET", "/api/events/m-2").json() == bobs
        assert message_ids(url) == ["m-2", "m-4"]
        assert len(transactions(api)) == 3


@pytest.mark.parametrize("other", ["appends", "merges", "erases"])
def test_an_erasure_loses_and_doubles_nothing_beside_another_writer(
    lake_url: str, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    writer = LakeWriter(lake_url)
    for position in range(1, 21):
        append(writer, position, ANN[0], BOB[0])
    eraser = LakeEraser(lake_url, clock=SystemClock())
    rewrite, interruptions = LakeEraser._rewrite, [0]

    def interrupted(self: LakeEraser, file: DataFile, *rest: Any) -> Any:
        """Rewrite a file, and let another process be faster with its commit."""
        result = rewrite(self, file, *rest)
        if self is eraser and interruptions[0] < 3:
            interruptions[0] += 1
            if other == "appends":
                append(writer, 100 + interruptions[0], BOB[0])
            elif other == "merges":
                writer.compact()
            else:
                LakeEraser(lake_url, clock=SystemClock()).erase(ANN_IDS)
        return result

    monkeypatch.setattr(LakeEraser, "_rewrite", interrupted)
    erased = eraser.erase(ANN_IDS)
    assert interruptions[0] > 0
    bobs = [f"m-{position}-1" for position in range(1, 21)]
    bobs += [f"m-{100 + number}-0" for number in range(1, 4)] if other == "appends" else []
    assert message_ids(lake_url) == sorted(bobs)
    eraser.remove_files(erased.files)
    assert all(ANN[0].encode() not in unpacked(path) for path in lake_folder(lake_url).rglob("*.parquet"))
    assert list(eraser.candidates(ANN_IDS)) == []


def test_an_append_does_not_make_an_erasure_begin_again(lake_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy worker appends every second: a file that was written again is committed behind the append."""
    writer = LakeWriter(lake_url)
    for position in range(1, 6):
        append(writer, position, ANN[0], BOB[0])
    eraser, rewrites = LakeEraser(lake_url, clock=SystemClock()), [0]
    rewrite = LakeEraser._rewrite

    def counted(self: LakeEraser, *arguments: Any) -> Any:
        result = rewrite(self, *arguments)
        rewrites[0] += 1
        append(writer, 100 + rewrites[0], BOB[0])
        return result

    monkeypatch.setattr(LakeEraser, "_rewrite", counted)
    monkeypatch.setattr(erasure, "_TRIES", 2)
    assert eraser.erase(ANN_IDS).rows == 5
    assert rewrites[0] == 5


# --- a log that cannot replace records


@pytest.mark.kafka
def test_a_log_in_kafka_keeps_a_deletion_running_until_its_retention(
    tmp_path: Path, sqlite_url: str, request: pytest.FixtureRequest
) -> None:
    log = open_event_log(request.getfixturevalue("kafka").url())
    with PublicApiServer(tmp_path, sqlite_url, CONFIG, log=log) as api:
        api.send(order(ANN, 1), order(ANN, 2), order(BOB, 3))
        process(api)
        regulation = regulate(api, "DELETE_INTERNAL", ANN[0])
        api.run_regulations()
        view = get(api, regulation)
        assert view["overallStatus"] == "RUNNING"
        assert view["lastTraceAt"] is None
        until = "2026-01-03T03:04:05.000Z"  # 24 hours after the clock's begin
        assert view["detail"] == (
            "Everything else is deleted. The event log cannot replace records: it deletes the last record with this "
            f"person at {until}, after log_retention_hours."
        )
        assert transactions(api)[-1]["email"].startswith("deleted:")
        log.trim(1, records_max=10)
        api.run_regulations(rounds=2)
        assert get(api, regulation)["overallStatus"] == "RUNNING"  # the second record is left
        log.trim(2, records_max=10)
        api.run_regulations(rounds=2)
        assert get(api, regulation)["overallStatus"] == "FINISHED"
        assert [record.position for record in log.read(0, records_max=9, bytes_max=10**6)] == [3]
        assert traces_of(tmp_path, sqlite_url, *ANN) == []


# --- old versions of rows in PostgreSQL


@pytest.fixture
def vacuumed(empty_postgres_url: str) -> Iterator[Callable[[str], bool]]:
    """Return whether a table was vacuumed, and no old version of a row is left in it."""
    with psycopg.connect(empty_postgres_url.replace("+psycopg", ""), autocommit=True) as connection:

        def is_vacuumed(table: str) -> bool:
            row = connection.execute(
                "SELECT last_vacuum IS NOT NULL AND n_dead_tup = 0 FROM pg_stat_user_tables WHERE relname = %s",
                [table],
            ).fetchone()
            return row == (True,)

        yield is_vacuumed


def test_old_versions_of_records_are_freed_at_once(empty_postgres_url: str, vacuumed: Callable[[str], bool]) -> None:
    with closing(PostgresEventLog(empty_postgres_url)) as log:
        log.append([NewRecord(1, "wk", "track", "identity", b'{"userId": "ann"}', "1.2.3.4")] * 3)
        log.replace_bodies(log.read(0, records_max=2, bytes_max=10**6))
        assert not vacuumed("event_log_records")
        assert log.discard_replaced()
        wait_until(lambda: vacuumed("event_log_records"))
        assert len(log.append([NewRecord(1, "wk", "track", "identity", b"{}", "")])) == 1


def test_old_versions_of_rows_are_freed_at_once(empty_postgres_url: str, vacuumed: Callable[[str], bool]) -> None:
    with closing(Store(empty_postgres_url)) as store:
        assert not vacuumed("effects")
        assert store.discard_deleted()
        for table in ("effects", "profiles", "revisions"):
            wait_until(partial(vacuumed, table))


def test_a_backup_that_began_before_is_waited_for(empty_postgres_url: str) -> None:
    """Until it ends, the server keeps what it may read: a deletion must not say that nothing is left."""
    url = empty_postgres_url.replace("+psycopg", "")
    with closing(Store(empty_postgres_url)) as store, closing(PostgresEventLog(empty_postgres_url)) as log:
        with psycopg.connect(url) as backup:
            backup.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            backup.execute("SELECT count(*) FROM effects")
            assert not store.discard_deleted()
            assert not log.discard_replaced()
        assert store.discard_deleted()
        assert log.discard_replaced()


def test_a_session_that_reads_nothing_is_not_waited_for(empty_postgres_url: str) -> None:
    with (
        closing(Store(empty_postgres_url)) as store,
        psycopg.connect(empty_postgres_url.replace("+psycopg", "")) as idle,
    ):
        idle.execute("SELECT 1")  # its transaction is open, and sees at its next statement what was deleted
        assert store.discard_deleted()


def statistics_naming(url: str, text: str) -> list[tuple[Any, ...]]:
    """Return the columns of which the server's statistics have a value with a text."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        return connection.execute(
            "SELECT tablename, attname FROM pg_stats WHERE concat(most_common_vals, histogram_bounds) LIKE %s",
            [f"%{text}%"],
        ).fetchall()


def test_no_statistics_of_the_server_name_a_deleted_person(tmp_path: Path, empty_postgres_url: str) -> None:
    """They hold frequent values of each column, for every role that may read the table."""
    with PublicApiServer(tmp_path, empty_postgres_url, CONFIG) as api:
        api.send(*(order(ANN, number) for number in range(20)), *(order(BOB, number) for number in range(20, 30)))
        process(api)
        with psycopg.connect(empty_postgres_url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("ANALYZE")
        assert statistics_naming(empty_postgres_url, ANN[1])
        regulation = regulate(api, "DELETE_INTERNAL", ANN[0])
        api.run_regulations()
        assert get(api, regulation)["overallStatus"] == "FINISHED"
    for text in ANN:
        assert statistics_naming(empty_postgres_url, text) == []
    assert statistics_naming(empty_postgres_url, BOB[1])


def test_no_statistics_of_a_log_have_replaced_bodies(empty_postgres_url: str) -> None:
    body = json.dumps({"userId": ANN[0]})
    with closing(PostgresEventLog(empty_postgres_url)) as log:
        log.append([NewRecord(1, "wk", "track", "identity", body.encode(), "1.2.3.4")] * 20)
        with psycopg.connect(empty_postgres_url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("ANALYZE")
        assert statistics_naming(empty_postgres_url, ANN[0].encode().hex())
        records = log.read(0, records_max=20, bytes_max=10**6)
        log.replace_bodies([dataclasses.replace(record, body=b"{}") for record in records])
        assert log.discard_replaced()
    assert statistics_naming(empty_postgres_url, ANN[0].encode().hex()) == []


# --- unused parts of pages in SQLite


@pytest.fixture
def leftover(sqlite_url: str) -> Path:
    """Return a store with bytes of deleted rows in its file, as SQLite leaves them when it moves rows between pages."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    with closing(Store(sqlite_url)), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        rows = [(f"{ANN[1].upper()}-{number}",) for number in range(500)]
        connection.executemany("INSERT INTO revisions (name, value) VALUES (?, 1)", rows)
        connection.execute("DELETE FROM revisions WHERE name LIKE ?", [f"{ANN[1]}%"])
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert ANN[1].upper().encode() in path.read_bytes()
    return path


def test_bytes_in_unused_parts_of_a_file_are_overwritten(leftover: Path) -> None:
    with closing(Store(f"sqlite:///{leftover}")) as store:
        assert store.discard_deleted(texts=[BOB[1]])
        assert ANN[1].upper().encode() in leftover.read_bytes()  # Bob has left nothing
        assert store.discard_deleted(texts=[BOB[1], ANN[1]])
        assert all(ANN[1].upper().encode() not in path.read_bytes() for path in leftover.parent.glob("*.db*"))
        store.ping()


def test_a_file_that_is_being_written_is_rewritten_later(leftover: Path) -> None:
    with (
        closing(Store(f"sqlite:///{leftover}")) as store,
        closing(sqlite3.connect(leftover, isolation_level=None)) as writer,
    ):
        writer.execute("BEGIN IMMEDIATE")
        assert not store.discard_deleted(texts=[ANN[1]])
        writer.execute("COMMIT")
        assert store.discard_deleted(texts=[ANN[1]])
    assert ANN[1].upper().encode() not in leftover.read_bytes()
