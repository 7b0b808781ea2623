"""Three Kafka brokers of which any may die: nothing acknowledged is lost, doubled or out of order."""

import http.client
import json
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path

import pytest

from punchcard.errors import StorageError
from punchcard.ingest.app import TrackingApp
from punchcard.log.bodies import decompress
from punchcard.log.group_commit import GroupCommit
from punchcard.log.kafka import KafkaEventLog
from punchcard.log.port import NewRecord
from punchcard.testing.clock import ManualClock
from punchcard.testing.kafka import KafkaCluster, kafka_cluster
from punchcard.testing.listening import ListeningApp
from punchcard.testing.waiting import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.cluster]

_RECORDS = 20_000
_RECORDS_AT_ONCE = 20
_ELECTION_SECONDS = 13.0  # a session of 9 s, and 4 s until there is another active controller


def record(number: int) -> NewRecord:
    return NewRecord(1, "wk", "track", "identity", b"%d" % number, "")


class Sender:
    """Appends numbered records, each group again and again until it is acknowledged, as senders do."""

    def __init__(self, log: KafkaEventLog) -> None:
        self.acknowledged: dict[int, int] = {}  # position -> number
        self.failures: list[str] = []
        self.pauses: list[float] = []
        self._log = log
        self._stopping = threading.Event()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send for the length of the block."""
        thread = threading.Thread(target=self._send)
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            thread.join()

    def _send(self) -> None:
        number = 0
        while not self._stopping.is_set():
            group = range(number, number + _RECORDS_AT_ONCE)
            begun = time.monotonic()
            while True:
                try:
                    positions = self._log.append([record(each) for each in group])
                    break
                except StorageError as error:
                    self.failures.append(error.message)
            self.pauses.append(time.monotonic() - begun)
            self.acknowledged.update(zip(positions, group, strict=True))
            number += _RECORDS_AT_ONCE


@contextmanager
def opened(url: str) -> Iterator[KafkaEventLog]:
    """An event log that is opened as processes open it: again and again while the cluster changes."""
    logs: list[KafkaEventLog] = []

    def is_open() -> bool:
        with suppress(StorageError):
            logs.append(KafkaEventLog(url))
        return bool(logs)

    wait_until(is_open)
    with closing(logs[0]) as log:
        yield log


def stored(log: KafkaEventLog) -> dict[int, int]:
    """Return the number of each stored record by its position."""
    numbers: dict[int, int] = {}
    after = 0
    while records := log.read(after, records_max=5_000, bytes_max=1 << 30):
        after = records[-1].position
        numbers |= {item.position: int(item.body) for item in records}
    return numbers


@pytest.mark.parametrize("partitions", [1, 3])
def test_nothing_acknowledged_is_lost_doubled_or_out_of_order_over_two_kills_of_the_leader(
    own_kafka: KafkaCluster, partitions: int
) -> None:
    topic = f"kills-{partitions}"
    topics = [topic] if partitions == 1 else [topic, f"{topic}-bodies"]
    with opened(own_kafka.url(topic)) as log:
        log.set_partitions(partitions)
        sender = Sender(log)
        with sender.sending():
            for kill in (1, 2):
                wait_until(lambda kill=kill: len(sender.acknowledged) >= kill * _RECORDS // 4)  # type: ignore[misc]
                for each in topics:
                    own_kafka.wait_until_in_sync(each)  # a broker that fell behind could not be elected
                leader = own_kafka.leader_of(topics[-kill % len(topics)])
                leader.kill()
                at_kill = len(sender.acknowledged)
                wait_until(lambda at_kill=at_kill: len(sender.acknowledged) > at_kill + 1_000)  # type: ignore[misc]
                leader.start()
            for each in topics:
                own_kafka.wait_until_in_sync(each)
            wait_until(lambda: len(sender.acknowledged) >= _RECORDS)
        result = stored(log)
    print(f"longest pause {max(sender.pauses):.1f} s, failed appends {len(sender.failures)}")
    assert {position: result.get(position) for position in sender.acknowledged} == sender.acknowledged
    # What failed may be stored too. Of each record the first copy counts, and these are in order.
    first_copies = list(dict.fromkeys(result.values()))
    assert first_copies == sorted(first_copies)
    copies = len(result) - len(first_copies)
    assert copies <= len(sender.failures) * _RECORDS_AT_ONCE
    assert list(sender.acknowledged.values()) == sorted(sender.acknowledged.values())


def test_without_a_quorum_requests_get_503_until_the_brokers_are_back(own_kafka: KafkaCluster) -> None:
    """Promise: two of three brokers gone is reported, and nothing must be restarted afterwards."""

    def tracking_app(commit: GroupCommit) -> TrackingApp:
        return TrackingApp(commit, keys=lambda _: True, clock=ManualClock(), body_seconds=PATIENCE_SECONDS)

    with opened(own_kafka.url("quorum")) as log, closing(ListeningApp(log, tracking_app)) as app:
        assert post_event(app.port, "before") == (200, None)
        # The one that is left is the leader: it can be read, and acknowledges nothing.
        others = [broker for broker in own_kafka.brokers if broker is not own_kafka.leader_of("quorum")]
        for broker in others:
            broker.kill()
        try:
            status, retry_after = post_event(app.port, "between")
            assert status == 503
            assert int(retry_after or "0") > 0
            with pytest.raises(StorageError, match="cannot be"):
                log.identity()
        finally:
            for broker in others:
                broker.start()
        own_kafka.wait_until_in_sync("quorum")
        wait_until(lambda: post_event(app.port, "after")[0] == 200)
        assert wait_until(lambda: identity_of(log))
        bodies = [item.body for item in log.read(0, records_max=100, bytes_max=1 << 20)]
    assert b'"before"' in bodies[0]
    assert b'"after"' in bodies[-1]


def post_event(port: int, event: str) -> tuple[int, str | None]:
    """Send a track call; return the status and the Retry-After of its response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        body = json.dumps({"writeKey": "wk", "userId": "ann", "event": event})
        connection.request("POST", "/v1/track", body=body, headers={"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        return response.status, response.getheader("Retry-After")
    finally:
        connection.close()


def identity_of(log: KafkaEventLog) -> str:
    try:
        return log.identity().id
    except StorageError:
        return ""


def test_a_frozen_leader_is_replaced(own_kafka: KafkaCluster) -> None:
    with opened(own_kafka.url("frozen")) as log:
        log.append([record(0)])
        own_kafka.wait_until_in_sync("frozen")
        leader = own_kafka.leader_of("frozen")
        leader.signal(signal.SIGSTOP)
        try:
            wait_until(lambda: is_appended(log))
        finally:
            leader.signal(signal.SIGCONT)
        assert wait_until(lambda: is_appended(log))
        # A leader that has lost its leadership may give its own end for a moment.
        wait_until(lambda: len(stored(log)) >= 3)
        numbers = list(stored(log).values())
    assert numbers[0] == 0
    assert set(numbers[1:]) == {1}


def test_an_append_outlasts_an_election_by_kafkas_own_time_outs(kafka_jars: Path, tmp_path: Path) -> None:
    """A producer that is given up before a leader is elected costs senders the seconds that a new one needs."""
    with kafka_cluster(tmp_path, kafka_jars) as cluster, closing(KafkaEventLog(cluster.url())) as log:
        log.append([record(0)])
        (broker,) = cluster.brokers
        broker.signal(signal.SIGSTOP)
        going_on = threading.Timer(_ELECTION_SECONDS, broker.signal, [signal.SIGCONT])
        going_on.start()
        try:
            log.append([record(1)])
        finally:
            going_on.join()
        assert stored(log) == {1: 0, 2: 1}


def test_who_reads_all_the_time_finds_the_next_leader(own_kafka: KafkaCluster) -> None:
    with opened(own_kafka.url("read")) as log:
        log.append([record(0)])
        own_kafka.wait_until_in_sync("read")
        assert stored(log) == {1: 0}
        leader = own_kafka.leader_of("read")
        leader.kill()
        try:
            wait_until(lambda: is_readable(log))
        finally:
            leader.start()
        own_kafka.wait_until_ready()
        assert stored(log) == {1: 0}


def test_waiting_for_the_next_leader_takes_little_processor_time(own_kafka: KafkaCluster) -> None:
    """Clients that take the cores of a small machine keep its brokers from electing a leader."""
    with opened(own_kafka.url("patient")) as log:
        log.append([record(0)])
        own_kafka.wait_until_in_sync("patient")
        leader = own_kafka.leader_of("patient")
        leader.kill()
        try:
            begun, used = time.monotonic(), time.process_time()
            wait_until(lambda: is_readable(log))
            share = (time.process_time() - used) / (time.monotonic() - begun)
        finally:
            leader.start()
        own_kafka.wait_until_ready()
    assert share < 0.3  # of a core


def is_readable(log: KafkaEventLog) -> bool:
    try:
        return bool(stored(log))
    except StorageError:
        return False


def is_appended(log: KafkaEventLog) -> bool:
    try:
        return len(log.append([record(1)])) == 1
    except StorageError:
        return False


def test_a_full_disk_refuses_records_and_keeps_the_acknowledged_ones(
    kafka_jars: Path, tmp_path: Path, small_disk: Callable[..., AbstractContextManager[None]]
) -> None:
    disk = tmp_path / "kafka" / "broker-1" / "data"
    settings = {"log.index.size.max.bytes": 100_000}
    acknowledged: dict[int, bytes] = {}

    def append() -> bool:
        body = random.Random(len(acknowledged)).randbytes(200_000)  # it cannot be compressed
        try:
            (position,) = log.append([NewRecord(1, "wk", "track", "identity", body, "")])
        except StorageError:
            return False
        acknowledged[position] = body
        return True

    with small_disk(disk, megabytes=24), kafka_cluster(tmp_path / "kafka", kafka_jars, settings=settings) as cluster:
        (broker,) = cluster.brokers
        with closing(KafkaEventLog(cluster.url("disk"))) as log:
            wait_until(lambda: not append())
            assert acknowledged
            subprocess.run(["mount", "-o", "remount,size=256m", str(disk)], check=True)
            broker.kill()  # one that has lost its only folder ends, or does nothing more
            broker.start()
            cluster.wait_until_ready()
            at_restart = len(acknowledged)
            wait_until(append)
            assert len(acknowledged) == at_restart + 1
            read = {item.position: decompress(item) for item in log.read(0, records_max=10_000, bytes_max=1 << 30)}
    assert {position: read.get(position) for position in acknowledged} == acknowledged
