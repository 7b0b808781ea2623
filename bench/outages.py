"""What a failure costs senders and awards: a part is killed while visits arrive, on one machine and on several.

Seconds from the kill: until a visit is accepted again, or until one that was sent afterwards is awarded. Each visit is
offered to the serving processes in turn, as a load balancer does, until one accepts it. At the end of each part the
awards are counted at a sandbox Perkville: every accepted visit exactly once. A broker that was killed is noticed as
soon as `deploy/compose.cluster.yaml` has it.
"""

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench.partitions import kafka_brokers
from bench.postgres import new_database, own_postgres
from bench.report import Figure, show
from bench.size import size
from punchcard.testing.kafka import Broker, KafkaCluster
from punchcard.testing.partner.configuration import configuration
from punchcard.testing.partner.machines import Sender, configured_machines
from punchcard.testing.postgres import RestartedPostgres
from punchcard.testing.product import ProductProcess, WorkerProcess
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

_ROUNDS = size(3, 1)
_KILLS_OF_LEADER = size(8, 1)
_BROKERS = size(3, 1)
_PAUSE_SECONDS = 0.02  # between two visits, and between two tries of one
_AWARD_SECONDS_MAX = 5.0
_LEADER_SECONDS_MAX = 15.0
_RECONNECT_SECONDS = 1.0  # what PostgreSQL's restart may cost beyond itself
_TOPICS = ("visits", "visits-identity")
_EFFECT_STATE = "SELECT state FROM effects WHERE message_id = %s"
# Two of them as in `deploy/compose.cluster.yaml`, the others as by default.
_BROKER_SETTINGS = {
    "broker.session.timeout.ms": 6_000,
    "broker.heartbeat.interval.ms": 1_000,
    "replica.lag.time.max.ms": 30_000,
    "controller.quorum.election.timeout.ms": 1_000,
    "controller.quorum.fetch.timeout.ms": 2_000,
}
# A worker that waits for a role tries to lock it all the time; one that has it does not.
_WAITING_FOR_ROLES = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_try_advisory_lock%'"
)
_ROLES = 2  # routing, and the delivery of a destination


class _Visitors(Sender):
    """Visits one after the other, each offered to the machines in turn until one accepts it.

    Attributes:
        machines: May be changed at any time.
        waits: Seconds from the first offer of each visit until it was accepted.
        accepted_at: When each was, by `perf_counter`.
        delayed: Visits that no machine accepted when it was first offered to all.
    """

    def __init__(self, name: str, *machines: ProductProcess) -> None:
        super().__init__(name)
        self.machines = list(machines)
        self.waits: list[float] = []
        self.accepted_at: list[float] = []
        self.delayed = 0
        self._stopping = threading.Event()

    @contextmanager
    def visiting(self) -> Iterator[None]:
        """Visit for the length of the block."""
        thread = threading.Thread(target=self._visit)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join()

    def longest_wait(self, fail: Callable[[], object]) -> float:
        """Return the longest wait of a visit while something fails, and until visits are accepted as before."""
        number = len(self.waits)
        fail()
        self.wait_for_more(3)
        return max(self.waits[number:])

    def wait_for_more(self, count: int) -> None:
        """Wait until so many further visits are accepted."""
        number = len(self.waits) + count
        wait_until(lambda: len(self.waits) >= number)

    def seconds_to_award(self, sandbox: SandboxProcess, fail: Callable[[], object]) -> float:
        """Return the seconds from a failure to the award of a visit that began after it."""
        fail()
        begun = time.perf_counter()
        key = f"{self._name}-{len(self.acknowledged) + 1}"  # the one before may have been accepted already
        wait_until(lambda: self.awards(sandbox)[key])
        return time.perf_counter() - begun

    def _visit(self) -> None:
        while not self._stopping.wait(_PAUSE_SECONDS):
            message_id = f"{self._name}-{len(self.acknowledged)}"
            begun = time.perf_counter()
            if not self._offer(message_id):
                self.delayed += 1
                while not self._offer(message_id):
                    if self._stopping.wait(_PAUSE_SECONDS):
                        return
            self.accepted_at.append(time.perf_counter())
            self.acknowledged.append(message_id)
            self.waits.append(self.accepted_at[-1] - begun)

    def _offer(self, message_id: str) -> bool:
        return any(self._try(machine, message_id) for machine in list(self.machines))


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        sandbox = stack.enter_context(SandboxProcess(Path(folder, "sandbox")))
        restart, award = _one_machine(Path(folder, "one"), sandbox)
        server = stack.enter_context(own_postgres())
        _several_machines(Path(folder, "several"), sandbox, server, restart=restart, award=award)
        cluster = kafka_brokers(stack, _BROKERS, settings=_BROKER_SETTINGS)
        if cluster is not None:
            _kafka(Path(folder, "kafka"), sandbox, cluster, new_database(server.url))


