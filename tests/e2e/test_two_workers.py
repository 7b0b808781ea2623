"""Two workers on one PostgreSQL: the one that loses the lead goes on as a follower, and each award is made once."""

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from punchcard.lake.reader import LakeReader
from punchcard.testing.partner.configuration import configuration
from punchcard.testing.processes import children_of, start_module
from punchcard.testing.product import ProductProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.cluster

ROUNDS = 5
PER_ROUND = 20
LOCK_HOLDERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
EVERYBODY = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
DEFECTS = ("routing_stopped", "lake_stopped", "delivery_stopped", "engage_stopped", "InvariantError", "Traceback")


@contextmanager
def second_worker(product: ProductProcess, environment: dict[str, str]) -> "Iterator[subprocess.Popen[str]]":
    log = (product.folder / "second.log").open("w")
    process = start_module(
        "punchcard", "worker", "--data", str(product.data), stderr=log, environment={**os.environ, **environment}
    )
    try:
        yield process
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        log.close()


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path / "sandbox") as running:
        yield running


@pytest.mark.parametrize("end_sessions", [LOCK_HOLDERS, EVERYBODY], ids=["of the leaders", "of everybody"])
def test_a_worker_that_loses_the_lead_goes_on_as_a_follower(
    tmp_path: Path, empty_postgres_url: str, sandbox: SandboxProcess, end_sessions: str
) -> None:
    environment = {"PUNCHCARD_DATABASE_URL": empty_postgres_url, "PUNCHCARD_LAKE_FLUSH_SECONDS": "5"}
    # With an audience each worker has an Engage process, which shows that it is ready.
    regulars = {"name": "Regulars", "definition": "event('Checked In').count() >= 1"}
    content = configuration(perkville_url=sandbox.url) | {"audiences": [regulars]}
    with (
        ProductProcess(tmp_path / "product", content, environment=environment) as product,
        second_worker(product, environment) as second,
        psycopg.connect(empty_postgres_url, autocommit=True) as connection,
    ):
        worker = product.worker_pid()
        # A worker that loses its database while it starts ends and is started again, which is not what is tested here.
        # One that has started Engage has opened its storage.
        wait_until(lambda: children_of(worker) and children_of(second.pid))
        sent = []
        for number in range(ROUNDS):
            batch = [event(f"two-{number}-{index}") for index in range(PER_ROUND)]
            wait_until(lambda batch=batch: product.send("batch", {"batch": batch})[0] == 200)
            sent += [str(item["messageId"]) for item in batch]
            # All are routed, and their rows wait for the lake in the leader's memory when it loses the lead.
            wait_until(lambda due=len(sent): len(sandbox.transactions()) >= due)  # noqa: B008
            connection.execute(end_sessions)
        wait_until(lambda: len(sandbox.transactions()) == len(sent))
        booked = Counter(transaction["trans_source_id"] for transaction in sandbox.transactions())
        assert booked == Counter(f"SEG:website:EVENT:{item}" for item in sent)
        lake = LakeReader(str(product.data / "lake"))
        wait_until(lambda: len(lake.between(0, 10**9)) >= len(sent))
        assert Counter(item.message_id for item in lake.between(0, 10**9)) == Counter(sent)
        assert product.worker_pid() == worker
        assert second.poll() is None
        for log in (product.log, (product.folder / "second.log").read_text()):
            assert [line for line in log.splitlines() if any(defect in line for defect in DEFECTS)] == []
        assert product.call("GET", "/health/ready") == (200, {"status": "ready"})


def event(message_id: str) -> dict[str, object]:
    properties = {"email": f"{message_id}@example.com"}
    return {
        "type": "track",
        "userId": message_id,
        "event": "Checked In",
        "messageId": message_id,
        "properties": properties,
    }
