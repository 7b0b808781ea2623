"""A shared log in PostgreSQL: it outlives its server's restarts, and belongs to one database only."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from punchcard.errors import ConfigurationError, StorageError, UnreadableRecordError
from punchcard.log import postgres_session
from punchcard.log.bodies import decompress
from punchcard.log.opening import describe_place, open_event_log
from punchcard.log.port import EventLog
from punchcard.log.postgres import PostgresEventLog
from punchcard.routing.log_guard import OlderStoreError, OtherLogError
from punchcard.store.delivery.recoveries import RecoveryReason
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.testing.log_installation import Installation, record
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until

OTHER_SESSIONS = (
    "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
New = Callable[..., Installation]


def bodies(log: EventLog) -> list[bytes]:
    return [decompress(item) for item in log.read(0, records_max=1_000_000, bytes_max=1 << 40)]


def execute(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def log(empty_postgres_url: str) -> Iterator[PostgresEventLog]:
    with closing(PostgresEventLog(empty_postgres_url)) as log:
        yield log


@pytest.fixture
def new(postgres_url: str, tmp_path: Path) -> Iterator[New]:
    """Makes installations on several machines; log and store are one database, if no other URL is given."""
    made: list[Installation] = []
    stores: list[Store] = []

    def make(name: str, *, store_url: str = postgres_url, log_url: str = postgres_url) -> Installation:
        folder = tmp_path / name
        folder.mkdir()
        stores.append(Store(store_url))
        clock = ManualClock()
        for _ in made:
            clock.new_id()  # real ones differ
        made.append(Installation(folder, stores[-1], clock, shared_log_url=log_url))
        return made[-1]

    yield make
    for item in made:
        item.close_logs()
    for store in stores:
        store.close()


def test_idle_connections_that_the_server_has_ended_cost_no_request(
    log: PostgresEventLog, empty_postgres_url: str
) -> None:
    log.append([record(1)])
    log.read(0, records_max=10, bytes_max=1_000)
    log.wait(1, seconds=0.01, poll_seconds=0.001)
    for number in range(3):
        execute(empty_postgres_url, OTHER_SESSIONS)
        log.append([record(number)])
        execute(empty_postgres_url, OTHER_SESSIONS)
        assert len(bodies(log)) == number + 2
        log.wait(number + 1, seconds=PATIENCE_SECONDS, poll_seconds=0.001)
        assert log.identity().id


def test_a_commit_that_is_cut_off_is_reported_and_the_next_one_is_made(
    log: PostgresEventLog, empty_postgres_url: str
) -> None:
    with psycopg.connect(empty_postgres_url) as holder:
        holder.execute("SELECT * FROM event_log_head FOR UPDATE")
        failed: list[StorageError] = []

        def append() -> None:
            try:
                log.append([record(1)])
            except StorageError as error:
                failed.append(error)

        appending = threading.Thread(target=append)
        appending.start()
        blocked = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%event_log_head%'"
        wait_until(lambda: execute(empty_postgres_url, blocked))
        execute(empty_postgres_url, f"SELECT pg_terminate_backend(pid) FROM ({blocked}) AS blocked")
        appending.join()
    assert "cannot be written" in failed[0].message
    log.append([record(2)])
    assert len(bodies(log)) == 1


def test_an_end_that_somebody_keeps_locked_is_reported_in_time(
    empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: a session left idle in its transaction makes requests fail with 503, not wait for ever."""
    monkeypatch.setattr(postgres_session, "_STATEMENT_SECONDS", 1)
    with closing(PostgresEventLog(empty_postgres_url)) as log:
        with psycopg.connect(empty_postgres_url) as holder:
            holder.execute("SELECT * FROM event_log_head FOR UPDATE")
            with pytest.raises(StorageError, match="statement timeout"):
                log.append([record(1)])
            assert bodies(log) == []
        assert len(log.append([record(2)])) == 1


