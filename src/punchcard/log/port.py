"""The event log's port: an append-only, totally ordered, durable list of request bodies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from punchcard.errors import StorageError

LOG_REPLACED = "log_replaced"
"""The code of the error when the log was removed, or restored from a copy, under a running process."""


@dataclass(frozen=True, slots=True)
class NewRecord:
    """One request as the Tracking API took it.

    Attributes:
        received_at: Microseconds since 1970-01-01 UTC.
        write_key: The key presented, known or not.
        call: `batch` or the name of the single call (`track` …).
        encoding: How `body` is encoded: `identity`, `gzip` or `zstd`.
        body: The request body as received, perhaps compressed.
        ip: The sender's address if it counts as client-side traffic, else "".
    """

    received_at: int
    write_key: str
    call: str
    encoding: str
    body: bytes
    ip: str


@dataclass(frozen=True, slots=True)
class LogRecord(NewRecord):
    """A record with its place in the log. Positions rise; there may be gaps.

    Attributes:
        damage: What is wrong with the stored row, "" if nothing is. Columns that cannot be read then hold "", and
            `body` holds the first bytes of what is there.
    """

    position: int
    damage: str = ""


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """Which log this is, and what it knows of the generation that it shares with its store.

    A generation is first reserved here, then reached by the store, then confirmed here. So in honest use
    `confirmed <= the store's generation <= reserved`, whenever a process ends. A store below is an older copy, and a
    store above has gone on with another copy of this log.

    Attributes:
        id: Given when the log was created; never another one.
    """

    id: str
    reserved: int
    confirmed: int


class EventLog(Protocol):
    """What ingest appends to and routing reads in order. Safe to use from several threads."""

    def append(self, records: Sequence[NewRecord]) -> Sequence[int]:
        """Make the records durable in one commit and return their positions.

        Raises:
            StorageError: nothing of it is durable (disk full, locked, away).
        """

    def read(self, after: int, *, records_max: int, bytes_max: int) -> Sequence[LogRecord]:
        """The next records behind position `after`, in order; at least one if there is any.

        A row that is damaged comes in its place like any other, with its `damage`.

        Args:
            after: The position before the first one wanted.
            records_max: How many at most.
            bytes_max: How many bytes of bodies as their senders wrote them; the one that passes it is the last.
        """

    def last_position(self) -> int:
        """The highest position appended, 0 if none ever was."""

    def continue_behind(self, position: int) -> None:
        """Give no position up to this one any more, also where the log was lost and is empty.

        What has been routed is known by its position: a record that gets such a one again would never be read.
        """

    def identity(self) -> LogIdentity:
        """Which log this is, as it stands now."""

    def reserve_generation(self, above: int) -> int:
        """Reserve a generation above this one and above all that were reserved before; returns it."""

    def confirm_generation(self, generation: int) -> None:
        """Note that the store has reached a generation."""

    def move_behind(self, position: int) -> int:
        """Give all records positions behind this one, in their order; returns how many records there are."""

    def refuse(self, error: StorageError) -> None:
        """Take nothing any more: from now on `append` raises this error."""

    def trim(self, through: int, *, records_max: int) -> int:
        """Forget at most `records_max` records up to position `through`; returns how many went."""

    def close(self) -> None:
        """Release the log; calls after it raise StorageError."""
