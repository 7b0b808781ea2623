"""The Kafka cluster of an event log: its topics, how its clients are set up, and what their failures mean."""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType, TopicDescription

from punchcard.errors import ConfigurationError, StorageError, StorageSettingsError
from punchcard.log.kafka_options import REPLICATION, KafkaOptions

ANSWER_SECONDS: Final = 5.0
"""How long the cluster may take to answer a question, before it counts as not available."""

PARTITION: Final = 0
_RECORD_BYTES_MAX: Final = 1_000_000  # a body is half of it at most
_CREATED_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.1
_NO_ID: Final = "A" * 22  # as older brokers give it to each topic: one that is created again would not be noticed
_ERROR_SECONDS: Final = 30.0  # as long as an error explains a time-out

_CLIENT: Final[Mapping[str, object]] = {
    "client.id": "punchcard",
    # What goes wrong is in our own messages. 2: only what ends a client.
    "log_level": 2,
    "socket.connection.setup.timeout.ms": 5_000,
    "socket.timeout.ms": 10_000,
    "socket.keepalive.enable": True,
    "reconnect.backoff.max.ms": 1_000,  # events wait until the cluster is back
    "topic.metadata.refresh.interval.ms": 60_000,
}
_NO_TOPIC: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)
_OTHER_LEADER: Final = (
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError._NOENT,  # the client knows of no leader
    KafkaError._DESTROY,  # another thread has replaced the client
)
_CHANGING: Final = (*_OTHER_LEADER, *_NO_TOPIC)
# Errors that stay until somebody changes something.
_REFUSALS: Final = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.POLICY_VIOLATION,
    KafkaError.INVALID_REPLICATION_FACTOR,
    KafkaError.INVALID_CONFIG,
)
# Errors of a wrong user, password or right. A broker that is only starting gives none of them.
_NO_ACCESS: Final = (
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)
_UNTRUSTED: Final = "certificate verify failed"
_FIRST: Final[OffsetSpec] = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_END: Final[OffsetSpec] = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_silent = logging.getLogger("punchcard.log.kafka.client")
_silent.addHandler(logging.NullHandler())
_silent.propagate = False

T = TypeVar("T")


