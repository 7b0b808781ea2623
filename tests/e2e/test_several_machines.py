"""Two serving machines and a worker, each with a data folder of its own, on one PostgreSQL: each award exactly once."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from punchcard.testing.partner.machines import Sender, configured_machines, defects_in, sending_meanwhile
from punchcard.testing.product import ProductProcess, WorkerProcess, command
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

pytestmark = pytest.mark.cluster


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path / "sandbox") as running:
        yield running


def test_events_of_all_machines_are_awarded_once_whatever_dies(
    tmp_path: Path, own_postgres: Any, sandbox: SandboxProcess
) -> None:
    environment = configured_machines(own_postgres.url, sandbox, tmp_path) | {"PUNCHCARD_LAKE_FLUSH_SECONDS": "0.5"}
    worker_log = tmp_path / "worker.log"
    sender = Sender()

    def wait_until_awarded() -> None:
        wait_until(lambda: len(sandbox.transactions()) >= len(sender.acknowledged))

    with ProductProcess(tmp_path / "first", serves_only=True, environment=environment) as first:
        second = ProductProcess(tmp_path / "second", serves_only=True, environment=environment)
        worker = WorkerProcess(tmp_path / "worker", environment, worker_log)
        try:
            sender.send(10, first, second)
            wait_until_awarded()
            worker.kill()
            sender.send(10, first, second)
            worker = WorkerProcess(tmp_path / "worker", environment, worker_log)
            second.kill()
            sender.send(5, first)
            second = ProductProcess(tmp_path / "second", serves_only=True, environment=environment)
            wait_until_awarded()
            with sending_meanwhile(sender, first, second):
                own_postgres.crash()
                wait_until(lambda: first.call("GET", "/health/ready")[0] == 503)
                wait_until(lambda: sender.refused[503])
                own_postgres.start()
            wait_until_awarded()
            # What one machine took in, the other one can explain, although it has no lake.
            for message_id in sender.acknowledged[-2:]:
                assert first.wait_for_status(message_id, "delivered")
            lake = wait_until(lambda: first.call("GET", "/health/ready")[1].get("lake"))
            assert lake["status"] == "elsewhere"
            assert "PUNCHCARD_LAKE_URL" in lake["message"]
            assert worker.is_running()
        finally:
            worker.__exit__()
            second.stop()
    booked = Counter(transaction["trans_source_id"] for transaction in sandbox.transactions())
    assert booked == Counter(f"SEG:website:EVENT:{message_id}" for message_id in sender.acknowledged)
    assert defects_in(first.log, second.log, worker_log.read_text()) == []


def test_a_log_in_another_database_that_is_away_is_reported_until_it_is_back(
    tmp_path: Path, postgres_url: str, empty_postgres_url: str
) -> None:
    environment = {
        "PUNCHCARD_DATABASE_URL": postgres_url,
        "PUNCHCARD_LOG_URL": empty_postgres_url,
        "PUNCHCARD_SECRET_KEY": "correct horse battery staple",
    }
    name = make_url(empty_postgres_url).database
    with (
        psycopg.connect(postgres_url, autocommit=True) as administrator,
        ProductProcess(tmp_path / "first", serves_only=True, environment=environment) as first,
    ):
        assert first.track("Checked In", {}, messageId="before") == 200
        administrator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        administrator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        wait_until(lambda: first.call("GET", "/health/ready")[0] == 503)
        assert first.track("Checked In", {}, messageId="between") == 503
        administrator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
        assert first.track("Checked In", {}, messageId="after") == 200
        assert first.call("GET", "/health/ready") == (200, {"status": "ready"})


def test_a_wrong_combination_is_refused_at_start_with_the_remedy(
    tmp_path: Path, empty_postgres_url: str, sandbox: SandboxProcess
) -> None:
    shared = configured_machines(empty_postgres_url, sandbox, tmp_path)
    database = {**shared, "PUNCHCARD_LOG_URL": ""}
    with ProductProcess(tmp_path / "first", serves_only=True, environment=shared) as first:
        assert first.call("GET", "/health/ready") == (200, {"status": "ready"})
        cases = {
            "no shared database": ("serve", {**shared, "PUNCHCARD_DATABASE_URL": ""}, 2, "Set PUNCHCARD_DATABASE_URL"),
            "another secret key": ("worker", {**shared, "PUNCHCARD_SECRET_KEY": "x"}, 2, "Set PUNCHCARD_SECRET_KEY"),
            "a log of its own": ("worker", database, 1, "set PUNCHCARD_LOG_URL to postgresql://"),
            "a log of its own beside it": ("engage", database, 1, "set PUNCHCARD_LOG_URL to postgresql://"),
        }
        for name, (half, environment, status, remedy) in cases.items():
            refused = command(half, "--data", str(tmp_path / "other"), environment=environment)
            assert (refused.returncode, remedy in refused.stderr) == (status, True), (name, refused.stderr)
