"""The generation of log and store once more, in a file beside them: for when both are restored from one older copy."""

import os
import threading
from pathlib import Path
from typing import Final

from punchcard.errors import StorageError

_FOLDER_MODE: Final = 0o700


class GenerationFile:
    """Remembers the highest generation that a log and its store have reached together.

    Args:
        path: One line: the id of the log, a blank, the generation.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()

    def read(self, log_id: str) -> int:
        """The generation that was written for this log, 0 if none was or the file cannot be read."""
        try:
            name, _, number = self._path.read_text().strip().partition(" ")
        except (OSError, UnicodeDecodeError):
            return 0
        return int(number) if name == log_id and number.isdecimal() else 0

    def write(self, log_id: str, generation: int) -> None:
        """Keep a generation; the file is whole at every moment, and survives a loss of power.

        Raises:
            StorageError: it cannot be written.
        """
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            with self._writing:
                if self.read(log_id) >= generation:
                    return
                # The folder may be removed under a running process. Awards must not stop until an operator creates it.
                self._path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
                with new.open("w") as file:
                    file.write(f"{log_id} {generation}\n")
                    file.flush()
                    os.fsync(file.fileno())
                new.replace(self._path)
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {error.strerror}") from error
