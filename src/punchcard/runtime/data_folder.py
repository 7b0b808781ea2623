"""The data folder belongs to its owner alone: it holds customers' events, write keys and the key of stored secrets."""

import os
import stat
from pathlib import Path

import structlog

from punchcard.errors import StorageError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OWNER_ONLY_UMASK = 0o077
_FOLDER_MODE = 0o700
_PRIVATE_PATTERNS = ("*.db", "*.db-wal", "*.db-shm", "*.duckdb", "*.duckdb.wal", "admin-token", "secret-key")


def prepare_data_folder(folder: Path) -> None:
    """Make the folder if it is missing, and close it and its files to other users of the machine.

    Everything that this process and its children create from now on is readable by their user only. Where the folder
    belongs to somebody else, as some container volumes do, a warning says so and the start goes on.

    Raises:
        StorageError: the folder cannot be made.
    """
    os.umask(_OWNER_ONLY_UMASK)
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{folder}: the data folder cannot be made: {error.strerror}. Name another one with --data."
        ) from error
    for path in (folder, *(path for pattern in _PRIVATE_PATTERNS for path in folder.glob(pattern))):
        try:
            mode = path.stat().st_mode
            if mode & _OTHERS:
                path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
        except FileNotFoundError:
            continue  # a write-ahead log that ended in this moment
        except OSError as error:
            structlog.get_logger("punchcard.runtime").warning(
                "data_folder_readable_by_others", path=str(path), error=error.strerror
            )