def test_a_server_that_crashes_keeps_what_was_acknowledged(own_postgres: Any) -> None:
    """Promise: also without a restart of ours, and reading goes on where it was."""
    with closing(PostgresEventLog(own_postgres.url)) as log:
        first = log.append([record(number) for number in range(3)])
        assert len(bodies(log)) == 3
        own_postgres.crash()
        with pytest.raises(StorageError):
            log.append([record(3)])
        with pytest.raises(StorageError):
            log.read(0, records_max=10, bytes_max=1_000)
        log.wait(3, seconds=1, poll_seconds=0.001)
        own_postgres.start()
        second = log.append([record(4)])
        assert second[0] == first[-1] + 1
        assert [item.received_at for item in log.read(0, records_max=10, bytes_max=1_000)] == [0, 1, 2, 4]


def test_a_body_that_is_damaged_at_rest_hides_no_other(own_postgres: Any) -> None:
    with closing(PostgresEventLog(own_postgres.url)) as log:
        log.append([replace(record(number), body=os.urandom(20_000)) for number in range(3)])
        before = log.read(0, records_max=9, bytes_max=1 << 30)
    path = "SELECT pg_relation_filepath(reltoastrelid::regclass) FROM pg_class WHERE relname = 'event_log_records'"
    file = own_postgres.data / execute(own_postgres.url, path)[0][0]
    own_postgres.stop()
    with file.open("r+b") as damaged:
        damaged.write(bytes(8_192))  # the page on which the first body begins
    own_postgres.start()
    with closing(PostgresEventLog(own_postgres.url)) as log:
        after = log.read(0, records_max=9, bytes_max=1 << 30)
        assert [item.position for item in after] == [1, 2, 3]
        assert after[1:] == before[1:]
        assert "bytes cannot be read" in after[0].damage
        with pytest.raises(UnreadableRecordError):
            decompress(after[0])
        assert log.append([record(4)]) == range(4, 5)


def test_a_machine_that_is_frozen_while_it_appends_stops_no_other(empty_postgres_url: str) -> None:
    appending = (
        "import sys\n"
        "from punchcard.log.postgres import PostgresEventLog\n"
        "from punchcard.log.port import NewRecord\n"
        "log = PostgresEventLog(sys.argv[1])\n"
        "while True:\n"
        "    log.append([NewRecord(1, 'wk', 'track', 'gzip', bytes(100_000), '')] * 20)\n"
    )
    frozen = subprocess.Popen([sys.executable, "-c", appending, empty_postgres_url])
    try:
        with closing(PostgresEventLog(empty_postgres_url)) as log:
            wait_until(lambda: log.last_position() > 100)
            frozen.send_signal(signal.SIGSTOP)
            # What it had sent when it was frozen is committed or cut off by the server, sooner or later.
            wait_until(lambda: appends(log))
            wait_until(lambda: log.append([record(2)])[0] + 1 == log.append([record(3)])[0])
    finally:
        frozen.kill()
        frozen.wait()


def appends(log: EventLog) -> bool:
    try:
        return len(log.append([record(1)])) == 1
    except StorageError:
        return False


def test_a_newer_schema_is_refused(log: PostgresEventLog, empty_postgres_url: str) -> None:
    execute(empty_postgres_url, "UPDATE event_log SET schema_version = 3")
    with pytest.raises(ConfigurationError, match="newer version"):
        open_event_log(empty_postgres_url)


def test_tables_that_are_dropped_under_a_process_take_nothing_more(
    log: PostgresEventLog, empty_postgres_url: str
) -> None:
    execute(empty_postgres_url, "DROP TABLE event_log, event_log_head, event_log_records")
    for use in (lambda: log.append([record(1)]), log.identity, log.last_position):
        with pytest.raises(StorageError) as refused:
            use()
        assert refused.value.code == "log_replaced"
    with closing(PostgresEventLog(empty_postgres_url)):
        for use in (lambda: log.append([record(1)]), log.identity, log.last_position):
            with pytest.raises(StorageError) as refused:
                use()
            assert refused.value.code == "log_replaced"


def test_the_place_of_a_log_has_no_password() -> None:
    place = describe_place("postgresql://points:secret@db.example:5433/points?sslmode=require")
    assert place == "postgresql://db.example:5433/points"


def test_machines_with_folders_of_their_own_share_log_and_store(new: New) -> None:
    first, second = new("first"), new("second")
    guards = [first.start(), second.start(), first.start()]
    for guard in guards * 2:
        guard.check()
        guard.advance(at_once=True)
    assert first.recovery() is None
    assert second.append(2) == 2
    assert len(bodies(first.log())) == 2


