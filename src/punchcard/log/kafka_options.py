"""Read the URL of an event log in Kafka: brokers, topic, and options of the clients."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from punchcard.errors import ConfigurationError

SCHEME: Final = "kafka"
FORM: Final = "kafka://broker:9092,broker:9092/topic"
REPLICATION: Final = "replication"

_REPLICATION_DEFAULT: Final = 3
_INSYNC_REPLICAS_MIN: Final = 2  # an acknowledged record is on two brokers
_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,200}")
_BROKER: Final = re.compile(r"(?:[\w.-]+|\[[0-9a-fA-F:]+\])(?::\d{1,5})?", re.ASCII)
_URL: Final = re.compile(rf"{SCHEME}://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.ASCII | re.DOTALL)
_DEFAULT_PORT: Final = 9092
# What the promises of the log rest on. These names, and all that begin so, are not for users to set.
_FIXED: Final = (
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.",
    "group.",
    "isolation.level",
    "max.in.flight",
    "metadata.broker.list",
    "request.required.acks",
    "retries",
    "transactional.id",
)


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """What a URL says.

    Attributes:
        brokers: `host:port,host:port`.
        topic: Name of the topic of the records.
        replication: The number of brokers that must hold each record when all are up.
        properties: Options of the clients by their names in librdkafka; may contain passwords.
    """

    brokers: str
    topic: str
    replication: int = _REPLICATION_DEFAULT
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def identity_topic(self) -> str:
        """Name of the topic of what the log remembers about itself."""
        return f"{self.topic}-identity"

    @property
    def bodies_topic(self) -> str:
        """Name of the topic of the bodies of a divided log."""
        return f"{self.topic}-bodies"

    @property
    def insync_replicas_min(self) -> int:
        """The number of brokers that must have a record before it is acknowledged."""
        return min(_INSYNC_REPLICAS_MIN, self.replication)

    @property
    def place(self) -> str:
        """Where the log is, for messages: without user and password."""
        return f"{SCHEME}://{self.brokers}/{self.topic}"


def read_options(url: str) -> KafkaOptions:
    """Read a URL: `kafka://[user:password@]broker[:port],broker[:port]/topic[?name=value&name=value]`.

    Raises:
        ConfigurationError: The URL has another form, or sets what must not be set.
    """
    parts = _split(url)
    user, at, brokers = parts.netloc.rpartition("@")
    topic = parts.path.removeprefix("/")
    if not _TOPIC.fullmatch(topic) or not all(map(_BROKER.fullmatch, brokers.split(","))):
        raise ConfigurationError(f"log_url: The URL of a log in Kafka has the form {FORM}.")
    try:
        properties = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ConfigurationError(
            f"log_url: The options of a log in Kafka have the form {FORM}?name=value&name=value."
        ) from None
    replication = _replication(properties.pop(REPLICATION, str(_REPLICATION_DEFAULT)))
    if fixed := [name for name in properties if name.startswith(_FIXED)]:
        raise ConfigurationError(
            f"log_url: {', '.join(fixed)} must not be set: it is what keeps acknowledged events from being lost."
        )
    if at:
        name, _, password = user.partition(":")
        properties = {"sasl.username": unquote(name), "sasl.password": unquote(password), **properties}
    return KafkaOptions(
        brokers=",".join(_with_port(broker) for broker in brokers.split(",")),
        topic=topic,
        replication=replication,
        properties=_secured(properties),
    )


def describe_url(url: str) -> str:
    """Return where a Kafka URL leads, without user, password and options."""
    parts = _split(url)
    return f"{SCHEME}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class _SplitUrl(NamedTuple):
    netloc: str
    path: str
    query: str


def _split(url: str) -> _SplitUrl:
    # urlsplit of some versions of Python refuses brackets behind a comma, as in `b1,[::1]:9092`.
    if (matched := _URL.fullmatch(url.strip())) is None:
        raise ConfigurationError(f"log_url: The URL of a log in Kafka has the form {FORM}.")
    return _SplitUrl(*(part or "" for part in matched.groups()))


def _replication(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 9:
        raise ConfigurationError(f"log_url: {REPLICATION} must be a number of brokers, 3 by default.")
    return int(text)


def _with_port(broker: str) -> str:
    return broker if re.search(r":\d+$", broker) else f"{broker}:{_DEFAULT_PORT}"


def _secured(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the options with the protocol that they imply: passwords are sent with TLS by default."""
    has_password = "sasl.username" in properties
    has_certificate = any(name.startswith("ssl.") for name in properties)
    implied: dict[str, str] = {}
    if has_password:
        implied = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"}
    elif has_certificate:
        implied = {"security.protocol": "SSL"}
    if "sasl.mechanisms" in properties:  # the other name of the same option
        implied.pop("sasl.mechanism", None)
    return {**implied, **properties}
