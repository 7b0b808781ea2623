"""Derives message ids that are the same each time a file is imported, so that no row counts twice.

A row's id is derived from its content, its row number and the write key. Importing a file again, after rows were
appended or corrected, therefore adds only the new ones. A row without a timestamp happens at the time of the import, so
the same row in another file may be another event: its id also depends on the content of the whole file.
"""

import hashlib
from functools import cached_property
from pathlib import Path

# Part of every id. Changing it, or what is hashed, would send every file's rows as new events.
_SCHEME = b"punchcard import 1"
_HEAD_BYTES = 65_536


class FileIdentity:
    """Identity of a file."""

    def __init__(self, path: Path, *, write_key: str) -> None:
        self._path = path.resolve()
        self._salt = hashlib.sha256(b"\0".join([_SCHEME, write_key.encode()])).digest()

    def message_id(self, number: int, content: bytes, *, is_timed: bool) -> str:
        """Return the message id of a row without one."""
        file = b"" if is_timed else self._whole
        digest = hashlib.sha256(b"%b%b%d\0%b" % (self._salt, file, number, content))
        return f"import-{digest.hexdigest()[:40]}"

    def key(self, url: str) -> str:
        """Return the key of the saved progress of this file, with its present content, for a server."""
        with self._path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        size = self._path.stat().st_size
        parts = [self._salt, str(self._path).encode(errors="surrogateescape"), b"%d" % size, head, url.encode()]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]

    @cached_property
    def _whole(self) -> bytes:
        with self._path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
