"""The promise of the store on both engines: a unit of work or nothing, one schema, one leader, honest failures."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, NullPool, create_engine, inspect, make_url, text

from punchcard.errors import ConfigurationError, InvariantError, StorageError
from punchcard.postgres import SESSION
from punchcard.store.delivery import outbox
from punchcard.store.engine import HEAD_MIGRATION, Store
from punchcard.store.migrations.upgrade import upgrade
from punchcard.store.schema import metadata
from punchcard.store.vacuum import vacuum
from punchcard.testing.clock import ManualClock
from punchcard.testing.effects import DESTINATION, new_effect
from punchcard.testing.waiting import wait_until


@pytest.fixture
def store(empty_store_url: str) -> Iterator[Store]:
    store = Store(empty_store_url)
    yield store
    store.close()


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()


# --- units of work and views ---


def test_a_unit_of_work_that_raises_leaves_nothing(store: Store) -> None:
    clock = ManualClock()

    def half_way() -> None:
        with store.unit_of_work() as work:
            outbox.add(work, [new_effect("a")], now=clock.now())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half_way()
    with store.reading() as connection:
        assert outbox.effects_by_key(connection, DESTINATION, ["a"]) == {}


def test_a_view_shows_one_moment_while_others_write(store: Store) -> None:
    clock = ManualClock()
    with store.reading() as connection:
        assert outbox.effects_by_key(connection, DESTINATION, ["a"]) == {}
        writer = threading.Thread(target=_add, args=(store, clock, "a"))
        writer.start()
        writer.join()
        assert outbox.effects_by_key(connection, DESTINATION, ["a"]) == {}
    with store.reading() as connection:
        assert outbox.effects_by_key(connection, DESTINATION, ["a"]).keys() == {"a"}


def _add(store: Store, clock: ManualClock, key: str) -> None:
    with store.unit_of_work() as work:
        outbox.add(work, [new_effect(key)], now=clock.now())


def test_a_trial_leaves_nothing(store: Store) -> None:
    with store.trial() as work:
        outbox.add(work, [new_effect("a")], now=ManualClock().now())
        assert outbox.effects_by_key(work, DESTINATION, ["a"]).keys() == {"a"}
    with store.reading() as connection:
        assert outbox.effects_by_key(connection, DESTINATION, ["a"]) == {}


def test_what_is_written_is_there_after_opening_again(empty_store_url: str) -> None:
    first = Store(empty_store_url)
    _add(first, ManualClock(), "a")
    first.ping()
    first.close()
    second = Store(empty_store_url)
    with second.reading() as connection:
        assert outbox.effects_by_key(connection, DESTINATION, ["a"]).keys() == {"a"}
    second.close()


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://localhost/x", "nonsense", "postgresql://host:port/x"]
)
def test_a_url_that_names_no_store_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Store(url)


def test_a_database_that_is_away_is_a_storage_error_of_one_line() -> None:
    with pytest.raises(StorageError) as refused:
        Store("postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=2")
    assert "\n" not in refused.value.message
    with pytest.raises(StorageError) as refused:
        vacuum(create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing"))
    assert "\n" not in refused.value.message


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        Store(f"sqlite:///{tmp_path}/file/store.db")


def test_a_cut_off_unit_of_work_is_a_storage_error_and_the_next_one_works(empty_postgres_url: str) -> None:
    store = Store(empty_postgres_url)

    def cut_off() -> None:
        with store.unit_of_work() as work, psycopg.connect(empty_postgres_url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [work.scalar(text("SELECT pg_backend_pid()"))])
            outbox.add(work, [new_effect("a")], now=ManualClock().now())

    with pytest.raises(StorageError):
        cut_off()
    _add(store, ManualClock(), "a")
    store.close()


# --- migrations ---


def described(connection: Connection) -> dict[str, object]:
    inspector = inspect(connection)
    tables: dict[str, object] = {}
    for table in inspector.get_table_names():
        tables[table] = {
            "columns": [
                (
                    column["name"],
                    str(column["type"]),
                    column["nullable"],
                    str(column["default"]),
                    str(column.get("autoincrement")),
                )
                for column in inspector.get_columns(table)
            ],
            "primary key": inspector.get_pk_constraint(table),
            "unique": sorted(map(str, inspector.get_unique_constraints(table))),
            "foreign keys": sorted(map(str, inspector.get_foreign_keys(table))),
            "indexes": sorted(
                (
                    str(index["name"]),
                    index["column_names"],
                    index["unique"],
                    {k: str(v) for k, v in index.get("dialect_options", {}).items()},
                )
                for index in inspector.get_indexes(table)
            ),
        }
    if connection.dialect.name == "sqlite":  # SQLAlchemy does not describe indexes of expressions
        indexes = connection.execute(text("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql LIKE '%lower(%'"))
        tables["indexes of expressions"] = sorted(indexes.scalars())
    return tables


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
def test_all_migrations_from_nothing_lead_to_the_very_schema_that_a_new_store_has(
    empty_store_url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with closing(Store(empty_store_url)) as new, new.reading() as connection:
        expected = described(connection)
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == HEAD_MIGRATION
    # Without a pool: a connection that a failure leaves open would be found, and blamed, by a later test.
    if empty_store_url.startswith("sqlite"):
        engine = create_engine(f"sqlite:///{tmp_path / 'migrated.db'}", poolclass=NullPool)
    else:
        engine = create_engine(make_url(empty_store_url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
        with engine.begin() as connection:
            metadata.drop_all(connection)
            connection.execute(text("DROP TABLE alembic_version"))
    with engine.begin() as connection:
        upgrade(connection)
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == HEAD_MIGRATION
        result = described(connection)
    engine.dispose()
    # Alembic makes its own table with a primary key; ours holds one row all the same.
    for tables in (expected, result):
        tables.pop("alembic_version")
    assert result == expected


def test_a_database_of_a_newer_version_is_refused_and_left_alone(empty_store_url: str) -> None:
    store = Store(empty_store_url)
    with store.unit_of_work() as work:
        work.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(ConfigurationError, match="newer Punchcard"):
        Store(empty_store_url)


def test_processes_that_start_together_on_an_empty_store_all_find_it_ready(empty_store_url: str) -> None:
    code = """
        import sys
        from punchcard.store.engine import Store
        print("ready", flush=True)
        sys.stdin.readline()
        store = Store(sys.argv[1])
        store.ping()
        store.close()
        print("done", flush=True)
    """
    processes = [run_python(code, empty_store_url) for _ in range(3)]
    try:
        assert [line_of(process) for process in processes] == ["ready"] * 3
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [line_of(process) for process in processes] == ["done"] * 3
    finally:
        for process in processes:
            end(process)


# --- leadership ---


def test_a_role_has_one_holder_and_passes_on_when_it_is_given_up(empty_store_url: str) -> None:
    first, second = Store(empty_store_url), Store(empty_store_url)
    with second.leadership("routing") as later:
        with first.leadership("routing") as earlier, first.leadership("delivery-perkville") as another:
            assert earlier.held()
            assert earlier.held()
            assert another.held()
            assert not later.held()
        assert later.held()
    first.close()
    second.close()


HOLDER = """
    import sys
    from punchcard.store.engine import Store
    store = Store(sys.argv[1])
    with store.leadership("routing") as leadership:
        print(leadership.held(), flush=True)
        sys.stdin.readline()
