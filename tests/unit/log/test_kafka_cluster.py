"""Requests to a Kafka cluster, without one."""

from contextlib import closing

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from punchcard.errors import StorageError
from punchcard.log.kafka_cluster import KafkaCluster, only
from punchcard.log.kafka_errors import CHANGING, TIMED_OUT, code_of
from punchcard.log.kafka_options import read_options

_END = OffsetSpec.latest()  # type: ignore[no-untyped-call]


@pytest.fixture
def cluster() -> KafkaCluster:
    """A cluster of which no broker can be reached."""
    return KafkaCluster(read_options("kafka://127.0.0.1:1/events"))


def test_a_request_ends_in_its_time_although_another_one_fails_and_connects_again(cluster: KafkaCluster) -> None:
    """A client that nobody holds any more never answers its requests."""

    def fail(client: AdminClient, seconds: float) -> None:
        raise KafkaException(KafkaError(KafkaError._FAIL))

    def request(client: AdminClient, seconds: float) -> object:
        futures = client.list_offsets({TopicPartition("events", 0): _END}, request_timeout=0.5)
        del client
        before = cluster.admin()
        with pytest.raises(StorageError):
            cluster.ask(fail, "read")
        assert cluster.admin() is not before
        del before
        return only(futures)

    with closing(cluster), pytest.raises(StorageError) as failed:
        cluster.ask(request, "read", codes=())
    assert code_of(failed.value.__cause__) == KafkaError._TIMED_OUT


def test_a_request_that_gets_no_answer_is_repeated_by_another_client_with_more_time(cluster: KafkaCluster) -> None:
    tries: list[tuple[AdminClient, float]] = []

    def request(client: AdminClient, seconds: float) -> str:
        tries.append((client, seconds))
        if len(tries) < 3:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return "answer"

    with closing(cluster):
        assert cluster.ask(request, "read") == "answer"
    assert [seconds for _, seconds in tries] == [1.0, 2.0, 4.0]
    assert len({id(client) for client, _ in tries}) == 3


def test_a_closed_cluster_is_not_connected_again(cluster: KafkaCluster) -> None:
    def close_and_fail(client: AdminClient, seconds: float) -> None:
        cluster.close()
        raise KafkaException(KafkaError(KafkaError._FAIL))

    with pytest.raises(StorageError):
        cluster.ask(close_and_fail, "read")
    with pytest.raises(StorageError, match="is closed"):
        cluster.admin()


@pytest.mark.parametrize("code", sorted(set(CHANGING) - set(TIMED_OUT)))
def test_what_passes_by_itself_says_so_and_what_to_do_if_it_does_not(cluster: KafkaCluster, code: int) -> None:
    with closing(cluster):
        error = cluster.failure("read", KafkaException(KafkaError(code)))
    assert type(error) is StorageError
    assert error.message.startswith("The event log at kafka://127.0.0.1:1/events cannot be read: ")
    assert "If it lasts for a minute, start the brokers that are down." in error.message
    assert KafkaError(code).str().partition(": ")[2] not in error.message


@pytest.mark.parametrize("code", TIMED_OUT)
def test_a_request_that_timed_out_is_explained_by_what_the_client_reported_before(
    cluster: KafkaCluster, code: int
) -> None:
    with closing(cluster):
        cluster._note_error(KafkaError(KafkaError._TRANSPORT, "127.0.0.1:1: Connect failed: Connection refused"))
        error = cluster.failure("written", KafkaException(KafkaError(code)))
    assert "Connection refused" in error.message
    assert "imed out" not in error.message
