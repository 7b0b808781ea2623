"""Serve what websites load before they send: Segment's browser library, and RudderStack's source document.

Segment's snippet loads `/analytics.js/v1/<write key>/analytics.min.js`, which loads its other parts from
`/analytics-next/bundles/`. `assets/build.py` builds the files from the published npm package.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from punchcard.ingest import http_responses
from punchcard.ingest.body import Receive
from punchcard.ingest.cors import preflight
from punchcard.ingest.credentials import basic_key
from punchcard.ingest.http_responses import HttpResponse, make

Scope = dict[str, Any]  # ASGI's own
Send = Callable[[dict[str, Any]], Awaitable[None]]

_FOLDER: Final = Path(__file__).parent / "built"
_SCRIPTS: Final = "/analytics.js/v1/"
_BUNDLES: Final = "/analytics-next/bundles/"
_SOURCE_CONFIG: Final = "/sourceConfig"
# The names that Segment's snippets of all versions use for the script, below the write key.
_SCRIPT_NAMES: Final = frozenset({"analytics.min.js", "analytics.js", "platform/analytics.min.js"})
_SCRIPT: Final = "analytics.min.js"
# A new version of Punchcard may bring a new script; the names of the other parts contain a hash of their content.
_SHORT: Final = b"public, max-age=300"
_FOR_EVER: Final = b"public, max-age=31536000, immutable"
_TYPES: Final = {
    ".js": b"text/javascript; charset=utf-8",
    ".map": b"application/json",
    ".txt": b"text/plain; charset=utf-8",
}
_NOT_BUILT: Final = http_responses.fault(
    503,
    "The browser library was not built. Run `make assets` in the source folder from which Punchcard was installed.",
    code="assets_missing",
)


def handles_library(path: str) -> bool:
    """Return whether websites load files from a path."""
    return path.startswith((_SCRIPTS, _BUNDLES)) or path.rstrip("/") == _SOURCE_CONFIG


@dataclass(frozen=True)
class _File:
    content: bytes
    gzipped: bytes
    etag: bytes  # weak: the same for the plain and the compressed form
    type: bytes
    caching: bytes


class BrowserLibraryApp:
    """Serves the library's files.

    Args:
        keys: Returns whether a source has a write key.
        folder: The folder with the files of `assets/build.py`.
    """

    def __init__(self, *, keys: Callable[[str], bool], folder: Path = _FOLDER) -> None:
        self._keys = keys
        self._folder = folder
        self._files: dict[str, _File] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        _, start, body = await self._respond(scope)
        await send(start)
        await send(body)

    async def _respond(self, scope: Scope) -> HttpResponse:
        path: str = scope["path"]
        if scope["method"] == "OPTIONS":
            return preflight(scope["headers"])
        if scope["method"] not in ("GET", "HEAD"):
            return http_responses.ONLY_GET
        headers = dict(scope["headers"])
        if path.rstrip("/") == _SOURCE_CONFIG:
            return self._source_config(headers, scope.get("query_string", b""))
        if path.startswith(_SCRIPTS):
            write_key, _, name = path.removeprefix(_SCRIPTS).partition("/")
            if name not in _SCRIPT_NAMES:
                return http_responses.NOT_FOUND
            if not self._keys(write_key):
                return http_responses.UNKNOWN_SOURCE
            return await self._send_file(_SCRIPT, headers)
        return await self._send_file(path.removeprefix(_BUNDLES), headers)

    async def _send_file(self, name: str, headers: dict[bytes, bytes]) -> HttpResponse:
        if not self._files:
            self._files = await asyncio.to_thread(_read_files, self._folder)
            if not self._files:
                return _NOT_BUILT
        file = self._files.get(name)
        if file is None:
            return http_responses.NOT_FOUND
        common = (
            (b"etag", file.etag),
            (b"cache-control", file.caching),
            (b"vary", b"Accept-Encoding"),
            (b"x-content-type-options", b"nosniff"),
            (b"cross-origin-resource-policy", b"cross-origin"),
        )
        if file.etag in headers.get(b"if-none-match", b""):
            return make(304, b"", *common)
        typed = (*common, (b"content-type", file.type))
        if _takes_gzip(headers.get(b"accept-encoding", b"")):
            return make(200, file.gzipped, *typed, (b"content-encoding", b"gzip"))
        return make(200, file.content, *typed)

    def _source_config(self, headers: dict[bytes, bytes], query: bytes) -> HttpResponse:
        """Return the source document of RudderStack's library: the source, without other destinations."""
        in_query = parse_qs(query.decode("latin-1")).get("writeKey", [""])[0]
        write_key = basic_key(headers.get(b"authorization", b"")) or in_query
        if not self._keys(write_key):
            return http_responses.UNKNOWN_SOURCE
        return http_responses.document(
            {
                "source": {
                    "id": write_key,
                    "name": "Punchcard",
                    "writeKey": write_key,
                    "workspaceId": "punchcard",
                    "enabled": True,
                    "config": {},
                    "destinations": [],
                    "connections": [],
                }
            }
        )


def _takes_gzip(accepted: bytes) -> bool:
    for part in accepted.lower().split(b","):
        name, _, quality = part.partition(b";")
        if name.strip() in (b"gzip", b"*"):
            return quality.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False


def _read_files(folder: Path) -> dict[str, _File]:
    """Read all files of the library by name; none if it was not built."""
    listing = folder / "library.json"
    if not listing.exists():
        return {}
    return {name: _read_file(folder / name) for name in json.loads(listing.read_text())["files"]}


def _read_file(path: Path) -> _File:
    content = path.read_bytes()
    return _File(
        content=content,
        gzipped=path.with_name(f"{path.name}.gz").read_bytes(),
        etag=b'W/"%s"' % hashlib.sha256(content).hexdigest()[:20].encode(),
        type=_TYPES[path.suffix],
        caching=_FOR_EVER if ".bundle." in path.name else _SHORT,
    )
