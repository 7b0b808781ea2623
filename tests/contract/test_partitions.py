"""A divided log: several routers at once, and nothing lost, doubled or out of order whichever of them ends."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection

from punchcard.errors import ConfigurationError
from punchcard.log.opening import open_event_log
from punchcard.log.partitions import (
    BUCKETS,
    PartitionedLog,
    PartitionLayout,
    bucket_of,
    layout_of,
    refuse_fewer_partitions,
)
from punchcard.log.port import NewRecord
from punchcard.log.postgres import PostgresEventLog
from punchcard.store.delivery.ledger_locks import lock_ledger
from punchcard.store.engine import Store
from punchcard.store.routing.event_results import EventStatus
from punchcard.store.routing.partition_workers import report_worker
from punchcard.store.routing.positions import (
    ROUTING,
    advance,
    partition_positions,
    position_of,
)
from punchcard.testing.examples import examples
from punchcard.testing.partition_world import PartitionWorld
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until
from punchcard.testing.world import track

New = Callable[..., PartitionWorld]


def single(body: bytes, *, key: str = "wk", call: str = "track", encoding: str = "identity") -> NewRecord:
    return NewRecord(received_at=1, write_key=key, call=call, encoding=encoding, body=body, ip="")


@pytest.fixture(params=["postgresql", pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.cluster])])
def log_url(request: pytest.FixtureRequest) -> str:
    """Of a log that can be divided."""
    if request.param == "kafka":
        return str(request.getfixturevalue("kafka").url())
    return str(request.getfixturevalue("empty_postgres_url"))


@pytest.fixture
def new(postgres_url: str, log_url: str, tmp_path: Path) -> Iterator[New]:
    worlds: list[PartitionWorld] = []

    def make(count: int = 4, seed: int = 0) -> PartitionWorld:
        worlds.append(PartitionWorld(postgres_url, tmp_path, count, seed, log_url))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


# --- buckets ---


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(single(b'{"userId": "u1"}'), single(b'{"x": 1, "userId":"u1"}'), id="user"),
        pytest.param(single(b'{"userId": 5}'), single(b'{"userId": "5"}'), id="number-and-text"),
        pytest.param(single(b'{"anonymousId": "a"}'), single(b'{"userId": null, "anonymousId": "a"}'), id="anonymous"),
        pytest.param(single(b"{}"), single(b'{"broken'), id="nobody"),
        pytest.param(single(b'{"batch": [1]}', call="batch"), single(b'{"batch": [2]}', call="batch"), id="batch"),
        pytest.param(single(b'{"userId": "u1"}'), single(b'{"userId": "u1"}', call="identify"), id="calls"),
    ],
)
def test_requests_of_one_person_or_one_source_share_a_bucket(first: NewRecord, second: NewRecord) -> None:
    assert bucket_of(first) == bucket_of(second)
    assert 0 <= bucket_of(first) < BUCKETS


def test_persons_and_sources_are_spread_over_the_buckets() -> None:
    persons = {bucket_of(single(b'{"userId": "%d"}' % number)) for number in range(200)}
    sources = {bucket_of(single(b"{}", key=f"wk{number}", call="batch")) for number in range(200)}
    assert min(len(persons), len(sources)) > 150


# --- the log ---


def open_log(url: str) -> PartitionedLog:
    log = open_event_log(url)
    assert isinstance(log, PartitionedLog)
    return log


def test_a_divided_log_keeps_its_order_and_each_partition_its_records(log_url: str) -> None:
    with closing(open_log(log_url)) as log, closing(open_log(log_url)) as other:
        before = [single(b'{"userId": "%d"}' % number) for number in range(10)]
        log.append(before)
        assert log.set_partitions(3) == PartitionLayout(3, 1, 10)
        assert log.set_partitions(3) == PartitionLayout(3, 1, 10)
        after = [single(b'{"userId": "%d"}' % number) for number in range(200)]
        positions = [
            *other.append(after[:100]),  # another process, which knew nothing of it
            *log.append(after[100:]),
        ]
        assert positions == sorted(set(positions))
        end = positions[-1]
        assert (positions[0] > 10, end) == (True, log.last_position())
        everything = log.read(0, records_max=1_000, bytes_max=1 << 20)
        assert [record.position for record in everything] == [*range(1, 11), *positions]
        assert [record.body for record in everything] == [record.body for record in before + after]
        read: dict[int, int] = {}
        for partition in range(3):
            position, through = 0, 0
            while position < end:
                records, through = other.read_partition(partition, position, records_max=7, bytes_max=1 << 20)
                for record in records:
                    assert record.position not in read
                    assert record in everything
                    read[record.position] = partition
                assert through > position
                position = through
            assert (records, through) == ([], end) or records[-1].position == end
        assert sorted(read) == [*range(1, 11), *positions]
        assert {read[position] for position in range(1, 11)} == {0}
        buckets = [bucket_of(record) % 3 for record in after]
        assert [read[position] for position in positions] == buckets
        assert set(buckets) == {0, 1, 2}


def test_a_log_from_before_partitions_gets_their_columns(empty_postgres_url: str) -> None:
    with closing(PostgresEventLog(empty_postgres_url)) as log:
        log.append([single(b"{}")])
    with psycopg.connect(empty_postgres_url, autocommit=True) as connection:
        for table, columns in {
            "event_log": ("partitions", "partitions_before", "changed_after"),
            "event_log_head": ("partitions",),
            "event_log_records": ("bucket",),
        }.items():
            for column in columns:
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}".encode())
    with closing(PostgresEventLog(empty_postgres_url)) as log:
        log.append([single(b"{}")])
        assert log.partitions() == PartitionLayout()
        assert log.set_partitions(2) == PartitionLayout(2, 1, 2)
        with psycopg.connect(empty_postgres_url) as connection:
            # An older version, which reads without partitions, must not open it any more.
            assert connection.execute("SELECT schema_version FROM event_log").fetchone() == (2,)


def test_fewer_partitions_and_logs_that_cannot_be_divided_are_refused(empty_postgres_url: str, tmp_path: Path) -> None:
    with closing(open_event_log(f"sqlite:///{tmp_path / 'log.db'}")) as log:
        refuse_fewer_partitions(log, 1)
        assert layout_of(log).count == 1
        with pytest.raises(ConfigurationError, match="Only an event log in PostgreSQL or Kafka"):
            refuse_fewer_partitions(log, 2)
    with closing(PostgresEventLog(empty_postgres_url)) as log:
        log.set_partitions(4)
        refuse_fewer_partitions(log, 8)
        for count in (1, 3):
            with pytest.raises(ConfigurationError, match="Set PUNCHCARD_LOG_PARTITIONS to 4"):
                refuse_fewer_partitions(log, count)
        with pytest.raises(ConfigurationError, match="from 1 to 64"):
            refuse_fewer_partitions(log, 65)


# --- routing ---


@pytest.mark.parametrize("seed", range(examples(3, part=1)))
def test_workers_that_end_freeze_and_come_lose_and_double_nothing(new: New, seed: int) -> None:
    world = new(count=6, seed=seed)
    for _ in range(20):
        world.send()
    assert world.divide()
    for _ in range(3):
        world.start_worker()
    for round_number in range(60):
        for _ in range(world.chance.randrange(8)):
            world.send()
        awake = [worker for worker in world.workers if not worker.is_frozen]
        frozen = [worker for worker in world.workers if worker.is_frozen]
        chance = world.chance.random()
        if chance < 0.06 and len(awake) > 1:
            world.kill(world.chance.choice(awake))
        elif chance < 0.16 and len(awake) > 1:
            world.freeze(world.chance.choice(awake))
        elif chance < 0.3 and frozen:
            world.wake(world.chance.choice(frozen))
        elif chance < 0.4 and len(world.workers) < 4:
            world.start_worker()
        for worker in world.workers:
            if not worker.is_frozen:
                world.step(worker)
        if round_number % 10 == 0:
            world.feed(world.store, world.log).flush()
    world.drain()
    for worker in [worker for worker in world.workers if worker.is_frozen]:
        world.wake(worker)
    world.drain()
    world.check_exactly_once()


def test_a_frozen_worker_is_fenced_by_the_position(new: New) -> None:
    world = new(count=2)
    world.divide()
    first = world.start_worker()
    world.step(first)
    assert first.routing.partitions == [0, 1]
    for _ in range(10):
        world.send()
    world.freeze(first)
    second = world.start_worker()
    while world.step(second) or not second.routing.partitions:
        pass
    assert second.routing.partitions == [0, 1]
    world.wake(first)
    assert world.fenced == 2
    world.drain()
    world.check_exactly_once()


def test_partitions_are_shared_evenly_as_workers_come_and_go(new: New) -> None:
    world = new(count=7)
    world.divide()
    first = world.start_worker()
    world.step(first)
    assert len(first.routing.partitions) == 7
    second, third = world.start_worker(), world.start_worker()
    for _ in range(20):
        for worker in world.workers:
            world.step(worker)
    shares = [worker.routing.partitions for worker in world.workers]
    assert sorted(map(len, shares)) == [2, 2, 3]
    assert sorted(partition for share in shares for partition in share) == list(range(7))
    world.kill(second)
    for _ in range(20):
        for worker in (first, third):
            world.step(worker)
    assert sorted(len(worker.routing.partitions) for worker in (first, third)) == [3, 4]


def test_a_worker_that_stands_still_while_it_reports_does_not_forget_itself(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("punchcard.store.routing.partition_workers._FORGOTTEN_AFTER_SECONDS", 0)
    with closing(Store(postgres_url)) as store, store.unit_of_work() as work:
        assert [worker.id for worker in report_worker(work, "first", feeds_lake=False)] == ["first"]
        assert [worker.id for worker in report_worker(work, "second", feeds_lake=False)] == ["second"]


def test_the_worker_that_feeds_the_lake_routes_less(new: New, postgres_url: str) -> None:
    world = new(count=4)
    world.divide()
    first = world.start_worker(feeds_lake=True)
    world.step(first)
    assert first.routing.partitions == [0, 1, 2, 3]  # it is alone
    world.start_worker()
    for _ in range(10):
        for worker in world.workers:
            world.step(worker)
    assert [len(worker.routing.partitions) for worker in world.workers] == [1, 3]
    # A worker of a version that does not say it takes as many as the others, so they do the same.
    report = (
        "INSERT INTO partition_workers (worker, seen_at) SELECT 'older', max(seen_at) + 60000000 FROM partition_workers"
    )
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(report)
        for worker in world.workers:
            worker.routing.balance()
        assert [len(worker.routing.partitions) for worker in world.workers] == [1, 1]
        connection.execute("DELETE FROM partition_workers WHERE worker = 'older'")
    for _ in range(20):
        world.send()
    world.drain()
    assert [len(worker.routing.partitions) for worker in world.workers] == [1, 3]
    world.check_exactly_once()


def test_a_router_of_the_whole_log_can_do_nothing_once_it_is_divided(new: New) -> None:
    world = new(count=2)
    with world.store.unit_of_work() as work:
        assert advance(work, ROUTING, expected=0, to=5)
    assert world.divide()
    assert world.divide()
    with world.store.unit_of_work() as work:
        assert position_of(work, ROUTING) == 0  # the new partition has nothing behind it, and the log is empty
        for expected in (0, 5):
            assert not advance(work, ROUTING, expected=expected, to=9)
        assert partition_positions(work) == {0: 5, 1: 0}


def test_the_number_is_raised_again_once_nobody_routes_the_current_partitions(new: New) -> None:
    world = new(count=2)
    world.divide()
    worker = world.start_worker()
    for _ in range(10):
        world.send()
    world.step(worker)
    raised = replace(world, count=5, workers=[], sent=[])
    try:
        assert not raised.divide()
        worker.routing.release_all()
        assert raised.divide()
        world.send()
        assert world.step(worker) == 0  # its settings have the earlier number
        assert worker.routing.partitions == []
        raised.start_worker()
        for _ in range(50):
            world.send()
        raised.drain()
        assert raised.workers[0].routing.partitions == [0, 1, 2, 3, 4]
        world.check_exactly_once()
    finally:
        raised.close()


def test_events_with_an_id_that_was_routed_by_another_worker_are_duplicates(new: New) -> None:
    world = new(count=2)
    world.divide()
    first = world.start_worker()
    identify = single(b'{"userId": "u", "messageId": "i1", "traits": {}}', call="identify")
    world.log.append([identify])
    for _ in range(3):
        world.step(first)
    world.kill(first)
    world.log.append([identify])
    world.start_worker()
    world.drain()
    rows = world.lake().between(1, world.log.last_position())
    statuses = [[(result.status, result.reason) for result in row.results] for row in rows]
    assert statuses[1] == [(EventStatus.DUPLICATE, "duplicate_message_id")], statuses


# --- the ledger ---


def test_routers_that_decide_about_the_same_names_wait_for_each_other(postgres_url: str) -> None:
    """In a real run they decide at the same time once in a thousand orders; here in each order."""
    entered: list[str] = []
    many = {f"name {number}" for number in range(1_000)}
    with closing(Store(postgres_url)) as store:

        def decide(name: str, names: set[str]) -> None:
            with store.unit_of_work() as work:
                lock_ledger(work, names)
                entered.append(name)

        for first, second, waits in (
            ({"a", "b"}, {"b", "c"}, True),
            ({"a"}, {"b"}, False),
            (many, {"b"}, True),
            ({"b"}, many, True),
        ):
            entered.clear()
            with store.unit_of_work() as work:
                lock_ledger(work, first)
                thread = threading.Thread(target=decide, args=("second", second))
                thread.start()
                if waits:
                    wait_until(lambda: is_waiting_for_a_lock(postgres_url))
                else:
                    thread.join()
                entered.append("first")
            thread.join()
            assert entered == (["first", "second"] if waits else ["second", "first"])


def is_waiting_for_a_lock(url: str) -> bool:
    with psycopg.connect(url) as connection:
        query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        return connection.execute(query).fetchone() != (0,)


class PausedStore(Store):
    """A store of which one unit of work stands still before its commit."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.is_armed = threading.Event()
        self.has_written = threading.Event()
        self.may_commit = threading.Event()

    @contextmanager
    def unit_of_work(self) -> Iterator[Connection]:
        with super().unit_of_work() as work:
            yield work
            if self.is_armed.is_set():
                self.has_written.set()
                assert self.may_commit.wait(PATIENCE_SECONDS)


