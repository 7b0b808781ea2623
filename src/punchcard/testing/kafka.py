"""Real Kafka brokers (KRaft) on the loopback, as processes of their own."""

import base64
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from punchcard.log.kafka_clients import open_client
from punchcard.testing.ports import reserved_port
from punchcard.testing.waiting import wait_until

_NO_LEADER = -1
# Started in two seconds, and small: the tests write little.
_JAVA = (
    "java",
    "-Xms64m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-Djava.net.preferIPv4Stack=true",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)
_SETTINGS = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "INSIDE",
    "num.network.threads": 2,
    "num.io.threads": 2,
    "background.threads": 2,
    "log.cleaner.enable": "false",
    "offsets.topic.num.partitions": 1,
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.num.partitions": 1,
    "share.coordinator.state.topic.num.partitions": 1,
    "group.initial.rebalance.delay.ms": 0,
    # A broker that was killed is noticed sooner than by default, so that tests take less time.
    "broker.session.timeout.ms": 3_000,
    "broker.heartbeat.interval.ms": 500,
    "replica.lag.time.max.ms": 5_000,
    # Longer than by default: on a busy machine, controllers that hear of each other late elect one after the other for
    # minutes, and meanwhile no broker is declared dead.
    "controller.quorum.election.timeout.ms": 3_000,
    "controller.quorum.fetch.timeout.ms": 4_000,
    "controller.quorum.request.timeout.ms": 4_000,
    "controlled.shutdown.enable": "false",
}


class Broker:
    """One broker, which is also a controller; it can be killed and started again."""

    def __init__(self, folder: Path, jars: Path, *, number: int, port: int) -> None:
        self.folder = folder
        self.number = number
        self.address = f"127.0.0.1:{port}"
        self._jars = jars.resolve()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the broker has written to standard output and standard error."""
        return (self.folder / "broker.log").read_text(errors="replace")

    def start(self) -> None:
        """Start the broker; it is ready some seconds later."""
        with (self.folder / "broker.log").open("ab") as output:
            self._process = subprocess.Popen(
                [*_JAVA, "-cp", f"{self._jars}/*", "kafka.Kafka", str(self.folder / "server.properties")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
            )

    def kill(self) -> None:
        """Kill the broker as the loss of its machine would."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def signal(self, number: int) -> None:
        """Send a signal: SIGSTOP freezes the broker, SIGCONT lets it go on."""
        if self._process is not None:
            self._process.send_signal(number)

    @property
    def pid(self) -> int:
        """The id of the process, which must be running."""
        assert self._process is not None
        return self._process.pid

    def is_running(self) -> bool:
        """Return whether the process has not ended."""
        return self._process is not None and self._process.poll() is None


