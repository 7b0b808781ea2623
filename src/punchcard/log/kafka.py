"""The event log in Kafka, for processes on several machines: one message per request body, in one partition.

Positions are the offsets of the topic, shifted where the log goes on behind another one (`kafka_positions`). A divided
log has the bodies in the partitions of another topic (`kafka_bodies`): positions and order are those of the first one.
"""

import random
import threading
import uuid
from collections.abc import Sequence
from time import monotonic
from typing import Final

from punchcard.errors import StorageError
from punchcard.log.bodies import BodyCompressor
from punchcard.log.kafka_bodies import AppendTimer, KafkaBodies
from punchcard.log.kafka_cluster import KafkaCluster
from punchcard.log.kafka_identity import KafkaIdentity
from punchcard.log.kafka_options import read_options
from punchcard.log.kafka_positions import (
    BindStore,
    CancelDivision,
    Confirm,
    ContinueAfter,
    Divide,
    LogState,
    MoveAfter,
    PrepareDivision,
    Reserve,
)
from punchcard.log.kafka_reader import KafkaReader, KafkaReaders
from punchcard.log.kafka_records import (
    DIVISION_HEADER,
    HEADER,
    REFERENCE_HEADER,
    MessageContent,
    content_of,
    encode_header,
    encode_reference,
    is_division,
)
from punchcard.log.kafka_topics import KafkaTopics
from punchcard.log.kafka_writer import KafkaWriter
from punchcard.log.partitions import PartitionLayout
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
        self._division: tuple[LogState, int] | None = None  # what is known of the partitions before an offset
        self._cluster = KafkaCluster(options)
        try:
            topics = KafkaTopics(self._cluster)
            self._id = topics.open_topic(options.topic)
            topics.open_topic(options.identity_topic)
        except BaseException:
            self._cluster.close()
            raise
        self._writer = KafkaWriter(self._cluster)
        self._readers = KafkaReaders(self._cluster, options.topic)
        self._identity = KafkaIdentity(self._cluster, self._writer, topic_id=self._id)
        self._bodies = KafkaBodies(self._cluster, self._writer, self._identity, topic_id=self._id)
        try:
            self._bodies.refuse_another(self._identity.read())
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
            state = self._identity.known
            offsets = (
                self._append(records, stored) if state.partitions == 1 else self._append_divided(records, stored, state)
            )
            if offsets[0] < self._appended_end:
                raise self._replaced()  # a topic that was created again begins at 0
            self._appended_end = offsets[-1] + 1
        state = self._identity.known
        return [state.position_of(offset) for offset in offsets]

    def _append(self, records: Sequence[NewRecord], stored: Sequence[tuple[str, bytes]]) -> list[int]:
        messages = [
            (body, encode_header(record, encoding, body), record.received_at // 1_000)
            for record, (encoding, body) in zip(records, stored, strict=True)
        ]
        return self._writer.write(self._topic, messages, header=HEADER)

    def _append_divided(
        self, records: Sequence[NewRecord], stored: Sequence[tuple[str, bytes]], state: LogState
    ) -> list[int]:
        """Write the bodies, then what refers to them. A process that knows an older layout may write either."""
        timer = AppendTimer()
        references = self._bodies.append(records, stored, state)
        if references is None:
            raise self._replaced()
        messages = [
            (b"", encode_reference(reference), record.received_at // 1_000)
            for reference, record in zip(references, records, strict=True)
        ]
        offsets = self._writer.write(self._topic, messages, header=REFERENCE_HEADER)
        timer.refuse_late(self.place)
        return offsets

    def read(self, after: int, *, records_max: int, bytes_max: int) -> Sequence[LogRecord]:
        """Return the next records after a position, in order; at least one if there is any."""
        state = self._identity.known
        portion = _Portion(records_max, bytes_max)
        with self._readers.at(state.offset_after(after)) as reader:
            while portion.has_room:
                message = reader.peek(count=portion.room)
                if message is None and not portion.contents:
                    reader.look()
                    message = reader.peek(count=records_max)
                if message is None:
                    break
                if is_division(message):
                    reader.step_over()
                    continue
                portion.add(content_of(message, state.position_of(message.offset() or 0)))
                reader.take()
            return self._complete(reader, portion.contents)

    def partitions(self) -> PartitionLayout:
        """Return the current layout."""
        return self._identity.read().layout

    def set_partitions(self, count: int) -> PartitionLayout:
        """Divide the records that are appended from now on by this number; return the layout.

        Nobody reads by partition from `PrepareDivision` on until the place of the division is known, so nobody has read
        a record behind that place by the number before.
        """
        state = self._identity.read()
        if count == state.partitions:
            return (self._identity.write(CancelDivision(topic_id=self._id)) if state.dividing else state).layout
        bodies_id = self._bodies.prepare(state, count)
        name = uuid.uuid4().hex
        self._identity.write(PrepareDivision(topic_id=self._id, name=name))
        # Its offset is the end of the topic, of which a broker that has lost its leadership knows only an older one.
        (place,) = self._writer.write(self._topic, [(b"", str(count).encode(), 0)], header=DIVISION_HEADER)
        division = Divide(topic_id=self._id, name=name, partitions=count, offset=place, bodies_id=bodies_id)
        state = self._identity.write(division)
        if (state.partitions, state.divided_from) != (count, place):
            raise StorageError(f"The event log at {self.place} was divided by another process at the same time.")
        return state.layout

    def read_partition(
        self, partition: int, after: int, *, records_max: int, bytes_max: int
    ) -> tuple[Sequence[LogRecord], int]:
        """Return the next records of a partition after a position, and the position through which these are all."""
        portion = _Portion(records_max, bytes_max)
        offset = self._identity.known.offset_after(after)
        with self._readers.at(offset, partition=partition) as reader:
            known = self._division
            if known is None or reader.next_offset >= known[1]:
                known = self._look(reader)
            if known is None:
                return [], after  # the log is about to be divided
            state, end = known
            reader.extend_to(end)
            while portion.has_room and reader.next_offset < end:
                message = reader.peek(count=end - reader.next_offset)
                if message is None:
                    break
                offset = message.offset() or 0
                content = None if is_division(message) else content_of(message, state.position_of(offset))
                if content is None or state.partition_of(offset, content.bucket) != partition:
                    reader.step_over()
                else:
                    portion.add(content)
                    reader.take()
            records = self._complete(reader, portion.contents)
            through = state.position_of(reader.next_offset) - 1
        return records, records[-1].position if records else max(after, through)

    def _look(self, reader: KafkaReader) -> tuple[LogState, int] | None:
        """Find out where the topic ends, and by which partitions what is before that is divided; None while it changes.

        In this order: a change that is not known yet will begin after this end.
        """
        end = reader.look()
        state = self._identity.read()
        self._division = None if state.dividing else (state, end)
        return self._division

    def _complete(self, reader: KafkaReader, contents: Sequence[MessageContent]) -> list[LogRecord]:
        references = [content.reference for content in contents if content.reference is not None]
        bodies = self._bodies.fetch(reader, references)
        return [content.complete(bodies) for content in contents]

    def wait(self, after: int, *, seconds: float, poll_seconds: float) -> None:
        """Return when there is a record after a position: the broker responds as soon as it has it."""
        try:
            with self._readers.waiting_at(self._identity.known.offset_after(after)) as reader:
                reader.wait(seconds=seconds, is_closed=lambda: self._readers.is_closed)
        except StorageError:
            # Reading reports it. Meanwhile this must not become a busy loop.
            threading.Event().wait(poll_seconds)

    def check_writes(self) -> None:
        """Write something without effect if the last append has failed."""
        self.identity()

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
        before = max(first, min(self._identity.known.offset_after(through), end, first + records_max))
        if before > first:
            self._cluster.delete_before(self._topic, before)
        if self._identity.known.partitions > 1:
            self._bodies.trim(before, lambda: self._cluster.range_of(self._topic)[1])
        return before - first

    def deleted_through(self) -> int:
        """Return the position up to which nothing of any record is left."""
        first, _ = self._cluster.range_of(self._topic)
        if self._identity.known.partitions > 1:
            first = self._bodies.deleted_before(first)
        return self._identity.known.position_of(first) - 1

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
        bodies_id = self._identity.known.bodies_id
        current_bodies_id = self._bodies.topic_id() if bodies_id else ""
        if current_bodies_id and current_bodies_id != bodies_id:
            raise self._replaced()
        if not current_bodies_id and bodies_id:
            topic_id = ""  # its brokers may not know it yet
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


class _Portion:
    """The messages that one call reads, up to a number and a size."""

    def __init__(self, records_max: int, bytes_max: int) -> None:
        self.contents: list[MessageContent] = []
        self._records_max = records_max
        self._bytes_left = bytes_max

    @property
    def room(self) -> int:
        """How many further messages there may be."""
        return self._records_max - len(self.contents) if self._bytes_left > 0 else 0

    @property
    def has_room(self) -> bool:
        """Whether there may be further messages."""
        return self.room > 0

    def add(self, content: MessageContent) -> None:
        """Add the next message."""
        self.contents.append(content)
        self._bytes_left -= content.size_bytes
