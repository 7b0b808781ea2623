"""A process that is frozen in the middle of a unit of work: its locks in PostgreSQL do not stop the others."""

import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest
from sqlalchemy import text

from punchcard.errors import StorageError
from punchcard.store.engine import Store

LOCKING = """
    import sys
    from sqlalchemy import text
    from punchcard.store import engine
    engine._FROZEN_SECONDS = float(sys.argv[2])
    store = engine.Store(sys.argv[1])
    store.ping()
    with store.unit_of_work() as work:
        work.execute(text("UPDATE revisions SET value = 7 WHERE name = 'ping'"))
        driver = work.connection.dbapi_connection
"""
IN_A_TRANSACTION = 'print("locked", flush=True); sys.stdin.readline()'
IN_A_PIPELINE = """
    with driver.pipeline():
        driver.execute("SELECT 1").fetchone()  # done, and the server waits for the next statement
        print("locked", flush=True)
        sys.stdin.readline()
"""
AFTER_A_PIPELINE = """
    with driver.pipeline():
        driver.execute("SELECT 1")
    print("locked", flush=True)
    sys.stdin.readline()
"""
IN_A_MESSAGE = """
    import os
    query = b"\\0SELECT 1\\0\\0\\0"
    parse = b"P" + (4 + len(query)).to_bytes(4, "big") + query
    os.write(driver.fileno(), parse + b"B" + (1_000).to_bytes(4, "big"))  # of a Bind message, only the length
    print("locked", flush=True)
    sys.stdin.readline()
"""
LONG = 600.0


@contextmanager
def frozen(place: str, url: str, seconds: float) -> Iterator[None]:
    """Freeze a process that has locked a row."""
    code = textwrap.dedent(LOCKING) + textwrap.indent(textwrap.dedent(place), "    ")
    process = subprocess.Popen(
        [sys.executable, "-c", code, url, str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "locked\n"
            process.send_signal(signal.SIGSTOP)
            yield
        finally:
            process.kill()


def test_the_server_ends_one_that_is_idle_in_a_transaction(empty_postgres_url: str) -> None:
    with closing(Store(empty_postgres_url)) as store, frozen(IN_A_TRANSACTION, empty_postgres_url, 1):
        store.ping()  # writes the same row
        with store.reading() as work:
            assert work.scalar(text("SELECT value FROM revisions WHERE name = 'ping'")) != 7


@pytest.mark.parametrize(
    "place", [IN_A_PIPELINE, AFTER_A_PIPELINE, IN_A_MESSAGE], ids=["pipeline", "after a pipeline", "message"]
)
def test_a_worker_ends_one_that_the_server_waits_for_without_end(
    empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr("punchcard.store.engine._FROZEN_SECONDS", 1)
    with closing(Store(empty_postgres_url)) as store, frozen(place, empty_postgres_url, LONG):
        with store.leadership("routing") as leadership:
            assert leadership.held()
            store.ping()
        with store.reading() as work:
            assert work.scalar(text("SELECT value FROM revisions WHERE name = 'ping'")) != 7


def test_a_session_of_an_operator_and_one_that_computes_are_not_ended(
    empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("punchcard.store.engine._FROZEN_SECONDS", 0.2)
    monkeypatch.setattr("punchcard.store.engine.SESSION", ("SET lock_timeout = '2s'",))
    lock = "UPDATE revisions SET value = 7 WHERE name = 'ping'"
    with closing(Store(empty_postgres_url)) as store, store.leadership("routing") as leadership:
        store.ping()
        assert leadership.held()
        with psycopg.connect(empty_postgres_url, application_name="psql") as operator:
            operator.execute(lock)
            with operator.pipeline():
                operator.execute("SELECT 1").fetchone()
                with pytest.raises(StorageError, match="kept a lock"):
                    store.ping()
        with psycopg.connect(empty_postgres_url, application_name="punchcard") as computing:
            computing.execute(lock)
            thread = threading.Thread(target=computing.execute, args=("SELECT pg_sleep(3)",))
            thread.start()
            with pytest.raises(StorageError, match="kept a lock"):
                store.ping()
            thread.join()
            assert computing.execute("SELECT 1").fetchone() == (1,)
