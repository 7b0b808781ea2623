"""Write to Kafka: durable on several brokers, in order, or reported as perhaps not written."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from confluent_kafka import KafkaException, Message, Producer

from punchcard.errors import StorageError
from punchcard.log.kafka_clients import open_client
from punchcard.log.kafka_cluster import PARTITION, KafkaCluster, look_for_leader

# By Kafka's own time-outs another leader is elected after 10 seconds, and after 13 if the dead broker was the active
# controller, too. A producer goes on at once then, while a new one needs an id from the brokers first, which they do
# not give meanwhile. So the first one is kept for longer than that. Senders do not wait so long for further batches.
_WRITE_SECONDS: Final = 20.0
_WRITE_AGAIN_SECONDS: Final = 3.0  # connecting takes one
_LOOK_AFTER_SECONDS: Final = 1.0  # brokers acknowledge within milliseconds
_LOOK_AGAIN_SECONDS: Final = 0.25
_PRODUCER: Final = {
    "acks": "all",
    "enable.idempotence": True,  # no record twice and none out of order, although the client repeats
    "linger.ms": 5,  # a batch is complete before: `flush` does not wait for the rest
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 1_048_576,
    "batch.num.messages": 100_000,
    "message.timeout.ms": 60_000,  # our own time is shorter
    "request.timeout.ms": 10_000,
}


class KafkaWriter:
    """Writes batches to the topics of a log, one batch at a time. Thread-safe."""

    def __init__(self, cluster: KafkaCluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._is_failing = False
        self._closed = False

    @property
    def is_failing(self) -> bool:
        """Whether the last batch was not acknowledged."""
        return self._is_failing

    def write(
        self,
        topic: str,
        messages: Sequence[tuple[bytes, bytes | None, int]],
        *,
        header: str,
        partitions: Sequence[int] | None = None,
    ) -> list[int]:
        """Write messages; return their offsets, in the same order, once all in-sync replicas have them.

        Args:
            topic: The name of the topic.
            messages: Value, content of the header and time in milliseconds of each message.
            header: The name of the header.
            partitions: Of each message; the only one of the topic by default.

        Raises:
            StorageError: Some of them are perhaps written.
        """
        with self._lock, self._cluster.failures("written"):
            if self._closed:
                raise StorageError(f"The event log at {self._cluster.options.place} is closed.")
            written = _Written()
            try:
                if self._producer is None:
                    self._producer = open_client(Producer, {**self._cluster.client_settings(), **_PRODUCER})
                partitions = partitions or [PARTITION] * len(messages)
                for partition, (value, content, milliseconds) in zip(partitions, messages, strict=True):
                    self._producer.produce(
                        topic,
                        value,
                        partition=partition,
                        headers=None if content is None else [(header, content)],
                        timestamp=milliseconds,
                        on_delivery=written.note,
                    )
                left = _flush(self._producer, topic, _WRITE_AGAIN_SECONDS if self._is_failing else _WRITE_SECONDS)
                if left or written.error is not None or written.count != len(messages):
                    raise self._failure(written, len(messages))
            except BaseException:
                self._is_failing = True
                self._discard()
                raise
            self._is_failing = False
        # One producer: the order of its messages is that of the offsets, in each partition.
        offsets = {partition: iter(sorted(of_partition)) for partition, of_partition in written.offsets.items()}
        return [next(offsets[partition]) for partition in partitions]

    def close(self) -> None:
        """End the producer."""
        with self._lock:
            self._closed = True
            self._discard()

    def _failure(self, written: "_Written", count: int) -> Exception:
        failure = self._cluster.failure("written", written.error or TimeoutError())
        if isinstance(failure, StorageError) and written.count:
            return StorageError(f"{failure.message} {written.count} of {count} records were written.")
        return failure

    def _discard(self) -> None:
        """Drop the producer with all that it has not sent: what is repeated must not be written later once more."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaException):
                producer.purge()
                producer.poll(0)


def _flush(producer: Producer, topic: str, seconds: float) -> int:
    """Wait until all messages are written, or until the time is over; return how many are left."""
    deadline = monotonic() + seconds
    left = producer.flush(_LOOK_AFTER_SECONDS)
    while left and (remaining := deadline - monotonic()) > 0:
        look_for_leader(producer, topic)
        left = producer.flush(min(remaining, _LOOK_AGAIN_SECONDS))
    return left


class _Written:
    """The reports about the messages of a batch."""

    def __init__(self) -> None:
        self.offsets: defaultdict[int, list[int]] = defaultdict(list)
        self.count = 0
        self.error: Any = None

    def note(self, error: Any, message: Message) -> None:
        """Process the report about one message."""
        if error is not None:
            self.error = KafkaException(error)
            return
        self.offsets[message.partition() or 0].append(message.offset() or 0)
        self.count += 1
