"""Message ids that are the same each time a file is imported, so that a row never counts twice.

A row's id is made of its content, its row number and the write key. So importing the file again, after rows were added
at its end or bad ones mended, sends only what is new. A row without a timestamp happens "now", so the same row in
another file may well be another event: the content of the whole file goes into its id as well.
"""

import hashlib
from functools import cached_property
from pathlib import Path

# Part of every id. Changing it, or what is hashed, would send every file's rows as new events.
_SCHEME = b"punchcard import 1"
_HEAD_BYTES = 65_536


class FileIdentity:
    """What tells one file from another."""

    def __init__(self, path: Path, *, write_key: str) -> None:
        self._path = path.resolve()
        self._salt = hashlib.sha256(b"\0".join([_SCHEME, write_key.encode()])).digest()

    def message_id(self, number: int, content: bytes, *, is_timed: bool) -> str:
        """The id of a row that brings none of its own."""
        file = b"" if is_timed else self._whole
        digest = hashlib.sha256(b"%b%b%d\0%b" % (self._salt, file, number, content))
        return f"import-{digest.hexdigest()[:40]}"

    def key(self, url: str) -> str:
        """Names this file, as it is now, on its way to this server: the key of the progress kept."""
        with self._path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        size = self._path.stat().st_size
        parts = [self._salt, str(self._path).encode(errors="surrogateescape"), b"%d" % size, head, url.encode()]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]

    @cached_property
    def _whole(self) -> bytes:
        with self._path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
