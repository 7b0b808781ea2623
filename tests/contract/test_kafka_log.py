"""A log in Kafka: what it requires of its topic, who may use it, what it remembers, how it reads foreign records."""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import ConfigResource, NewTopic, ResourceType

from punchcard.errors import ConfigurationError, StorageError, StorageSettingsError, UnreadableRecordError
from punchcard.log import kafka as kafka_log
from punchcard.log import kafka_identity
from punchcard.log.bodies import decompress, salvage
from punchcard.log.kafka import KafkaEventLog
from punchcard.log.kafka_reader import KafkaReader
from punchcard.log.opening import describe_place, open_event_log
from punchcard.routing.log_guard import OtherLogError
from punchcard.store.engine import Store
from punchcard.testing.certificates import make_certificate
from punchcard.testing.clock import ManualClock
from punchcard.testing.kafka import KafkaCluster, kafka_cluster
from punchcard.testing.log_installation import Installation, record
from punchcard.testing.waiting import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.long]

New = Callable[..., Installation]


def topic_of(url: str) -> str:
    return url.partition("://")[2].partition("/")[2].partition("?")[0]


def create(cluster: KafkaCluster, topic: str, *, partitions: int = 1, **settings: str) -> None:
    config = {name.replace("_", "."): value for name, value in settings.items()}
    new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=config)
    admin = cluster.admin()
    admin.create_topics([new])[topic].result(timeout=30)


def delete(cluster: KafkaCluster, topic: str) -> None:
    admin = cluster.admin()
    admin.delete_topics([topic])[topic].result(timeout=30)
    wait_until(lambda: topic not in admin.list_topics(timeout=10).topics)


@pytest.fixture
def url(kafka: KafkaCluster) -> str:
    return kafka.url()


@pytest.fixture
def log(url: str) -> Iterator[KafkaEventLog]:
    with closing(KafkaEventLog(url)) as log:
        yield log


@pytest.fixture
def new(tmp_path: Path, sqlite_url: str, url: str) -> Iterator[New]:
    """Makes installations on the same log; with the same database, if no other URL is given."""
    made: list[Installation] = []
    stores: list[Store] = []

    def make(name: str, *, store_url: str = sqlite_url, log_url: str = url) -> Installation:
        folder = tmp_path / name
        folder.mkdir()
        stores.append(Store(store_url))
        clock = ManualClock()
        for _ in made:
            clock.new_id()  # real ones differ
        made.append(Installation(folder, stores[-1], clock, shared_log_url=log_url))
        return made[-1]

    yield make
    for item in made:
        item.close_logs()
    for store in stores:
        store.close()


def test_a_topic_is_created_with_settings_under_which_nothing_is_lost(kafka: KafkaCluster, url: str) -> None:
    admin = kafka.admin()
    with closing(open_event_log(url)):
        for topic in (topic_of(url), f"{topic_of(url)}-identity"):
            resource = ConfigResource(ResourceType.TOPIC, topic)
            settings = admin.describe_configs([resource])[resource].result(timeout=10)
            assert {
                "cleanup.policy": "delete",
                "retention.ms": "-1",
                "retention.bytes": "-1",
                "min.insync.replicas": "1",
                "unclean.leader.election.enable": "false",
            }.items() <= {name: entry.value for name, entry in settings.items()}.items()


def test_fewer_brokers_than_replicas_are_refused_with_the_remedy(kafka: KafkaCluster) -> None:
    """Promise: a cluster of which only one broker has started yet does not get a log without copies."""
    url = kafka.url(replication=3)
    with pytest.raises(StorageError, match=r"1 of the 3 brokers .* Start the others.* \?replication=1"):
        open_event_log(url)
    assert topic_of(url) not in kafka.admin().list_topics(timeout=10).topics


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"retention_ms": "604800000"}, "retention.ms=604800000.*--add-config retention.ms=-1", id="time"),
        pytest.param({"retention_bytes": "1000000"}, "--add-config retention.bytes=-1", id="size"),
        pytest.param({"cleanup_policy": "compact"}, "--add-config cleanup.policy=delete", id="compaction"),
        pytest.param(
            {"unclean_leader_election_enable": "true"}, "unclean.leader.election.enable=false", id="unclean election"
        ),
        pytest.param({"max_message_bytes": "100000"}, "max.message.bytes=1000000", id="small records"),
        pytest.param({"partitions": 4, "retention_ms": "-1"}, r"has 4 .*PUNCHCARD_LOG_PARTITIONS", id="partitions"),
    ],
)
def test_a_topic_that_would_lose_events_is_refused_with_the_command_that_changes_it(
    kafka: KafkaCluster, url: str, settings: dict[str, Any], message: str
) -> None:
    known = {"retention_ms": "-1", "retention_bytes": "-1"}
    create(kafka, topic_of(url), **{**known, **settings})
    with pytest.raises(ConfigurationError, match=message):
        open_event_log(url)


