"""The forms of the lake's URL: a folder as a path or `file:///path`, or `s3://bucket/prefix`."""

from pathlib import Path
from urllib.parse import unquote, urlsplit


def is_on_s3(url: str) -> bool:
    """Return whether the lake at a URL is on S3."""
    return url.startswith("s3://")


def folder_of(url: str) -> Path | None:
    """Return the folder of the lake at a URL, None if it is not in a folder."""
    scheme = urlsplit(url).scheme if "://" in url else ""
    if scheme not in ("", "file"):
        return None
    return Path(unquote(urlsplit(url).path) if scheme else url).absolute()
