"""The event log in one SQLite file: one row per request body, compressed, synced at every commit.

Appending never waits for a checkpoint: a separate thread copies the write-ahead log into the file. Only when it has
nearly caught up, it makes SQLite restart the write-ahead log, which keeps that file small.
"""

import random
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from punchcard.errors import StorageError
from punchcard.log.append_notices import AppendNotices
from punchcard.log.bodies import DAMAGED_BODY_SHOWN_BYTES, BodyCompressor, unpacked_size
from punchcard.log.port import LOG_REPLACED, LogIdentity, LogRecord, NewRecord
from punchcard.log.row_damage import (
    RECEIVED_AT_MAX,
    UNCOMPRESSED_BYTES_MAX,
    damage_of,
    decode_text,
    is_instant,
    is_whole,
    text_or_nothing,
)
from punchcard.log.texts import storable_text
from punchcard.sqlite import begin_write, enable_write_ahead_log, prove_room, truncate_write_ahead_log

_PAGE_BYTES = 32_768  # compressed bodies have about 10 KB: with larger pages, fewer are written
_BUSY_SECONDS = 10.0
_CHECKPOINT_SECONDS = 0.25  # four times as long after few appends, which all change the same page
_FEW_APPENDS = 50
_RESTART_FROM_BYTES = 64_000_000  # of the write-ahead log
_RESTART_LEFT_BYTES_MAX = 32_000_000  # copied while appends wait
_RESTART_WAIT_SECONDS = 0.05

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    position INTEGER PRIMARY KEY AUTOINCREMENT,  -- a trimmed log never assigns a position again
    received_at INTEGER NOT NULL,
    write_key TEXT NOT NULL,
    call TEXT NOT NULL,
    encoding TEXT NOT NULL,
    ip TEXT NOT NULL,
    body BLOB NOT NULL
)
"""
_IDENTITY_SCHEMA = """
CREATE TABLE IF NOT EXISTS identity (
    id TEXT NOT NULL,  -- of this log; never changes
    reserved INTEGER NOT NULL,  -- the highest reserved generation
    confirmed INTEGER NOT NULL  -- the highest generation that the store has certainly reached
)
"""
# Uneven steps, so that two copies of a log cannot keep the same numbers.
_GENERATION_STEP_MAX = 1_000
_COLUMNS = 6
# Records are inserted by statements of this many rows: each statement releases the interpreter lock and gets it back
# only when the event loop pauses, so a group of 35 single events must not take 35 statements.
_ROWS = (64, 32, 16, 8, 4, 2, 1)
# A failure rolls back the whole unit of work anyway. With this clause SQLite need not be able to roll back a single
# statement, for which it would write a temporary file outside the data folder at every commit.
_INSERT = {
    rows: "INSERT OR ROLLBACK INTO records (received_at, write_key, call, encoding, ip, body) VALUES "
    + ", ".join(["(?, ?, ?, ?, ?, ?)"] * rows)
    for rows in _ROWS
}
# A body of extreme size stays in the file: one row must not fill the memory.
_SELECT = f"""
    SELECT position, received_at, write_key, call, encoding, ip,
           CASE WHEN typeof(body) IN ('blob', 'text') AND length(body) <= {UNCOMPRESSED_BYTES_MAX} THEN body END
    FROM records WHERE position > ? ORDER BY position LIMIT ?
"""
_RECEIVED_BEFORE = """
    SELECT received_at FROM records
    WHERE position < ? AND typeof(received_at) = 'integer' AND received_at BETWEEN 0 AND ?
    ORDER BY position DESC LIMIT 1
