"""The bodies of a divided log in Kafka: a topic with the partitions of the log, to which its first topic refers.

A body is written first, then the message that refers to it. Positions are those of the messages, so the log has one
order; a body that nothing refers to is of an append that has failed, and is read by nobody.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from confluent_kafka import Message

from punchcard.errors import ConfigurationError, StorageError
from punchcard.log.kafka_body_reader import KafkaBodyReader, Place
from punchcard.log.kafka_cluster import KafkaCluster
from punchcard.log.kafka_identity import KafkaIdentity
from punchcard.log.kafka_positions import BodyEnds, LogState, NoteBodyEnds
from punchcard.log.kafka_reader import KafkaReader
from punchcard.log.kafka_records import HEADER, Reference, encode_header, refer_to
from punchcard.log.kafka_topics import KafkaTopics
from punchcard.log.kafka_writer import KafkaWriter
from punchcard.log.partitions import bucket_of
from punchcard.log.port import NewRecord

APPEND_SECONDS_MAX: Final = 60.0
"""An append that has taken longer is not acknowledged: its bodies may be deleted before they are read."""

_NOTED_AFTER_SECONDS: Final = 120.0  # longer than any append that is acknowledged
_DOUBT_SECONDS: Final = 30.0  # a broker may not know the end of a partition yet


class KafkaBodies:
    """Writes, reads and deletes bodies. Thread-safe, except for `append`.

    Args:
        topic_id: The id of the topic of the records.
    """

    def __init__(self, cluster: KafkaCluster, writer: KafkaWriter, identity: KafkaIdentity, *, topic_id: str) -> None:
        self._cluster = cluster
        self._writer = writer
        self._identity = identity
        self._topic_id = topic_id
        self._topic = cluster.options.bodies_topic
        self._appended_ends: Counter[int] = Counter()
        self._trimming = threading.Lock()
        self._ends: tuple[float, int, tuple[int, ...]] | None = None  # when they were read; to be noted
        self._deleted_before: tuple[int, ...] = ()
        self._doubtful: dict[Place, float] = {}
        self._lost: set[Place] = set()

    def prepare(self, state: LogState, partitions: int) -> str:
        """Give the topic so many partitions; return its id.

        Raises:
            ConfigurationError: It is not the topic of this log, or cannot be changed; with the remedy.
            StorageError: The cluster is not available.
        """
        if state.bodies_id:
            self.refuse_another(state)
        return KafkaTopics(self._cluster).open_divided(self._topic, partitions)

    def refuse_another(self, state: LogState) -> None:
        """Refuse a topic that is not the one to which the records refer.

        Raises:
            ConfigurationError: It was deleted, or created again; with the remedy.
            StorageError: The cluster is not available.
        """
        if not state.bodies_id or self.topic_id() == state.bodies_id:
            return
        options = self._cluster.options
        raise ConfigurationError(
            f"log_url: The topic {self._topic} was deleted or created again, and with it the bodies of the records in "
            f"{options.topic}. Stop all processes, delete the topics {options.topic}, {options.identity_topic} and "
            f"{self._topic}, and run `punchcard adopt-log`: a new log begins. Requests that were not routed are lost."
        )

    def topic_id(self) -> str:
        """Return the id of the topic, "" if there is none.

        Raises:
            StorageError: The cluster is not available.
        """
        return self._cluster.topic_id(self._topic)

    def append(
        self, records: Sequence[NewRecord], stored: Sequence[tuple[str, bytes]], state: LogState
    ) -> list[Reference] | None:
        """Write the bodies of records; return what refers to them, None if the topic was replaced.

        Args:
            stored: Encoding and body of each record.

        Raises:
            StorageError: Some of them are perhaps written.
        """
        partitions = [bucket_of(record) % state.partitions for record in records]
        messages = [
            (body, encode_header(record, encoding, body), record.received_at // 1_000)
            for record, (encoding, body) in zip(records, stored, strict=True)
        ]
        offsets = self._writer.write(self._topic, messages, header=HEADER, partitions=partitions)
        places = list(zip(partitions, offsets, strict=True))
        if any(offset < self._appended_ends[partition] for partition, offset in places):
            return None  # a topic that was created again begins at 0
        for partition, offset in places:
            self._appended_ends[partition] = max(self._appended_ends[partition], offset + 1)
        return [
            refer_to(record, place, encoding, body)
            for record, place, (encoding, body) in zip(records, places, stored, strict=True)
        ]

    def fetch(self, reader: KafkaReader, references: Sequence[Reference]) -> dict[Place, Message]:
        """Return the bodies that messages of a reader refer to; without those that are deleted or lost.

        Raises:
            StorageError: The topic is not available, or its brokers do not know all of it yet.
        """
        partitions = self._identity.known.partitions if references else 0
        places = [(each.partition, each.offset) for each in references if each.partition < partitions]
        if not places:
            return {}
        if reader.bodies is None:
            reader.bodies = KafkaBodyReader(self._cluster, self._topic, is_lost=self._is_lost)
        return reader.bodies.fetch(places)

    def trim(self, first_offset: int, end_of_records: Callable[[], int]) -> None:
        """Delete the bodies that nothing refers to any more.

        The order of bodies is not that of the messages that refer to them, so deletion follows what was noted: ends of
        the partitions, and the end of the records some minutes later.

        Args:
            first_offset: Of the first message that is left in the topic of the records.
            end_of_records: Returns the end of that topic.

        Raises:
            StorageError: Not all of them are deleted; calling it again goes on.
        """
        with self._trimming:
            self._note_ends(first_offset, end_of_records)
            deletable = self._identity.known.deletable_before(first_offset)
            if deletable == self._deleted_before:
                return
            for partition, end in enumerate(deletable):
                first, _ = self._cluster.range_of(self._topic, partition)
                if end > first:
                    self._cluster.delete_before(self._topic, end, partition=partition)
            self._deleted_before = deletable

    def deleted_before(self, first_offset: int) -> int:
        """Return the offset of the topic of the records before which no record has a body that is left.

        Raises:
            StorageError: The cluster is not available.
        """
        state = self._identity.read()
        firsts = [self._cluster.range_of(self._topic, partition)[0] for partition in range(state.partitions)]
        return state.deleted_before(first_offset, firsts)

    def _note_ends(self, first_offset: int, end_of_records: Callable[[], int]) -> None:
        state = self._identity.known
        if self._ends is None:
            after = end_of_records()  # in this order: the bodies of the records before it are written
            self._ends = monotonic(), after, tuple(self._cluster.ends_of(self._topic, range(state.partitions)))
        read_at, after, ends = self._ends
        if monotonic() - read_at < _NOTED_AFTER_SECONDS:
            return
        if not state.is_noted_soon(after, first_offset):
            noted = BodyEnds(after=after, ends=ends, before=end_of_records())
            self._identity.write(NoteBodyEnds(topic_id=self._topic_id, ends=noted, first_offset=first_offset))
        self._ends = None

    def _is_lost(self, place: Place) -> bool:
        """Return whether a partition that ends before a place has lost it.

        A new leader does not know the end that the one before has acknowledged until the other replicas have read from
        it: if these are dead, never. What is written after that, and acknowledged by all, has a higher offset.

        Raises:
            StorageError: That cannot be found out now.
        """
        if place in self._lost:
            return True
        since = self._doubtful.setdefault(place, monotonic())
        if monotonic() - since <= _DOUBT_SECONDS:
            return False
        partition, offset = place
        (end,) = self._writer.write(self._topic, [(b"", None, 0)], header=HEADER, partitions=[partition])
        if end <= offset:
            self._lost.add(place)
        self._doubtful.pop(place, None)
        return end <= offset


class AppendTimer:
    """Measures an append by two clocks: one of them stands still while a machine sleeps, and the other may be set."""

    def __init__(self) -> None:
        self._started = monotonic(), time.time()

    def refuse_late(self, place: str) -> None:
        """Refuse to acknowledge an append that took too long.

        Raises:
            StorageError: It did.
        """
        since, since_epoch = self._started
        if max(monotonic() - since, time.time() - since_epoch) > APPEND_SECONDS_MAX:
            raise StorageError(f"The event log at {place} cannot be written: The process stood still meanwhile.")
