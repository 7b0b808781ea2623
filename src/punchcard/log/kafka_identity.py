"""The identity of an event log in Kafka: operations in a topic of their own, and the state that they lead to."""

import threading
from typing import Final

from punchcard.errors import StorageError
from punchcard.log.kafka_cluster import KafkaCluster
from punchcard.log.kafka_positions import (
    AnyOperation,
    Checkpoint,
    LogState,
    apply,
    checkpoint_of,
    decode,
    encode,
    first_state,
)
from punchcard.log.kafka_reader import KafkaReaders
from punchcard.log.kafka_writer import KafkaWriter

_OPERATIONS_MAX: Final = 5_000  # some are written every second
_AT_ONCE: Final = 10_000


class KafkaIdentity:
    """Reads and writes the operations on the state of one topic. Thread-safe.

    Args:
        topic_id: The id of the topic of the records.
    """

    def __init__(self, cluster: KafkaCluster, writer: KafkaWriter, *, topic_id: str) -> None:
        self._topic = cluster.options.identity_topic
        self._topic_id = topic_id
        self._cluster = cluster
        self._writer = writer
        self._readers = KafkaReaders(cluster, self._topic)
        self._lock = threading.Lock()
        self._state: LogState | None = None
        self._next_offset = 0
        self._written_since_checkpoint = 0

    @property
    def known(self) -> LogState:
        """The state as it was last read."""
        state = self._state
        return self.read() if state is None else state

    def read(self) -> LogState:
        """Return the current state.

        Raises:
            StorageError: The topic is not available.
            ConfigurationError: A newer version of Punchcard has written to it.
        """
        with self._lock:
            return self._read_through(None)

    def write(self, operation: AnyOperation) -> LogState:
        """Write an operation; return the state right after it.

        Raises:
            StorageError: It is perhaps not written.
        """
        with self._lock:
            offset = self._write(operation)
            state = self._read_through(offset)
            self._written_since_checkpoint += 1
            if self._written_since_checkpoint >= _OPERATIONS_MAX:
                self._make_checkpoint()
            return state

    def close(self) -> None:
        """End the readers."""
        self._readers.close()

    def _write(self, operation: AnyOperation) -> int:
        (offset,) = self._writer.write(self._topic, [(encode(operation), None, 0)], header="")
        return offset

    def _read_through(self, offset: int | None) -> LogState:
        """Read what was written since; return the state at an offset, at the end without one."""
        entries, is_continued = self._read_entries()
        at_offset: LogState | None = None
        if self._state is None or not is_continued:
            self._state = first_state(entries, self._topic_id)
            self._written_since_checkpoint = len(entries)
            at_offset = first_state(entries, self._topic_id, through=offset)
        else:
            for at, operation in entries:
                if operation.topic_id == self._topic_id:
                    self._state = apply(self._state, operation)
                if at == offset:
                    at_offset = self._state
        state = self._state if offset is None else at_offset
        if state is None:
            raise StorageError(f"The event log at {self._cluster.options.place} was changed by too many at once.")
        return state

    def _read_entries(self) -> tuple[list[tuple[int, AnyOperation]], bool]:
        """Return the operations that were written since; False if some of them are deleted already."""
        entries: list[tuple[int, AnyOperation]] = []
        is_continued = True
        next_offset = self._next_offset
        with self._readers.at(next_offset) as reader:
            reader.look()
            while (message := reader.peek(count=_AT_ONCE)) is not None:
                offset = message.offset() or 0
                if offset != next_offset:  # another process has made a checkpoint
                    entries.clear()
                    is_continued = False
                operation = decode(message.value() or b"")
                if operation is not None:
                    entries.append((offset, operation))
                reader.take()
                next_offset = reader.next_offset
        if not is_continued and not any(isinstance(operation, Checkpoint) for _, operation in entries):
            raise StorageError(
                f"The event log at {self._cluster.options.place} has lost the beginning of its identity."
            )
        self._next_offset = next_offset  # not before all is read: what is applied twice or never is wrong for ever
        return entries, is_continued

    def _make_checkpoint(self) -> None:
        """Write the state as it is, and delete the operations before it."""
        if self._state is None:
            return
        through = self._next_offset - 1
        self._write(checkpoint_of(self._state, topic_id=self._topic_id, through=through))
        self._cluster.delete_before(self._topic, through + 1)
        self._written_since_checkpoint = 0
