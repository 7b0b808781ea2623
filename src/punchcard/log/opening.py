"""Open the event log that a URL names."""

from pathlib import Path

from punchcard.errors import ConfigurationError
from punchcard.log.port import EventLog

_SHARED_SCHEMES = ("postgresql", "postgres")


def is_shared(url: str) -> bool:
    """Return whether processes on several machines can use the log at this URL."""
    return url.partition("://")[0] in _SHARED_SCHEMES


def open_event_log(url: str) -> EventLog:
    """Open the log; create it if it does not exist.

    Args:
        url: `sqlite:///path/to/file.db` or `postgresql://user:password@host/name`.

    Raises:
        ConfigurationError: The URL names an unsupported kind of log.
        StorageError: The log cannot be opened.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        from punchcard.log.sqlite import SqliteEventLog

        return SqliteEventLog(Path(rest.removeprefix("/")))
    if scheme in _SHARED_SCHEMES:
        from punchcard.log.postgres import PostgresEventLog

        return PostgresEventLog(url)
    raise ConfigurationError(
        "log_url: The event log can be in SQLite (sqlite:///path/to/file.db) or in PostgreSQL "
        f"(postgresql://user:password@host/name), not in {scheme or 'a file without a scheme'}."
    )


def describe_place(url: str) -> str:
    """Return where a log is, for messages: without a password."""
    if is_shared(url):
        from punchcard.log.postgres_session import describe_url

        return describe_url(url)
    return url.removeprefix("sqlite:///")