"""


def test_killing_the_holder_frees_the_role(empty_store_url: str) -> None:
    store = Store(empty_store_url)
    holder = run_python(HOLDER, empty_store_url)
    try:
        assert line_of(holder) == "True"
        with store.leadership("routing") as leadership:
            assert not leadership.held()
            os.kill(holder.pid, signal.SIGKILL)
            holder.wait()
            deadline = threading.Event()
            for _ in range(200):  # PostgreSQL notices the end of a session in its own time
                if leadership.held():
                    break
                deadline.wait(0.05)
            assert leadership.held()
    finally:
        end(holder)
        store.close()


FROZEN = """
    import sys
    from punchcard.store import engine
    engine._FROZEN_SECONDS = 2
    store = engine.Store(sys.argv[1])
    with store.leadership("routing") as leadership:
        print(leadership.held(), flush=True)
        sys.stdin.readline()
        try:
            print(leadership.held(), flush=True)
        except engine.StorageError:
            print("lost", flush=True)
"""


def test_a_leader_that_is_frozen_loses_the_role_and_notices_it(empty_postgres_url: str) -> None:
    store = Store(empty_postgres_url)
    holder = run_python(FROZEN, empty_postgres_url)
    try:
        assert line_of(holder) == "True"
        with store.leadership("routing") as leadership:
            # It is not frozen yet: it keeps its session busy, however little it asks for.
            threading.Event().wait(3)
            assert not leadership.held()
            os.kill(holder.pid, signal.SIGSTOP)
            wait_until(leadership.held)
            os.kill(holder.pid, signal.SIGCONT)
            assert holder.stdin is not None
            holder.stdin.write("\n")
            holder.stdin.flush()
            assert line_of(holder) == "lost"
            assert leadership.held()
    finally:
        end(holder)
        store.close()


def test_a_session_that_keeps_a_lock_is_not_waited_for_without_end(
    empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "SET lock_timeout = '45s'" in SESSION
    monkeypatch.setattr("punchcard.store.engine.SESSION", ("SET lock_timeout = '100ms'",))
    store = Store(empty_postgres_url)
    store.ping()
    with psycopg.connect(empty_postgres_url) as operator:
        operator.execute("SELECT * FROM revisions FOR UPDATE").fetchall()
        with pytest.raises(StorageError, match=r"lock for 45 seconds.*pg_terminate_backend.*revisions"):
            store.ping()
    store.ping()
    store.close()


def test_a_process_that_creates_or_migrates_tables_is_waited_for(
    empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("punchcard.store.engine.SESSION", ("SET lock_timeout = '100ms'",))
    with closing(Store(empty_postgres_url)) as store, store.unit_of_work() as work:
        metadata.drop_all(work)
        work.execute(text("DROP TABLE alembic_version"))
    with psycopg.connect(empty_postgres_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (0x50756E63,))
        waiting = threading.Thread(target=lambda: Store(empty_postgres_url).close())
        waiting.start()
        waiting.join(0.5)  # longer than the time-out
        assert waiting.is_alive()
    waiting.join()
    with closing(Store(empty_postgres_url)) as store:
        store.ping()


def test_commits_are_durable_whatever_the_default_of_the_server(empty_postgres_url: str) -> None:
    """Promise: an attempt that was committed before its first byte left is there after a loss of power."""
    name = make_url(empty_postgres_url).database
    with psycopg.connect(empty_postgres_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off".encode())
    store = Store(empty_postgres_url)
    with store.unit_of_work() as work:
        assert work.scalar(text("SHOW synchronous_commit")) == "on"
    store.close()


def test_a_leader_that_lost_its_session_says_so_and_can_win_again(empty_postgres_url: str) -> None:
    store = Store(empty_postgres_url)
    with store.leadership("routing") as leadership, psycopg.connect(empty_postgres_url, autocommit=True) as other:
        assert leadership.held()
        for pid in other.execute("SELECT pid FROM pg_locks WHERE locktype = 'advisory'").fetchall():
            other.execute("SELECT pg_terminate_backend(%s, 5000)", pid)
        with pytest.raises(StorageError):
            leadership.held()
        with store.leadership("routing") as rival:
            assert rival.held()
            assert not leadership.held()
        assert leadership.held()
    store.close()


def test_more_roles_than_the_pool_has_connections_leave_room_for_work(empty_postgres_url: str) -> None:
    store = Store(empty_postgres_url)
    roles = [store.leadership(f"delivery-{number}") for number in range(20)]
    held = [role.__enter__() for role in roles]
    try:
        assert all(item.held() for item in held)
        store.ping()
    finally:
        for role in roles:
            role.__exit__(None, None, None)
        store.close()


# --- a full disk ---


def test_a_full_disk_is_a_storage_error_and_everything_works_once_there_is_room(tmp_path: Path) -> None:
    code = """
        import resource, signal, sys
        from punchcard.errors import StorageError
        from punchcard.store.delivery import outbox
        from punchcard.store.engine import Store
        from punchcard.testing.clock import ManualClock
        from punchcard.testing.effects import DESTINATION, new_effect

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        clock = ManualClock()
        store = Store(sys.argv[1])

        def add(key):
            with store.unit_of_work() as work:
                outbox.add(work, [new_effect(key, customer="x" * 300)] , now=clock.now())

        add("before")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, hard))
        durable = []
        for number in range(2_000):
            try:
                add(f"k{number}")
                durable.append(f"k{number}")
            except StorageError:
                break
        else:
            sys.exit("the limit was never met")
        for number in range(3):
            try:
                add("refused")
                sys.exit("a full disk took a write")
            except StorageError:
                pass
        for number in range(50):  # however small the write
            try:
                store.ping()
            except StorageError:
                break
        else:
            sys.exit("a full disk answered a ping")
        with store.reading() as connection:
            found = outbox.effects_by_key(connection, DESTINATION, ["before", "refused", *durable])
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        store.ping()
        add("after")
        with store.reading() as connection:
            found_after = outbox.effects_by_key(connection, DESTINATION, ["before", "refused", "after", *durable])
        store.close()
        print(found.keys() == {"before", *durable}, found_after.keys() == {"before", "after", *durable})
    """
    process = run_python(code, f"sqlite:///{tmp_path / 'store.db'}")
    out, _ = process.communicate(timeout=120)
    assert out.strip() == "True True"
    assert process.returncode == 0
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_defect_of_ours_is_not_mistaken_for_a_full_disk(store: Store) -> None:
    _add(store, ManualClock(), "a")
    with pytest.raises(InvariantError):
        _add(store, ManualClock(), "a")


def test_a_file_that_cannot_be_written_is_named_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "punchcard.db"
    path.mkdir()
    with pytest.raises(StorageError, match="run this as the user that runs Punchcard") as caught:
        Store(f"sqlite:///{path}")
    assert str(path) in caught.value.message
