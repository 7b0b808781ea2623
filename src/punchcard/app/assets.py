"""The files that pages load. Their names contain a hash of the content, so that browsers may cache them forever."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

FOLDER = Path(__file__).parent / "built"
# Placeholders for host and write key in the snippet that `assets/build.py` writes.
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
    """Content of one file, as it is sent."""

    content: bytes
    content_type: str
    is_gzipped: bool


class _Manifest(msgspec.Struct):
    files: dict[str, str]


class Assets:
    """The files that `assets/build.py` has built. If it was not run there are none, and pages show a warning."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        manifest = folder / "manifest.json"
        self._files: dict[str, str] = {}
        if manifest.is_file():
            self._files = msgspec.json.decode(manifest.read_bytes(), type=_Manifest).files
        self._known = set(self._files.values())

    @property
    def are_built(self) -> bool:
        """True if the assets were built."""
        return bool(self._files)

    def url(self, name: str) -> str:
        """Return the URL of a file."""
        return PREFIX + self._files.get(name, name)

    def read(self, file: str, *, gzipped: bool) -> Asset | None:
        """Return a file, None if it does not exist.

        Args:
            file: Name after the prefix.
            gzipped: True if the browser accepts gzip.
        """
        if file not in self._known:
            return None
        path = self._folder / (f"{file}.gz" if gzipped else file)
        return Asset(content=path.read_bytes(), content_type=_TYPES[file.rpartition(".")[2]], is_gzipped=gzipped)


def read_published_snippet() -> str | None:
    """Return Segment's snippet for websites with placeholders, None if `assets/build.py` was not run."""
    file = FOLDER / "snippet.js"
    return file.read_text() if file.exists() else None
