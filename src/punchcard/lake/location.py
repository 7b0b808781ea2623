"""The location of the lake's table: a local folder, which we make durable, or the URL of an object store."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from punchcard.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

LOG = "_delta_log"
_LOCK = ".lock"
_REPAIR_MARK = ".repaired"


class LakeLocation:
    """The root of a table, and the files below it.

    Args:
        url: A folder, a `file://` URL, or any other URL, which is passed on unchanged.

    Raises:
        ConfigurationError: Delta cannot handle the name of the folder.
    """

    def __init__(self, url: str) -> None:
        scheme = urlsplit(url).scheme if "://" in url else ""
        self.folder: Path | None = None
        if scheme in ("", "file"):
            self.folder = Path(unquote(urlsplit(url).path) if scheme else url).absolute()
            if "%" in str(self.folder):  # deltalake 1.6 decodes it once too often and then finds nothing
                raise ConfigurationError(f"The data lake's folder must not have a % in its path: {self.folder}.")
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

    def file_bytes(self, path: str) -> int | None:
        """Return the size of a file relative to the root; None if it is missing, or if that would cost a request."""
        if self.folder is None:
            return None
        try:
            return (self.folder / path).stat().st_size
        except OSError:
            return None

    def has_table(self) -> bool:
        """Return False if there is certainly no table; nearly free where that can be known."""
        return self.folder is None or (self.folder / LOG).is_dir()

    def has_data_files(self) -> bool:
        """Return whether there certainly are data files."""
        return self.folder is not None and any(self.folder.glob("day=*/*.parquet"))

    def full(self, path: str) -> str:
        """Return the path or URL of a file given relative to the root."""
        return f"{self.url}/{path}"

    def create(self, path: str) -> "pa.NativeFile":
        """Create a file for writing."""
        import pyarrow as pa
        import pyarrow.fs

        if self.folder:
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            return pa.OSFile(self.full(path), "wb")
        filesystem, root = pyarrow.fs.FileSystem.from_uri(self.url)
        return filesystem.open_output_stream(f"{root}/{path}")

    def open(self, path: str) -> "pa.NativeFile":
        """Open a file for random access."""
        import pyarrow as pa
        import pyarrow.fs

        if self.folder:
            return pa.OSFile(self.full(path), "rb")
        filesystem, root = pyarrow.fs.FileSystem.from_uri(self.url)
        return filesystem.open_input_file(f"{root}/{path}")

    def remove(self, path: str) -> None:
        """Delete a file that is in no commit."""
        import pyarrow.fs

        if self.folder:
            (self.folder / path).unlink()
            return
        filesystem, root = pyarrow.fs.FileSystem.from_uri(self.url)
        filesystem.delete_file(f"{root}/{path}")

    def make_durable(self, path: str) -> None:
        """Return once the file survives a loss of power (an object store guarantees that itself)."""
        if self.folder:
            _sync(self.folder / path)
            _sync((self.folder / path).parent)

    def make_commit_durable(self, version: int) -> None:
        """Return once the commit survives a loss of power."""
        self.make_durable(f"{LOG}/{version:020}.json")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
