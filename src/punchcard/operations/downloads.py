"""Exports as responses of App and Public API, streamed."""

import itertools
from typing import Any

from litestar import Request
from litestar.response import Stream

from punchcard.operations.export_files import ExportFormat, file_name, write_export
from punchcard.operations.exports import Export


class FileStream(Stream):
    """A streamed response with its own media type: Litestar's takes that of the handler."""

    def to_asgi_response(self, app: Any, request: Request[Any, Any, Any], **options: Any) -> Any:
        """Return the response as an ASGI app."""
        return super().to_asgi_response(app, request, **{**options, "media_type": self.media_type})


def download(export: Export, format: ExportFormat) -> FileStream:
    """Return a response that streams a file. The first page is read before the response begins.

    Raises:
        StorageError: The list cannot be read. If that happens later, the connection is closed before the file is whole.
    """
    pieces = write_export(export, format)
    first = next(pieces)
    return FileStream(
        itertools.chain([first], pieces),
        media_type=format.media_type,
        headers={"Content-Disposition": f'attachment; filename="{file_name(export, format)}"'},
    )
