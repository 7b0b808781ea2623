"""The lake's data files on S3 as files that DuckDB reads.

DuckDB opens a file many times per query, and reads its footer (16 KB) and Bloom filters (32 KB) each time. Data files
never change, so these small parts are kept in memory, and sizes are known from the table's log: a file that does not
hold what is searched costs two requests the first time and none later. A small file is read whole by the first one.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import fsspec  # type: ignore[import-untyped]

from punchcard.errors import LakeError
from punchcard.lake.data_file import DataFile
from punchcard.lake.object_store import ObjectStore

if TYPE_CHECKING:
    import duckdb

    from punchcard.lake.opening import DuckDBConfig

PROTOCOL: Final = "punchcardlake"
_FOOTER_BYTES = 16_384  # what DuckDB reads first
_KEPT_PART_BYTES_MAX = 65_536  # a footer, a Bloom filter or a small file
_KEPT_BYTES_MAX = 64 * 1024 * 1024
_REQUESTS_AT_ONCE = 8
_FAILURES_KEPT = 64  # many times the threads of a query
_MODIFIED = datetime(2000, 1, 1, tzinfo=UTC)  # data files never change


class ObjectFiles:
    """How DuckDB reads the data files of a lake on S3."""

    def __init__(self, store: ObjectStore) -> None:
        self._file_system = LakeFileSystem(store)

    def connect(self, config: "DuckDBConfig") -> "duckdb.DuckDBPyConnection":
        """Return a connection to a database in memory that can open the files."""
        import duckdb

        connection = duckdb.connect(config=config)
        self.register(connection)
        return connection

    def register(self, connection: "duckdb.DuckDBPyConnection") -> None:
        """Make the files readable for a connection."""
        connection.register_filesystem(self._file_system)

    def paths(self, files: Sequence[DataFile]) -> list[str]:
        """Return the names of files in SQL; each carries its size, which would cost a request."""
        return [f"{PROTOCOL}://{file.bytes}/{file.path}" for file in files]

    def prepare(self, files: Sequence[DataFile]) -> None:
        """Read the footers of the files before a query does, several at once."""
        self._file_system.fetch_footers(files)

    def failed_request(self, error: Exception) -> LakeError | None:
        """Return the failure of the object store that an error of DuckDB repeats in its text, None if it is another."""
        return self._file_system.failure_in(str(error))


class LakeFileSystem(fsspec.AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A file system of the data files of one lake, for `register_filesystem`.

    Raises:
        LakeError: From reading: the object store is unavailable, or a file is missing.
    """

    protocol = PROTOCOL
    cachable = False  # an instance for each lake

    def __init__(self, store: ObjectStore) -> None:
        super().__init__()
        self._store = store
        self._parts: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._kept_bytes = 0
        self._failures: deque[tuple[str, str]] = deque(maxlen=_FAILURES_KEPT)  # message and code, of all threads
        self._lock = threading.Lock()

    def failure_in(self, text: str) -> LakeError | None:
        """Return the failure of the object store that a text repeats, such as that of DuckDB's own error for it."""
        with self._lock:
            for message, code in self._failures:
                if message in text:
                    return LakeError(message, code=code)
        return None

    def open(self, path: str, mode: str = "rb", **_: Any) -> "LakeFile":
        """Open a file for reading."""
        size, name = _split(path)
        return LakeFile(self, name, size)

    def size(self, path: str) -> int:
        """Return the size of a file in bytes."""
        return _split(path)[0]

    def modified(self, path: str) -> datetime:
        """Return an instant that is the same for every file."""
        return _MODIFIED

    def exists(self, path: str, **_: Any) -> bool:
        """Return True: only files of the table are named."""
        return True

    def glob(self, path: str, **_: Any) -> list[str]:
        """Return the path itself: names of files are no patterns."""
        return [path]

    def read_part(self, name: str, size: int, start: int, length: int) -> bytes:
        """Return a part of a file, from memory if it is a small one that was read before."""
        footer = _footer_begin(size)
        if start >= footer:
            content = self._read_kept(name, footer, size - footer)
            return content[start - footer : start - footer + length]
        return self._read_kept(name, start, length)

    def fetch_footers(self, files: Sequence[DataFile]) -> None:
        """Read the footers of many files at once: DuckDB would read one after the other."""
        begins = [_footer_begin(file.bytes) for file in files]
        footers = [(file.path, begin, file.bytes - begin) for file, begin in zip(files, begins, strict=True)]
        with self._lock:
            missing = [footer for footer in footers if footer not in self._parts]
        if len(missing) < 2:
            return
        with ThreadPoolExecutor(min(_REQUESTS_AT_ONCE, len(missing))) as pool:
            list(pool.map(lambda footer: self._read_kept(*footer), missing))

    def _read_kept(self, name: str, start: int, length: int) -> bytes:
        key = name, start, length
        with self._lock:
            if (part := self._parts.get(key)) is not None:
                self._parts.move_to_end(key)
                return part
        try:
            content = self._store.read_range(name, start=start, length=length)
        except LakeError as error:
            with self._lock:
                self._failures.append((error.message, error.code))
            raise
        if length <= _KEPT_PART_BYTES_MAX:
            with self._lock:
                if key not in self._parts:
                    self._parts[key] = content
                    self._kept_bytes += len(content)
                while self._kept_bytes > _KEPT_BYTES_MAX:
                    self._kept_bytes -= len(self._parts.popitem(last=False)[1])
        return content


class LakeFile:
    """An open data file."""

    def __init__(self, files: LakeFileSystem, name: str, size: int) -> None:
        self._files = files
        self._name = name
        self._size = size
        self._position = 0

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self._size

    def read(self, length: int = -1) -> bytes:
        """Read from the current position."""
        left = self._size - self._position
        length = left if length < 0 else min(length, left)
        if length <= 0:
            return b""
        content = self._files.read_part(self._name, self._size, self._position, length)
        self._position += len(content)
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        """Set the current position."""
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def tell(self) -> int:
        """Return the current position."""
        return self._position

    def seekable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Do nothing: there is no connection to close."""


def _footer_begin(size: int) -> int:
    """Return where the part begins that is read first: the footer, or all of a small file."""
    return 0 if size <= _KEPT_PART_BYTES_MAX else size - _FOOTER_BYTES


def _split(path: str) -> tuple[int, str]:
    size, _, name = path.removeprefix(f"{PROTOCOL}://").partition("/")
    return int(size), name
