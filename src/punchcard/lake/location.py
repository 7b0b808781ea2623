"""Where the lake's table is: a folder of this machine, made durable by us, or an object store's URL, left to itself."""

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
        url: A folder, a `file://` URL, or any other URL, which is passed on as it is.

    Raises:
        ConfigurationError: a folder whose name Delta cannot handle.
    """

    def __init__(self, url: str) -> None:
        scheme = urlsplit(url).scheme if "://" in url else ""
        self.folder: Path | None = None
        if scheme in ("", "file"):
            self.folder = Path(unquote(urlsplit(url).path) if scheme else url).absolute()
            if "%" in str(self.folder):  # deltalake 1.6 decodes it once too often and then finds nothing
                raise ConfigurationError(f"the lake's folder must have no % in its path: {self.folder}")
        self.url = str(self.folder) if self.folder else url.rstrip("/")

    @contextmanager
    def writing(self, *, alone: bool = False) -> Iterator[None]:
        """Keep a repair of another process of this machine out; `alone` keeps everybody out who writes.

        Raises:
            OSError: the folder cannot be written.
        """
        if self.folder is None:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _LOCK).open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield

    def repair_mark(self) -> str:
        """Another text after each repair: what was seen of the table before is not to be built upon."""
        if self.folder is None:
            return ""
        try:
            return (self.folder / _REPAIR_MARK).read_text()
        except (OSError, ValueError):
            return ""

    def set_repair_mark(self, mark: str) -> None:
        """Let every process look at the table anew."""
        if self.folder is not None:
            (self.folder / _REPAIR_MARK).write_text(mark)

    def has_version(self, version: int) -> bool:
        """False if the commit of a version surely is not there any more."""
        if self.folder is None:
            return True
        log = self.folder / LOG
        return (log / f"{version:020}.json").exists() or (log / f"{version:020}.checkpoint.parquet").exists()

    def size_of(self, path: str) -> int | None:
        """Bytes of a file given relative to the root; None if it is not there, or if that costs a request."""
        if self.folder is None:
            return None
        try:
            return (self.folder / path).stat().st_size
        except OSError:
            return None

    def has_table(self) -> bool:
        """False if there surely is no table; costs next to nothing where it can tell."""
        return self.folder is None or (self.folder / LOG).is_dir()

    def has_data_files(self) -> bool:
        """Whether there surely are data files."""
        return self.folder is not None and any(self.folder.glob("day=*/*.parquet"))

    def full(self, path: str) -> str:
        """The path or URL of a file given relative to the root."""
        return f"{self.url}/{path}"

    def create(self, path: str) -> "pa.NativeFile":
        """A new file for writing."""
        import pyarrow as pa
        import pyarrow.fs

        if self.folder:
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            return pa.OSFile(self.full(path), "wb")
        filesystem, root = pyarrow.fs.FileSystem.from_uri(self.url)
        return filesystem.open_output_stream(f"{root}/{path}")

    def open(self, path: str) -> "pa.NativeFile":
        """A file for reading at any place."""
        import pyarrow as pa
        import pyarrow.fs

        if self.folder:
            return pa.OSFile(self.full(path), "rb")
        filesystem, root = pyarrow.fs.FileSystem.from_uri(self.url)
        return filesystem.open_input_file(f"{root}/{path}")

    def remove(self, path: str) -> None:
        """Take away a file that no commit names."""
        import pyarrow.fs

        if self.folder:
            (self.folder / path).unlink()
            return
        filesystem, root = pyarrow.fs.FileSystem.from_uri(self.url)
        filesystem.delete_file(f"{root}/{path}")

    def settle(self, path: str) -> None:
        """Return once the file survives a loss of power (an object store sees to that itself)."""
        if self.folder:
            _sync(self.folder / path)
            _sync((self.folder / path).parent)

    def settle_commit(self, version: int) -> None:
        """Return once the commit survives a loss of power."""
        self.settle(f"{LOG}/{version:020}.json")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
