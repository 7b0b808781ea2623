"""A serving machine and a worker with Engage, on three Kafka brokers and PostgreSQL: each award exactly once."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest
import tomli_w

from punchcard.testing.full_disk import fill
from punchcard.testing.kafka import KafkaCluster, kafka_cluster
from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import ProductProcess, WorkerProcess, command
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.cluster]

DEFECTS = ("routing_stopped", "lake_stopped", "delivery_stopped", "engage_stopped", "InvariantError", "defect")
# The second perk is earned by entering an audience, by a call that Engage appends to the log.
PERKS = {"Checked In": "123456", "Audience Entered": "123457"}
AUDIENCE = {
    "name": "Visitors",
    "definition": "event('Checked In').count() >= 1",
    "destinations": ["perkville"],
    "send": ["track"],
}


class Visitors:
    """Check in, each again and again until the visit is acknowledged, as Segment's libraries do."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []

    def send(self, count: int, machine: ProductProcess) -> None:
        for _ in range(count):
            message_id = f"visit-{len(self.acknowledged)}"
            wait_until(partial(self._try, machine, message_id))
            self.acknowledged.append(message_id)

    def offer(self, machine: ProductProcess) -> int:
        """Send the next visit once, as it will be sent again; return the status."""
        return self._post(machine, f"visit-{len(self.acknowledged)}")

    def _try(self, machine: ProductProcess, message_id: str) -> bool:
        return self._post(machine, message_id) == 200

    def _post(self, machine: ProductProcess, message_id: str) -> int:
        visit = {"email": f"{message_id}@example.com"}
        return machine.track("Checked In", visit, messageId=message_id, userId=message_id)


def configured(folder: Path, environment: dict[str, str], sandbox: SandboxProcess) -> dict[str, str]:
    """Return the settings of all machines, after the configuration was applied from another one."""
    environment = environment | {
        "PUNCHCARD_LAKE_URL": str(folder / "lake"),
        "PUNCHCARD_LAKE_FLUSH_SECONDS": "0.5",
        "PUNCHCARD_SECRET_KEY": "correct horse battery staple",
    }
    config = folder / "punchcard.toml"
    content = configuration(perkville_url=sandbox.url, event_to_perk_map=PERKS) | {"audiences": [AUDIENCE]}
    config.write_text(tomli_w.dumps(content))
    output_of(("apply", str(config), "--data", str(folder / "office")), environment)
    return environment


def output_of(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a command that must succeed; return what it prints."""
    done = command(*arguments, environment=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_awarded_once(visitors: Visitors, sandbox: SandboxProcess) -> None:
    """Each acknowledged visit is at Perkville once, its entry into the audience too, and nothing else is."""
    awards = Counter(transaction["trans_source_id"] for transaction in sandbox.transactions())
    assert {f"SEG:website:EVENT:{message_id}" for message_id in visitors.acknowledged} <= set(awards)
    assert len(awards) == 2 * len(visitors.acknowledged)
    assert set(awards.values()) == {1}


def test_what_is_acknowledged_is_awarded_once_whatever_dies(
    tmp_path: Path, own_kafka: KafkaCluster, postgres_url: str
) -> None:
    storage = {"PUNCHCARD_DATABASE_URL": postgres_url, "PUNCHCARD_LOG_URL": own_kafka.url("events")}
    worker_log = tmp_path / "worker.log"
    visitors = Visitors()
    with SandboxProcess(tmp_path / "sandbox") as sandbox:
        environment = configured(tmp_path, storage, sandbox)

        def wait_until_awarded() -> None:
            wait_until(lambda: len(sandbox.transactions()) >= 2 * len(visitors.acknowledged))

        serving = ProductProcess(tmp_path / "serving", serves_only=True, environment=environment)
        worker = WorkerProcess(tmp_path / "worker", environment, worker_log)
        try:
            visitors.send(5, serving)
            wait_until_awarded()
            worker.kill()
            awarded = len(sandbox.transactions())
            visitors.send(5, serving)
            serving.kill()
            worker = WorkerProcess(tmp_path / "worker", environment, worker_log)
            serving = ProductProcess(tmp_path / "serving", serves_only=True, environment=environment)
            # Until it has opened the log, a worker would end with an error, for its supervisor to start it again.
            wait_until(lambda: len(sandbox.transactions()) > awarded)
            # On a busy machine a broker may have fallen behind: without one in sync nobody could be elected.
            for topic in ("events", "events-identity"):
                own_kafka.wait_until_in_sync(topic)
            own_kafka.leader_of("events").kill()
            visitors.send(5, serving)
            wait_until_awarded()
            assert serving.wait_for_status(visitors.acknowledged[-1], "delivered")
            query = ("lake", "query", "SELECT message_id FROM events", "--json", "--data", str(tmp_path / "worker"))
            wait_until(
                lambda: set(visitors.acknowledged) <= set(re.findall(r"visit-\d+", output_of(query, environment)))
            )
            output_of(("replay", "--destination", "perkville", "--since", "1h", "--yes"), environment)
            assert worker.is_running()
        finally:
            worker.__exit__()
            serving.stop()
        assert_awarded_once(visitors, sandbox)
    for log in (serving.log, worker_log.read_text()):
        assert [line for line in log.splitlines() if any(defect in line for defect in DEFECTS)] == []
        assert [line for line in log.splitlines() if line.startswith("%")] == []  # as the Kafka client writes them


def test_a_full_disk_of_the_broker_costs_no_award(
    tmp_path: Path, kafka_jars: Path, postgres_url: str, small_disk: Callable[..., AbstractContextManager[None]]
) -> None:
    brokers, worker_log = tmp_path / "brokers", tmp_path / "worker.log"
    disk = brokers / "broker-1" / "data"
    visitors = Visitors()
    settings = {"log.index.size.max.bytes": 100_000}
    with (
        small_disk(disk, megabytes=48),
        kafka_cluster(brokers, kafka_jars, settings=settings) as cluster,
        SandboxProcess(tmp_path / "sandbox") as sandbox,
    ):
        storage = {"PUNCHCARD_DATABASE_URL": postgres_url, "PUNCHCARD_LOG_URL": cluster.url("events")}
        environment = configured(tmp_path, storage, sandbox)
        with (
            ProductProcess(tmp_path / "serving", serves_only=True, environment=environment) as serving,
            WorkerProcess(tmp_path / "worker", environment, worker_log),
        ):
            visitors.send(3, serving)
            ballast = disk / "ballast"

            def is_refused_when_full() -> bool:
                # Again and again: the broker frees what it has reserved, for the index of a segment for example.
                fill(ballast)
                return visitors.offer(serving) == 503

            wait_until(is_refused_when_full)  # there was room in its last page
            ballast.unlink()
            (broker,) = cluster.brokers
            broker.kill()  # one that has lost its only folder ends, or does nothing more
            broker.start()
            cluster.wait_until_ready()
            visitors.send(3, serving)
            wait_until(lambda: len(sandbox.transactions()) >= 2 * len(visitors.acknowledged))
        assert_awarded_once(visitors, sandbox)
    for log in (serving.log, worker_log.read_text()):
        assert [line for line in log.splitlines() if any(defect in line for defect in DEFECTS)] == []
