"""The sandbox keeps what it answered with 201, however it ends; and it ends when it is asked to."""

import signal
import socket
import sqlite3
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from punchcard.testing.processes import run_module, start_module
from punchcard.testing.sandbox import SandboxProcess, SandboxReply
from punchcard.testing.waiting import PATIENCE_SECONDS


def post(sandbox: SandboxProcess, source_id: str, email: str = "example@example.com") -> SandboxReply:
    body = {
        "business": "/v2/businesses/41/",
        "location": "/v2/locations/7/",
        "perk": "/v2/perks/123456/",
        "email": email,
        "quantity": "9.99",
        "trans_source_id": source_id,
    }
    return sandbox.request("POST", "/v2/transactions/", body=body)


def test_a_restart_keeps_everything_but_the_faults(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as first:
        stored = post(first, "SEG:restart").json()
        first.request("PATCH", "/v2/connections/1/", body={"custom_attributes": {"vip": True}})
        truth = first.transactions()
        first.faults({"status": 503})
    with SandboxProcess(tmp_path) as second:
        assert second.transactions() == truth
        assert second.request("GET", stored["resource_uri"]).json() == stored
        connection = second.request("GET", "/v2/connections/1/").json()
        assert (connection["point_balance"], connection["custom_attributes"]) == (9.99, {"vip": True})
        assert post(second, "SEG:restart").status == 400


def test_a_state_of_the_first_version_can_store_an_id_twice_from_now_on(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as first:
        post(first, "SEG:restart")
    with closing(sqlite3.connect(tmp_path / "sandbox.db")) as database:
        database.execute("DROP INDEX transactions_by_source_id")
        database.execute("CREATE UNIQUE INDEX transactions_by_source_id ON transactions (business_id, trans_source_id)")
        database.execute("PRAGMA user_version = 1")
    with SandboxProcess(tmp_path) as second:
        second.faults({"duplicateAnswer": "accept"})
        assert post(second, "SEG:restart").status == 201
        assert len(second.transactions()) == 2


def test_an_answered_transaction_survives_a_kill(tmp_path: Path) -> None:
    """The answer 201 is a promise: a kill at any moment, other requests under way, takes none of them back."""
    answered: set[str] = set()

    def post_until_killed(sandbox: SandboxProcess, prefix: str) -> None:
        for number in count():
            source_id = f"{prefix}:{number}"
            try:
                if post(sandbox, source_id).status == 201:
                    answered.add(source_id)
            except OSError:
                return

    for round_number in range(4):
        sandbox = SandboxProcess(tmp_path)
        with ThreadPoolExecutor(6) as pool:
            for worker in range(6):
                pool.submit(post_until_killed, sandbox, f"SEG:kill:{round_number}:{worker}")
            enough = len(answered) + 40
            while len(answered) < enough:
                time.sleep(0.005)
            sandbox.kill()
    with SandboxProcess(tmp_path) as other_sandbox:
        stored = [each["trans_source_id"] for each in other_sandbox.transactions()]
        assert len(stored) == len(set(stored))
        assert answered <= set(stored)
        (connection,) = other_sandbox.request("GET", "/v2/connections/").json()["objects"]
        assert connection["point_balance"] == pytest.approx(9.99 * len(stored))


def test_the_same_trans_source_id_posted_at_once_is_stored_once(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as sandbox, ThreadPoolExecutor(16) as pool:
        for round_number in range(5):
            source_id = f"SEG:race:{round_number}"
            responses = pool.map(
                lambda number, source_id=source_id: post(sandbox, source_id, f"c{number}@example.com"), range(16)
            )
            assert sorted(result.status for result in responses) == [201] + [400] * 15
        assert len(sandbox.transactions()) == 5


def test_many_customers_at_once_are_all_stored(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as sandbox, ThreadPoolExecutor(16) as pool:
        numbers = range(400)
        responses = list(
            pool.map(lambda number: post(sandbox, f"SEG:{number}", f"c{number % 40}@example.com"), numbers)
        )
        assert {result.status for result in responses} == {201}
        assert sorted(each["trans_source_id"] for each in sandbox.transactions()) == sorted(f"SEG:{n}" for n in numbers)
        balances = sandbox.request("GET", "/v2/connection-balances/?limit=100").json()["objects"]
        assert [each["balance"] for each in balances] == [99.9] * 40


def test_nothing_is_promised_while_the_state_cannot_be_written(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as sandbox:
        other = sqlite3.connect(tmp_path / "sandbox.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert post(sandbox, "SEG:locked").status == 503
        assert sandbox.request("POST", "/settings/usr/apps/segment/").status == 503
        other.execute("ROLLBACK")
        other.close()
        assert sandbox.transactions() == []
        assert post(sandbox, "SEG:locked").status == 201


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    arguments = ("--data", str(tmp_path), "--port", "0")
    process = start_module("punchcard.sandbox", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert "ready at http://127.0.0.1:" in process.stdout.readline()
    process.send_signal(number)
    rest, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, rest, errors) == (0, "", "")


def test_an_idle_connection_does_not_hold_it_up(tmp_path: Path) -> None:
    sandbox = SandboxProcess(tmp_path)
    with socket.create_connection(("127.0.0.1", sandbox.port)):
        assert sandbox.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param(["--data", "/dev/null/sandbox"], "/dev/null/sandbox", id="no-folder"),
        pytest.param(["--host", "192.0.2.1"], "192.0.2.1", id="not-our-address"),
        pytest.param(["--port", "70000"], "70000", id="no-such-port"),
    ],
)
def test_a_start_that_cannot_be_says_why(tmp_path: Path, arguments: list[str], named: str) -> None:
    done = run_module("punchcard.sandbox", "--port", "0", "--data", str(tmp_path), *arguments)
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_state_of_another_version_is_left_alone(tmp_path: Path) -> None:
    state = sqlite3.connect(tmp_path / "sandbox.db")
    state.execute("PRAGMA user_version = 99")
    state.close()
    with pytest.raises(RuntimeError, match="did not start"):
        SandboxProcess(tmp_path)
