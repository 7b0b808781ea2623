"""How far an import came, kept in the user's state folder (`$XDG_STATE_HOME` or `~/.local/state`) for the next run.

It only spares work: message ids make sure that a row sent twice counts once. So it is trusted only for the very
storage that took the rows. A server that does not name its storage, or another one, gets all rows again.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec


class Progress(msgspec.Struct, frozen=True):
    """How far an import came.

    Attributes:
        instance: What the server called its storage.
        row: The last row that is settled: accepted, or refused and reported.
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
    """The file that keeps one import's progress."""

    path: Path

    @classmethod
    def of(cls, key: str) -> "ProgressFile":
        """The file of the import with this key."""
        home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        return cls(Path(home) / "punchcard" / "imports" / f"{key}.json")

    def load(self, *, instance: str | None) -> Progress | None:
        """What was kept for this storage, None if nothing was."""
        try:
            progress = msgspec.json.decode(self.path.read_bytes(), type=Progress)
        except (OSError, msgspec.DecodeError):
            return None
        return progress if progress.instance == instance else None

    def save(self, progress: Progress) -> None:
        """Keep it, whole or not at all. Where nothing can be kept, the next run sends all rows again."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self.path.parent)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(progress))
            os.replace(name, self.path)
        except OSError:
            return

    def forget(self) -> None:
        """Keep nothing: the import is complete, or is to begin again."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError:
            return
