"""One database belongs to one event log: no event is answered with 200 that nobody will route."""

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess, WorkerProcess, command
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

pytestmark = pytest.mark.long

VISIT = {"email": "ann@example.com"}


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path / "sandbox") as running:
        yield running


@pytest.fixture
def database(empty_postgres_url: str) -> dict[str, str]:
    return {"PUNCHCARD_DATABASE_URL": empty_postgres_url, "PUNCHCARD_SECRET_KEY": "correct horse battery staple"}


def run(half: str, data: Path, database: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """One half of the product that is expected to end by itself."""
    arguments = ["--port", "0"] if half in ("serve", "up") else []
    return command(half, "--data", str(data), *arguments, environment=database)


def wait_until_delivered(sandbox: SandboxProcess, count: int) -> None:
    wait_until(lambda: len(sandbox.transactions()) >= count, sandbox.transactions)


def generation(database: dict[str, str]) -> int:
    """How often the log has been opened, and shown since to be in use, as the database knows it."""
    with psycopg.connect(database["PUNCHCARD_DATABASE_URL"]) as connection:
        row = connection.execute("SELECT generation FROM log_binding").fetchone()
    assert row is not None
    return int(row[0])


def reserved(data: Path) -> int:
    """The highest generation that the log in a data folder knows."""
    with closing(sqlite3.connect(data / "log.db")) as connection:
        return int(connection.execute("SELECT reserved FROM identity").fetchone()[0])


def readiness(product: ProductProcess) -> tuple[int, Any]:
    return product.call("GET", "/health/ready")


def wait_until_refused(product: ProductProcess) -> dict[str, Any]:
    def refusal() -> dict[str, Any]:
        status, body = readiness(product)
        return dict(body) if status == 503 else {}

    return wait_until(refusal, lambda: readiness(product))


def test_a_process_with_another_data_folder_refuses_to_start(
    tmp_path: Path, sandbox: SandboxProcess, database: dict[str, str]
) -> None:
    with ProductProcess(tmp_path / "first", configuration(perkville_url=sandbox.url), environment=database) as product:
        product.track("Checked In", VISIT, messageId="first")
        wait_until_delivered(sandbox, 1)
        for half in ("serve", "worker", "up", "check"):
            refused = run(half, tmp_path / "second", database)
            message = refused.stdout + refused.stderr
            assert refused.returncode == 1, half
            assert "belongs to event log" in message, half
            assert "--data" in message
            assert "adopt-log" in message
            assert "Traceback" not in message
        # Who was there first is not disturbed.
        assert readiness(product)[0] == 200
        assert product.track("Checked In", VISIT, messageId="second") == 200
        wait_until_delivered(sandbox, 2)


def test_serve_and_worker_on_one_folder_route_everything(
    tmp_path: Path, sandbox: SandboxProcess, database: dict[str, str]
) -> None:
    folder = tmp_path / "first"
    with ProductProcess(folder, configuration(perkville_url=sandbox.url), environment=database):
        pass
    with (
        ProductProcess(folder, serves_only=True, environment=database) as serving,
        WorkerProcess(folder / "data", database, tmp_path / "worker.log"),
        ProductProcess(folder, serves_only=True, environment=database) as another,
    ):
        for number in range(10):
            product = another if number % 2 else serving
            assert product.track("Checked In", VISIT, messageId=f"visit-{number}") == 200
        wait_until_delivered(sandbox, 10)


def test_a_second_machine_that_takes_the_folder_over_stops_the_first(
    tmp_path: Path, sandbox: SandboxProcess, database: dict[str, str]
) -> None:
    """A copy made while nothing ran: the process that starts last owns it, and the other takes nothing more."""
    folder = tmp_path / "first"
    with ProductProcess(folder, configuration(perkville_url=sandbox.url), environment=database) as product:
        product.track("Checked In", VISIT, messageId="before")
        wait_until_delivered(sandbox, 1)
    shutil.copytree(folder, tmp_path / "second")
    with ProductProcess(tmp_path / "second", environment=database) as second:
        second.track("Checked In", VISIT, messageId="second")
        wait_until_delivered(sandbox, 2)
        refused = run("serve", folder / "data", database)
        assert refused.returncode == 1
        assert "older copy" in refused.stderr
        assert readiness(second)[0] == 200


def test_a_copy_that_was_made_under_a_running_process_does_not_start(
    tmp_path: Path, sandbox: SandboxProcess, database: dict[str, str]
) -> None:
    folder = tmp_path / "first"
    with ProductProcess(folder, configuration(perkville_url=sandbox.url), environment=database) as product:
        product.track("Checked In", VISIT, messageId="before")
        wait_until_delivered(sandbox, 1)
        shutil.copytree(product.data, tmp_path / "second")
        # The process that runs shows that it does, once a second. The copy may hold a generation that the database
        # reached only afterwards: they rise in the log first, and by uneven steps.
        copied = reserved(tmp_path / "second")
        wait_until(lambda: generation(database) > copied)
        refused = run("worker", tmp_path / "second", database)
        assert refused.returncode == 1
        assert "older copy" in refused.stderr
        assert readiness(product)[0] == 200


def test_a_log_that_is_removed_under_a_running_process_takes_no_more_events(
    tmp_path: Path, sandbox: SandboxProcess
) -> None:
    folder = tmp_path / "product"
    with ProductProcess(folder, configuration(perkville_url=sandbox.url)) as product:
        product.track("Checked In", VISIT, messageId="before")
        wait_until_delivered(sandbox, 1)
        for file in product.data.glob("log.db*"):
            file.unlink()
        assert product.track("Checked In", VISIT, messageId="between") == 503
        body = wait_until_refused(product)
        assert body["reason"] == "log_replaced"
        assert "Restart" in body["message"]
    with ProductProcess(folder) as product:
        assert product.track("Checked In", VISIT, messageId="after") == 200
        wait_until_delivered(sandbox, 2)


def test_the_events_of_another_log_are_awarded_once_it_is_adopted(
    tmp_path: Path, sandbox: SandboxProcess, database: dict[str, str]
) -> None:
    """What a version before this one took in on a second folder, and nobody routed."""
    with ProductProcess(tmp_path / "first", configuration(perkville_url=sandbox.url), environment=database) as product:
        for number in range(5):
            product.track("Checked In", VISIT, messageId=f"first-{number}")
        wait_until_delivered(sandbox, 5)
        running = command("adopt-log", "--yes", "--data", str(tmp_path / "second"), environment=database)
        assert running.returncode == 1
        assert "Stop Punchcard" in running.stderr
    stranded = tmp_path / "second"
    with ProductProcess(stranded, configuration(perkville_url=sandbox.url), serves_only=True) as serving:
        for number in range(3):
            serving.track("Checked In", VISIT, messageId=f"second-{number}")
    adopted = command("adopt-log", "--yes", "--data", str(stranded / "data"), environment=database)
    assert adopted.returncode == 0, adopted.stderr
    assert "3 requests" in adopted.stdout
    with ProductProcess(stranded, environment=database):
        wait_until_delivered(sandbox, 8)
    keys = [transaction["trans_source_id"] for transaction in sandbox.transactions()]
    assert len(keys) == len(set(keys)) == 8
