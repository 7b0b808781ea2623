"""Progress of an import, saved in the user's state folder (`$XDG_STATE_HOME` or `~/.local/state`) for the next run.

This only saves work: message ids ensure that a row sent twice counts once. The progress is used only for the storage
that accepted the rows. A server with another storage, or an unknown one, gets all rows again.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec


class Progress(msgspec.Struct, frozen=True):
    """Progress of an import.

    Attributes:
        instance: Id of the server's storage.
        row: Last completed row: accepted, or refused and reported.
        read: Rows read so far.
        sent: Rows accepted so far.
        refused: Rows refused so far.
    """

    instance: str
    row: int
    read: int
    sent: int
    refused: int


@dataclass(frozen=True)
class ProgressFile:
    """File with the progress of one import."""

    path: Path

    @classmethod
    def for_key(cls, key: str) -> "ProgressFile":
        """Return the file of the import with this key."""
        home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        return cls(Path(home) / "punchcard" / "imports" / f"{key}.json")

    def load(self, *, instance: str | None) -> Progress | None:
        """Return the progress for this storage, None if there is none."""
        try:
            progress = msgspec.json.decode(self.path.read_bytes(), type=Progress)
        except (OSError, msgspec.DecodeError):
            return None
        return progress if progress.instance == instance else None

    def save(self, progress: Progress) -> None:
        """Save the progress atomically. If it cannot be saved, the next run sends all rows again."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self.path.parent)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(progress))
            os.replace(name, self.path)
        except OSError:
            return

    def delete(self) -> None:
        """Delete the progress: the import is complete, or begins again."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError:
            return
