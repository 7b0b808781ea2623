"""The files that pages load: found by name, sent compressed, kept by browsers for ever, as a name says its content."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

FOLDER = Path(__file__).parent / "built"
# What stands for host and write key in the snippet that `assets/build.py` writes.
SNIPPET_HOST = "punchcard.invalid"
SNIPPET_KEY = "YOUR_WRITE_KEY"
PREFIX = "/assets/"
_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One file as it is sent."""

    content: bytes
    content_type: str
    is_gzipped: bool


class _Manifest(msgspec.Struct):
    files: dict[str, str]


class Assets:
    """What `assets/build.py` has built; nothing if it was not run, and then pages say so."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        manifest = folder / "manifest.json"
        self._files: dict[str, str] = {}
        if manifest.is_file():
            self._files = msgspec.json.decode(manifest.read_bytes(), type=_Manifest).files
        self._known = set(self._files.values())

    @property
    def are_built(self) -> bool:
        """False if pages must do without."""
        return bool(self._files)

    def url(self, name: str) -> str:
        """Where a page finds the file."""
        return PREFIX + self._files.get(name, name)

    def read(self, file: str, *, gzipped: bool) -> Asset | None:
        """The file, None if it is none of ours.

        Args:
            file: The name behind the prefix.
            gzipped: Whether the browser takes it compressed.
        """
        if file not in self._known:
            return None
        path = self._folder / (f"{file}.gz" if gzipped else file)
        return Asset(content=path.read_bytes(), content_type=_TYPES[file.rpartition(".")[2]], is_gzipped=gzipped)


def read_published_snippet() -> str | None:
    """Segment's snippet for websites as it is published, with placeholders; None if `assets/build.py` was not run."""
    file = FOLDER / "snippet.js"
    return file.read_text() if file.exists() else None
