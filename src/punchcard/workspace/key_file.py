"""The file of the secret key in the data folder, and its two further lines while the key is rotated.

The first line is the key that encrypts. `next: KEY` and `previous: KEY` are keys that decrypt, too: first every process
learns the new key, then every process uses it, and at last the old one is forgotten. The file is replaced as a whole.
"""

import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from punchcard.errors import ConfigurationError

_NEXT: Final = "next: "
_PREVIOUS: Final = "previous: "


@dataclass(frozen=True, kw_only=True)
class FileKeys:
    """What the file holds.

    Attributes:
        current: The key that encrypts.
        next: The key that will encrypt, "" if none.
        previous: The key that has encrypted before, "" if none.
    """

    current: str
    next: str = ""
    previous: str = ""

    @property
    def accepted(self) -> tuple[str, ...]:
        """The other keys that decrypt."""
        return tuple(key for key in (self.next, self.previous) if key)


class KeyFile:
    """The file of the secret key."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def version(self) -> tuple[int, int]:
        """Return a value that changes whenever the file is replaced.

        Raises:
            ConfigurationError: The file cannot be read.
        """
        try:
            status = self._path.stat()
        except OSError as error:
            raise self._unusable(error) from error
        return status.st_ino, status.st_mtime_ns

    def read(self) -> FileKeys:
        """Return the keys.

        Raises:
            ConfigurationError: The file is empty or cannot be read.
        """
        try:
            lines = self._path.read_text().strip().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable(error) from error
        keys = FileKeys(current="\n".join(line for line in lines if not line.startswith((_NEXT, _PREVIOUS))).strip())
        for line in lines:
            if line.startswith(_NEXT):
                keys = replace(keys, next=line.removeprefix(_NEXT).strip())
            elif line.startswith(_PREVIOUS):
                keys = replace(keys, previous=line.removeprefix(_PREVIOUS).strip())
        if not keys.current:
            raise ConfigurationError(
                f"{self._path}: The secret key is empty. Put the old file back, or set PUNCHCARD_SECRET_KEY."
            )
        return keys

    def read_or_create(self) -> FileKeys:
        """Return the keys; of several processes that find no file, the first one creates it.

        Raises:
            ConfigurationError: The file is empty, or cannot be read or written.
        """
        try:
            if not self._path.exists():
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._write(FileKeys(current=new_key()), replaces=False)
        except OSError as error:
            raise self._unusable(error) from error
        return self.read()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Lock the keys against other processes: of two new keys, only one would be kept.

        Raises:
            ConfigurationError: Another process changes them now, or the folder cannot be written.
        """
        try:
            lock = self._path.with_name(f".{self._path.name}.lock").open("a")
        except OSError as error:
            raise self._unusable(error) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                message = f"{self._path}: Another process rotates the key now. Run this again when it has ended."
                raise ConfigurationError(message) from error
            except OSError as error:
                raise self._unusable(error) from error
            yield

    def write(self, keys: FileKeys) -> None:
        """Replace the file.

        Raises:
            ConfigurationError: It cannot be written; it is unchanged.
        """
        try:
            self._write(keys, replaces=True)
        except OSError as error:
            raise self._unusable(error) from error

    def _write(self, keys: FileKeys, *, replaces: bool) -> None:
        # Atomic and durable, because secrets encrypted with a lost key are lost.
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}-")  # mode 600
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{keys.current}\n")
                if keys.next:
                    file.write(f"{_NEXT}{keys.next}\n")
                if keys.previous:
                    file.write(f"{_PREVIOUS}{keys.previous}\n")
                file.flush()
                os.fsync(file.fileno())
            if replaces:
                os.rename(name, self._path)
            else:
                try:
                    os.link(name, self._path)
                except FileExistsError:
                    return
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        finally:
            if os.path.exists(name):
                os.unlink(name)

    def _unusable(self, error: Exception) -> ConfigurationError:
        return ConfigurationError(f"{self._path}: The secret key cannot be read or written: {error}.")


def new_key() -> str:
    """Return a random key."""
    return secrets.token_urlsafe(48)
