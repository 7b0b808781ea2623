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
    """Content of one file, as it is sent.

    Attributes:
        is_requested: Whether it has the hash that was requested; otherwise it must not be cached under that name.
    """

    content: bytes
    content_type: str
    is_gzipped: bool
    is_requested: bool


class _Manifest(msgspec.Struct):
    files: dict[str, str]


class Assets:
    """The files that `assets/build.py` has built. If it was not run there are none, and pages show a warning."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._files = self._read_manifest()

    @property
    def are_built(self) -> bool:
        """True if the assets were built."""
        return bool(self._files)

    def url(self, name: str) -> str:
        """Return the URL of a file."""
        return PREFIX + self._files.get(name, name)

    def read(self, file: str, *, gzipped: bool) -> Asset | None:
        """Return a file, None if it does not exist.

        During an upgrade a page of one version loads its files from a process of another one, or after the files were
        replaced: it gets those that are here, as it would be unusable without any.

        Args:
            file: Name after the prefix.
            gzipped: True if the browser accepts gzip.
        """
        stem, _, rest = file.partition(".")
        extension = rest.rpartition(".")[2]
        name = f"{stem}.{extension}"
        present = self._files.get(name)
        if present is not None and not (self._folder / present).exists():
            self._files = self._read_manifest()
            present = self._files.get(name)
        if present is None:
            return None
        path = self._folder / (f"{present}.gz" if gzipped else present)
        return Asset(
            content=path.read_bytes(),
            content_type=_TYPES[extension],
            is_gzipped=gzipped,
            is_requested=present == file,
        )

    def _read_manifest(self) -> dict[str, str]:
        manifest = self._folder / "manifest.json"
        return msgspec.json.decode(manifest.read_bytes(), type=_Manifest).files if manifest.is_file() else {}


def read_published_snippet() -> str | None:
    """Return Segment's snippet for websites with placeholders, None if `assets/build.py` was not run."""
    file = FOLDER / "snippet.js"
    return file.read_text() if file.exists() else None