def test_routers_that_meet_the_same_order_at_the_same_time_award_it_once(new: New, postgres_url: str) -> None:
    world = new(count=2)
    world.divide()
    store = PausedStore(postgres_url)
    first, second = world.start_worker(store=store), world.start_worker()
    for _ in range(4):
        world.clock.advance(1.0)
        for worker in (first, second):
            worker.routing.balance()
    assert sorted([first.routing.partitions, second.routing.partitions]) == [[0], [1]]
    for partition in (0, 1):
        world.log.append([order_in(partition)])
    store.is_armed.set()
    threads = [threading.Thread(target=worker.routing.step) for worker in (first, second)]
    threads[0].start()
    try:
        assert store.has_written.wait(PATIENCE_SECONDS)
        threads[1].start()
        wait_until(lambda: is_waiting_for_a_lock(postgres_url))
    finally:
        store.is_armed.clear()
        store.may_commit.set()
        for thread in threads:
            thread.join()
    world.drain()
    assert len(world.effects()) == 1
    rows = world.lake().between(1, world.log.last_position())
    assert sorted(result.status for row in rows for result in row.results) == ["duplicate", "pending"]


def order_in(partition: int) -> NewRecord:
    """Return one and the same order as another person of another message in a partition of two."""
    for number in range(100):
        event = track(f"m-{partition}", email="ann@example.com", quantity="1", order_id="o1")
        record = single(json.dumps(event | {"userId": f"u{number}"}).encode())
        if bucket_of(record) % 2 == partition:
            return record
    raise AssertionError("no person of a hundred is in the partition")


def test_new_partitions_wait_for_what_was_appended_before_them(new: New) -> None:
    world = new(count=2)
    for _ in range(6):
        world.send(repeat_share=0)
    world.divide()
    for _ in range(20):
        world.send(repeat_share=0)
    with world.store.leadership("routing/0") as held_elsewhere:
        assert held_elsewhere.held()
        worker = world.start_worker()
        for _ in range(5):
            assert world.step(worker) == 0
        assert worker.routing.partitions == [1]
    world.drain()
    world.check_exactly_once()
