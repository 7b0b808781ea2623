"""A serving machine and a worker with Engage, on three Kafka brokers and PostgreSQL: each award exactly once."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
import tomli_w

from punchcard.testing.kafka import KafkaCluster
from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess, WorkerProcess, command
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

pytestmark = pytest.mark.kafka

DEFECTS = ("routing_stopped", "lake_stopped", "delivery_stopped", "engage_stopped", "InvariantError", "defect")
# The second perk is earned by entering an audience, by a call that Engage appends to the log.
PERKS = {"Checked In": "123456", "Audience Entered": "123457"}
AUDIENCE = {
    "name": "Visitors",
    "definition": "event('Checked In').count() >= 1",
    "destinations": ["perkville"],
    "send": ["track"],
}


def lines_of(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a command that must succeed; return what it prints."""
    done = command(*arguments, environment=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_acknowledged_is_awarded_once_whatever_dies(
    tmp_path: Path, own_kafka: KafkaCluster, postgres_url: str
) -> None:
    with SandboxProcess(tmp_path / "sandbox") as sandbox:
        environment = {
            "PUNCHCARD_DATABASE_URL": postgres_url,
            "PUNCHCARD_LOG_URL": own_kafka.url("events"),
            "PUNCHCARD_LAKE_URL": str(tmp_path / "lake"),
            "PUNCHCARD_LAKE_FLUSH_SECONDS": "0.5",
            "PUNCHCARD_SECRET_KEY": "correct horse battery staple",
        }
        content = configuration(perkville_url=sandbox.url, event_to_perk_map=PERKS) | {"audiences": [AUDIENCE]}
        config = tmp_path / "punchcard.toml"
        config.write_text(tomli_w.dumps(content))
        applied = command("apply", str(config), "--data", str(tmp_path / "office"), environment=environment)
        assert applied.returncode == 0, applied.stderr
        worker_log = tmp_path / "worker.log"
        first = ProductProcess(tmp_path / "first", serves_only=True, environment=environment)
        worker = WorkerProcess(tmp_path / "worker", environment, worker_log)
        acknowledged: list[str] = []

        def is_acknowledged(message_id: str) -> bool:
            visit = {"email": f"{message_id}@example.com"}
            return first.track("Checked In", visit, messageId=message_id, userId=message_id) == 200

        def send(count: int) -> None:
            for _ in range(count):
                message_id = f"visit-{len(acknowledged)}"
                wait_until(partial(is_acknowledged, message_id))
                acknowledged.append(message_id)

        def wait_until_awarded() -> None:
            wait_until(lambda: len(sandbox.transactions()) >= 2 * len(acknowledged))

        try:
            send(5)
            wait_until_awarded()
            worker.kill()
            send(5)
            first.kill()
            worker = WorkerProcess(tmp_path / "worker", environment, worker_log)
            first = ProductProcess(tmp_path / "first", serves_only=True, environment=environment)
            own_kafka.leader_of("events").kill()
            send(5)
            wait_until_awarded()
            trace = first.trace(acknowledged[-1])
            assert trace is not None
            assert trace["results"][0]["status"] == "delivered"
            statement = "SELECT DISTINCT message_id FROM events WHERE event = 'Checked In'"
            query = ("lake", "query", statement, "--json", "--data", str(tmp_path / "worker"))
            wait_until(lambda: set(acknowledged) <= set(re.findall(r"visit-\d+", lines_of(query, environment))))
            replay = ("replay", "--destination", "perkville", "--since", "1h", "--yes", "--data", str(first.data))
            replayed = command(*replay, environment=environment)
            assert replayed.returncode == 0, replayed.stderr
            assert worker.is_running()
        finally:
            worker.__exit__()
            first.stop()
        booked = Counter(transaction["trans_source_id"] for transaction in sandbox.transactions())
    assert {f"SEG:website:EVENT:{message_id}" for message_id in acknowledged} <= set(booked)
    assert len(booked) == 2 * len(acknowledged)
    assert set(booked.values()) == {1}
    for log in (first.log, worker_log.read_text()):
        assert [line for line in log.splitlines() if any(defect in line for defect in DEFECTS)] == []
        assert not [line for line in log.splitlines() if line.startswith("%")], "the client writes lines of its own"