"""
_NOT_UNICODE = "decode to UTF-8"

_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


class SqliteEventLog:
    """An EventLog in a file. Several processes may have it open; only one writes at a time.

    Raises:
        StorageError: The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._closing = threading.Event()
        self._refusal: StorageError | None = None
        self._compressor = BodyCompressor()
        self._replacements = BodyCompressor()  # of another thread than the one that appends
        with _as_storage_error("opened", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect()
            self._create_tables()
            self._writer.execute("PRAGMA busy_timeout = 0")  # `begin_write` waits
            self._file = _file_of(path)
            self._notices = AppendNotices(self._file)
            self._reader = self._connect()
            self._checkpointer = self._connect()
            self._checkpointer.execute(f"PRAGMA busy_timeout = {int(_RESTART_WAIT_SECONDS * 1000)}")
        self._appended = threading.Event()
        self._appends = 0  # since the last checkpoint
        self._checkpoints = threading.Thread(target=self._keep_checkpointing, name="log-checkpoints", daemon=True)
        self._checkpoints.start()

    def append(self, records: Sequence[NewRecord]) -> Sequence[int]:
        """Make the records durable in one commit and return their positions."""
        with self._writing, _as_storage_error("written"):
            if self._refusal is not None:
                raise self._refusal
            self._refuse_replaced_file()
            values = self._values(records)
            with self._commit():
                last = self._insert(values)
        self._appends += 1
        self._appended.set()
        self._notices.send()
        # One writer at a time holds the file's lock, so its rows are consecutive.
        return range(last - len(records) + 1, last + 1)

    def read(self, after: int, *, records_max: int, bytes_max: int) -> Sequence[LogRecord]:
        """Return the next records after a position, in order; at least one if there is any."""
        with self._reading, _as_storage_error("read"):
            try:
                return self._read(after, records_max, bytes_max)
            except sqlite3.OperationalError as error:
                if _NOT_UNICODE not in str(error):
                    raise
                # One text that is not Unicode must not hide the rows after it; this mode costs a call per text.
                self._reader.text_factory = decode_text
                return self._read(after, records_max, bytes_max)

    def _read(self, after: int, records_max: int, bytes_max: int) -> list[LogRecord]:
        log_records: list[LogRecord] = []
        size = 0
        with closing(self._reader.execute(_SELECT, (after, records_max))) as cursor:
            for position, received_at, write_key, call, encoding, ip, body in cursor:
                record = LogRecord(received_at, write_key, call, encoding, body, ip, position)
                if not is_whole(record):
                    record = self._damaged(record)
                log_records.append(record)
                size += unpacked_size(record.encoding, record.body)
                if size >= bytes_max:
                    break
        if log_records:
            self._notices.note_records()
        return log_records

    def wait(self, after: int, *, seconds: float, poll_seconds: float) -> None:
        """Return when there may be a record after a position, at the latest when the time is over."""
        self._notices.wait(seconds=seconds, poll_seconds=poll_seconds, closing=self._closing)

    def last_position(self) -> int:
        """Return the highest position appended, 0 if there never was one."""
        with self._reading, _as_storage_error("read"):
            return self._last(self._reader)

    def continue_after(self, position: int) -> None:
        """Assign only positions after this one from now on, even if the log was lost and is empty."""
        with self._writing, _as_storage_error("written"), self._commit():
            if self._last(self._writer) >= position:
                return
            self._writer.execute("DELETE FROM sqlite_sequence WHERE name = 'records'")
            self._writer.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('records', ?)", (position,))

    def check_writes(self) -> None:
        """Write something beside the file of the log."""
        with _as_storage_error("written"):
            self._refuse_replaced_file()
            prove_room(self._path.parent)

    def identity(self) -> LogIdentity:
        """Return the current identity of the log."""
        with self._reading, _as_storage_error("read"):
            self._refuse_replaced_file()
            row = self._reader.execute("SELECT id, reserved, confirmed FROM identity").fetchone()
            return LogIdentity(*row)

    def reserve_generation(self, above: int) -> int:
        """Reserve and return a generation above this one and above all reserved before."""
        step = random.randint(1, _GENERATION_STEP_MAX)
        with self._writing, _as_storage_error("written"), self._commit():
            row = self._writer.execute(
                "UPDATE identity SET reserved = max(reserved, ?) + ? RETURNING reserved", (above, step)
            ).fetchone()
            return int(row[0])

    def confirm_generation(self, generation: int) -> None:
        """Record that the store has reached a generation."""
        with self._writing, _as_storage_error("written"), self._commit():
            self._writer.execute("UPDATE identity SET confirmed = max(confirmed, ?)", (generation,))

    def bind_store(self, store_id: str, *, replace: bool = False) -> None:
        """Do nothing: the log goes with its folder."""

    def move_after(self, position: int) -> int:
        """Move all records to positions after this one, in their order; return their number."""
        with self._writing, _as_storage_error("written"), self._commit():
            # After every position in use, so that no moved record collides with another.
            distance = max(position, self._last(self._writer))
            moved = self._writer.execute("UPDATE records SET position = position + ?", (distance,)).rowcount
            last = self._writer.execute("SELECT max(position) FROM records").fetchone()[0] or distance
            self._writer.execute("DELETE FROM sqlite_sequence WHERE name = 'records'")
            self._writer.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('records', ?)", (last,))
            return moved

    def refuse(self, error: StorageError) -> None:
        """Refuse new records: from now on `append` raises this error."""
        self._refusal = error

    def trim(self, through: int, *, records_max: int) -> int:
        """Delete up to `records_max` records up to position `through`; return the number deleted."""
        with self._writing, _as_storage_error("trimmed"), self._commit():
            return self._writer.execute(
                "DELETE FROM records WHERE position IN "
                "(SELECT position FROM records WHERE position <= ? ORDER BY position LIMIT ?)",
                (through, records_max),
            ).rowcount

    def replace_bodies(self, records: Sequence[LogRecord]) -> bool:
        """Replace the bodies of records that the log still holds, at their positions, and drop their addresses."""
        stored = self._replacements.compress(records)
        with self._writing, _as_storage_error("written"), self._commit():
            self._writer.executemany(
                "UPDATE records SET encoding = ?, body = ?, ip = '' WHERE position = ?",
                [(encoding, body, record.position) for record, (encoding, body) in zip(records, stored, strict=True)],
            )
        self._appended.set()
        return True

    def discard_replaced(self) -> bool:
        """Overwrite what replaced and trimmed records have left in the write-ahead log; False if it is being read."""
        with _as_storage_error("written"), self._writing, self._reading:
            return truncate_write_ahead_log(self._checkpointer)

    def close(self) -> None:
        """Close the file."""
        self._closing.set()
        self._appended.set()
        self._notices.send()
        self._checkpoints.join()
        with self._writing, self._reading:
            self._writer.close()
            self._reader.close()
            self._checkpointer.close()
        self._notices.close()

    def _create_tables(self) -> None:
        if self._writer.execute("SELECT 1 FROM sqlite_master WHERE name = 'identity'").fetchone():
            return
        with self._commit():
            self._writer.execute(_SCHEMA)
            self._writer.execute(_IDENTITY_SCHEMA)
            # If two processes create the log at the same time, the second waits for the first and finds its id.
            self._writer.execute(
                "INSERT INTO identity SELECT ?, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM identity)", (str(uuid.uuid4()),)
            )
        with suppress(sqlite3.Error):  # another process creates it at the same time and does this
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _refuse_replaced_file(self) -> None:
        """Raise an error if the file was removed or replaced: nobody would ever read what is appended to it."""
        if _file_of(self._path) != self._file:
            raise StorageError(
                f"{self._path} was removed or replaced while Punchcard was running. Restart Punchcard.",
                code=LOG_REPLACED,
            )

    def _values(self, records: Sequence[NewRecord]) -> list[object]:
        """Return the columns of all records in one list, with long bodies compressed."""
        values: list[object] = []
        for record, (encoding, body) in zip(records, self._compressor.compress(records), strict=True):
            values.append(record.received_at)
            values += (storable_text(text) for text in (record.write_key, record.call, encoding, record.ip))
            values.append(body)
        return values

    def _insert(self, values: Sequence[object]) -> int:
        """Insert rows given by their columns; return the last position."""
        last = begin = 0
        for rows in _ROWS:
            while (end := begin + rows * _COLUMNS) <= len(values):
                last = self._writer.execute(_INSERT[rows], values[begin:end]).lastrowid or 0
                begin = end
        return last

    def _damaged(self, row: LogRecord) -> LogRecord:
        """Return the record of a damaged row, with a time of receipt that fits its position in the log."""
        received_at = row.received_at
        if not is_instant(received_at):
            before = self._reader.execute(_RECEIVED_BEFORE, (row.position, RECEIVED_AT_MAX)).fetchone()
            received_at = 0 if before is None else before[0]
        return LogRecord(
            received_at,
            write_key=text_or_nothing(row.write_key),
            call=text_or_nothing(row.call),
            encoding=text_or_nothing(row.encoding),
            body=row.body if isinstance(row.body, bytes) else self._first_bytes(row.position),
            ip=text_or_nothing(row.ip),
            position=row.position,
            damage=damage_of(row),
        )

    def _first_bytes(self, position: int) -> bytes:
        """Return the beginning of a body that is too large or not bytes; empty if it holds no bytes."""
        with suppress(sqlite3.OperationalError), self._reader.blobopen("records", "body", position, readonly=True) as b:
            return b.read(DAMAGED_BODY_SHOWN_BYTES)
        return b""

    def _last(self, connection: sqlite3.Connection) -> int:
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
        return 0 if row is None else int(row[0])

    @contextmanager
    def _commit(self) -> Iterator[None]:
        begin_write(self._writer, wait_seconds=_BUSY_SECONDS)
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # the original error is raised below
                self._writer.execute("ROLLBACK")
            raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=16
        )
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        enable_write_ahead_log(connection, wait_seconds=_BUSY_SECONDS)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA secure_delete = ON")  # deleted and replaced bodies are overwritten
        return connection

    def _keep_checkpointing(self) -> None:
        wal = self._path.with_name(self._path.name + "-wal")
        while not self._closing.is_set():
            self._appended.wait()
            self._appended.clear()
            if self._closing.wait(_CHECKPOINT_SECONDS):
                break
            if self._appends < _FEW_APPENDS and self._closing.wait(3 * _CHECKPOINT_SECONDS):
                break
            self._appends = 0
            # A full disk is reported to those who append; here the next round tries again.
            with suppress(sqlite3.Error, OSError):
                _, pages, copied = self._checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                is_nearly_copied = (pages - copied) * _PAGE_BYTES <= _RESTART_LEFT_BYTES_MAX
                if is_nearly_copied and wal.stat().st_size > _RESTART_FROM_BYTES:
                    self._restart_wal()

    def _restart_wal(self) -> None:
        # Copying the rest takes milliseconds, during which appends wait here instead of polling in SQLite, and no
        # reader of this process holds the old end of the file. Another process may hold it, for example a backup for
        # minutes. Then little is copied after it, and appends wait only briefly, because the next round tries again.
        with self._writing, self._reading:
            self._checkpointer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _file_of(path: Path) -> tuple[int, int] | None:
    """Return what distinguishes a file from one that replaces it, None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def _as_storage_error(action: str, path: Path | None = None) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        name = "The event log" if path is None else f"{path}: The event log"
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # errors of the driver itself have none
        advice = ""
        if code in _DAMAGED:
            advice = " The file is damaged. Stop Punchcard and restore it from a backup (docs/how-to/operate.md)."
        raise StorageError(f"{name} cannot be {action}: {error}.{advice}") from error
