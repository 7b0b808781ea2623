"""The location of the lake's table: a local folder, which we make durable, or a prefix of a bucket on S3."""

import fcntl
import os
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from punchcard.errors import ConfigurationError, LakeError
from punchcard.lake.object_store import ObjectStore
from punchcard.lake.schema import PARTITION
from punchcard.lake.urls import folder_of, is_on_s3

if TYPE_CHECKING:
    import pyarrow as pa

LOG = "_delta_log"
_LOCK = ".lock"
_REPAIR_MARK = ".repaired"
_PARQUET = b"PAR1"  # how its files begin and end


class LakeLocation:
    """The root of a table, and the files below it.

    Args:
        url: A folder, a `file://` URL, or `s3://bucket/prefix`.

    Attributes:
        folder: The folder, None for an object store.
        objects: The object store, None for a folder.

    Raises:
        ConfigurationError: The URL is of another kind, Delta cannot handle the name of the folder, or the packages for
            S3 are not installed.
    """

    def __init__(self, url: str) -> None:
        self.folder = folder_of(url)
        self.objects: ObjectStore | None = None
        if is_on_s3(url):
            self.objects = ObjectStore(url)
        elif self.folder is not None:
            if "%" in str(self.folder):  # deltalake 1.6 decodes it once too often and then finds nothing
                raise ConfigurationError(f"The data lake's folder must not have a % in its path: {self.folder}.")
        else:
            raise ConfigurationError(
                f"The data lake must be a folder, file:///folder or s3://bucket/prefix, not {url.partition(':')[0]}://…."
            )
        self.url = str(self.folder) if self.folder else url.rstrip("/")

    @contextmanager
    def writing(self, *, exclusive: bool = False) -> Iterator[None]:
        """Hold the lock that keeps repairs by other processes out; `exclusive` keeps all other writers out.

        Raises:
            OSError: The folder cannot be written.
        """
        if self.folder is None:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _LOCK).open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield

    def repair_mark(self) -> str:
        """Return a text that changes with each repair: an earlier view of the table must not be used after it."""
        if self.folder is None:
            return ""
        try:
            return (self.folder / _REPAIR_MARK).read_text()
        except (OSError, ValueError):
            return ""

    def set_repair_mark(self, mark: str) -> None:
        """Make every process read the table again."""
        if self.folder is not None:
            (self.folder / _REPAIR_MARK).write_text(mark)

    def has_version(self, version: int) -> bool:
        """Return False if the commit of a version certainly no longer exists."""
        if self.folder is None:
            return True
        log = self.folder / LOG
        return (log / f"{version:020}.json").exists() or (log / f"{version:020}.checkpoint.parquet").exists()

    def log_mark(self) -> int:
        """Return a number that changes with each commit to a lake in a folder; 0 if it cannot be known."""
        try:
            return 0 if self.folder is None else (self.folder / LOG).stat().st_mtime_ns
        except OSError:
            return 0

    def commit_mark(self, version: int) -> tuple[int, int]:
        """Return numbers that change when the commit of a version is written over; zeros if it is in no folder."""
        if self.folder is None:
            return 0, 0
        try:
            status = (self.folder / LOG / f"{version:020}.json").stat()
        except OSError:
            return 0, 0
        return status.st_mtime_ns, status.st_size

    def has_table(self) -> bool:
        """Return False if there is certainly no table; nearly free where that can be known."""
        return self.folder is None or (self.folder / LOG).is_dir()

    def has_data_files(self) -> bool:
        """Return whether there are data files."""
        if self.objects is not None:
            return any(_is_data_file(item.path) for item in self.objects.objects())
        return self.folder is not None and any(self.folder.glob(f"{PARTITION}=*/*.parquet"))

    def refuse_files_without_log(self) -> None:
        """Refuse to create a table beside data files that have lost their log: its vacuum would delete them.

        Raises:
            LakeError: There are data files.
        """
        if self.has_data_files():
            raise LakeError(
                f"The data lake at {self.url} cannot be read: it has data files and no log. "
                "Run `punchcard lake repair`."
            )

    def data_file_bytes(self) -> dict[str, int]:
        """Return the path and size of every data file, whether or not it is in a commit."""
        if self.objects is not None:
            return {item.path: item.bytes for item in self.objects.objects() if _is_data_file(item.path)}
        folder = self.folder or Path()
        sizes: dict[str, int] = {}
        for path in sorted(folder.glob(f"{PARTITION}=*/*.parquet")):
            with suppress(OSError):  # it was deleted a moment ago
                sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
        return sizes

    def refuse_incomplete_list(self, paths: Iterable[str], listed: Container[str]) -> None:
        """Raise LakeError if files are there that are missing in a list of an object store, newest `paths` first."""
        if self.objects is not None:
            self.objects.refuse_incomplete_list(paths, listed)

    def full(self, path: str) -> str:
        """Return the path or URL of a file given relative to the root."""
        return f"{self.url}/{path}"

    def create(self, path: str) -> "pa.NativeFile":
        """Create a file for writing; `publish` completes it."""
        import pyarrow as pa

        if self.folder is None:
            return pa.BufferOutputStream()
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        return pa.OSFile(self.full(path), "wb")

    def publish(self, path: str, sink: "pa.NativeFile") -> None:
        """Complete a file: it is there after a crash and a loss of power. On an object store it is one upload."""
        if self.objects is not None:
            self.objects.write(path, sink.getvalue().to_pybytes())
            return
        sink.close()
        self.make_durable(path)

    def open(self, path: str) -> "pa.NativeFile":
        """Open a data file for random access.

        Raises:
            OSError: The file is missing or cannot be opened.
            LakeError: The object store is unavailable, or sends something else than it has.
        """
        import pyarrow as pa

        if self.objects is None:
            return pa.OSFile(self.full(path), "rb")
        if (content := self.objects.read(path)) is None:
            raise FileNotFoundError(f"{path} is missing")
        if not (content.startswith(_PARQUET) and content.endswith(_PARQUET)):
            self.objects.refuse_other_size(path, content)
        return pa.BufferReader(content)

    def remove(self, path: str) -> None:
        """Delete a file that is in no commit.

        Raises:
            OSError: It cannot be deleted.
            LakeError: The object store is unavailable.
        """
        if self.objects is not None:
            self.objects.delete([path])
        elif self.folder is not None:
            (self.folder / path).unlink()

    def make_durable(self, path: str) -> None:
        """Return once the file survives a loss of power (an object store guarantees that itself)."""
        if self.folder:
            _sync(self.folder / path)
            _sync((self.folder / path).parent)

    def make_commit_durable(self, version: int) -> None:
        """Return once the commit survives a loss of power."""
        self.make_durable(f"{LOG}/{version:020}.json")


def _is_data_file(path: str) -> bool:
    return path.startswith(f"{PARTITION}=") and path.endswith(".parquet")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
