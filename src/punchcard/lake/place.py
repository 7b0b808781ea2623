"""Where the lake's table is: a folder of this machine, made durable by us, or an object store's URL, left to itself."""

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from punchcard.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

_LOG = "_delta_log"


class Place:
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

    def has_table(self) -> bool:
        """False if there surely is no table; costs next to nothing where it can tell."""
        return self.folder is None or (self.folder / _LOG).is_dir()

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
        self.settle(f"{_LOG}/{version:020}.json")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