class KafkaCluster:
    """Brokers that form a cluster.

    Attributes:
        brokers: All of them, running or not.
    """

    def __init__(self, brokers: Sequence[Broker], client_options: Mapping[str, str]) -> None:
        self.brokers = brokers
        self._client_options = client_options

    @property
    def addresses(self) -> str:
        """The addresses of all brokers, separated by commas."""
        return ",".join(broker.address for broker in self.brokers)

    def url(self, topic: str = "", **options: object) -> str:
        """Return the URL of an event log; without a topic, of a new one."""
        topic = topic or f"events-{uuid.uuid4().hex[:12]}"
        known = {"replication": min(3, len(self.brokers)), **options}
        return f"kafka://{self.addresses}/{topic}?" + "&".join(f"{name}={value}" for name, value in known.items())

    def admin(self, addresses: str = "") -> AdminClient:
        """Return a client to look into the cluster with, and to change it; it knows all brokers, or those addresses."""
        servers = addresses or self.addresses
        options: dict[str, Any] = {"bootstrap.servers": servers, "log_level": 2, **self._client_options}
        return open_client(AdminClient, options)

    def leader_of(self, topic: str) -> Broker:
        """Return the broker that leads the first partition of a topic, once there is one."""
        admin = self.admin()

        def leader() -> Broker | None:
            with suppress(KafkaException, KeyError):  # a broker that has just started may not know the topic
                number = admin.list_topics(topic, timeout=5).topics[topic].partitions[0].leader
                return next((broker for broker in self.brokers if broker.number == number), None)
            return None

        broker = wait_until(leader)
        assert broker is not None
        return broker

    def wait_for_next_leader(self, broker: Broker, *topics: str) -> None:
        """Wait until other brokers than this one lead topics with one partition, as clients see it."""
        admin = self.admin()

        def leaders() -> set[int]:
            return {admin.list_topics(topic, timeout=5).topics[topic].partitions[0].leader for topic in topics}

        def are_others() -> bool:
            with suppress(KafkaException, KeyError):  # a broker that has just started may not know the topic
                return not leaders() & {broker.number, _NO_LEADER}
            return False

        wait_until(are_others)

    def wait_until_in_sync(self, topic: str) -> None:
        """Wait until every replica of a topic has all its records."""
        admin = self.admin()

        def is_in_sync() -> bool:
            with suppress(KafkaException):
                partitions = admin.list_topics(topic, timeout=5).topics[topic].partitions.values()
                return all(len(partition.isrs) == len(partition.replicas) > 0 for partition in partitions)
            return False

        wait_until(is_in_sync)

    def wait_until_ready(self) -> None:
        """Wait until each broker that runs knows of all that run: a client may ask any of them."""
        running = [broker for broker in self.brokers if broker.is_running()]
        expected = {broker.number for broker in running}
        ready: set[int] = set()

        def is_ready() -> bool:
            for broker in running:
                assert broker.is_running(), broker.log[-3_000:]
                if broker.number not in ready:
                    with suppress(KafkaException):  # a new client asks the only broker that it knows
                        metadata = self.admin(broker.address).list_topics(timeout=5)
                        if metadata.orig_broker_id == broker.number and expected <= set(metadata.brokers):
                            ready.add(broker.number)
            return ready == expected

        wait_until(is_ready)


@contextmanager
def kafka_cluster(
    folder: Path,
    jars: Path,
    *,
    brokers: int = 1,
    settings: Mapping[str, object] | None = None,
    client_options: Mapping[str, str] | None = None,
) -> Iterator[KafkaCluster]:
    """Run a cluster until the block ends.

    Args:
        folder: An empty folder for the files of the brokers.
        jars: The folder of the jar files of Apache Kafka.
        brokers: How many.
        settings: Further settings of the brokers. Clients connect to the listener CLIENT.
        client_options: What clients need for that.
    """
    with ExitStack() as stack:
        numbers = range(1, brokers + 1)
        ports = {number: [stack.enter_context(reserved_port()) for _ in range(3)] for number in numbers}
        voters = ",".join(f"{number}@127.0.0.1:{ports[number][2]}" for number in numbers)
        cluster_id = _short_id()
        made = []
        for number in numbers:
            of_broker = folder / f"broker-{number}"
            _write_files(of_broker, number, ports[number], voters, cluster_id, settings or {})
            made.append(Broker(of_broker, jars, number=number, port=ports[number][0]))
        try:
            for broker in made:
                broker.start()
            cluster = KafkaCluster(made, client_options or {})
            cluster.wait_until_ready()
            yield cluster
        finally:
            for broker in made:
                broker.kill()


def _write_files(
    folder: Path, number: int, ports: Sequence[int], voters: str, cluster_id: str, settings: Mapping[str, object]
) -> None:
    client, inside, controller = ports
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    values = {
        **_SETTINGS,
        "node.id": number,
        "controller.quorum.voters": voters,
        "listeners": f"CLIENT://127.0.0.1:{client},INSIDE://127.0.0.1:{inside},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{client},INSIDE://127.0.0.1:{inside}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": data,
        **settings,
    }
    (folder / "server.properties").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    # What kafka-storage.sh would write, which takes as long as a broker to start.
    (data / "meta.properties").write_text(
        f"version=1\ncluster.id={cluster_id}\nnode.id={number}\ndirectory.id={_short_id()}\n"
    )


def _short_id() -> str:
    """Return a random id in the form of Kafka; none begins with a hyphen."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        continue
    return text


def why_not(jars: Path) -> str:
    """Return why no broker can be started here, "" if one can."""
    if shutil.which("java") is None:
        return "Java 17 is not installed"
    if not any(jars.glob("kafka_*.jar")):
        return "Kafka's jars are not there: `make kafka` fetches them"
    return "" if os.name == "posix" else "brokers are stopped by signals"
