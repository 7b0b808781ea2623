"""The event log in PostgreSQL, for processes on several machines: one row per request body, compressed.

Positions are assigned under a row lock that is held until the commit is done. A sequence would be faster and wrong:
transactions do not commit in the order in which they take its numbers, so a reader would skip records for ever.
"""

import random
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

import psycopg

from punchcard.errors import ConfigurationError, StorageError, StorageSettingsError
from punchcard.log import postgres_schema as sql
from punchcard.log.bodies import BodyCompressor, unpacked_size
from punchcard.log.partitions import PartitionLayout, bucket_of
from punchcard.log.port import LOG_REPLACED, LogIdentity, LogRecord, NewRecord
from punchcard.log.postgres_session import PostgresSession, describe_url, read_parameters
from punchcard.log.texts import storable_text
from punchcard.postgres import await_older_readers, is_settings_fault, message_of, prove_room, unreachable_remedy

_GENERATION_STEP_MAX: Final = 1_000  # uneven steps, so that two copies of a log cannot keep the same numbers
_DAMAGED: Final = (psycopg.errors.DataCorrupted, psycopg.errors.InternalError_)  # of the server's files
_ROWS_FIRST: Final = 64  # of large bodies that are as many as one step of routing reads
_ROWS_FACTOR: Final = 4
_APPEND_TRIES: Final = 3  # the number of partitions seldom changes twice in the life of a log