class KafkaCluster:
    """Asks and changes the cluster; sets up other clients. Thread-safe.

    Attributes:
        options: What the URL says.

    Raises:
        ConfigurationError: The URL has an option that does not exist.
    """

    def __init__(self, options: KafkaOptions) -> None:
        self.options = options
        self._last_error, self._last_code, self._last_error_at = "", 0, 0.0
        self._client: AdminClient | None = None
        self._connect()

    def close(self) -> None:
        """End the client. Without this, its threads would wait for the garbage collector."""
        self._client = None

    def client_settings(self) -> dict[str, Any]:
        """Return what all clients have in common."""
        return {
            **_CLIENT,
            **self.options.properties,
            "bootstrap.servers": self.options.brokers,
            "error_cb": self._note_error,
            "logger": _silent,
        }

    @contextmanager
    def failures(self, action: str) -> Iterator[None]:
        """Raise what a client raises as one of our errors.

        Args:
            action: What cannot be done with the log, as a participle.
        """
        try:
            yield
        except (KafkaException, FutureTimeoutError, BufferError) as error:
            raise self.failure(action, error) from error

    def failure(self, action: str, error: object) -> StorageError | ConfigurationError:
        """Return the error after a failed use of the log."""
        detail = error.args[0] if isinstance(error, KafkaException) and error.args else error
        if isinstance(detail, KafkaError):
            if detail.code() == KafkaError._INVALID_ARG:
                return ConfigurationError(f"log_url: {_sentence(detail.str())}")
            text, code = (detail.str(), detail.code()) if detail.code() != KafkaError._TIMED_OUT else ("", 0)
        else:
            code = 0
            text = "" if isinstance(detail, FutureTimeoutError) else str(detail)
        if not text and (client := self._client) is not None:
            client.poll(0)  # calls `_note_error`
        if not text and monotonic() - self._last_error_at < _ERROR_SECONDS:
            text, code = self._last_error, self._last_code
        text = text or "the brokers do not answer in time"
        message = f"The event log at {self.options.place} cannot be {action}: {_sentence(text)}"
        if code in _NO_ACCESS or _UNTRUSTED in text:
            return StorageSettingsError(f"{message} Correct PUNCHCARD_LOG_URL, or what the brokers allow this user.")
        return StorageError(message)

    def topic_id(self, topic: str) -> str:
        """Return the id of a topic, "" if there is no such topic.

        Raises:
            StorageError: The cluster is not available.
        """
        description = self._describe(topic, action="read")
        return "" if description is None else str(description.topic_id)

    def range_of(self, topic: str) -> tuple[int, int]:
        """Return the offset of the first record of a topic, and the offset after its last one.

        Raises:
            StorageError: The cluster is not available.
        """
        partition = TopicPartition(topic, PARTITION)

        def request() -> tuple[int, int]:
            # In this order: what was written before records were deleted is before the end.
            first = _only(self._admin().list_offsets({partition: _FIRST}, request_timeout=ANSWER_SECONDS))
            end = _only(self._admin().list_offsets({partition: _END}, request_timeout=ANSWER_SECONDS))
            range_ = first.offset, end.offset
            if min(range_) < 0:  # a broker that has lost the others does not know
                raise KafkaException(KafkaError(KafkaError.OFFSET_NOT_AVAILABLE))
            return range_

        return self._ask(request, "read")

    def delete_before(self, topic: str, offset: int) -> None:
        """Delete the records of a topic before an offset.

        Raises:
            StorageError: Nothing was deleted.
        """
        partition = TopicPartition(topic, PARTITION, offset)
        self._ask(lambda: _only(self._admin().delete_records([partition], request_timeout=ANSWER_SECONDS)), "trimmed")

    def _connect(self) -> None:
        with self.failures("opened"):
            self._client = AdminClient(self.client_settings())

    def _admin(self) -> AdminClient:
        if (client := self._client) is None:
            raise StorageError(f"The event log at {self.options.place} is closed.")
        return client

    def _ask(self, request: Callable[[], T], action: str, *, codes: Collection[int] = _CHANGING) -> T:
        """Make a request; again while the cluster changes its leaders, or has not heard yet of a new topic.

        Args:
            codes: The errors after which the request is repeated.
        """
        deadline = monotonic() + ANSWER_SECONDS
        while True:
            try:
                with self.failures(action):
                    return request()
            except StorageError as error:
                # After the death of a leader a client can go on with what it knows for minutes, whoever leads now.
                self._reconnect()
                if _code_of(error.__cause__) not in codes or monotonic() > deadline:
                    raise
            threading.Event().wait(_POLL_SECONDS)

    def _reconnect(self) -> None:
        if self._client is not None:
            self._connect()

    def open_topic(self, topic: str) -> str:
        """Return the id of a topic; create it if it does not exist.

        Raises:
            ConfigurationError: It cannot be created, or it would lose records; with the remedy.
            StorageError: The cluster is not available.
        """
        description = self._describe(topic)
        if description is None:
            self._create(topic)
            description = self._wait_for(topic)
        if str(description.topic_id) == _NO_ID:
            raise ConfigurationError("log_url: The brokers give topics no ids. Use Kafka 2.8 or later.")
        self._refuse_unsafe(topic, description)
        return str(description.topic_id)

    def _describe(self, topic: str, *, action: str = "opened") -> TopicDescription | None:
        def request() -> TopicDescription:
            topics = TopicCollection([topic])
            description: TopicDescription = _only(self._admin().describe_topics(topics, request_timeout=ANSWER_SECONDS))
            return description

        try:
            return self._ask(request, action, codes=_OTHER_LEADER)
        except StorageError as error:
            if _code_of(error.__cause__) in _NO_TOPIC:
                return None
            raise

    def _create(self, topic: str) -> None:
        options = self.options
        with self.failures("opened"):
            brokers = len(self._admin().list_topics(timeout=ANSWER_SECONDS).brokers)
        if brokers < options.replication:
            raise StorageError(  # while a cluster starts, its brokers come up one after the other
                f"The event log at {options.place} cannot be opened: {brokers} of the {options.replication} brokers "
                f"that are to hold each event are up. Start the others. For a smaller cluster, add "
                f"?{REPLICATION}={brokers} to the URL; with one broker, acknowledged events are lost with its disk."
            )
        try:
            with self.failures("opened"):
                created = self._admin().create_topics(
                    [
                        NewTopic(
                            topic,
                            num_partitions=1,
                            replication_factor=options.replication,
                            config=dict(self._topic_settings()),
                        )
                    ],
                    operation_timeout=ANSWER_SECONDS,
                    request_timeout=2 * ANSWER_SECONDS,
                )
                _only(created)
        except StorageError as error:
            code = _code_of(error.__cause__)
            if code == KafkaError.TOPIC_ALREADY_EXISTS:  # another process was faster
                return
            if code in _REFUSALS:
                raise ConfigurationError(
                    f"log_url: The topic {topic} does not exist and cannot be created: "
                    f"{_sentence(str(_detail_of(error.__cause__)))} Create it: {self._create_command(topic)}"
                ) from error
            raise

    def _wait_for(self, topic: str) -> TopicDescription:
        """Return a topic that was just created, once all that must know it do."""
        waiting = threading.Event()
        for _ in range(int(_CREATED_SECONDS / _POLL_SECONDS)):
            description = self._describe(topic)
            if description is not None and description.partitions and description.partitions[PARTITION].leader:
                return description
            waiting.wait(_POLL_SECONDS)
        raise StorageError(f"The event log at {self.options.place} cannot be opened: its topic {topic} has no leader.")

    def _topic_settings(self) -> Mapping[str, str]:
        return {
            "cleanup.policy": "delete",
            # Punchcard deletes what is routed and old enough. Kafka must not delete what is not routed.
            "retention.ms": "-1",
            "retention.bytes": "-1",
            "min.insync.replicas": str(self.options.insync_replicas_min),
            "unclean.leader.election.enable": "false",
            "segment.bytes": str(128 * 1024 * 1024),  # deleted as a whole
        }

    def _refuse_unsafe(self, topic: str, description: TopicDescription) -> None:
        """Refuse a topic with settings under which records are lost."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        entries = self._ask(
            lambda: _only(self._admin().describe_configs([resource], request_timeout=ANSWER_SECONDS)), "opened"
        )
        settings = {name: str(entry.value) for name, entry in entries.items()}
        problems = []
        if len(description.partitions) != 1:
            problems.append(
                f"log_url: The topic {topic} has {len(description.partitions)} partitions, and the event log needs 1. "
                "Name a topic that does not exist."
            )
        replicas = min(len(partition.replicas) for partition in description.partitions)
        if replicas < self.options.replication:
            problems.append(
                f"log_url: Each record of the topic {topic} is on {replicas} of the {self.options.replication} "
                "brokers that are to hold it. Add replicas (kafka-reassign-partitions.sh), or add "
                f"?{REPLICATION}={replicas} to the URL."
            )
        unsafe = {
            name: value for name, value in self._topic_settings().items() if _is_unsafe(name, settings.get(name), value)
        }
        if int(settings.get("max.message.bytes") or _RECORD_BYTES_MAX) < _RECORD_BYTES_MAX:
            unsafe["max.message.bytes"] = str(_RECORD_BYTES_MAX)
        if unsafe:
            shown = ", ".join(f"{name}={settings.get(name)}" for name in unsafe)
            changes = ",".join(f"{name}={value}" for name, value in unsafe.items())
            problems.append(
                f"log_url: The topic {topic} would lose or refuse events with {shown}. Change it: kafka-configs.sh "
                f"--bootstrap-server {self.options.brokers} --alter --topic {topic} --add-config {changes}"
            )
        if problems:
            raise ConfigurationError("\n".join(problems))

    def _create_command(self, topic: str) -> str:
        settings = " ".join(f"--config {name}={value}" for name, value in self._topic_settings().items())
        return (
            f"kafka-topics.sh --bootstrap-server {self.options.brokers} --create --topic {topic} --partitions 1 "
            f"--replication-factor {self.options.replication} {settings}"
        )

    def _note_error(self, error: KafkaError) -> None:
        """Keep what a client says in the background: it explains the time-out that follows."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # follows the reason
            self._last_error, self._last_code, self._last_error_at = error.str(), error.code(), monotonic()


def is_no_topic(error: KafkaError) -> bool:
    """Return whether an error says that the topic does not exist."""
    return error.code() in _NO_TOPIC


def _is_unsafe(name: str, value: str | None, safe: str) -> bool:
    if name == "segment.bytes" or value is None:  # services hide settings that they do not let anybody change
        return False
    if name == "min.insync.replicas":
        return int(value) < int(safe)
    return value != safe


def _only(futures: "Mapping[Any, Future[T]]") -> T:
    """Wait for the only result of a request."""
    (future,) = futures.values()
    return future.result(timeout=2 * ANSWER_SECONDS)


def _detail_of(error: BaseException | None) -> KafkaError | None:
    detail = error.args[0] if isinstance(error, KafkaException) and error.args else None
    return detail if isinstance(detail, KafkaError) else None


def _code_of(error: BaseException | None) -> int | None:
    detail = _detail_of(error)
    return None if detail is None else detail.code()


def _sentence(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."
