"""The event log's port: an append-only, totally ordered, durable list of request bodies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from punchcard.errors import StorageError

LOG_REPLACED = "log_replaced"
"""Code of the error after the log was removed, or restored from a copy, while the process was running."""


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A request as accepted by the Tracking API.

    Attributes:
        received_at: Microseconds since 1970-01-01 UTC.
        write_key: Write key of the request, known or not.
        call: `batch` or the name of the single call (`track` …).
        encoding: How `body` is encoded: `identity`, `gzip` or `zstd`.
        body: The request body as received, possibly compressed.
        ip: Address of a client-side sender, otherwise "".
    """

    received_at: int
    write_key: str
    call: str
    encoding: str
    body: bytes
    ip: str


@dataclass(frozen=True, slots=True)
class LogRecord(NewRecord):
    """A record with its position in the log. Positions rise; there may be gaps.

    A record becomes visible after all those with lower positions: a reader that continues after the last position that
    it has seen misses nothing.

    Attributes:
        damage: Description of damage to the stored row, "" if there is none. Unreadable columns then hold "", and
            `body` holds the first bytes of what is stored.
    """

    position: int
    damage: str = ""


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """The identity of a log, and what it knows about the generation that it shares with its store.

    A generation is first reserved here, then reached by the store, then confirmed here. So normally
    `confirmed <= the store's generation <= reserved`, whenever a process ends. A store below that is an older copy, and
    a store above has continued with another copy of this log.

    Attributes:
        id: Assigned when the log was created; never changes.
        store_id: The store to which a shared log belongs; "" before that, and always for a log in a data folder.
    """

    id: str
    reserved: int
    confirmed: int
    store_id: str = ""


class RecordReader(Protocol):
    """What routing reads: a log, or one of its partitions."""

    def read(self, after: int, *, records_max: int, bytes_max: int) -> Sequence[LogRecord]:
        """Return the next records after a position, in order; see `EventLog.read`."""


class EventLog(Protocol):
    """The log that ingest appends to and routing reads in order. Thread-safe."""

    def append(self, records: Sequence[NewRecord]) -> Sequence[int]:
        """Make the records durable in one commit and return their positions.

        Raises:
            StorageError: The records are not durable (disk full, locked, not available), or it is unknown whether they
                are, because the connection to a server was lost before its response. Senders repeat what is answered
                with 503, and message ids make the repetition harmless.
        """

    def read(self, after: int, *, records_max: int, bytes_max: int) -> Sequence[LogRecord]:
        """Return the next records after a position, in order; at least one if there is any.

        A damaged row is returned in its place like any other, with its `damage`.

        Args:
            after: The position before the first record to return.
            records_max: Maximum number of records.
            bytes_max: Maximum bytes of bodies as their senders wrote them; the record that exceeds it is the last.
        """

    def wait(self, after: int, *, seconds: float, poll_seconds: float) -> None:
        """Return when there may be a record after a position, at the latest when the time is over.

        Args:
            after: The position of the last record that was read.
            seconds: The maximum time to wait.
            poll_seconds: How long a log waits that is not notified of new records, or not at the moment.
        """

    def check_writes(self) -> None:
        """Write something without effect: reading succeeds on a disk that is full.

        Raises:
            StorageError: Records cannot be appended.
        """

    def last_position(self) -> int:
        """Return the highest position appended, 0 if there never was one."""

    def continue_after(self, position: int) -> None:
        """Assign only positions after this one from now on, even if the log was lost and is empty.

        Routed records are known by their positions, so a new record with an old position would never be read.
        """

    def identity(self) -> LogIdentity:
        """Return the current identity of the log."""

    def reserve_generation(self, above: int) -> int:
        """Reserve and return a generation above this one and above all reserved before."""

    def confirm_generation(self, generation: int) -> None:
        """Record that the store has reached a generation."""

    def bind_store(self, store_id: str, *, replace: bool = False) -> None:
        """Make a shared log belong to a store; without effect if it belongs to one and must not get another.

        Two stores on one log would make every award twice. A log in a data folder goes with the folder.
        """

    def move_after(self, position: int) -> int:
        """Move all records to positions after this one, in their order; return their number."""

    def refuse(self, error: StorageError) -> None:
        """Refuse new records: from now on `append` raises this error."""

    def trim(self, through: int, *, records_max: int) -> int:
        """Delete up to `records_max` records up to position `through`; return the number deleted.

        A log that deletes bodies later than records deletes those that are due at every call.
        """

    def replace_bodies(self, records: Sequence[LogRecord]) -> bool:
        """Replace the bodies of records that the log still holds, at their positions, and drop their addresses.

        Returns:
            False if this kind of log cannot change a record: its records end with their retention.
        """

    def discard_replaced(self) -> bool:
        """Overwrite what replaced and trimmed records have left in files; False if it must be tried again later."""

    def close(self) -> None:
        """Close the log; calls after it raise StorageError."""


@runtime_checkable
class DeletesBodiesLater(Protocol):
    """A log that may still hold the body of a record that can no longer be read."""

    def deleted_through(self) -> int:
        """Return the position up to which nothing of any record is left.

        Raises:
            StorageError: The log is not available.
        """
