"""Read bodies of a divided log in Kafka: one consumer of several partitions, which goes on where it is in each."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from time import monotonic
from typing import Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from punchcard.log.kafka_clients import open_client
from punchcard.log.kafka_cluster import ANSWER_SECONDS, KafkaCluster, look_for_leader
from punchcard.log.kafka_reader import CONSUMER, GONE

_MESSAGES_AT_ONCE: Final = 200
_POLL_SECONDS: Final = 0.25
_CHECK_SECONDS: Final = 1.0  # without a message, until the partition is asked whether they are there
# Processes that append at the same time name their bodies a little out of order. What comes too early is kept so far.
_EARLY_MESSAGES_MAX: Final = 1_000
_EARLY_BYTES_MAX: Final = 4_000_000
_PASSED_OVER_MAX: Final = 5_000  # a consumer reads through so many messages, and begins elsewhere to pass over more
_BODIES: Final[Mapping[str, object]] = {
    "fetch.wait.max.ms": 100,  # a consumer that goes elsewhere waits for the response to its last request
    "queued.max.messages.kbytes": 4_096,  # of each partition
}

Place = tuple[int, int]
"""Partition and offset."""


class KafkaBodyReader:
    """A consumer of the topic of bodies. Not thread-safe.

    Args:
        is_lost: Whether it is certain that a partition that ends before a place has lost it.
    """

    def __init__(self, cluster: KafkaCluster, topic: str, *, is_lost: Callable[[Place], bool]) -> None:
        self._cluster = cluster
        self._topic = topic
        self._is_lost = is_lost
        self._consumer = open_client(Consumer, {**cluster.client_settings(), **CONSUMER, **_BODIES})
        self._next: dict[int, int] = {}
        self._early: dict[int, _EarlyMessages] = {}
        self._paused: set[int] = set()

    def fetch(self, places: Sequence[Place]) -> dict[Place, Message]:
        """Return the messages at these places; without those that are deleted or lost.

        Raises:
            StorageError: The topic is not available, or its brokers do not know all of it yet.
        """
        messages: dict[Place, Message] = {}
        missing: dict[int, set[int]] = {}
        for partition, offset in places:
            early = self._early.get(partition)
            message = None if early is None else early.pop(offset)
            if message is None:
                missing.setdefault(partition, set()).add(offset)
            else:
                messages[partition, offset] = message
        with self._cluster.failures("read"):
            for partition, offsets in missing.items():
                self._go_to(partition, min(offsets))
            self._resume(missing)
            last_progress = checked_at = monotonic()
            while missing:
                if self._read_some(missing, messages):
                    last_progress = checked_at = monotonic()
                elif monotonic() > last_progress + 2 * ANSWER_SECONDS:
                    raise self._cluster.failure("read", TimeoutError())
                elif monotonic() > checked_at + _CHECK_SECONDS:
                    for partition in list(missing):
                        self._drop_deleted(partition, missing)
                    checked_at = monotonic()
        return messages

    def close(self) -> None:
        """End the consumer."""
        self._consumer.close()

    def _go_to(self, partition: int, offset: int) -> None:
        """Continue a partition with the message at an offset, or with one a little before it."""
        known = self._next.get(partition)
        if known is not None and known <= offset <= known + _PASSED_OVER_MAX:
            return
        if known is not None:
            self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])
        self._consumer.incremental_assign([TopicPartition(self._topic, partition, offset)])
        self._next[partition] = offset
        self._early[partition] = _EarlyMessages()
        self._paused.discard(partition)

    def _resume(self, partitions: Collection[int]) -> None:
        resumed = self._paused.intersection(partitions)
        if resumed:
            self._consumer.resume([TopicPartition(self._topic, partition) for partition in resumed])
            self._paused -= resumed

    def _read_some(self, missing: dict[int, set[int]], messages: dict[Place, Message]) -> bool:
        """Read on; return whether something came."""
        has_come = False
        count = min(sum(map(len, missing.values())), _MESSAGES_AT_ONCE)
        came = self._consumer.consume(count, timeout=_POLL_SECONDS)
        for message in came:
            has_come |= self._take(message, missing, messages)
        if not came:
            look_for_leader(self._consumer, self._topic)
        return has_come

    def _take(self, message: Message, missing: dict[int, set[int]], messages: dict[Place, Message]) -> bool:
        partition, offset = message.partition() or 0, message.offset() or 0
        error = message.error()
        if error is not None:
            if error.code() in GONE:
                self._step_over_deleted(partition, missing)
            elif not error.retriable():
                raise KafkaException(error)
            return False
        expected = self._next.get(partition)
        if expected is None or offset < expected:
            return False  # requested before this consumer went elsewhere
        if offset > expected:
            self._step_over_deleted(partition, missing)
            return False
        self._next[partition] = offset + 1
        offsets = missing.get(partition, set())
        if offset in offsets:
            offsets.remove(offset)
            messages[partition, offset] = message
            if not offsets:
                del missing[partition]
        else:
            early = self._early[partition]
            early.add(offset, message)
            if early.is_full and partition not in missing:
                self._consumer.pause([TopicPartition(self._topic, partition)])
                self._paused.add(partition)
        return True

    def _step_over_deleted(self, partition: int, missing: dict[int, set[int]]) -> None:
        """Go on in a partition behind what is deleted or lost."""
        first = self._drop_deleted(partition, missing)
        expected = self._next.pop(partition)
        self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])
        if partition in missing:
            self._go_to(partition, max(first, min(expected, *missing[partition])))

    def _drop_deleted(self, partition: int, missing: dict[int, set[int]]) -> int:
        """Do not wait for messages that are deleted or lost; return the offset of the first one that is left.

        Raises:
            StorageError: The partition ends before a message that may be there.
        """
        first, end = self._cluster.range_of(self._topic, partition)
        offsets = missing.get(partition, set())
        offsets -= {each for each in offsets if each < first or (each >= end and self._is_lost((partition, each)))}
        if any(offset >= end for offset in offsets):
            raise self._cluster.failure("read", f"its topic {self._topic} ends too early in partition {partition}")
        if partition in missing and not offsets:
            del missing[partition]
        return first


class _EarlyMessages:
    """Messages of a partition that nobody has asked for yet. Nobody will ask for those of an append that failed."""

    def __init__(self) -> None:
        self._messages: OrderedDict[int, Message] = OrderedDict()
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether further messages replace the oldest ones."""
        return len(self._messages) >= _EARLY_MESSAGES_MAX or self._bytes >= _EARLY_BYTES_MAX

    def add(self, offset: int, message: Message) -> None:
        """Keep a message, and drop the oldest ones if there are too many: they can be read again."""
        while self._messages and self.is_full:
            self._bytes -= _size(self._messages.popitem(last=False)[1])
        self._messages[offset] = message
        self._bytes += _size(message)

    def pop(self, offset: int) -> Message | None:
        """Return the message at an offset, and forget it."""
        message = self._messages.pop(offset, None)
        if message is not None:
            self._bytes -= _size(message)
        return message


def _size(message: Message) -> int:
    return len(message.value() or b"")
