"""Whole lists as files: `?format=csv|parquet`, or the header `Accept`."""

from typing import Any

from litestar import Request

from punchcard.api.errors import bad_request
from punchcard.errors import ConfigurationError
from punchcard.operations.export_files import ExportFormat, parse_export_format


def read_format(request: Request[Any, Any, Any], format: str | None) -> ExportFormat | None:
    """Return the format in which a list is requested as a file, None for a page in JSON.

    Args:
        format: The query parameter `format`; without it the header `Accept` decides.

    Raises:
        HTTPException: There is no such format.
    """
    if format in (None, "json"):
        accepted = [part.partition(";")[0].strip() for part in request.headers.get("accept", "").split(",")]
        named = {each.media_type: each for each in ExportFormat}
        return next((named[type_] for type_ in accepted if type_ in named), None) if format is None else None
    try:
        return parse_export_format(format)
    except ConfigurationError as error:
        raise bad_request(error.message, "format") from error
