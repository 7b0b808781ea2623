"""The event log in one SQLite file: one row per request body, compressed, synced at every commit.

Appending never waits for a checkpoint: a thread of its own copies the write-ahead log into the file, and only when
it has nearly caught up does it make SQLite start the write-ahead log over, which keeps that file small.
"""

import random
import sqlite3
import threading
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import zstandard

from punchcard.errors import StorageError, UnreadableRecordError
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
from punchcard.sqlite import write_ahead

_PAGE_BYTES = 32_768  # bodies are some 10 KB compressed: larger pages mean fewer of them to write
_BUSY_SECONDS = 10.0
_COMPRESS_FROM_BYTES = 512
_LEVEL = 1
_CHECKPOINT_SECONDS = 0.25
_RESTART_FROM_BYTES = 64_000_000  # of the write-ahead log
_RESTART_LEFT_BYTES_MAX = 32_000_000  # still to be copied while everybody waits
_RESTART_WAIT_SECONDS = 0.05
_GZIP_SIZE_BYTES = 4  # the last of a gzip file: its unpacked size

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    position INTEGER PRIMARY KEY AUTOINCREMENT,  -- a trimmed log never gives a position again
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
    id TEXT NOT NULL,  -- of this log, for ever
    reserved INTEGER NOT NULL,  -- the highest generation that was handed out
    confirmed INTEGER NOT NULL  -- the highest generation that the store has reached for sure
)
"""
# Uneven steps, so that two copies of one log cannot keep step with each other.
_GENERATION_STEP_MAX = 1_000
_COLUMNS = 6
# Records go in by statements of these many rows: each statement gives up the interpreter's lock, and gets it back only
# when the event loop pauses, so a group of 35 single events must not be 35 statements.
_ROWS = (64, 32, 16, 8, 4, 2, 1)
# A failure leads to rolling back the whole unit of work anyway. Told so, SQLite need not be able to take back one
# statement alone, for which it would write a temporary file outside the data folder at every commit.
_INSERT = {
    rows: "INSERT OR ROLLBACK INTO records (received_at, write_key, call, encoding, ip, body) VALUES "
    + ", ".join(["(?, ?, ?, ?, ?, ?)"] * rows)
    for rows in _ROWS
}
# The body of an absurd size stays in the file: one row must not take all memory.
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
_DAMAGED_BODY_SHOWN_BYTES = 65_536
_NOT_UNICODE = "decode to UTF-8"
_GZIP_SALVAGED_BYTES = 256  # what is unpacked before the damage comes out in such steps

_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


class SqliteEventLog:
    """An EventLog in a file. Several processes may have it open; one of them writes at a time.

    Raises:
        StorageError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._closing = threading.Event()
        self._refusal: StorageError | None = None
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)
        with _as_storage_error("opened", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect()
            self._create_tables()
            self._file = _file_of(path)
            self._reader = self._connect()
            self._checkpointer = self._connect()
            self._checkpointer.execute(f"PRAGMA busy_timeout = {int(_RESTART_WAIT_SECONDS * 1000)}")
        self._appended = threading.Event()
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
        self._appended.set()
        # One writer at a time holds the file's lock, so what it adds is consecutive.
        return range(last - len(records) + 1, last + 1)

    def read(self, after: int, *, records_max: int, bytes_max: int) -> Sequence[LogRecord]:
        """The next records behind position `after`, in order; at least one if there is any."""
        with self._reading, _as_storage_error("read"):
            try:
                return self._read(after, records_max, bytes_max)
            except sqlite3.OperationalError as error:
                if _NOT_UNICODE not in str(error):
                    raise
                # One text that is not Unicode must not hide the rows behind it; reading so costs a call for each text.
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
                size += _unpacked_size(record.encoding, record.body)
                if size >= bytes_max:
                    break
        return log_records

    def last_position(self) -> int:
        """The highest position appended, 0 if none ever was."""
        with self._reading, _as_storage_error("read"):
            return self._last(self._reader)

    def continue_behind(self, position: int) -> None:
        """Give no position up to this one any more, also where the log was lost and is empty."""
        with self._writing, _as_storage_error("written"), self._commit():
            if self._last(self._writer) >= position:
                return
            self._writer.execute("DELETE FROM sqlite_sequence WHERE name = 'records'")
            self._writer.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('records', ?)", (position,))

    def identity(self) -> LogIdentity:
        """Which log this is, as it stands now."""
        with self._reading, _as_storage_error("read"):
            self._refuse_replaced_file()
            row = self._reader.execute("SELECT id, reserved, confirmed FROM identity").fetchone()
            return LogIdentity(*row)

    def reserve_generation(self, above: int) -> int:
        """Reserve a generation above this one and above all that were reserved before; returns it."""
        step = random.randint(1, _GENERATION_STEP_MAX)
        with self._writing, _as_storage_error("written"), self._commit():
            row = self._writer.execute(
                "UPDATE identity SET reserved = max(reserved, ?) + ? RETURNING reserved", (above, step)
            ).fetchone()
            return int(row[0])

    def confirm_generation(self, generation: int) -> None:
        """Note that the store has reached a generation."""
        with self._writing, _as_storage_error("written"), self._commit():
            self._writer.execute("UPDATE identity SET confirmed = max(confirmed, ?)", (generation,))

    def move_behind(self, position: int) -> int:
        """Give all records positions behind this one, in their order; returns how many records there are."""
        with self._writing, _as_storage_error("written"), self._commit():
            # Behind every position that is in use, so that no record meets another one on its way.
            distance = max(position, self._last(self._writer))
            moved = self._writer.execute("UPDATE records SET position = position + ?", (distance,)).rowcount
            last = self._writer.execute("SELECT max(position) FROM records").fetchone()[0] or distance
            self._writer.execute("DELETE FROM sqlite_sequence WHERE name = 'records'")
            self._writer.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('records', ?)", (last,))
            return moved

    def refuse(self, error: StorageError) -> None:
        """Take nothing any more: from now on `append` raises this error."""
        self._refusal = error

    def trim(self, through: int, *, records_max: int) -> int:
        """Forget at most `records_max` records up to position `through`; returns how many went."""
        with self._writing, _as_storage_error("trimmed"), self._commit():
            return self._writer.execute(
                "DELETE FROM records WHERE position IN "
                "(SELECT position FROM records WHERE position <= ? ORDER BY position LIMIT ?)",
                (through, records_max),
            ).rowcount

    def close(self) -> None:
        """Release the file."""
        self._closing.set()
        self._appended.set()
        self._checkpoints.join()
        with self._writing, self._reading:
            self._writer.close()
            self._reader.close()
            self._checkpointer.close()

    def _create_tables(self) -> None:
        if self._writer.execute("SELECT 1 FROM sqlite_master WHERE name = 'identity'").fetchone():
            return
        with self._commit():
            self._writer.execute(_SCHEMA)
            self._writer.execute(_IDENTITY_SCHEMA)
            # Of two processes that create the log together, the second one waits for the first and finds its id.
            self._writer.execute(
                "INSERT INTO identity SELECT ?, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM identity)", (str(uuid.uuid4()),)
            )
        with suppress(sqlite3.Error):  # another process is creating it too; either may do this
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _refuse_replaced_file(self) -> None:
        """What is appended to a file that was removed or restored from a copy, nobody will ever read."""
        if _file_of(self._path) != self._file:
            raise StorageError(
                f"{self._path} was removed or replaced while Punchcard was running: restart Punchcard",
                code=LOG_REPLACED,
            )

    def _values(self, records: Sequence[NewRecord]) -> list[object]:
        """The columns of all records in a row, long bodies compressed."""
        long: list[bytes | bytearray | memoryview[int]] = [
            record.body
            for record in records
            if record.encoding == "identity" and len(record.body) >= _COMPRESS_FROM_BYTES
        ]
        packed = iter(self._compressor.multi_compress_to_buffer(long)) if long else iter(())
        values: list[object] = []
        for one in records:
            body, encoding = one.body, one.encoding
            if encoding == "identity" and len(body) >= _COMPRESS_FROM_BYTES:
                body, encoding = next(packed).tobytes(), "zstd"
            values += (one.received_at, one.write_key, one.call, encoding, one.ip, body)
        return values

    def _insert(self, values: Sequence[object]) -> int:
        """Insert the rows that these columns are; returns the last position."""
        last = begin = 0
        for rows in _ROWS:
            while (end := begin + rows * _COLUMNS) <= len(values):
                last = self._writer.execute(_INSERT[rows], values[begin:end]).lastrowid or 0
                begin = end
        return last

    def _damaged(self, row: LogRecord) -> LogRecord:
        """The record of a damaged row, with a time of receipt that its place in the log allows."""
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
        """The beginning of a body that is too large, or of another type; empty if it holds no bytes."""
        with suppress(sqlite3.OperationalError), self._reader.blobopen("records", "body", position, readonly=True) as b:
            return b.read(_DAMAGED_BODY_SHOWN_BYTES)
        return b""

    def _last(self, connection: sqlite3.Connection) -> int:
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'records'").fetchone()
        return 0 if row is None else int(row[0])

    @contextmanager
    def _commit(self) -> Iterator[None]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # the cause is already on its way up
                self._writer.execute("ROLLBACK")
            raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=16
        )
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        write_ahead(connection, wait_seconds=_BUSY_SECONDS)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        return connection

    def _keep_checkpointing(self) -> None:
        wal = self._path.with_name(self._path.name + "-wal")
        while not self._closing.is_set():
            self._appended.wait()
            self._appended.clear()
            if self._closing.wait(_CHECKPOINT_SECONDS):
                break
            # A disk without room is told to those who append; here the next round tries again.
            with suppress(sqlite3.Error, OSError):
                _, pages, copied = self._checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                is_nearly_copied = (pages - copied) * _PAGE_BYTES <= _RESTART_LEFT_BYTES_MAX
                if is_nearly_copied and wal.stat().st_size > _RESTART_FROM_BYTES:
                    self._restart_wal()

    def _restart_wal(self) -> None:
        # What is left takes some milliseconds, in which appending waits here rather than in SQLite's polling, and no
        # reader of this process holds the old end of the file. Another process may, a backup for minutes: behind it
        # little is copied, and whoever appends waits for it a moment only, for the next round will do as well.
        with self._writing, self._reading:
            self._checkpointer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _file_of(path: Path) -> tuple[int, int] | None:
    """What tells a file from any that takes its place, None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _unpacked_size(encoding: str, body: bytes) -> int:
    """How large a body was as its sender wrote it, as the compressed form itself says; of a damaged one, as it is."""
    if encoding == "zstd":
        with suppress(zstandard.ZstdError):
            return max(len(body), zstandard.frame_content_size(body))
    if encoding == "gzip" and len(body) >= _GZIP_SIZE_BYTES:
        return int.from_bytes(body[-_GZIP_SIZE_BYTES:], "little")
    return len(body)


def uncompressed(record: NewRecord) -> bytes:
    """The record's body as its sender wrote it.

    Raises:
        UnreadableRecordError: its row is damaged, it cannot be unpacked, or it is larger than any body that is ever
            taken in.
    """
    if isinstance(record, LogRecord) and record.damage:
        raise UnreadableRecordError(f"The log record is damaged: {record.damage}.")
    try:
        if record.encoding == "identity":
            return record.body
        if record.encoding == "zstd":
            # Without a look at the size that a frame states, a damaged one may ask for all memory.
            if zstandard.frame_content_size(record.body) > UNCOMPRESSED_BYTES_MAX:
                raise ValueError(f"the body unpacks to more than {UNCOMPRESSED_BYTES_MAX:,} bytes")
            return zstandard.ZstdDecompressor().decompress(record.body, max_output_size=UNCOMPRESSED_BYTES_MAX)
        if record.encoding == "gzip":
            return gunzip(record.body, bytes_max=UNCOMPRESSED_BYTES_MAX)
    except (zstandard.ZstdError, zlib.error, ValueError, MemoryError) as error:
        raise UnreadableRecordError(f"The log record cannot be unpacked: {error}.") from error
    raise UnreadableRecordError(f'The log record has the unknown encoding "{record.encoding[:40]}".')


def salvaged(record: NewRecord) -> bytes:
    """As much of a damaged body as can be unpacked from its beginning on."""
    body = record.body
    unpacked = bytearray()
    with suppress(zstandard.ZstdError, zlib.error, ValueError, MemoryError):
        if record.encoding == "zstd":
            with zstandard.ZstdDecompressor().stream_reader(body) as reader:
                while len(unpacked) < UNCOMPRESSED_BYTES_MAX and (part := reader.read(_DAMAGED_BODY_SHOWN_BYTES)):
                    unpacked += part
        elif record.encoding == "gzip":
            unpacker = zlib.decompressobj(wbits=31)
            for begin in range(0, len(body), _GZIP_SALVAGED_BYTES):
                unpacked += unpacker.decompress(body[begin : begin + _GZIP_SALVAGED_BYTES], UNCOMPRESSED_BYTES_MAX)
                if len(unpacked) >= UNCOMPRESSED_BYTES_MAX:
                    break
        else:
            return body
    return bytes(unpacked)


def gunzip(body: bytes, *, bytes_max: int) -> bytes:
    """The unpacked body; a small body that unpacks to something huge is noticed before it is unpacked whole.

    Raises:
        ValueError: it unpacks to more than `bytes_max`, or ends too soon.
        zlib.error: it is not gzip.
    """
    unpacker = zlib.decompressobj(wbits=31)
    unpacked = unpacker.decompress(body, bytes_max + 1)
    if len(unpacked) > bytes_max:
        raise ValueError(f"the body unpacks to more than {bytes_max:,} bytes")
    if not unpacker.eof:
        raise ValueError("the body ends too soon")
    if unpacker.unused_data:
        raise zlib.error("something follows the packed body")
    return unpacked


@contextmanager
def _as_storage_error(what: str, path: Path | None = None) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        name = "the event log" if path is None else f"{path}: the event log"
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # errors of the driver itself have none
        cure = ""
        if code in _DAMAGED:
            cure = ". The file is damaged: stop Punchcard and restore it from a backup (docs/how-to/operate.md)"
        raise StorageError(f"{name} cannot be {what}: {error}{cure}") from error