def test_a_topic_with_fewer_replicas_than_wanted_is_refused(kafka: KafkaCluster, url: str) -> None:
    with closing(open_event_log(url)):
        pass
    with pytest.raises(ConfigurationError, match="is on 1 of the 3 brokers"):
        open_event_log(url.replace("replication=1", "replication=3"))


def test_a_topic_that_is_created_again_takes_nothing_more(kafka: KafkaCluster, url: str, log: KafkaEventLog) -> None:
    """Promise: nobody gets 200 for events in a topic that nobody routes."""
    log.append([record(number) for number in range(3)])
    identity_before = log.identity()
    delete(kafka, topic_of(url))
    create(kafka, topic_of(url), retention_ms="-1", retention_bytes="-1")

    def identity() -> str:
        try:
            return log.identity().id
        except StorageError as error:
            return error.code

    wait_until(lambda: identity() == "log_replaced")  # a broker may not know the new topic yet

    def append() -> str:
        try:
            log.append([record(1)])
        except StorageError as error:
            return error.code
        return ""

    wait_until(lambda: append() == "log_replaced")
    with closing(open_event_log(url)) as again:
        assert again.identity().id != identity_before.id
        assert again.identity().store_id == ""


def test_a_topic_that_is_deleted_is_noticed_once_it_is_certain(
    kafka: KafkaCluster, url: str, log: KafkaEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: a broker that does not know its topics yet after a restart does not end the processes that use it."""
    log.append([record(1)])
    delete(kafka, topic_of(url))
    with pytest.raises(StorageError, match="do not know all of it yet") as doubtful:
        log.identity()
    assert doubtful.value.code == "storage_unavailable"
    monkeypatch.setattr(kafka_log, "_DOUBT_SECONDS", 0.0)
    with pytest.raises(StorageError) as refused:
        log.identity()
    assert refused.value.code == "log_replaced"


def test_a_topic_that_is_created_again_is_refused_to_its_database(kafka: KafkaCluster, new: New, url: str) -> None:
    first = new("first")
    first.append(3)
    first.start()
    first.close_logs()
    delete(kafka, topic_of(url))
    with pytest.raises(OtherLogError, match="adopt-log"):
        first.start()
    assert first.guard().adopt() == 0
    first.start().check()


def test_two_databases_on_one_topic_are_refused(new: New, empty_sqlite_url: str) -> None:
    """Promise: an award is not made twice because two databases route the same events."""
    first, second = new("first"), new("second", store_url=empty_sqlite_url.replace("store.db", "other.db"))
    guard = first.start()
    with pytest.raises(OtherLogError, match=r"PUNCHCARD_DATABASE_URL.*adopt-log"):
        second.start()
    guard.check()
    assert first.recovery() is None


def test_machines_with_folders_of_their_own_share_the_log(new: New) -> None:
    first, second = new("first"), new("second")
    guards = [first.start(), second.start(), first.start()]
    for guard in guards * 2:
        guard.check()
        guard.advance(at_once=True)
    assert first.recovery() is None


def test_what_the_log_remembers_is_the_same_after_its_history_was_cut(
    kafka: KafkaCluster, url: str, log: KafkaEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise: the topic of operations stays short, and every process comes to the same state."""
    monkeypatch.setattr(kafka_identity, "_OPERATIONS_MAX", 7)
    log.append([record(1)])
    log.continue_after(40)
    log.bind_store("store-1")
    reserved = [log.reserve_generation(0) for _ in range(30)]
    assert reserved == sorted(set(reserved))
    log.confirm_generation(reserved[-2])
    with closing(KafkaEventLog(url)) as other:
        assert other.identity() == log.identity()
        assert other.identity().reserved == reserved[-1]
        assert other.identity().store_id == "store-1"
        assert list(other.append([record(2)])) == [41]
        assert other.reserve_generation(0) > reserved[-1]
        assert log.reserve_generation(0) > reserved[-1] + 1
        assert other.identity() == log.identity()
        assert [item.position for item in log.read(0, records_max=9, bytes_max=99)] == [1, 41]
    first, end = log._cluster.range_of(f"{topic_of(url)}-identity")
    assert end - first < 20


def test_a_reading_that_fails_half_way_is_made_again(
    url: str, log: KafkaEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(KafkaEventLog(url)) as other:
        reserved = [log.reserve_generation(0) for _ in range(5)]
        take = KafkaReader.take
        taken = count()

        def take_three(reader: KafkaReader) -> None:
            if next(taken) == 3:
                raise StorageError("The connection was lost.")
            take(reader)

        monkeypatch.setattr(KafkaReader, "take", take_three)
        with pytest.raises(StorageError, match="connection was lost"):
            other.identity()
        monkeypatch.undo()
        assert other.identity().reserved == reserved[-1]
        assert other.identity() == log.identity()


def test_an_identity_of_a_newer_version_is_refused(kafka: KafkaCluster, url: str, log: KafkaEventLog) -> None:
    producer = Producer({"bootstrap.servers": kafka.addresses})
    producer.produce(f"{topic_of(url)}-identity", b'{"operation":"split","format":3}')
    producer.produce(f"{topic_of(url)}-identity", b"no JSON")
    assert producer.flush(30) == 0
    with pytest.raises(ConfigurationError, match="newer version"):
        open_event_log(url)


def test_records_of_others_are_damaged_and_hide_no_record(kafka: KafkaCluster, url: str, log: KafkaEventLog) -> None:
    log.append([record(1)])
    producer = Producer({"bootstrap.servers": kafka.addresses})
    producer.produce(topic_of(url), b'{"type":"track"}')
    producer.produce(topic_of(url), b"{}", headers=[("punchcard", b"[1,2]")])
    producer.produce(topic_of(url), b"{}", headers=[("punchcard", b'[-1,"wk","track","identity","",0]')])
    producer.produce(topic_of(url), None)
    assert producer.flush(30) == 0
    log.append([record(2)])
    records = log.read(0, records_max=9, bytes_max=1_000)
    assert [item.position for item in records] == [1, 2, 3, 4, 5, 6]
    assert [bool(item.damage) for item in records] == [False, True, True, True, True, False]
    assert salvage(records[1]) == b'{"type":"track"}'
    with pytest.raises(UnreadableRecordError):
        decompress(records[1])


def test_a_body_that_is_damaged_at_rest_hides_no_other(kafka: KafkaCluster, url: str, log: KafkaEventLog) -> None:
    log.append([replace(record(number), body=b"body number %d" % number) for number in range(3)])
    (segment,) = kafka.brokers[0].folder.glob(f"data/{topic_of(url)}-0/*.log")
    content = segment.read_bytes()
    with segment.open("r+b") as damaged:
        damaged.seek(content.index(b"body number 1"))
        damaged.write(b"BODY")
    records = log.read(0, records_max=9, bytes_max=1_000)
    assert [item.position for item in records] == [1, 2, 3]
    assert [bool(item.damage) for item in records] == [False, True, False]
    with pytest.raises(UnreadableRecordError):
        decompress(records[1])


def test_what_others_have_deleted_is_stepped_over(url: str, log: KafkaEventLog) -> None:
    log.append([record(number) for number in range(10)])
    with closing(KafkaEventLog(url)) as other, closing(KafkaReader(log._cluster, topic_of(url), 0)) as reader:
        assert other.trim(6, records_max=100) == 6
        assert [item.position for item in other.read(0, records_max=1, bytes_max=1_000)] == [7]
        reader.look()
        message = reader.peek(count=9)
        assert message is not None
        assert message.offset() == 6
    log.append([record(11)])
    assert log.read(0, records_max=1, bytes_max=1_000)[0].position == 7


def test_a_wrong_option_is_named(kafka: KafkaCluster) -> None:
    with pytest.raises(ConfigurationError, match=r"log_url: .*no\.such\.option"):
        open_event_log(kafka.url() + "&no.such.option=1")


def test_without_the_client_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'punchcard\[kafka\]'"):
        open_event_log("kafka://127.0.0.1/events")


def test_brokers_that_are_away_are_reported_in_time() -> None:
    with pytest.raises(StorageError, match=r"cannot be opened: .*onnect") as failed:
        open_event_log("kafka://someone:secret@127.0.0.1:1/events?security.protocol=SASL_PLAINTEXT")
    assert "secret" not in failed.value.message


def test_tls_and_passwords_are_passed_on_and_hidden(kafka_jars: Path, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "broker")
    store = tmp_path / "keystore.pem"
    store.write_bytes(key.read_bytes() + certificate.read_bytes())
    users = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_punchcard="top-secret";'
    settings = {
        "listener.security.protocol.map": "CLIENT:SASL_SSL,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listener.name.client.ssl.keystore.type": "PEM",
        "listener.name.client.ssl.keystore.location": store,
        "listener.name.client.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.client.plain.sasl.jaas.config": users,
    }
    options = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "punchcard",
        "sasl.password": "top-secret",
        "ssl.ca.location": str(certificate),
    }
    with kafka_cluster(tmp_path / "kafka", kafka_jars, settings=settings, client_options=options) as cluster:
        rest = f"{cluster.addresses}/events?replication=1&ssl.ca.location={certificate}"
        with closing(open_event_log(f"kafka://punchcard:top-secret@{rest}")) as log:
            assert list(log.append([record(1)])) == [1]
            assert len(log.read(0, records_max=9, bytes_max=1_000)) == 1
        with pytest.raises(StorageSettingsError, match="uthentication") as refused:
            open_event_log(f"kafka://punchcard:wrong-secret@{rest}")
        with pytest.raises(StorageSettingsError, match=r"(?i)certificate|ssl") as untrusted:
            open_event_log(f"kafka://punchcard:top-secret@{rest.partition('&')[0]}")
    for error in (refused, untrusted):
        assert "secret" not in error.value.message
    assert describe_place(f"kafka://punchcard:top-secret@{rest}") == f"kafka://{cluster.addresses}/events"
