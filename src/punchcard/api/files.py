"""Whole lists as files: `?format=csv|parquet`, or the header `Accept`."""

from typing import Any, Final

from litestar import Request
from litestar.datastructures.headers import Accept

from punchcard.api.errors import bad_request
from punchcard.errors import ConfigurationError
from punchcard.operations.export_files import ExportFormat, parse_export_format

_JSON: Final = (
    "application/json",
    *(f"application/vnd.segment.{version}+json" for version in ("v1", "v1beta", "v1alpha")),
)
"""The media types of pages: as a client of Segment's API requests them, too."""


def read_format(request: Request[Any, Any, Any], format: str | None) -> ExportFormat | None:
    """Return the format in which a list is requested as a file, None for a page in JSON.

    Args:
        format: The query parameter `format`; without it the header `Accept` decides.

    Raises:
        HTTPException: There is no such format.
    """
    if format in (None, "json"):
        files = {each.media_type: each for each in ExportFormat}
        preferred = Accept(request.headers.get("accept", "")).best_match([*_JSON, *files])
        return files.get(preferred or "") if format is None else None
    try:
        return parse_export_format(format)
    except ConfigurationError as error:
        raise bad_request(error.message, "format") from error
