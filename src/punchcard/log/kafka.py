"""The event log in Kafka, for processes on several machines: one message per request body, in one partition.

Positions are the offsets of the topic, shifted where the log goes on behind another one (`kafka_positions`).
"""

import random
import threading
from collections.abc import Sequence
from time import monotonic
from typing import Final

from punchcard.errors import StorageError
from punchcard.log.bodies import BodyCompressor
from punchcard.log.kafka_cluster import KafkaCluster
from punchcard.log.kafka_identity import KafkaIdentity
from punchcard.log.kafka_options import read_options
from punchcard.log.kafka_positions import BindStore, Confirm, ContinueAfter, MoveAfter, Reserve
from punchcard.log.kafka_reader import KafkaReaders
from punchcard.log.kafka_records import HEADER, decode_message, encode_header, size_of
from punchcard.log.kafka_writer import KafkaWriter
from punchcard.log.port import LOG_REPLACED, LogIdentity, LogRecord, NewRecord

_GENERATION_STEP_MAX: Final = 1_000  # uneven steps, so that two copies of a log cannot keep the same numbers
# After a restart a broker may not know its topics yet, and a new leader not yet their ends.
_DOUBT_SECONDS: Final = 30.0


class KafkaEventLog:
    """An EventLog in a topic of a Kafka cluster. Connects again after every failure.

    Args:
        url: `kafka://…`, see `read_options`.

    Raises:
        ConfigurationError: The URL cannot be read, or the topic would lose events.
        StorageError: The cluster is not available.
    """

    def __init__(self, url: str) -> None:
        options = read_options(url)
        self.place = options.place
        self._topic = options.topic
        self._compressor = BodyCompressor()
        self._appending = threading.Lock()
        self._refusal: StorageError | None = None
        self._appended_end = 0  # of the topic, after the last append of this process
        self._seen_end = 0
        self._doubtful_since: float | None = None
        self._cluster = KafkaCluster(options)
        try:
            self._id = self._cluster.open_topic(options.topic)
            self._cluster.open_topic(options.identity_topic)
        except BaseException:
            self._cluster.close()
            raise
        self._writer = KafkaWriter(self._cluster)
        self._readers = KafkaReaders(self._cluster, options.topic)
        self._identity = KafkaIdentity(self._cluster, self._writer, topic_id=self._id)
        try:
            self._identity.read()
        except BaseException:
            self.close()  # nobody can close a log that was not opened
            raise

    def append(self, records: Sequence[NewRecord]) -> Sequence[int]:
        """Make the records durable on several brokers and return their positions. Some may be durable if it fails."""
        if self._refusal is not None:
            raise self._refusal
        if not records:
            return []
        with self._appending:  # the compressor is not thread-safe
            stored = self._compressor.compress(records)
            messages = [
                (body, encode_header(record, encoding, body), record.received_at // 1_000)
                for record, (encoding, body) in zip(records, stored, strict=True)
            ]
            offsets = self._writer.write(self._topic, messages, header=HEADER)
            if offsets[0] < self._appended_end:
                raise self._replaced()  # a topic that was created again begins at 0
            self._appended_end = offsets[-1] + 1
        state = self._identity.known
        return [state.position_of(offset) for offset in offsets]

    def read(self, after: int, *, records_max: int, bytes_max: int) -> Sequence[LogRecord]:
        """Return the next records after a position, in order; at least one if there is any."""
        state = self._identity.known
        log_records: list[LogRecord] = []
        size = 0
        with self._readers.at(state.offset_after(after)) as reader:
            while len(log_records) < records_max and size < bytes_max:
                message = reader.peek(count=records_max - len(log_records))
                if message is None and not log_records:
                    reader.look()
                    message = reader.peek(count=records_max)
                if message is None:
                    break
                record = decode_message(message, state.position_of(message.offset() or 0))
                log_records.append(record)
                size += size_of(record)
                reader.take()
        return log_records

    def wait(self, after: int, *, seconds: float, poll_seconds: float) -> None:
        """Return when there is a record after a position: the broker responds as soon as it has it."""
        try:
            with self._readers.at(self._identity.known.offset_after(after)) as reader:
                reader.wait(seconds=seconds, is_closed=lambda: self._readers.is_closed)
        except StorageError:
            # Reading reports it. Meanwhile this must not become a busy loop.
            threading.Event().wait(poll_seconds)

    def last_position(self) -> int:
        """Return the highest position appended, 0 if there never was one."""
        _, end = self._cluster.range_of(self._topic)
        # A broker that has just lost its leadership may not know yet, and gives an older end.
        return self._identity.known.position_of(max(end, self._appended_end)) - 1

    def continue_after(self, position: int) -> None:
        """Assign only positions after this one from now on, even if the log was lost and is empty."""
        _, end = self._cluster.range_of(self._topic)
        self._identity.write(ContinueAfter(topic_id=self._id, position=position, offset=end))

    def identity(self) -> LogIdentity:
        """Return the current identity of the log."""
        self._refuse_replaced_topic()
        if self._writer.is_failing:
            # A broker that is left alone can be read and acknowledges nothing. This changes nothing, and says so.
            self._identity.write(Confirm(topic_id=self._id, generation=0))
        state = self._identity.read()
        return LogIdentity(id=self._id, reserved=state.reserved, confirmed=state.confirmed, store_id=state.store_id)

    def reserve_generation(self, above: int) -> int:
        """Reserve and return a generation above this one and above all reserved before."""
        step = random.randint(1, _GENERATION_STEP_MAX)
        return self._identity.write(Reserve(topic_id=self._id, above=above, step=step)).reserved

    def confirm_generation(self, generation: int) -> None:
        """Record that the store has reached a generation."""
        self._identity.write(Confirm(topic_id=self._id, generation=generation))

    def bind_store(self, store_id: str, *, replace: bool = False) -> None:
        """Make the log belong to a store, unless it belongs to one already and must not get another."""
        if replace or not self._identity.read().store_id:
            self._identity.write(BindStore(topic_id=self._id, store_id=store_id, replace=replace))

    def move_after(self, position: int) -> int:
        """Give all records positions after this one, in their order; return their number."""
        first, end = self._cluster.range_of(self._topic)
        self._identity.write(MoveAfter(topic_id=self._id, position=position, offset=end))
        return end - first

    def refuse(self, error: StorageError) -> None:
        """Refuse new records: from now on `append` raises this error."""
        self._refusal = error

    def trim(self, through: int, *, records_max: int) -> int:
        """Delete up to `records_max` records up to position `through`; return the number deleted."""
        first, end = self._cluster.range_of(self._topic)
        before = min(self._identity.known.offset_after(through), end, first + records_max)
        if before <= first:
            return 0
        self._cluster.delete_before(self._topic, before)
        return before - first

    def replace_bodies(self, records: Sequence[LogRecord]) -> bool:
        """Replace nothing: a topic is only appended to, and its records end with their retention."""
        return False

    def discard_replaced(self) -> bool:
        """Do nothing: nothing was replaced."""
        return True

    def close(self) -> None:
        """End the clients."""
        self._readers.close()
        self._identity.close()
        self._writer.close()
        self._cluster.close()

    def _refuse_replaced_topic(self) -> None:
        """Raise an error if the topic is not the one that was opened, or has lost its end.

        Raises:
            StorageError: With the code LOG_REPLACED once it is certain.
        """
        topic_id = self._cluster.topic_id(self._topic)
        if topic_id and topic_id != self._id:
            raise self._replaced()
        seen = max(self._seen_end, self._appended_end)
        _, end = self._cluster.range_of(self._topic) if topic_id else (0, 0)
        if topic_id and end >= seen:
            self._seen_end = end
            self._doubtful_since = None
            return
        if self._doubtful_since is None:
            self._doubtful_since = monotonic()
        if monotonic() - self._doubtful_since > _DOUBT_SECONDS:
            raise self._replaced()
        raise StorageError(f"The event log at {self.place} cannot be read: Its brokers do not know all of it yet.")

    def _replaced(self) -> StorageError:
        return StorageError(
            f"The event log at {self.place} was removed or replaced while Punchcard was running. Restart Punchcard.",
            code=LOG_REPLACED,
        )
