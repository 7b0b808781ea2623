"""The forms of the lake's URL: a folder as a path or `file:///path`, or `s3://bucket/prefix`."""

from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from punchcard.errors import ConfigurationError


def is_on_s3(url: str) -> bool:
    """Return whether the lake at a URL is on S3."""
    return url.startswith("s3://")


def split_lake_url(url: str) -> SplitResult:
    """Return the parts of a URL.

    Raises:
        ConfigurationError: The URL cannot be read.
    """
    try:
        return urlsplit(url)
    except ValueError as error:
        raise ConfigurationError("lake_url: The data lake can be in a folder or at s3://bucket/prefix.") from error


def folder_of(url: str) -> Path | None:
    """Return the folder of the lake at a URL, None if it is not in a folder.

    Raises:
        ConfigurationError: The URL cannot be read.
    """
    scheme = split_lake_url(url).scheme if "://" in url else ""
    if scheme not in ("", "file"):
        return None
    return Path(unquote(split_lake_url(url).path) if scheme else url).absolute()
