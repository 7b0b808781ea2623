"""The topics of an event log in Kafka: created with the settings that keep records, refused with others."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from confluent_kafka import KafkaError
from confluent_kafka.admin import ConfigResource, NewPartitions, NewTopic, ResourceType, TopicDescription

from punchcard.errors import ConfigurationError, StorageError
from punchcard.log.kafka_cluster import ANSWER_SECONDS, KafkaCluster, only
from punchcard.log.kafka_errors import code_of, detail_of, sentence
from punchcard.log.kafka_options import REPLICATION

_RECORD_BYTES_MAX: Final = 1_000_000  # a body is half of it at most
_CREATED_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.1
_NO_ID: Final = "A" * 22  # as older brokers give it to each topic: one that is created again would not be noticed
# Errors that stay until somebody changes something.
_REFUSALS: Final = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.POLICY_VIOLATION,
    KafkaError.INVALID_CONFIG,
)


class KafkaTopics:
    """Opens and creates topics."""

    def __init__(self, cluster: KafkaCluster) -> None:
        self._cluster = cluster
        self._options = cluster.options

    def open_topic(self, topic: str) -> str:
        """Return the id of a topic with one partition; create it if it does not exist.

        Raises:
            ConfigurationError: It cannot be created, or it would lose records; with the remedy.
            StorageError: The cluster is not available.
        """
        description = self._open(topic, partitions=1)
        if len(description.partitions) != 1:
            raise ConfigurationError(
                f"log_url: The topic {topic} has {len(description.partitions)} partitions, and the order of the event "
                f"log needs 1. Name a topic that does not exist. To route in several partitions, set "
                f"PUNCHCARD_LOG_PARTITIONS: the topic {self._options.bodies_topic} will have them."
            )
        return str(description.topic_id)

    def open_divided(self, topic: str, partitions: int) -> str:
        """Return the id of a topic with at least so many partitions; create it, or add partitions, if it has not.

        Raises:
            ConfigurationError: It cannot be created or changed, or it would lose records; with the remedy.
            StorageError: The cluster is not available.
        """
        description = self._open(topic, partitions=partitions)
        if len(description.partitions) < partitions:
            self._add_partitions(topic, partitions)
            description = self._wait_for(topic, partitions=partitions)
        return str(description.topic_id)

    def _open(self, topic: str, *, partitions: int) -> TopicDescription:
        description = self._cluster.describe(topic)
        if description is None:
            self._create(topic, partitions)
            description = self._wait_for(topic, partitions=partitions)
        if str(description.topic_id) == _NO_ID:
            raise ConfigurationError("log_url: The brokers give topics no ids. Use Kafka 2.8 or later.")
        self._refuse_unsafe(topic, description)
        return description

    def _create(self, topic: str, partitions: int) -> None:
        options = self._options
        client = self._cluster.admin()
        with self._cluster.failures("opened"):
            brokers = len(client.list_topics(timeout=ANSWER_SECONDS).brokers)
        if brokers < options.replication:
            raise StorageError(  # while a cluster starts, its brokers come up one after the other
                f"The event log at {options.place} cannot be opened: {brokers} of the {options.replication} brokers "
                f"that are to hold each event are up. Start the others. For a smaller cluster, add "
                f"?{REPLICATION}={brokers} to the URL; with one broker, acknowledged events are lost with its disk."
            )
        missing = f"The topic {topic} does not exist and cannot be created:"
        remedy = f"Create it: {self._create_command(topic, partitions)}"
        with self._changing(missing, remedy, done=KafkaError.TOPIC_ALREADY_EXISTS):
            created = client.create_topics(
                [
                    NewTopic(
                        topic,
                        num_partitions=partitions,
                        replication_factor=options.replication,
                        config=dict(self._topic_settings()),
                    )
                ],
                operation_timeout=ANSWER_SECONDS,
                request_timeout=2 * ANSWER_SECONDS,
            )
            only(created)

    def _add_partitions(self, topic: str, partitions: int) -> None:
        remedy = (
            f"Change it: kafka-topics.sh --bootstrap-server {self._options.brokers} --alter --topic {topic} "
            f"--partitions {partitions}"
        )
        missing = f"The topic {topic} needs {partitions} partitions:"
        client = self._cluster.admin()
        with self._changing(missing, remedy, done=KafkaError.INVALID_PARTITIONS):
            only(client.create_partitions([NewPartitions(topic, partitions)]))

    @contextmanager
    def _changing(self, missing: str, remedy: str, *, done: int) -> Iterator[None]:
        """Raise what the brokers refuse with the way to do it by hand.

        Args:
            done: The error if another process was faster, which is none.
        """
        try:
            with self._cluster.failures("opened"):
                yield
        except StorageError as error:
            code = code_of(error.__cause__)
            if code == done:
                return
            if code in _REFUSALS:
                detail = sentence(str(detail_of(error.__cause__)))
                raise ConfigurationError(f"log_url: {missing} {detail} {remedy}") from error
            raise

    def _wait_for(self, topic: str, *, partitions: int) -> TopicDescription:
        """Return a topic that was just created or changed, once all that must know it do."""
        waiting = threading.Event()
        for _ in range(int(_CREATED_SECONDS / _POLL_SECONDS)):
            description = self._cluster.describe(topic)
            leaders = [] if description is None else [each.leader for each in description.partitions]
            if description is not None and len(leaders) >= partitions and all(leaders):
                return description
            waiting.wait(_POLL_SECONDS)
        raise StorageError(f"The event log at {self._options.place} cannot be opened: its topic {topic} has no leader.")

    def _topic_settings(self) -> Mapping[str, str]:
        return {
            "cleanup.policy": "delete",
            # Punchcard deletes what is routed and old enough. Kafka must not delete what is not routed.
            "retention.ms": "-1",
            "retention.bytes": "-1",
            "min.insync.replicas": str(self._options.insync_replicas_min),
            "unclean.leader.election.enable": "false",
            "segment.bytes": str(128 * 1024 * 1024),  # deleted as a whole
        }

    def _refuse_unsafe(self, topic: str, description: TopicDescription) -> None:
        """Refuse a topic with settings under which records are lost."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        (entries,) = self._cluster.ask(
            lambda client, seconds: client.describe_configs([resource], request_timeout=seconds), "opened"
        ).values()
        settings = {name: str(entry.value) for name, entry in entries.items()}
        problems = []
        replicas = min(len(partition.replicas) for partition in description.partitions)
        if replicas < self._options.replication:
            problems.append(
                f"log_url: Each record of the topic {topic} is on {replicas} of the {self._options.replication} "
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
                f"--bootstrap-server {self._options.brokers} --alter --topic {topic} --add-config {changes}"
            )
        if problems:
            raise ConfigurationError("\n".join(problems))

    def _create_command(self, topic: str, partitions: int) -> str:
        settings = " ".join(f"--config {name}={value}" for name, value in self._topic_settings().items())
        return (
            f"kafka-topics.sh --bootstrap-server {self._options.brokers} --create --topic {topic} "
            f"--partitions {partitions} --replication-factor {self._options.replication} {settings}"
        )


def _is_unsafe(name: str, value: str | None, safe: str) -> bool:
    if name == "segment.bytes" or value is None:  # services hide settings that they do not let anybody change
        return False
    if name == "min.insync.replicas":
        return int(value) < int(safe)
    return value != safe