def _one_machine(folder: Path, sandbox: SandboxProcess) -> tuple[float, float]:
    """Kill the halves of `up`; return the seconds to the next accepted visit, and to the next award."""
    accepted: list[float] = []
    awarded: list[float] = []
    product = ProductProcess(folder, configuration(perkville_url=sandbox.url))
    visitors = _Visitors("one", product)

    def restart() -> None:
        nonlocal product
        port = product.port
        product.kill()
        product = ProductProcess(folder, port=port)
        visitors.machines[:] = [product]

    try:
        with visitors.visiting():
            visitors.wait_for_more(3)
            wait_until(lambda: visitors.awards(sandbox))
            for _ in range(_ROUNDS):
                awarded.append(visitors.seconds_to_award(sandbox, product.kill_worker))
                accepted.append(visitors.longest_wait(restart))
                wait_until(product.worker_pid)
        visitors.wait_until_awarded(sandbox)
    finally:
        product.stop()
    show(Figure(name="one machine, `up` killed and started again: a sender waits", unit="s", values=accepted))
    show(
        Figure(
            name="one machine, worker killed: next award",
            unit="s",
            values=awarded,
            target=_AWARD_SECONDS_MAX,
            at_most=True,
        )
    )
    return statistics.median(accepted), statistics.median(awarded)


def _several_machines(
    folder: Path, sandbox: SandboxProcess, server: RestartedPostgres, *, restart: float, award: float
) -> None:
    """Kill serving processes, workers and the database of two machines of each kind."""
    folder.mkdir()
    url = new_database(server.url)
    environment = {**configured_machines(url, sandbox, folder), "PUNCHCARD_LAKE_URL": str(folder / "lake")}
    with ExitStack() as stack:
        serving = [_serve(stack, folder / f"serve-{number}", environment) for number in (1, 2)]
        workers = [_work(folder / "worker-1", environment)]
        visitors = _Visitors("several", *serving)
        try:
            with visitors.visiting():
                wait_until(lambda: visitors.awards(sandbox))
                _kill_serving(stack, folder, environment, visitors, restart=restart)
                _kill_workers(folder, environment, visitors, sandbox, workers, url=url, award=award)
                _restart_database(visitors, server)
            visitors.wait_until_awarded(sandbox)
        finally:
            for worker in workers:
                worker.stop()


def _kill_serving(
    stack: ExitStack, folder: Path, environment: dict[str, str], visitors: _Visitors, *, restart: float
) -> None:
    waits: list[float] = []
    delayed = visitors.delayed
    for number in range(_ROUNDS):
        visitors.wait_for_more(3)
        killed = visitors.machines[0]
        waits.append(visitors.longest_wait(killed.kill))
        replaced = _serve(stack, folder / f"serve-{3 + number}", environment)
        visitors.machines[:] = [*visitors.machines[1:], replaced]
    show(
        Figure(
            name="one of two serving processes killed: visits delayed",
            unit="visits",
            values=[visitors.delayed - delayed],
            target=0,
            at_most=True,
        )
    )
    show(
        Figure(
            name="  a sender waits, behind a balancer",
            unit="s",
            values=waits,
            ceiling=restart,
            ceiling_name="one machine",
            at_most=True,
        )
    )


def _kill_workers(
    folder: Path,
    environment: dict[str, str],
    visitors: _Visitors,
    sandbox: SandboxProcess,
    workers: list[WorkerProcess],
    *,
    url: str,
    award: float,
) -> None:
    seconds: list[float] = []
    for number in range(_ROUNDS):
        workers.append(_work(folder / f"worker-{2 + number}", environment))
        wait_until(lambda: _count(url) >= _ROLES)
        seconds.append(visitors.seconds_to_award(sandbox, workers.pop(0).kill))
    show(
        Figure(
            name="one of two workers killed, the one that leads: next award",
            unit="s",
            values=seconds,
            target=_AWARD_SECONDS_MAX,
            ceiling=award,
            ceiling_name="one machine",
            at_most=True,
        )
    )


