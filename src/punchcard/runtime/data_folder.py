"""Restrict the data folder to its owner: it has customers' events, write keys and the key of stored secrets."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import structlog

from punchcard.errors import StorageError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OWNER_ONLY_UMASK = 0o077
_FOLDER_MODE = 0o700
_PRIVATE_PATTERNS = ("*.db", "*.db-wal", "*.db-shm", "*.duckdb", "*.duckdb.wal", "admin-token", "secret-key")


def private_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a data folder that only its owner may read."""
    for pattern in _PRIVATE_PATTERNS:
        yield from sorted(folder.glob(pattern))


def prepare_data_folder(folder: Path) -> None:
    """Create the folder if it is missing, and close it and its files to other users of the machine.

    Files that this process and its children create from now on are readable only for their user. If the folder belongs
    to another user, as some container volumes do, a warning is logged and the start goes on.

    Raises:
        StorageError: The folder cannot be created.
    """
    os.umask(_OWNER_ONLY_UMASK)
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{folder}: The data folder cannot be created: {error.strerror}. Choose another one with --data."
        ) from error
    for path in (folder, *private_files(folder)):
        try:
            mode = path.stat().st_mode
            if mode & _OTHERS:
                path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
        except FileNotFoundError:
            continue  # a write-ahead log that was deleted meanwhile
        except OSError as error:
            structlog.get_logger("punchcard.runtime").warning(
                "data_folder_readable_by_others", path=str(path), error=error.strerror
            )
