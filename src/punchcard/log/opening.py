"""Open the event log that a URL names."""

from pathlib import Path

from punchcard.errors import ConfigurationError
from punchcard.log.port import EventLog

_POSTGRES_SCHEMES = ("postgresql", "postgres")
_KAFKA_SCHEME = "kafka"


def is_shared(url: str) -> bool:
    """Return whether processes on several machines can use the log at this URL."""
    return url.partition("://")[0] in (*_POSTGRES_SCHEMES, _KAFKA_SCHEME)


def open_event_log(url: str) -> EventLog:
    """Open the log; create it if it does not exist.

    Args:
        url: `sqlite:///path/to/file.db`, `postgresql://user:password@host/name` or `kafka://broker,broker/topic`.

    Raises:
        ConfigurationError: The URL names an unsupported kind of log.
        StorageError: The log cannot be opened.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        from punchcard.log.sqlite import SqliteEventLog

        return SqliteEventLog(Path(rest.removeprefix("/")))
    if scheme in _POSTGRES_SCHEMES:
        from punchcard.log.postgres import PostgresEventLog

        return PostgresEventLog(url)
    if scheme == _KAFKA_SCHEME:
        return _open_kafka(url)
    raise ConfigurationError(
        "log_url: The event log can be in SQLite (sqlite:///path/to/file.db), in PostgreSQL "
        "(postgresql://user:password@host/name) or in Kafka (kafka://broker,broker/topic), not in "
        f"{scheme or 'a file without a scheme'}."
    )


def describe_place(url: str) -> str:
    """Return where a log is, for messages: without a password."""
    scheme = url.partition("://")[0]
    if scheme in _POSTGRES_SCHEMES:
        from punchcard.log.postgres_session import describe_url

        return describe_url(url)
    if scheme == _KAFKA_SCHEME:
        from punchcard.log.kafka_options import describe_url as describe_kafka_url

        return describe_kafka_url(url)
    return url.removeprefix("sqlite:///")


def _open_kafka(url: str) -> EventLog:
    try:
        import confluent_kafka  # noqa: F401  # only its absence means that the extra is missing
    except ImportError as error:
        raise ConfigurationError(
            "log_url: An event log in Kafka needs the Kafka client. Install it: pip install 'punchcard[kafka]'"
        ) from error
    from punchcard.log.kafka import KafkaEventLog

    return KafkaEventLog(url)
