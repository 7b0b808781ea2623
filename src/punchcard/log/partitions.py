"""Partitions of a log: shares of its records that are routed in parallel, each in the order of the log.

Positions are those of the whole log, so everything that reads it in its order does not notice partitions. A record has
a bucket, computed from its source and person when it is appended, and a partition routes the records of its buckets.
Requests that a sender repeats have the same bucket: the partition that routes the first one routes the others too.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import msgspec

from punchcard.errors import ConfigurationError, UnreadableRecordError
from punchcard.log.bodies import decompress
from punchcard.log.port import EventLog, LogRecord, NewRecord

PARTITIONS_MAX: Final = 64
BUCKETS: Final = 4_096
_SINGLE_CALLS: Final = frozenset({"track", "identify", "page", "screen", "group", "alias"})


@dataclass(frozen=True, slots=True)
class PartitionLayout:
    """The number of partitions of a log, and the position at which it was changed last.

    Attributes:
        count: Of the partitions of records after `changed_after`.
        count_before: Of the partitions of records up to there.
    """

    count: int = 1
    count_before: int = 1
    changed_after: int = 0


@runtime_checkable
class PartitionedLog(EventLog, Protocol):
    """An event log that can be read by partition."""

    def partitions(self) -> PartitionLayout:
        """Return the current layout."""

    def set_partitions(self, count: int) -> PartitionLayout:
        """Divide the records that are appended from now on by this number; return the layout.

        To be called while nothing is routed, and after everything up to the last change is. Without effect if the
        number is the current one.
        """

    def read_partition(
        self, partition: int, after: int, *, records_max: int, bytes_max: int
    ) -> tuple[Sequence[LogRecord], int]:
        """Return the next records of a partition after a position, and the position through which these are all.

        The arguments and the order are those of `read`.
        """


class PartitionReader:
    """A partition of a log, as routing reads it.

    Args:
        partition: Number of the partition, from 0.
    """

    def __init__(self, log: PartitionedLog, partition: int) -> None:
        self._log = log
        self.partition = partition
        self.layout = log.partitions()

    def read(self, after: int, *, records_max: int, bytes_max: int) -> Sequence[LogRecord]:
        """Return the next records of the partition after a position, as `EventLog.read` does."""
        return self.read_through(after, records_max=records_max, bytes_max=bytes_max)[0]

    def read_through(self, after: int, *, records_max: int, bytes_max: int) -> tuple[Sequence[LogRecord], int]:
        """Return the same, and the position through which the partition has no other records.

        Records before and after a change of the layout are never returned together.
        """
        records, through = self._log.read_partition(self.partition, after, records_max=records_max, bytes_max=bytes_max)
        change = self.layout.changed_after
        if after < change < through:
            return [record for record in records if record.position <= change], change
        return records, through


def layout_of(log: EventLog) -> PartitionLayout:
    """Return the layout of any log: one that cannot be divided has one partition."""
    return log.partitions() if isinstance(log, PartitionedLog) else PartitionLayout()


def refuse_fewer_partitions(log: EventLog, count: int) -> None:
    """Refuse settings with fewer partitions than the log has, or with several for a log that cannot be divided.

    Raises:
        ConfigurationError: With the remedy.
        StorageError: The log is not available.
    """
    if not 1 <= count <= PARTITIONS_MAX:
        raise ConfigurationError(
            f"log_partitions: {count} is not a number of partitions. Set PUNCHCARD_LOG_PARTITIONS to a number from 1 "
            f"to {PARTITIONS_MAX}."
        )
    if count > 1 and not isinstance(log, PartitionedLog):
        raise ConfigurationError(
            "log_partitions: Only an event log in PostgreSQL or Kafka can have several partitions. Unset "
            "PUNCHCARD_LOG_PARTITIONS, or set PUNCHCARD_LOG_URL to postgresql://… or kafka://…"
        )
    if (current := layout_of(log).count) > count:
        raise ConfigurationError(
            f"log_partitions: The event log has {current} partitions, and their number cannot be lowered to {count}: "
            f"a person's events would be routed out of order. Set PUNCHCARD_LOG_PARTITIONS to {current}."
        )


class _Person(msgspec.Struct, rename="camel"):
    user_id: msgspec.Raw = msgspec.Raw(b"null")
    anonymous_id: msgspec.Raw = msgspec.Raw(b"null")


_person = msgspec.json.Decoder(_Person)


def bucket_of(record: NewRecord) -> int:
    """Return the bucket of a new record, 0 to `BUCKETS - 1`.

    A single call is chosen by its source and its person: `userId`, else `anonymousId`. A batch, which may be divided
    otherwise when it is repeated, is chosen by its source alone.
    """
    key = record.write_key.encode(errors="surrogatepass")
    if record.call in _SINGLE_CALLS:
        key += b"\0" + _person_of(record)
    return zlib.crc32(key) % BUCKETS


def _person_of(record: NewRecord) -> bytes:
    try:
        body = record.body if record.encoding == "identity" else decompress(record)
        person = _person.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, UnreadableRecordError):
        return b""  # it is repaired or quarantined where it is routed
    for raw in (person.user_id, person.anonymous_id):
        text = bytes(raw).strip(b'" \t\r\n')
        if text and text != b"null":
            return text
    return b""