def test_two_logs_on_one_database_are_refused(new: New, empty_postgres_url: str, postgres_url: str) -> None:
    first, second = new("first"), new("second", log_url=empty_postgres_url)
    local = new("third", log_url="")
    first.start()
    for other in (second, local):
        with pytest.raises(OtherLogError, match="PUNCHCARD_LOG_URL") as refused:
            other.start()
        assert describe_place(postgres_url) in refused.value.message
        assert "adopt-log" in refused.value.message
    first.start().check()


def test_two_databases_on_one_log_are_refused(new: New, sqlite_url: str) -> None:
    """Promise: an award is not made twice because two databases route the same events."""
    first, second = new("first"), new("second", store_url=sqlite_url)
    guard = first.start()
    with pytest.raises(OtherLogError, match=r"PUNCHCARD_DATABASE_URL.*adopt-log"):
        second.start()
    guard.check()
    assert first.recovery() is None


def test_of_two_databases_that_come_to_a_new_log_together_one_is_refused(
    new: New, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = new("first"), new("second", store_url=sqlite_url)
    bind_store = PostgresEventLog.bind_store

    def bind_later(log: PostgresEventLog, store_id: str, *, replace: bool = False) -> None:
        monkeypatch.undo()
        first.start()
        bind_store(log, store_id, replace=replace)

    monkeypatch.setattr(PostgresEventLog, "bind_store", bind_later)
    with pytest.raises(OtherLogError, match="another database"):
        second.start()
    first.start().check()


def test_an_installation_moves_from_a_data_folder_to_a_shared_log(new: New) -> None:
    local = new("first", log_url="")
    local.append(7)
    local.start()
    local.route(to=7)
    local.close_logs()
    shared = new("second")
    with pytest.raises(OtherLogError, match="adopt-log"):
        shared.start()
    assert shared.guard().adopt() == 0
    shared.start().check()
    assert shared.append(1) == 8
    assert shared.recovery() is None
    with pytest.raises(OtherLogError, match="set PUNCHCARD_LOG_URL to postgresql://"):
        local.start()


def test_a_process_that_runs_stops_when_its_log_gets_another_database(new: New, sqlite_url: str) -> None:
    first, second = new("first"), new("second", store_url=sqlite_url)
    first.append(3)
    log = first.log()
    guard = first.guard(log)
    guard.open()
    assert second.guard().adopt() == 3
    second.start().check()
    with pytest.raises(OtherLogError, match="another database"):
        guard.check()
    with pytest.raises(StorageError):
        log.append([record(4)])


def test_log_and_store_restored_together_under_running_processes_are_noticed(
    new: New, postgres_url: str, postgres_server_url: str
) -> None:
    """Promise: nothing that was sent since the copy is sent again unseen."""
    installation = new("first")
    guard = installation.start()
    installation.append(2)
    guard.advance(at_once=True)
    name, copy = make_url(postgres_url).database, "copy_of_before"
    execute(postgres_url, OTHER_SESSIONS)
    execute(postgres_server_url, f"CREATE DATABASE {copy} TEMPLATE {name}")
    guard.advance(at_once=True)
    execute(postgres_url, OTHER_SESSIONS)
    execute(postgres_server_url, f"DROP DATABASE {name} WITH (FORCE)")
    execute(postgres_server_url, f"ALTER DATABASE {copy} RENAME TO {name}")
    with pytest.raises(OlderStoreError):
        guard.advance(at_once=True)
    guard.open()
    recovery = installation.recovery()
    assert recovery is not None
    assert recovery.reason is RecoveryReason.GENERATION
    guard.check()
    # And once is enough.
    installation.start().check()
    again = installation.recovery()
    assert again is not None
    assert again.id == recovery.id


def test_two_processes_that_open_a_new_installation_together_agree(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Store(postgres_url)) as store:
        installation = Installation(tmp_path, store, ManualClock(), shared_log_url=postgres_url)
        slow = installation.log()
        identity = slow.identity
        reads: list[object] = []

        def read_identity() -> object:
            reads.append(identity())
            if len(reads) == 2:  # it has seen that nobody was here before
                installation.start()
            return reads[-1]

        monkeypatch.setattr(slow, "identity", read_identity)
        guard = installation.guard(slow)
        guard.open()
        guard.check()
        assert installation.recovery() is None
        installation.close_logs()
