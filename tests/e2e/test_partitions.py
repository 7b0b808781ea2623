"""Three workers share the partitions of one log: killed, frozen and started again, they award each order once."""

import itertools
import json
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random

import psycopg
import pytest
import tomli_w

from punchcard.testing.kafka import Broker, KafkaCluster
from punchcard.testing.partner.configuration import configuration
from punchcard.testing.product import WRITE_KEY, ProductProcess, WorkerProcess, command
from punchcard.testing.sandbox import SandboxProcess
from punchcard.testing.waiting import wait_until

pytestmark = pytest.mark.cluster

DEFECTS = ("routing_stopped", "partitions_stopped", "lake_stopped", "delivery_stopped", "InvariantError", "quarantined")
SOURCES = (WRITE_KEY, "wk_till")
PARTITIONS = 5
TOPIC = "orders"
_PAUSE_SECONDS = 0.05
_RANDOM_SECONDS = 300


class Customers(threading.Thread):
    """Sends each customer's orders in turn, every second one from both sources, each until it is acknowledged.

    Attributes:
        serving: To which they are sent; may be changed at any time.
    """

    def __init__(self, serving: ProductProcess) -> None:
        super().__init__()
        self.serving = serving
        self.stopping = threading.Event()
        self.orders: defaultdict[str, list[str]] = defaultdict(list)
        self.repeats = 0
        self.events: list[str] = []

    def run(self) -> None:
        number = 0
        while not self.stopping.wait(_PAUSE_SECONDS):
            customer = f"c{number % 12}@example.com"
            order = f"order-{number}"
            for place, key in enumerate(SOURCES[: 1 + number % 2]):
                self._send(order, customer, key=key, message_id=f"{order}-{place}")
            self.orders[customer].append(order)
            self.repeats += number % 2
            number += 1

    def all_orders(self) -> set[str]:
        """Return all orders so far."""
        return {order for bought in list(self.orders.values()) for order in bought}

    def stop(self) -> None:
        """Send the last order, and end."""
        self.stopping.set()
        self.join()

    def _send(self, order: str, customer: str, *, key: str, message_id: str) -> None:
        body = {
            "event": "Order Completed",
            "userId": f"{key}-{customer}",
            "messageId": message_id,
            "properties": {"email": customer, "orderId": order, "total": 5},
        }
        wait_until(lambda: self.serving.send("track", body, write_key=key)[0] == 200)
        self.events.append(message_id)


def configured(database_url: str, log_url: str, sandbox: SandboxProcess, folder: Path) -> dict[str, str]:
    """Apply a configuration with two sources; return the settings that all machines share."""
    environment = {
        "PUNCHCARD_DATABASE_URL": database_url,
        "PUNCHCARD_LOG_URL": log_url,
        "PUNCHCARD_LOG_PARTITIONS": str(PARTITIONS),
        "PUNCHCARD_LAKE_URL": str(folder / "lake"),
        "PUNCHCARD_LAKE_FLUSH_SECONDS": "0.5",
        "PUNCHCARD_SECRET_KEY": "correct horse battery staple",
    }
    content = configuration(perkville_url=sandbox.url)
    content["sources"] = [
        {"slug": "website", "name": "Website", "write_key": SOURCES[0]},
        {"slug": "till", "name": "Till", "write_key": SOURCES[1]},
    ]
    destination = content["destinations"][0]  # type: ignore[index]
    del destination["source"]
    destination["sources"] = ["website", "till"]
    config = folder / "punchcard.toml"
    config.write_text(tomli_w.dumps(content))
    applied = command("apply", str(config), "--data", str(folder / "office"), environment=environment)
    assert applied.returncode == 0, applied.stderr
    return environment


