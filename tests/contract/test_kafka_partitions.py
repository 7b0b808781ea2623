"""A log in Kafka that is divided: which topics it has, what each failure of them means, and how its bodies end."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import ConfigResource, NewPartitions, NewTopic, ResourceType

from punchcard.errors import ConfigurationError, StorageError
from punchcard.log import kafka as kafka_log
from punchcard.log import kafka_bodies, kafka_body_reader
from punchcard.log.bodies import decompress
from punchcard.log.kafka import KafkaEventLog
from punchcard.log.kafka_body_reader import KafkaBodyReader
from punchcard.log.kafka_cluster import KafkaCluster as ClusterClient
from punchcard.log.kafka_positions import CancelDivision, PrepareDivision
from punchcard.log.kafka_records import DIVISION_HEADER, REFERENCE_HEADER
from punchcard.log.kafka_writer import KafkaWriter
from punchcard.log.partitions import PartitionLayout, bucket_of
from punchcard.log.port import LogRecord, NewRecord
from punchcard.operations.deletion_records import is_deleted
from punchcard.routing.log_guard import OtherLogError
from punchcard.store.engine import Store
from punchcard.testing.clock import ManualClock
from punchcard.testing.kafka import KafkaCluster
from punchcard.testing.log_installation import Installation
from punchcard.testing.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.long]

_PARTITIONS = 3
_EVERYTHING = {"records_max": 1_000_000, "bytes_max": 1 << 40}


def record(number: int) -> NewRecord:
    return NewRecord(1, "wk", "track", "identity", b'{"userId":"%d"}' % number, "")


def records(first: int, count: int) -> list[NewRecord]:
    return [record(number) for number in range(first, first + count)]


def bodies_of(read: Sequence[LogRecord]) -> list[bytes]:
    return [decompress(item) for item in read]


def bodies(first: int, count: int) -> list[bytes]:
    return [item.body for item in records(first, count)]


def topic_of(url: str) -> str:
    return url.partition("://")[2].partition("/")[2].partition("?")[0]


def delete(cluster: KafkaCluster, *topics: str) -> None:
    admin = cluster.admin()
    for deleted in admin.delete_topics(list(topics)).values():
        deleted.result(timeout=30)
    wait_until(lambda: not set(topics) & set(admin.list_topics(timeout=10).topics))


def create(cluster: KafkaCluster, topic: str, *, partitions: int, **settings: str) -> None:
    config = {"retention.ms": "-1", "retention.bytes": "-1"} | {k.replace("_", "."): v for k, v in settings.items()}
    new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=config)
    admin = cluster.admin()  # a client that nobody holds ends, and its request with it
    admin.create_topics([new])[topic].result(timeout=30)


def ends(log: KafkaEventLog, topic: str, partitions: int = _PARTITIONS) -> list[tuple[int, int]]:
    return [log._cluster.range_of(topic, partition) for partition in range(partitions)]


def code_of(call: Callable[[], object]) -> str:
    try:
        call()
    except StorageError as error:
        return error.code
    return ""


def read_by_partition(log: KafkaEventLog, end: int, partitions: int = _PARTITIONS) -> dict[int, list[LogRecord]]:
    """Read all partitions as routers do, in small portions."""
    read: dict[int, list[LogRecord]] = {}
    for partition in range(partitions):
        after = 0
        while after < end:
            items, through = log.read_partition(partition, after, records_max=7, bytes_max=1 << 20)
            read.setdefault(partition, []).extend(items)
            assert through > after
            after = through
    return read


@pytest.fixture
def url(kafka: KafkaCluster) -> str:
    return kafka.url()


@pytest.fixture
def log(url: str) -> Iterator[KafkaEventLog]:
    """A log in three partitions."""
    with closing(KafkaEventLog(url)) as log:
        log.set_partitions(_PARTITIONS)
        yield log


# --- topics ---


def test_the_topic_of_bodies_has_the_partitions_and_loses_nothing(
    kafka: KafkaCluster, url: str, log: KafkaEventLog
) -> None:
    topic = f"{topic_of(url)}-bodies"
    appended = records(0, 60)
    log.append(appended)
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = kafka.admin()
    settings = admin.describe_configs([resource])[resource].result(timeout=10)
    expected = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
    assert expected.items() <= {name: entry.value for name, entry in settings.items()}.items()
    partitions = [bucket_of(item) % _PARTITIONS for item in appended]
    assert [end for _, end in ends(log, topic)] == [partitions.count(number) for number in range(_PARTITIONS)]


def test_a_topic_of_bodies_that_exists_gets_the_partitions_that_are_missing(kafka: KafkaCluster, url: str) -> None:
    create(kafka, f"{topic_of(url)}-bodies", partitions=2)
    with closing(KafkaEventLog(url)) as log:
        log.set_partitions(_PARTITIONS)
        log.append(records(0, 20))
        assert bodies_of(log.read(0, **_EVERYTHING)) == bodies(0, 20)


def test_a_topic_of_bodies_that_would_lose_events_is_refused_and_nothing_is_divided(
    kafka: KafkaCluster, url: str
) -> None:
    create(kafka, f"{topic_of(url)}-bodies", partitions=3, retention_ms="1000")
    with closing(KafkaEventLog(url)) as log:
        with pytest.raises(ConfigurationError, match=r"-bodies .*retention.ms=1000.*--add-config retention.ms=-1"):
            log.set_partitions(_PARTITIONS)
        assert log.partitions() == PartitionLayout()
        assert list(log.append([record(1)])) == [1]


def test_partitions_that_an_operator_adds_to_the_topic_change_nothing(
    kafka: KafkaCluster, url: str, log: KafkaEventLog
) -> None:
    """Promise: the number in the settings decides, so a person's events stay in one partition and in order."""
    topic = f"{topic_of(url)}-bodies"
    log.append(records(0, 30))
    admin = kafka.admin()
    admin.create_partitions([NewPartitions(topic, 8)])[topic].result(timeout=30)
    wait_until(lambda: len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 8)
    with closing(KafkaEventLog(url)) as other:
        end = other.append(records(30, 30))[-1]
        read = read_by_partition(other, end)
        assert other.partitions().count == _PARTITIONS
    for partition, items in read.items():
        assert {bucket_of(record(int(item.body.split(b'"')[3]))) % _PARTITIONS for item in items} == {partition}
    assert sum(map(len, read.values())) == 60