class PostgresEventLog:
    """An EventLog in a PostgreSQL database, its own or that of the store. Connects again after every failure.

    Args:
        url: `postgresql://…`, as libpq reads it.

    Raises:
        ConfigurationError: The URL cannot be parsed, or the database was written by a newer version.
        StorageError: The database is not available.
    """

    def __init__(self, url: str) -> None:
        try:
            self._parameters = read_parameters(url)
        except psycopg.Error as error:
            raise ConfigurationError(
                "log_url: The URL is not a PostgreSQL URL: postgresql://user@host/name."
            ) from error
        self.place = describe_url(url)
        self._compressor = BodyCompressor()
        self._refusal: StorageError | None = None
        self._closed = False
        self._partitions = 1  # as last known: an append under another number finds out
        self._writer = PostgresSession(self._parameters)
        self._reader = PostgresSession(self._parameters)
        self._listener = PostgresSession(self._parameters, listens=True)
        try:
            self._id = self._create()
            self._partitions = self.partitions().count
        except BaseException:
            self.close()  # nobody can close a log that was not opened
            raise

    def append(self, records: Sequence[NewRecord]) -> Sequence[int]:
        """Make the records durable in one commit and return their positions."""
        if self._refusal is not None:
            raise self._refusal
        if not records:
            return []
        with self._use(self._writer, "written") as connection:
            stored = self._compressor.compress(records)
            values = {
                "log_id": self._id,
                "count": len(records),
                "received_at": [record.received_at for record in records],
                "size_bytes": [unpacked_size(encoding, body) for encoding, body in stored],
                "write_key": [storable_text(record.write_key) for record in records],
                "call": [storable_text(record.call) for record in records],
                "encoding": [storable_text(encoding) for encoding, _ in stored],
                "ip": [storable_text(record.ip) for record in records],
                "body": [body for _, body in stored],
            }
            for _ in range(_APPEND_TRIES):
                row = self._append(connection, values, records)
                if row is not None:
                    break
                self._partitions = self._layout(connection).count  # it was changed meanwhile
            else:
                raise StorageError(f"The event log at {self.place} has lost its end. Restore the database.")
        last = int(row[0])
        return range(last - len(records) + 1, last + 1)

    def _append(
        self,
        connection: "psycopg.Connection[tuple[Any, ...]]",
        values: Mapping[str, object],
        records: Sequence[NewRecord],
    ) -> tuple[Any, ...] | None:
        """Append under the number of partitions that is known; return None, and append nothing, if it is another."""
        if self._partitions == 1:
            return connection.execute(sql.APPEND, {**values, "partitions": 1}, prepare=True).fetchone()
        divided = {**values, "partitions": self._partitions, "bucket": [bucket_of(record) for record in records]}
        return connection.execute(cast(Any, sql.APPEND_DIVIDED), divided, prepare=True).fetchone()

    def read(self, after: int, *, records_max: int, bytes_max: int) -> Sequence[LogRecord]:
        """Return the next records after a position, in order; at least one if there is any."""
        return self._read_next(after, None, records_max=records_max, bytes_max=bytes_max)[0]

    def read_partition(
        self, partition: int, after: int, *, records_max: int, bytes_max: int
    ) -> tuple[Sequence[LogRecord], int]:
        """Return the next records of a partition after a position, and the position through which these are all."""
        records, end = self._read_next(after, partition, records_max=records_max, bytes_max=bytes_max)
        return records, records[-1].position if records else max(after, end)

    def _read_next(
        self, after: int, partition: int | None, *, records_max: int, bytes_max: int
    ) -> tuple[Sequence[LogRecord], int]:
        """Return the next records, and for a partition the end of the log when they were read."""
        self._forget_notifications()
        log_records: list[LogRecord] = []
        size = end = 0
        rows_max = _ROWS_FIRST
        while len(log_records) < records_max and size < bytes_max:
            rows_max = min(rows_max, records_max - len(log_records))
            portion = {"after": after, "rows": rows_max, "bytes": bytes_max - size}
            records, end = self._read({**portion, "partition": partition, "log_id": self._id})
            log_records += records
            size += sum(unpacked_size(record.encoding, record.body) for record in records)
            if len(records) < rows_max:
                break
            after = log_records[-1].position
            rows_max *= _ROWS_FACTOR
        return log_records, end

    def _read(self, values: Mapping[str, object]) -> tuple[list[LogRecord], int]:
        is_partition = values["partition"] is not None
        try:
            rows, end = self._fetch_portion(sql.READ_PARTITION if is_partition else sql.READ, values)
        except StorageError as error:
            if not isinstance(error.__cause__, _DAMAGED):
                raise
            # One body that is damaged at rest must not hide the records after it.
            without_bodies = sql.READ_PARTITION_WITHOUT_BODIES if is_partition else sql.READ_WITHOUT_BODIES
            rows, end = self._fetch_portion(without_bodies, values)
            return [self._read_alone(*row) for row in rows], end
        return [LogRecord(*row) for row in rows], end

    def _fetch_portion(self, statement: str, values: Mapping[str, object]) -> tuple[list[Any], int]:
        rows = self._fetch(statement, values)
        if values["partition"] is None:
            return rows, 0
        if not rows:
            raise self._replaced()
        return [row[1:] for row in rows if row[1] is not None], int(rows[0][0])

    def _read_alone(
        self, received_at: int, write_key: str, call: str, encoding: str, size_bytes: int, ip: str, position: int
    ) -> LogRecord:
        body, damage = b"", ""
        try:
            body = self._fetch(sql.READ_BODY, {"position": position})[0][0]
        except StorageError as error:
            if not isinstance(error.__cause__, _DAMAGED):
                raise
            damage = f"its body of {size_bytes:,} bytes cannot be read: {' '.join(str(error.__cause__).split())}"
        return LogRecord(received_at, write_key, call, encoding, body, ip, position, damage)

    def partitions(self) -> PartitionLayout:
        """Return the current layout."""
        with self._use(self._writer, "read") as connection:
            return self._layout(connection)

    def _layout(self, connection: "psycopg.Connection[tuple[Any, ...]]") -> PartitionLayout:
        row = connection.execute(sql.LAYOUT, {"log_id": self._id}).fetchone()
        if row is None:
            raise self._replaced()
        return PartitionLayout(*row)

    def set_partitions(self, count: int) -> PartitionLayout:
        """Divide the records that are appended from now on by this number; return the layout."""
        with self._use(self._writer, "written") as connection:
            with connection.transaction():
                values = {"partitions": count, "log_id": self._id}
                # Appends wait for this row; then they find another number in it and append nothing.
                row = connection.execute(sql.DIVIDE_HEAD, values).fetchone()
                if row is not None:
                    change = {"partitions": count, "position": row[0], "version": sql.SCHEMA_VERSION}
                    connection.execute(sql.DIVIDE, change)
            layout = self._layout(connection)
        self._partitions = layout.count
        return layout

    def check_writes(self) -> None:
        """Grow a temporary table in a transaction that may write: a full disk refuses it."""
        with self._use(self._writer, "written") as connection, connection.transaction():
            prove_room(lambda statement: connection.execute(cast(Any, statement)))

    def last_position(self) -> int:
        """Return the highest position appended, 0 if there never was one."""
        rows = self._fetch(sql.LAST_POSITION, {"log_id": self._id})
        if not rows:
            raise self._replaced()
        return int(rows[0][0])

    def wait(self, after: int, *, seconds: float, poll_seconds: float) -> None:
        """Return when there may be a record after a position: notified by its appender, or else by polling."""
        try:
            with self._use(self._listener, "read") as connection:
                if self._listener.is_new:
                    self._listener.is_new = False
                    row = connection.execute(sql.LAST_POSITION, {"log_id": self._id}).fetchone()
                    if row is not None and row[0] > after:  # appended before this session began to listen
                        return
                for _ in connection.notifies(timeout=seconds, stop_after=1):
                    pass
                for _ in connection.notifies(timeout=0):  # one look at the log answers all of them
                    pass
        except StorageError:
            # Reading reports it. Meanwhile this must not become a busy loop.
            threading.Event().wait(poll_seconds)

    def continue_after(self, position: int) -> None:
        """Assign only positions after this one from now on, even if the log was lost and is empty."""
        with self._use(self._writer, "written") as connection:
            connection.execute(sql.CONTINUE_AFTER, {"position": position, "log_id": self._id})

    def identity(self) -> LogIdentity:
        """Return the current identity of the log."""
        rows = self._fetch(sql.IDENTITY, {})
        if len(rows) != 1 or rows[0][0] != self._id:
            raise self._replaced()
        id, reserved, confirmed, store_id, _ = rows[0]
        return LogIdentity(id=id, reserved=reserved, confirmed=confirmed, store_id=store_id)

    def reserve_generation(self, above: int) -> int:
        """Reserve and return a generation above this one and above all reserved before."""
        values = {"above": above, "step": random.randint(1, _GENERATION_STEP_MAX)}
        with self._use(self._writer, "written") as connection:
            row = connection.execute(sql.RESERVE, values).fetchone()
        if row is None:
            raise self._replaced()
        return int(row[0])

    def confirm_generation(self, generation: int) -> None:
        """Record that the store has reached a generation."""
        with self._use(self._writer, "written") as connection:
            connection.execute(sql.CONFIRM, {"generation": generation})

    def bind_store(self, store_id: str, *, replace: bool = False) -> None:
        """Make the log belong to a store, unless it belongs to one already and must not get another."""
        with self._use(self._writer, "written") as connection:
            connection.execute(sql.BIND_STORE, {"store_id": store_id, "replace": replace})

    def move_after(self, position: int) -> int:
        """Move all records to positions after this one, in their order; return their number."""
        with self._use(self._writer, "written") as connection, connection.transaction():
            connection.execute("SET LOCAL statement_timeout = 0")  # it rewrites every row
            row = connection.execute(sql.LOCK_HEAD, {"log_id": self._id}).fetchone()
            if row is None:
                raise self._replaced()
            # After every position in use, so that no moved record collides with another.
            distance = max(position, int(row[0]))
            moved = connection.execute(sql.MOVE, {"distance": distance}).rowcount
            connection.execute(sql.SET_HEAD, {"distance": distance, "log_id": self._id})
            connection.execute(sql.MOVE_CHANGE, {"distance": distance})
        return moved

    def refuse(self, error: StorageError) -> None:
        """Refuse new records: from now on `append` raises this error."""
        self._refusal = error

    def trim(self, through: int, *, records_max: int) -> int:
        """Delete up to `records_max` records up to position `through`; return the number deleted."""
        with self._use(self._writer, "trimmed") as connection:
            row = connection.execute(sql.TRIM, {"through": through, "rows": records_max}).fetchone()
        return 0 if row is None else int(row[0])

    def replace_bodies(self, records: Sequence[LogRecord]) -> bool:
        """Replace the bodies of records that the log still holds, at their positions, and drop their addresses."""
        stored = BodyCompressor().compress(records)
        rows = [
            {
                "position": record.position,
                "encoding": encoding,
                "body": body,
                "size_bytes": unpacked_size(encoding, body),
            }
            for record, (encoding, body) in zip(records, stored, strict=True)
        ]
        with self._use(self._writer, "written") as connection, connection.cursor() as cursor:
            cursor.executemany(sql.REPLACE_BODY, rows)
        return True

    def discard_replaced(self) -> bool:
        """Free the old versions of replaced and trimmed rows now: the server's own vacuum may come much later."""
        session = PostgresSession(self._parameters)  # of its own: appends do not wait for it
        with self._use(session, "vacuumed") as connection:
            connection.execute("SET statement_timeout = 0")
            is_free = await_older_readers(lambda statement: next(connection.execute(statement))[0])
            if is_free:
                connection.execute("VACUUM (ANALYZE) event_log_records")
            session.close()
        return is_free

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        for session in (self._writer, self._reader, self._listener):
            with session.lock:
                session.close()

    def _create(self) -> str:
        """Create the tables if they are missing; return the id of the log."""
        with self._use(self._writer, "opened") as connection:
            if connection.execute("SHOW server_encoding").fetchone() != ("UTF8",):
                raise ConfigurationError(f"log_url: The encoding of the database at {self.place} must be UTF8.")
            if connection.execute("SELECT to_regclass('event_log')::text").fetchone() == (None,):
                with connection.transaction():
                    # Of two processes that start at the same time, the second waits here and finds the log created.
                    connection.execute("SELECT pg_advisory_xact_lock(%s)", (sql.LOCK_KEY,))
                    for statement in sql.CREATE:
                        connection.execute(statement)
                    values = {"id": str(uuid.uuid4()), "version": sql.UNDIVIDED_VERSION}
                    connection.execute(sql.CREATE_IDENTITY, values)
                    connection.execute(sql.CREATE_HEAD)
            elif connection.execute(sql.COLUMNS_MISSING).fetchone() == (True,):
                with connection.transaction():
                    connection.execute("SELECT pg_advisory_xact_lock(%s)", (sql.LOCK_KEY,))
                    for statement in sql.ADD_COLUMNS:
                        connection.execute(statement)
            row = connection.execute(sql.IDENTITY).fetchone()
        if row is None:
            raise StorageError(f"The event log at {self.place} has lost its identity. Restore the database.")
        if row[4] > sql.SCHEMA_VERSION:
            raise ConfigurationError(
                f"log_url: The event log at {self.place} was written by a newer version of Punchcard. "
                "Install that version here too."
            )
        return str(row[0])

    def _fetch(self, statement: str, values: Mapping[str, object]) -> list[Any]:
        """Read rows; once more on a new connection if the server has ended the old one, as after its restart."""
        try:
            return self._fetch_once(statement, values)
        except StorageError:
            if self._closed or not self._reader.was_lost:
                raise
        return self._fetch_once(statement, values)

    def _fetch_once(self, statement: str, values: Mapping[str, object]) -> list[Any]:
        with self._use(self._reader, "read") as connection, connection.cursor(binary=True) as cursor:
            return cursor.execute(cast(Any, statement), values, prepare=True).fetchall()

    @contextmanager
    def _use(self, session: "PostgresSession", action: str) -> "Iterator[psycopg.Connection[tuple[Any, ...]]]":
        """Use a session, alone, and end it after any failure: the next use connects again.

        Raises:
            StorageError: The database is not available. A write may be durable nevertheless, if the
                connection was lost before the response.
        """
        with session.lock:
            if self._closed:
                raise StorageError(f"The event log at {self.place} is closed.")
            session.was_lost = False
            try:
                yield session.connect()
            except psycopg.Error as error:
                session.was_lost = session.is_lost()
                session.close()
                if isinstance(error, psycopg.errors.UndefinedTable):
                    raise self._replaced() from error
                message = message_of(error) or type(error).__name__
                if is_settings_fault(error):
                    raise StorageSettingsError(
                        f"The event log at {self.place} cannot be {action}: {message}. Correct PUNCHCARD_LOG_URL, or "
                        "what the database allows this user."
                    ) from error
                message += unreachable_remedy(error, "PUNCHCARD_LOG_URL")
                raise StorageError(f"The event log at {self.place} cannot be {action}: {message}") from error
            except BaseException:
                session.close()  # it may be in the middle of a statement
                raise

    def _forget_notifications(self) -> None:
        """Take what was notified while nobody waited, so that it does not pile up at the server."""
        if self._listener.lock.acquire(blocking=False):
            try:
                self._listener.drain()
            finally:
                self._listener.lock.release()

    def _replaced(self) -> StorageError:
        return StorageError(
            f"The event log at {self.place} was removed or replaced while Punchcard was running. Restart Punchcard.",
            code=LOG_REPLACED,
        )