class Workers:
    """Workers that share the partitions, each with a data folder and a log of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self.running: dict[int, WorkerProcess] = {}
        self.logs: list[Path] = []

    def start(self, environment: Mapping[str, str] | None = None) -> int:
        """Start another one, with settings of its own or those of all; return its number."""
        number = len(self.logs)
        self.logs.append(self._folder / f"worker-{number}.log")
        folder = self._folder / f"worker-{number}"
        arguments = ["--without-engage"]
        settings = environment or self._environment
        self.running[number] = WorkerProcess(folder, settings, self.logs[-1], arguments=arguments)
        return number

    def wait_until_shared(self, *numbers: int, partitions: int = PARTITIONS) -> None:
        """Return once these workers have all partitions; the one that feeds the lake may have none."""
        wait_until(partial(self._are_shared, numbers, partitions), self.newest_lines)

    def wait_until_waiting(self, *numbers: int) -> None:
        """Return once each of these workers waits for the others to end, with its number of partitions."""
        wait_until(lambda: all("partitions_waited_for" in self.logs[number].read_text() for number in numbers))

    def defects(self) -> list[str]:
        """Return the lines of all logs that name a defect."""
        lines = [line for log in self.logs for line in log.read_text().splitlines()]
        return [line for line in lines if any(defect in line for defect in DEFECTS)]

    def stop(self) -> None:
        """Stop all that run, even those that are frozen."""
        for worker in self.running.values():
            worker.signal(signal.SIGCONT)
            worker.__exit__()

    def _are_shared(self, numbers: tuple[int, ...], partitions: int) -> bool:
        shares = [self._share(number) for number in numbers]
        return sorted(itertools.chain(*shares)) == list(range(partitions)) and sum(map(bool, shares)) >= len(shares) - 1

    def newest_lines(self) -> str:
        """Return the end of each log, for the message of a failure."""
        return "\n".join(f"{log.name}:\n{log.read_text()[-2_000:]}" for log in self.logs)

    def busiest_first(self) -> list[int]:
        """Return the numbers of those that run, the one with most partitions first."""
        return sorted(self.running, key=lambda number: -len(self._share(number)))

    def _share(self, number: int) -> list[int]:
        lines = [line for line in self.logs[number].read_text().splitlines() if '"partitions_changed"' in line]
        return list(json.loads(lines[-1])["partitions"]) if lines else []


def sessions_of(postgres_url: str) -> str:
    """Return the sessions of the database and whom they wait for, for the message of a failure."""
    columns = "pid, application_name, state, wait_event_type, wait_event, state_change, pg_blocking_pids(pid), query"
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute(
            f"SELECT {columns} FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'".encode()
        )
        return "\n".join(str(row)[:300] for row in rows)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    with SandboxProcess(tmp_path / "sandbox") as running:
        yield running


@pytest.fixture
def environment(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_url: str, sandbox: SandboxProcess
) -> dict[str, str]:
    """The settings with a log in PostgreSQL, or in the brokers that a test names."""
    brokers = getattr(request, "param", "postgresql")
    if brokers == "postgresql":
        log_url = postgres_url
    else:  # the broker of all tests has a topic for each of them, as partitions are not lowered
        log_url = request.getfixturevalue(brokers).url(*([TOPIC] if brokers == "own_kafka" else []))
    return configured(postgres_url, log_url, sandbox, tmp_path)


@pytest.fixture
def workers(tmp_path: Path, environment: dict[str, str]) -> Iterator[Workers]:
    workers = Workers(tmp_path, environment)
    yield workers
    workers.stop()


@pytest.fixture
def serving(tmp_path: Path, environment: dict[str, str]) -> Iterator[ProductProcess]:
    with ProductProcess(tmp_path / "serving", serves_only=True, environment=environment) as running:
        yield running


@pytest.mark.parametrize("environment", ["postgresql", pytest.param("kafka", marks=pytest.mark.kafka)], indirect=True)
def test_workers_that_share_a_log_award_each_order_once_whatever_dies(
    postgres_url: str, sandbox: SandboxProcess, workers: Workers, serving: ProductProcess
) -> None:
    for _ in range(3):
        workers.start()
    workers.wait_until_shared(0, 1, 2)
    killed, frozen, other = workers.busiest_first()
    customers = Customers(serving)
    customers.start()
    try:
        wait_until(lambda: len(sandbox.transactions()) > 20)
        workers.running.pop(killed).kill()
        workers.wait_until_shared(frozen, other)
        workers.running[frozen].signal(signal.SIGSTOP)  # until the server ends its sessions
        workers.start()
        workers.wait_until_shared(other, 3)
        count = len(sandbox.transactions())
        wait_until(
            lambda: len(sandbox.transactions()) > count + 20,
            lambda: f"{workers.newest_lines()}\n{sessions_of(postgres_url)}",
        )
        workers.running[frozen].signal(signal.SIGCONT)
        workers.wait_until_shared(frozen, other, 3)
    finally:
        customers.stop()
    assert_all_awarded_once(customers, serving, sandbox)
    lag = 'punchcard_log_lag_events{partition="4"} 0.0'
    wait_until(lambda: lag in str(serving.call("GET", "/metrics")[1]))
    assert_stopped_with_all_awarded_once(workers, customers, serving, sandbox, postgres_url)


@pytest.mark.parametrize("environment", ["postgresql", pytest.param("kafka", marks=pytest.mark.kafka)], indirect=True)
def test_partitions_that_are_raised_while_orders_arrive_cost_no_order(
    tmp_path: Path, postgres_url: str, sandbox: SandboxProcess, workers: Workers, environment: dict[str, str]
) -> None:
    """From a log that is not divided to 2 partitions, then to 5; workers and serving machine are replaced each time."""
    settings = {count: {**environment, "PUNCHCARD_LOG_PARTITIONS": str(count)} for count in (1, 2, PARTITIONS)}
    with ExitStack() as stack:

        def serve(count: int) -> ProductProcess:
            folder = tmp_path / f"serving-{count}"
            return stack.enter_context(ProductProcess(folder, serves_only=True, environment=settings[count]))

        first = serve(1)  # its data folder has the token
        customers = Customers(first)
        workers.start(settings[1])
        customers.start()
        try:
            wait_until_caught_up(customers, sandbox)
            for count in (2, PARTITIONS):
                before = list(workers.running)
                raised = [workers.start(settings[count]) for _ in range(2)]
                workers.wait_until_waiting(*raised)
                wait_until_caught_up(customers, sandbox)  # the others route all, until they end
                workers.running.pop(before.pop()).kill()
                for number in before:
                    workers.running.pop(number).stop()
                workers.wait_until_shared(*raised, partitions=count)
                wait_until_caught_up(customers, sandbox)
                customers.serving = serve(count)
            wait_until_caught_up(customers, sandbox)
        finally:
            customers.stop()
        assert_all_awarded_once(customers, first, sandbox)
        assert_stopped_with_all_awarded_once(workers, customers, first, sandbox, postgres_url)


def wait_until_caught_up(customers: Customers, sandbox: SandboxProcess) -> None:
    """Wait until some more orders are sent, and all that were sent until then are awarded."""
    count = len(customers.all_orders()) + 20
    wait_until(lambda: len(customers.all_orders()) >= count)
    expected = {f"SEG:perkville:ORDER:{order}:order-completed" for order in customers.all_orders()}
    wait_until(lambda: expected <= {transaction["trans_source_id"] for transaction in sandbox.transactions()})


@pytest.mark.soak  # five minutes
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("environment", ["postgresql", pytest.param("kafka", marks=pytest.mark.kafka)], indirect=True)
def test_workers_that_freeze_and_die_at_random_award_each_order_once(
    postgres_url: str, sandbox: SandboxProcess, workers: Workers, serving: ProductProcess, seed: int
) -> None:
    chance = Random(seed)
    for _ in range(3):
        workers.start()
    customers = Customers(serving)
    customers.start()
    thaws: dict[int, float] = {}  # when each frozen worker goes on
    try:
        end = time.monotonic() + _RANDOM_SECONDS
        while time.monotonic() < end:
            time.sleep(chance.uniform(0, 8))
            for number in [number for number, at in thaws.items() if at < time.monotonic()]:
                workers.running[number].signal(signal.SIGCONT)
                del thaws[number]
            awake = [number for number in workers.running if number not in thaws]
            draw = chance.random()
            if draw < 0.45 and len(awake) > 1:
                number = chance.choice(awake)
                workers.running[number].signal(signal.SIGSTOP)
                thaws[number] = time.monotonic() + chance.choice([1, 5, 20, 34, 40, 60])
            elif draw < 0.7 and len(workers.running) > 2:
                number = chance.choice(list(workers.running))
                workers.running.pop(number).kill()
                thaws.pop(number, None)
            elif len(workers.running) < 3:
                workers.start()
    finally:
        for number in thaws:
            workers.running[number].signal(signal.SIGCONT)
        customers.stop()
    assert_all_awarded_once(customers, serving, sandbox)
    assert_stopped_with_all_awarded_once(workers, customers, serving, sandbox, postgres_url)


@pytest.mark.soak  # without a free core, Kafka's controllers may elect none of them within two minutes
@pytest.mark.kafka
@pytest.mark.parametrize("environment", ["own_kafka"], indirect=True)
def test_brokers_and_workers_that_die_together_cost_no_order(
    own_kafka: KafkaCluster, postgres_url: str, sandbox: SandboxProcess, workers: Workers, serving: ProductProcess
) -> None:
    topics = (TOPIC, f"{TOPIC}-identity", f"{TOPIC}-bodies")
    for _ in range(3):
        workers.start()
    workers.wait_until_shared(0, 1, 2)
    killed, frozen, other = workers.busiest_first()
    customers = Customers(serving)

    def wait_for_more_awards() -> None:
        count = len(sandbox.transactions())
        wait_until(lambda: len(sandbox.transactions()) > count + 20, workers.newest_lines)

    def lose_leader(topic: str) -> Broker:
        for each in topics:
            own_kafka.wait_until_in_sync(each)  # a broker that fell behind could not be elected
        leader = own_kafka.leader_of(topic)
        leader.kill()
        return leader

    customers.start()
    try:
        wait_for_more_awards()
        broker = lose_leader(TOPIC)
        workers.running.pop(killed).kill()
        workers.wait_until_shared(frozen, other)
        wait_for_more_awards()
        broker.start()
        workers.running[frozen].signal(signal.SIGSTOP)  # until the server ends its sessions
        broker = lose_leader(f"{TOPIC}-bodies")
        workers.start()
        workers.wait_until_shared(other, 3)
        wait_for_more_awards()
        workers.running[frozen].signal(signal.SIGCONT)  # what it knows of the brokers is half a minute old
        workers.wait_until_shared(frozen, other, 3)
        broker.start()
        wait_for_more_awards()
    finally:
        customers.stop()
    assert_all_awarded_once(customers, serving, sandbox)
    workers.stop()
    assert_all_awarded_once(customers, serving, sandbox)
    # A request that got no response in time was repeated, and the log may have both.
    duplicates = duplicates_in(postgres_url)
    assert duplicates.pop("same_effect") >= customers.repeats
    assert set(duplicates) <= {"duplicate_message_id"}
    assert_in_order(postgres_url)
    assert workers.defects() == []


def assert_all_awarded_once(customers: Customers, serving: ProductProcess, sandbox: SandboxProcess) -> None:
    """Every acknowledged order is at Perkville once, and nothing else is."""
    orders = [order for bought in customers.orders.values() for order in bought]
    wait_until(lambda: len(sandbox.transactions()) >= len(orders))
    for message_id in customers.events[-4:]:
        serving.wait_for_status(message_id, "delivered", "duplicate")
    booked = Counter(transaction["trans_source_id"] for transaction in sandbox.transactions())
    assert booked == Counter(f"SEG:perkville:ORDER:{order}:order-completed" for order in orders)


def assert_stopped_with_all_awarded_once(
    workers: Workers, customers: Customers, serving: ProductProcess, sandbox: SandboxProcess, postgres_url: str
) -> None:
    """Stop the workers. Every order stands once, in order, each repeated one is named, and no worker had a defect."""
    workers.stop()
    assert_all_awarded_once(customers, serving, sandbox)
    assert duplicates_in(postgres_url) == {"same_effect": customers.repeats}
    assert_in_order(postgres_url)
    assert workers.defects() == []


def duplicates_in(database_url: str) -> dict[str, int]:
    """Return how many events are duplicates, by reason."""
    query = "SELECT reason, sum(count)::bigint FROM result_counts WHERE status = 'duplicate' GROUP BY reason"
    with psycopg.connect(database_url) as connection:
        return dict(connection.execute(query).fetchall())


def assert_in_order(database_url: str) -> None:
    """The orders that a source reported are planned in the order of the log."""
    with psycopg.connect(database_url) as connection:
        planned = connection.execute("SELECT customer, source, log_position FROM effects ORDER BY id").fetchall()
    positions: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for customer, source, position in planned:
        positions[customer, source].append(position)
    assert all(of_customer == sorted(of_customer) for of_customer in positions.values())


def test_a_process_with_another_number_of_partitions_is_refused_with_the_cure(
    tmp_path: Path, environment: dict[str, str], workers: Workers
) -> None:
    workers.start()
    workers.wait_until_shared(0)
    lower = environment | {"PUNCHCARD_LOG_PARTITIONS": "1"}
    refused = command("worker", "--data", str(tmp_path / "other"), environment=lower)
    assert refused.returncode == 2
    assert f"Set PUNCHCARD_LOG_PARTITIONS to {PARTITIONS}." in refused.stderr