def test_a_topic_of_bodies_that_is_created_again_takes_nothing_more(
    kafka: KafkaCluster, url: str, log: KafkaEventLog
) -> None:
    topic = f"{topic_of(url)}-bodies"
    log.append(records(0, 30))
    delete(kafka, topic)
    create(kafka, topic, partitions=_PARTITIONS)
    wait_until(lambda: code_of(log.identity) == "log_replaced")
    wait_until(lambda: code_of(lambda: log.append(records(0, 30))) == "log_replaced")
    with pytest.raises(ConfigurationError, match=rf"{topic} was deleted or created again.*`punchcard adopt-log`"):
        KafkaEventLog(url)


def test_a_topic_of_bodies_that_is_deleted_is_noticed_once_it_is_certain(
    kafka: KafkaCluster, url: str, log: KafkaEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append(records(0, 30))
    delete(kafka, f"{topic_of(url)}-bodies")
    with pytest.raises(StorageError, match="do not know all of it yet"):
        log.identity()
    monkeypatch.setattr(kafka_log, "_DOUBT_SECONDS", 0.0)
    wait_until(lambda: code_of(log.identity) == "log_replaced")


def test_the_remedy_after_the_bodies_are_lost_begins_a_new_log(
    kafka: KafkaCluster, url: str, tmp_path: Path, sqlite_url: str
) -> None:
    with closing(Store(sqlite_url)) as store:
        installation = Installation(tmp_path, store, ManualClock(), shared_log_url=url)
        try:
            installation.append(3)
            installation.start()
            with closing(KafkaEventLog(url)) as log:
                log.set_partitions(2)
            installation.close_logs()
            topic = topic_of(url)
            delete(kafka, f"{topic}-bodies")
            with pytest.raises(ConfigurationError, match="adopt-log"):
                installation.start()
            delete(kafka, topic, f"{topic}-identity")
            with pytest.raises(OtherLogError, match="adopt-log"):
                installation.start()
            assert installation.guard().adopt() == 0
            installation.start().check()
        finally:
            installation.close_logs()


# --- appends ---


def test_an_append_that_fails_between_body_and_position_is_read_once_after_its_repetition(
    log: KafkaEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = KafkaWriter.write

    def fail(writer: KafkaWriter, topic: str, messages: Any, *, header: str, **options: Any) -> list[int]:
        if header == REFERENCE_HEADER:
            raise StorageError("The connection was lost.")
        return write(writer, topic, messages, header=header, **options)

    log.append(records(0, 10))
    monkeypatch.setattr(KafkaWriter, "write", fail)
    with pytest.raises(StorageError, match="connection was lost"):
        log.append(records(10, 10))
    monkeypatch.undo()
    end = log.append(records(10, 10))[-1]
    assert bodies_of(log.read(0, **_EVERYTHING)) == bodies(0, 20)
    assert sum(map(len, read_by_partition(log, end).values())) == 20


def test_a_process_that_stood_still_while_it_appended_acknowledges_nothing(
    log: KafkaEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: its bodies may be deleted by now, so the sender must repeat them."""
    monkeypatch.setattr(kafka_bodies, "APPEND_SECONDS_MAX", -1.0)
    with pytest.raises(StorageError, match="stood still"):
        log.append(records(0, 10))
    monkeypatch.undo()
    assert len(log.append(records(0, 10))) == 10


@pytest.mark.parametrize("early_max", [1_000, 3])
def test_bodies_of_processes_that_append_at_the_same_time_are_read_in_the_order_of_positions(
    url: str, log: KafkaEventLog, monkeypatch: pytest.MonkeyPatch, early_max: int
) -> None:
    """Bodies are written in another order than what refers to them: kept until then, or read again if many come."""
    monkeypatch.setattr(kafka_body_reader, "_EARLY_MESSAGES_MAX", early_max)
    write = KafkaWriter.write
    with closing(KafkaEventLog(url)) as other:

        def interrupted(writer: KafkaWriter, topic: str, messages: Any, *, header: str, **options: Any) -> list[int]:
            if header == REFERENCE_HEADER:
                monkeypatch.setattr(KafkaWriter, "write", write)
                other.append(records(40, 40))
            return write(writer, topic, messages, header=header, **options)

        for _ in range(2):
            monkeypatch.setattr(KafkaWriter, "write", interrupted)
            log.append(records(0, 40))
        end = log.last_position()
        expected = (bodies(40, 40) + bodies(0, 40)) * 2
        assert bodies_of(other.read(0, **_EVERYTHING)) == expected
        read = {item.position: item for items in read_by_partition(log, end).values() for item in items}
    assert [decompress(read[position]) for position in sorted(read)] == expected


# --- damage ---


def test_references_of_others_and_lost_bodies_are_damage_and_hide_no_record(
    kafka: KafkaCluster, url: str, log: KafkaEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_bodies, "_DOUBT_SECONDS", -1.0)
    first, *_ = log.append(records(0, 10))
    producer = Producer({"bootstrap.servers": kafka.addresses})
    for reference in (b"no JSON", b"[0]", b"\xff", b"[0,0,0,2,5]", b"[0,900,0,2,5]", b"[77,0,0,2,5]", b"[-1,-1,0,2,5]"):
        producer.produce(topic_of(url), b"", headers=[(REFERENCE_HEADER, reference)])
    assert producer.flush(30) == 0
    end = log.append(records(10, 10))[-1]
    read = log.read(0, **_EVERYTHING)
    assert [item.position for item in read] == list(range(first, end + 1))
    assert [bool(item.damage) for item in read] == [False] * 10 + [True] * 7 + [False] * 10
    assert [decompress(item) for item in read if not item.damage] == bodies(0, 20)
    by_partition = read_by_partition(log, end)
    assert [item for item in by_partition[0] if item.damage] == [item for item in read if item.damage]
    assert sum(map(len, by_partition.values())) == 27


@pytest.mark.parametrize("is_answering", [True, False], ids=["old end", "no response"])
def test_a_body_that_brokers_do_not_give_for_long_is_read_later(
    log: KafkaEventLog, monkeypatch: pytest.MonkeyPatch, is_answering: bool
) -> None:
    """Promise: a record is not routed without its body while that cannot be read, however long that takes."""
    monkeypatch.setattr(kafka_bodies, "_DOUBT_SECONDS", -1.0)
    monkeypatch.setattr(kafka_body_reader, "_CHECK_SECONDS", 0.0)
    monkeypatch.setattr(kafka_body_reader, "ANSWER_SECONDS", 0.5)
    end = log.append(records(0, 30))[-1]
    range_of = ClusterClient.range_of

    def end_of_before(cluster: ClusterClient, topic: str, partition: int = 0) -> tuple[int, int]:
        first, end = range_of(cluster, topic, partition)
        return (first, 1) if topic.endswith("-bodies") else (first, end)

    def nothing(reader: KafkaBodyReader, *_: object) -> bool:
        return False

    monkeypatch.setattr(KafkaBodyReader, "_read_some", nothing)
    if is_answering:
        monkeypatch.setattr(ClusterClient, "range_of", end_of_before)
    for partition in range(_PARTITIONS):
        for _ in range(2):
            with pytest.raises(StorageError, match="ends too early" if is_answering else "do not answer"):
                log.read_partition(partition, 0, **_EVERYTHING)
    monkeypatch.undo()
    read = [item for items in read_by_partition(log, end).values() for item in items]
    assert sorted(item.position for item in read) == list(range(end - 29, end + 1))
    assert not any(item.damage for item in read)


def test_a_body_that_is_deleted_too_early_is_damage_and_hides_no_record(url: str, log: KafkaEventLog) -> None:
    log.append(records(0, 30))
    log._cluster.delete_before(f"{topic_of(url)}-bodies", 3, partition=1)
    read = log.read(0, **_EVERYTHING)
    damaged = [item for item in read if item.damage]
    assert len(read) == 30
    assert ["is deleted or lost" in item.damage for item in damaged] == [True] * 3
    assert {bucket_of(record(read.index(item))) % _PARTITIONS for item in damaged} == {1}


# --- deletion ---


def test_bodies_are_deleted_after_the_records_that_refer_to_them(
    url: str, log: KafkaEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_bodies, "_NOTED_AFTER_SECONDS", 0.0)
    topic = f"{topic_of(url)}-bodies"
    batches = [list(log.append(records(number * 20, 20))) for number in range(4)]
    log.trim(batches[0][-1], records_max=100)
    assert [first for first, _ in ends(log, topic)] == [0] * _PARTITIONS  # a mark was made at the end of the log
    assert log.deleted_through() < batches[0][0]
    assert not is_deleted(log, through=batches[0][-1])  # of a person who is deleted, the bodies are left
    assert bodies_of(log.read(0, **_EVERYTHING)) == bodies(20, 60)
    with closing(KafkaEventLog(url)) as other:  # another worker leads by now
        more = list(other.append(records(80, 20)))
        other.trim(batches[-1][-1], records_max=100)
        before = dict.fromkeys(range(_PARTITIONS), 0)
        for item in records(0, 80):
            before[bucket_of(item) % _PARTITIONS] += 1
        assert [first for first, _ in ends(other, topic)] == list(before.values())
        assert other.deleted_through() == log.deleted_through() == batches[-1][-1]
        assert is_deleted(other, through=batches[-1][-1])
        assert not is_deleted(other, through=more[0])
        assert bodies_of(other.read(0, **_EVERYTHING)) == bodies(80, 20)
        assert sum(map(len, read_by_partition(other, more[-1]).values())) == 20


def test_bodies_stay_while_an_append_may_refer_to_them(
    url: str, log: KafkaEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: a body that was written before a record that is deleted, and has its position later, is not deleted."""
    write = KafkaWriter.write
    with closing(KafkaEventLog(url)) as other:

        def interrupted(writer: KafkaWriter, topic: str, messages: Any, *, header: str, **options: Any) -> list[int]:
            if header == REFERENCE_HEADER:
                monkeypatch.setattr(KafkaWriter, "write", write)
                position = other.append(records(20, 20))[-1]
                for _ in range(3):
                    other.trim(position, records_max=100)
            return write(writer, topic, messages, header=header, **options)

        monkeypatch.setattr(KafkaWriter, "write", interrupted)
        log.append(records(0, 20))
        assert bodies_of(other.read(0, **_EVERYTHING)) == bodies(0, 20)


def test_bodies_are_deleted_although_nothing_is_appended_any_more(
    url: str, log: KafkaEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = log.append(records(0, 20))[-1]
    log.trim(end, records_max=100)
    assert log.deleted_through() < end
    monkeypatch.setattr(kafka_bodies, "_NOTED_AFTER_SECONDS", 0.0)
    log.trim(0, records_max=0)  # as every minute
    assert log.deleted_through() == end
    assert all(first == last for first, last in ends(log, f"{topic_of(url)}-bodies"))


# --- division ---


def test_nobody_reads_by_partition_while_the_place_of_a_division_is_not_known(log: KafkaEventLog) -> None:
    end = log.append(records(0, 20))[-1]
    log._identity.write(PrepareDivision(topic_id=log._id, name="by a process that was killed"))
    with closing(KafkaEventLog(f"{log.place}?replication=1")) as other:
        assert other.read_partition(0, 0, records_max=9, bytes_max=1 << 20) == ([], 0)
        assert len(other.read(0, **_EVERYTHING)) == 20
        assert other.set_partitions(_PARTITIONS).count == _PARTITIONS  # as the next worker that leads does
        assert sum(map(len, read_by_partition(other, end).values())) == 20


def test_a_division_that_was_given_up_meanwhile_changes_nothing(
    log: KafkaEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = KafkaWriter.write

    def interrupted(writer: KafkaWriter, topic: str, messages: Any, *, header: str, **options: Any) -> list[int]:
        offsets = write(writer, topic, messages, header=header, **options)
        if header == DIVISION_HEADER:
            log._identity.write(CancelDivision(topic_id=log._id))
        return offsets

    layout = log.partitions()
    monkeypatch.setattr(KafkaWriter, "write", interrupted)
    with pytest.raises(StorageError, match="by another process at the same time"):
        log.set_partitions(5)
    monkeypatch.undo()
    assert log.partitions() == layout
    end = log.append(records(0, 20))[-1]
    assert sum(map(len, read_by_partition(log, end).values())) == 20
    assert log.set_partitions(5).count == 5


def test_a_process_that_knew_the_log_before_it_was_divided_appends_to_the_right_partitions(url: str) -> None:
    with closing(KafkaEventLog(url)) as log, closing(KafkaEventLog(url)) as other:
        log.append(records(0, 10))
        log.set_partitions(2)
        other.append(records(10, 20))  # with the bodies in the first topic
        log.set_partitions(5)
        changed_after = log.partitions().changed_after
        other.append(records(30, 20))
        other.identity()  # as each process does once a second
        end = other.append(records(50, 20))[-1]
        read = read_by_partition(log, end, 5)
    numbers: dict[int, set[int]] = {partition: set() for partition in range(5)}
    for partition, items in read.items():
        for item in items:
            number = int(decompress(item).split(b'"')[3])
            expected = 2 if item.position <= changed_after else 5
            assert bucket_of(record(number)) % expected == partition
            numbers[partition].add(number)
    assert sorted(number for of_partition in numbers.values() for number in of_partition) == list(range(70))
