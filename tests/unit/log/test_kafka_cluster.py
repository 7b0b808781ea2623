"""Requests to a Kafka cluster, without one."""

from concurrent.futures import Future
from contextlib import closing
from time import monotonic

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, OffsetSpec

from punchcard.errors import StorageError
from punchcard.log import kafka_cluster
from punchcard.log.kafka_cluster import KafkaCluster
from punchcard.log.kafka_errors import CHANGING, UNEXPLAINED, code_of
from punchcard.log.kafka_options import read_options

_END = OffsetSpec.latest()  # type: ignore[no-untyped-call]


@pytest.fixture
def cluster() -> KafkaCluster:
    """A cluster of which no broker can be reached."""
    return KafkaCluster(read_options("kafka://127.0.0.1:1/events"))


def failed(code: int) -> "dict[str, Future[str]]":
    """Return the futures of a request that has failed."""
    future: Future[str] = Future()
    future.set_exception(KafkaException(KafkaError(code)))
    return {"key": future}


def test_a_request_ends_in_its_time_although_another_one_fails_and_connects_again(cluster: KafkaCluster) -> None:
    """A client that nobody holds any more never answers its requests."""

    def request(client: AdminClient, seconds: float) -> "dict[TopicPartition, Future[ListOffsetsResultInfo]]":
        futures = client.list_offsets({TopicPartition("events", 0): _END}, request_timeout=0.5)
        del client
        before = cluster.admin()
        with pytest.raises(StorageError):
            cluster.ask(lambda client, seconds: failed(KafkaError._FAIL), "read")
        assert cluster.admin() is not before
        return futures

    with closing(cluster), pytest.raises(StorageError) as error:
        cluster.ask(request, "read", codes=())
    assert code_of(error.value.__cause__) == KafkaError._TIMED_OUT


@pytest.mark.parametrize("code", sorted(CHANGING))
def test_a_request_that_fails_while_leaders_change_is_repeated_by_another_client(
    cluster: KafkaCluster, code: int
) -> None:
    clients: list[AdminClient] = []

    def request(client: AdminClient, seconds: float) -> "dict[str, Future[str]]":
        clients.append(client)
        return failed(code) if len(clients) < 3 else response("answer")

    with closing(cluster):
        assert cluster.ask(request, "read") == {"key": "answer"}
    assert len({id(client) for client in clients}) == 3


def response(text: str) -> "dict[str, Future[str]]":
    """Return the futures of a request that is answered."""
    future: Future[str] = Future()
    future.set_result(text)
    return {"key": future}


@pytest.mark.parametrize("first_comes", [False, True], ids=["never answered", "answered late"])
def test_a_request_without_a_response_is_made_by_another_client_too(
    cluster: KafkaCluster, monkeypatch: pytest.MonkeyPatch, first_comes: bool
) -> None:
    """The leader that a client waits for may be dead, and a client that looks who leads now need not wait for it."""
    monkeypatch.setattr(kafka_cluster, "_ALONE_SECONDS", 0.1)
    requests: list[tuple[AdminClient, float, Future[str]]] = []

    def request(client: AdminClient, seconds: float) -> "dict[str, Future[str]]":
        requests.append((client, seconds, Future()))
        if len(requests) == 3:
            requests[0 if first_comes else 2][2].set_result("answer")
        return {"key": requests[-1][2]}

    with closing(cluster):
        assert cluster.ask(request, "read") == {"key": "answer"}
    assert len({id(client) for client, _, _ in requests}) == 3
    first, second, third = (seconds for _, seconds, _ in requests)  # what is left of the same five
    assert 5.0 >= first > second + 0.09 > third + 0.18


def test_a_request_that_nobody_answers_ends_in_time(cluster: KafkaCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_cluster, "_ALONE_SECONDS", 0.05)
    monkeypatch.setattr(kafka_cluster, "ANSWER_SECONDS", 0.1)
    begun = monotonic()
    with closing(cluster), pytest.raises(StorageError, match="cannot be read"):
        cluster.ask(lambda client, seconds: {"key": Future[str]()}, "read")
    assert monotonic() - begun < 5


def test_offsets_that_nobody_tells_fail_in_time_with_the_reason(
    cluster: KafkaCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_cluster, "_OFFSETS_SECONDS", 0.1)
    monkeypatch.setattr(kafka_cluster, "ANSWER_SECONDS", 0.5)
    begun = monotonic()
    with closing(cluster), pytest.raises(StorageError, match=r"cannot be read: .*Connection refused"):
        cluster.range_of("events")
    assert monotonic() - begun < 5


def test_a_closed_cluster_is_not_connected_again(cluster: KafkaCluster) -> None:
    def close_and_fail(client: AdminClient, seconds: float) -> "dict[str, Future[str]]":
        cluster.close()
        return failed(KafkaError._FAIL)

    with pytest.raises(StorageError):
        cluster.ask(close_and_fail, "read")
    with pytest.raises(StorageError, match="is closed"):
        cluster.admin()
    with pytest.raises(StorageError, match="is closed"):
        cluster.range_of("events")


@pytest.mark.parametrize("code", sorted(set(CHANGING) - set(UNEXPLAINED)))
def test_what_passes_by_itself_says_so_and_what_to_do_if_it_does_not(cluster: KafkaCluster, code: int) -> None:
    with closing(cluster):
        error = cluster.failure("read", KafkaException(KafkaError(code)))
    assert type(error) is StorageError
    assert error.message.startswith("The event log at kafka://127.0.0.1:1/events cannot be read: ")
    assert "If it lasts for a minute, start the brokers that are down." in error.message
    assert KafkaError(code).str().partition(": ")[2] not in error.message


@pytest.mark.parametrize("code", UNEXPLAINED)
def test_a_request_that_timed_out_is_explained_by_what_the_client_reported_before(
    cluster: KafkaCluster, code: int
) -> None:
    with closing(cluster):
        cluster._note_error(KafkaError(KafkaError._TRANSPORT, "127.0.0.1:1: Connect failed: Connection refused"))
        error = cluster.failure("written", KafkaException(KafkaError(code)))
    assert "Connection refused" in error.message
    assert "imed out" not in error.message
