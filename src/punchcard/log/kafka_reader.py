"""Read from Kafka at any offset: a few consumers, each of which goes on where it was if it can."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from punchcard.errors import StorageError
from punchcard.log.kafka_clients import open_client
from punchcard.log.kafka_cluster import ANSWER_SECONDS, PARTITION, KafkaCluster, look_for_leader

if TYPE_CHECKING:
    from punchcard.log.kafka_body_reader import KafkaBodyReader

_IDLE_MAX: Final = 3  # of routing, of the lake, and of pages; each partition that is routed has another one
_MESSAGES_AT_ONCE: Final = 200
_POLL_SECONDS: Final = 0.25
CONSUMER: Final = {
    "group.id": "punchcard",  # needed by the client, though nothing is ever committed to it
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_uncommitted",
    "fetch.wait.max.ms": 500,
    "fetch.error.backoff.ms": 100,
    "queued.max.messages.kbytes": 16_384,
}
GONE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)


class KafkaReader:
    """A consumer of one topic. Not thread-safe.

    A consumer that goes elsewhere waits first until its last request is answered, half a second at worst. A new one
    takes a few milliseconds, so readers only go on.

    Attributes:
        next_offset: The offset from which `peek` continues.
        first_offset: The lowest offset that has the same continuation: what is between is of other partitions.
        partition: Of the log, if this reader steps over the records of others.
        bodies: Reads the bodies that messages refer to; None before the first one.

    Args:
        offset: Where to begin; at the first record, if those up to it are deleted.

    Raises:
        StorageError: The topic is not available.
    """

    bodies: "KafkaBodyReader | None" = None

    def __init__(self, cluster: KafkaCluster, topic: str, offset: int, *, partition: int | None = None) -> None:
        self.partition = partition
        self._cluster = cluster
        self._topic = topic
        self._messages: deque[Message] = deque()
        first, self._end = cluster.range_of(topic)
        self.first_offset = self.next_offset = max(offset, first)
        with cluster.failures("read"):
            self._consumer = open_client(Consumer, {**cluster.client_settings(), **CONSUMER})
            self._assign()

    def look(self) -> int:
        """Find out how far the topic goes, and step over what was deleted; return the offset of the end.

        Raises:
            StorageError: The topic is not available.
        """
        # Not asked by the consumer: a broker answers in turn, and its answer to a fetch waits for the next record.
        first, self._end = self._cluster.range_of(self._topic)
        if self.next_offset < first and not self._messages:
            self.first_offset = self.next_offset = first
            with self._cluster.failures("read"):
                self._assign()
        return self._end

    def extend_to(self, end: int) -> None:
        """Extend what `peek` reads to an end that another reader has found."""
        self._end = max(self._end, end)

    def peek(self, *, count: int) -> Message | None:
        """Return the next message, None at the end that the last `look` has found.

        Args:
            count: How many further messages are wanted, about.

        Raises:
            StorageError: The topic is not available.
        """
        while not self._messages and self.next_offset < self._end:
            self._fetch(min(count, self._end - self.next_offset, _MESSAGES_AT_ONCE))
        return self._messages[0] if self._messages else None

    def take(self) -> None:
        """Step over the message that `peek` has returned."""
        self.first_offset = self.next_offset = (self._messages.popleft().offset() or 0) + 1

    def step_over(self) -> None:
        """Step over a message that is not read: a reader from before it and one from after it read the same."""
        self.next_offset = (self._messages.popleft().offset() or 0) + 1

    def wait(self, *, seconds: float, is_closed: Callable[[], bool]) -> None:
        """Wait until there is a next message, or until the time is over.

        Raises:
            StorageError: The topic is not available.
        """
        deadline = monotonic() + seconds
        while not self._messages and (left := deadline - monotonic()) > 0 and not is_closed():
            with self._cluster.failures("read"):
                message = self._consumer.poll(min(left, _POLL_SECONDS))
            if message is not None:
                self._add(message)
        with self._cluster.failures("read"):
            for message in self._consumer.consume(_MESSAGES_AT_ONCE, timeout=0):  # what came with it
                self._add(message)

    def close(self) -> None:
        """End the consumer."""
        self._consumer.close()
        if self.bodies is not None:
            self.bodies.close()

    def _assign(self) -> None:
        self._consumer.assign([TopicPartition(self._topic, PARTITION, self.next_offset)])

    def _fetch(self, count: int) -> None:
        deadline = monotonic() + 2 * ANSWER_SECONDS
        before = self.next_offset
        while not self._messages and self.next_offset == before:
            with self._cluster.failures("read"):
                messages = self._consumer.consume(count, timeout=_POLL_SECONDS)
            for message in messages:
                self._add(message)
            if not messages:
                look_for_leader(self._consumer, self._topic)
            if not self._messages and monotonic() > deadline:
                raise self._cluster.failure("read", TimeoutError())

    def _add(self, message: Message) -> None:
        error = message.error()
        if error is None:
            if (message.offset() or 0) >= self.next_offset:
                self._messages.append(message)
        elif error.code() in GONE:  # deleted since the last look, or lost
            self._messages.clear()
            self.look()
            if self.next_offset > self._end:
                raise self._cluster.failure("read", KafkaException(error))
            self._assign()
        elif not error.retriable():
            raise self._cluster.failure("read", KafkaException(error))


class KafkaReaders:
    """Hands out readers of a topic, the one that is at an offset already if there is one. Thread-safe."""

    def __init__(self, cluster: KafkaCluster, topic: str) -> None:
        self._cluster = cluster
        self._topic = topic
        self._lock = threading.Lock()
        self._idle: list[KafkaReader] = []  # the one that was used last is the last
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Whether no reader may be used any more."""
        return self._closed

    @contextmanager
    def at(self, offset: int, *, partition: int | None = None) -> Iterator[KafkaReader]:
        """Use a reader from an offset on; one that fails is not used again.

        Args:
            partition: Of the log, to step over the records of others.
        """
        reader = self._take(offset, lambda reader: reader.partition == partition)
        if reader is None:
            reader = KafkaReader(self._cluster, self._topic, offset, partition=partition)
        with self._using(reader):
            yield reader

    @contextmanager
    def waiting_at(self, offset: int) -> Iterator[KafkaReader]:
        """Use a reader from an offset on to wait for the next message, whichever partition it is of."""
        reader = self._take(offset, lambda reader: True)
        with self._using(reader or KafkaReader(self._cluster, self._topic, offset)) as reader:
            yield reader

    @contextmanager
    def _using(self, reader: KafkaReader) -> Iterator[KafkaReader]:
        try:
            yield reader
        except BaseException:
            reader.close()
            raise
        self._give_back(reader)

    def close(self) -> None:
        """End all readers: those in use when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for reader in idle:
            reader.close()

    def _take(self, offset: int, is_right: Callable[[KafkaReader], bool]) -> KafkaReader | None:
        oldest = None
        with self._lock:
            if self._closed:
                raise StorageError(f"The event log at {self._cluster.options.place} is closed.")
            for number, reader in enumerate(self._idle):
                if is_right(reader) and reader.first_offset <= offset <= reader.next_offset:
                    return self._idle.pop(number)
            partitions = {reader.partition for reader in self._idle if reader.partition is not None}
            if len(self._idle) >= _IDLE_MAX + len(partitions):
                oldest = self._idle.pop(0)
        if oldest is not None:
            oldest.close()
        return None

    def _give_back(self, reader: KafkaReader) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(reader)
                return
        reader.close()