def _restart_database(visitors: _Visitors, server: RestartedPostgres) -> None:
    waits: list[float] = []
    restarts: list[float] = []

    def restart() -> None:
        begun = time.perf_counter()
        server.crash()
        server.start()
        restarts.append(time.perf_counter() - begun)

    for _ in range(_ROUNDS):
        visitors.wait_for_more(3)
        waits.append(visitors.longest_wait(restart))
    restarted = statistics.median(restarts)
    show(
        Figure(
            name="PostgreSQL killed and started again: a sender waits",
            unit="s",
            values=waits,
            target=restarted + _RECONNECT_SECONDS,
            ceiling=restarted,
            ceiling_name="its restart",
            at_most=True,
        )
    )


def _kafka(folder: Path, sandbox: SandboxProcess, cluster: KafkaCluster, store_url: str) -> None:
    """Kill the broker that leads the log."""
    folder.mkdir()
    environment = {
        **configured_machines(store_url, sandbox, folder),
        "PUNCHCARD_LOG_URL": cluster.url("visits"),
        "PUNCHCARD_LAKE_URL": str(folder / "lake"),
    }
    kills: list[_LeaderKill] = []
    with ExitStack() as stack:
        serving = _serve(stack, folder / "serve", environment)
        worker = _work(folder / "worker", environment)
        stack.callback(worker.stop)
        visitors = _Visitors("kafka", serving)
        with visitors.visiting():
            wait_until(lambda: visitors.awards(sandbox))
            for number in range(1, _KILLS_OF_LEADER + 1):
                for topic in _TOPICS:
                    cluster.wait_until_in_sync(topic)
                kill = _kill_leader(cluster, visitors, store_url)
                print(f"  kill {number}: {kill}", flush=True)
                kills.append(kill)
        visitors.wait_until_awarded(sandbox)
    goals = {
        "the broker killed that leads the log in Kafka: next accepted": [kill.accepted for kill in kills],
        "  next award": [kill.awarded for kill in kills],
    }
    for name, values in goals.items():
        show(Figure(name=name, unit="s", values=values, target=_LEADER_SECONDS_MAX, at_most=True))
    show(Figure(name="  another broker leads", unit="s", values=[kill.elected for kill in kills]))
    show(Figure(name="  from then to the next award", unit="s", values=[kill.awarded - kill.elected for kill in kills]))


@dataclass(frozen=True)
class _LeaderKill:
    """When something was reached after the kill of a leader, in seconds.

    Attributes:
        elected: Another broker leads each topic.
        accepted: The visit is accepted that waited for longest.
        routed: The same visit is routed.
        awarded: It is awarded.
    """

    elected: float
    accepted: float
    routed: float
    awarded: float

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in vars(self).items())


def _kill_leader(cluster: KafkaCluster, visitors: _Visitors, store_url: str) -> _LeaderKill:
    """Kill the leader of the log and start it again once awards go on."""
    leader = cluster.leader_of(_TOPICS[0])
    with ThreadPoolExecutor(1) as pool, psycopg.connect(store_url, autocommit=True) as connection:

        def state_of(message_id: str) -> str:
            row = connection.execute(_EFFECT_STATE, [message_id]).fetchone()
            return "" if row is None else str(row[0])

        number = len(visitors.waits)
        begun = time.perf_counter()
        leader.kill()
        if _BROKERS == 1:
            leader.start()
        electing = pool.submit(_next_leader_at, cluster, leader)
        visitors.wait_for_more(3)
        waits = visitors.waits[number:]
        longest = number + waits.index(max(waits))
        message_id = visitors.acknowledged[longest]
        wait_until(lambda: state_of(message_id))
        routed = time.perf_counter()
        wait_until(lambda: state_of(message_id) == "delivered")
        awarded = time.perf_counter()
        elected = electing.result()
    if not leader.is_running():
        leader.start()
    cluster.wait_until_ready()
    return _LeaderKill(*(at - begun for at in (elected, visitors.accepted_at[longest], routed, awarded)))


def _next_leader_at(cluster: KafkaCluster, broker: Broker) -> float:
    """Return when another broker leads the topics; with a single broker, when it is ready again."""
    if _BROKERS == 1:
        cluster.wait_until_ready()
    else:
        cluster.wait_for_next_leader(broker, *_TOPICS)
    return time.perf_counter()


def _serve(stack: ExitStack, folder: Path, environment: dict[str, str]) -> ProductProcess:
    return stack.enter_context(ProductProcess(folder, serves_only=True, environment=environment))


def _work(folder: Path, environment: dict[str, str]) -> WorkerProcess:
    return WorkerProcess(folder, environment, folder.with_suffix(".log"), arguments=["--without-engage"])


def _count(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(_WAITING_FOR_ROLES).fetchone()
    return 0 if row is None else int(row[0])
