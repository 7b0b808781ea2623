"""A child is forked only while nothing is open, and shares its parent's end."""

import subprocess
import sys
from pathlib import Path

import pytest

from punchcard.testing.waiting import wait_until

_MAY_FORK = """
from pathlib import Path
from punchcard.runtime.forked_process import can_fork
print(can_fork(counters=Path("metrics")))
"""
_FORKED = """
import os, signal, subprocess, sys, time
from punchcard.runtime.forked_process import ForkedProcess
def run():
    print("began", flush=True)
    {run}
forked = ForkedProcess("punchcard-child", prepare=lambda: {prepare}, run=run)
"""


def output_of(code: str, *, folder: Path | None = None, status: int = 0) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)
    assert done.returncode == status, done.stderr
    return done.stdout


def forking(*lines: str, run: str = "return 0", prepare: str = "None") -> str:
    return "\n".join([_FORKED.format(run=run, prepare=prepare), *lines])


@pytest.mark.parametrize(
    ("before", "may_fork"),
    [
        pytest.param("", True, id="nothing is open"),
        pytest.param("import punchcard.runtime.serve, punchcard.runtime.processes", True, id="only imports"),
        pytest.param(
            "import threading; threading.Thread(target=lambda: __import__('time').sleep(5), daemon=True).start()",
            False,
            id="a thread",
        ),
        pytest.param("import asyncio; loop = asyncio.new_event_loop()", False, id="an event loop"),
        pytest.param("import uvloop; loop = uvloop.new_event_loop()", False, id="an event loop of uvloop"),
        pytest.param(
            "import sqlite3; db = sqlite3.connect('a.db'); db.execute('CREATE TABLE t (x)')", False, id="SQLite"
        ),
        pytest.param("import socket; s = socket.socket()", False, id="a socket"),
        pytest.param("import duckdb", False, id="DuckDB"),
        pytest.param("import deltalake", False, id="deltalake"),
        pytest.param("import psycopg", False, id="libpq"),
        pytest.param(
            "import pathlib; pathlib.Path('metrics').mkdir(); f = open('metrics/counter_1.db', 'w')",
            True,
            id="a file of counters",
        ),
    ],
)
def test_a_process_forks_only_while_nothing_is_open(before: str, may_fork: bool, tmp_path: Path) -> None:
    assert output_of(before + _MAY_FORK, folder=tmp_path) == f"{may_fork}\n"


def test_files_of_the_parent_process_do_not_count(tmp_path: Path) -> None:
    """They stay open in every child, as a supervisor means them to."""
    with (tmp_path / "lock").open("w") as file:
        done = subprocess.run(
            [sys.executable, "-c", _MAY_FORK], pass_fds=[file.fileno()], capture_output=True, text=True, cwd=tmp_path
        )
    assert done.stdout == "True\n"


@pytest.mark.parametrize(
    ("run", "status"),
    [
        pytest.param("return 7", 7, id="status"),
        pytest.param("raise ValueError('lost')", 1, id="error"),
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", -9, id="killed"),
    ],
)
def test_the_status_of_the_child_is_returned(run: str, status: int) -> None:
    code = forking("forked.begin()", "print(forked.wait(), forked.wait(1))", "forked.end()", run=run)
    assert output_of(code).splitlines() == ["began", f"{status} {status}"]


def test_a_child_that_was_not_begun_ends_without_a_trace() -> None:
    assert output_of(forking("forked.end()", "print('end')")) == "end\n"


def test_waiting_ends_after_the_time_out_and_a_signal_ends_the_child() -> None:
    code = forking(
        "forked.begin()",
        "try: forked.wait(0.01)",
        "except subprocess.TimeoutExpired: print('still there', flush=True)",
        "forked.terminate(); print(forked.wait()); forked.terminate(); forked.kill(); forked.end()",
        run="time.sleep(60)",
    )
    assert sorted(output_of(code).splitlines()[-2:]) == ["-15", "still there"]


def test_a_child_that_failed_before_it_began_is_reported_by_its_status() -> None:
    code = forking("time.sleep(0.2); forked.begin(); print(forked.wait()); forked.end()", prepare="1 / 0")
    assert output_of(code) == "1\n"


def test_a_child_sees_that_its_parent_was_killed(tmp_path: Path) -> None:
    code = forking(
        "forked.begin()",
        "import time; time.sleep(60)",
        run="os.read(0, 1); open('ended', 'w').close(); return 0",
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "began\n"
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until((tmp_path / "ended").exists)


def test_a_forked_child_has_random_numbers_of_its_own() -> None:
    code = "import random; random.seed(1)\n" + forking(
        "forked.begin(); forked.wait(); print(random.random()); forked.end()",
        run="import random; print(random.random(), flush=True); return 0",
    )
    _, child, parent = output_of(code).splitlines()
    assert child != parent


def test_the_key_of_stored_secrets_is_derived_before_the_fork(tmp_path: Path) -> None:
    code = """
from punchcard.runtime.processes import _prepare
from punchcard.runtime.settings import read_settings
settings = read_settings({"PUNCHCARD_DATA": "data", "PUNCHCARD_PORT": "0"})
_prepare(settings, reset_counters=True)
from punchcard.runtime.children import open_children
def worker(settings):
    from punchcard.runtime.assembly import open_keyring
    from punchcard.workspace import keyring
    open_keyring(settings)
    print(keyring._derive.cache_info().hits, flush=True)
    return 0
with open_children(settings, worker=worker) as children:
    forked = children._children[0]._forked
    forked.begin()
    forked.wait(60)
"""
    assert output_of(code, folder=tmp_path) == "1\n"
