"""Settings of a process: read once from `default.toml`, the environment and the command line, then plain values."""

import difflib
import ipaddress
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, NewType
from urllib.parse import quote, urlencode

from punchcard.errors import ConfigurationError
from punchcard.lake.urls import is_on_s3
from punchcard.operations.retention_limits import DAYS_MAX, refuse_short_period
from punchcard.operations.schedules import parse_time_of_day
from punchcard.runtime.public_url import PublicUrl, read_public_url

if TYPE_CHECKING:
    from punchcard.operations.oidc import OidcSettings

ENVIRONMENT_PREFIX = "PUNCHCARD_"

Port = NewType("Port", int)
Days = NewType("Days", int)
TimeOfDay = NewType("TimeOfDay", str)  # such as 03:00; "" for never
Networks = NewType("Networks", str)  # addresses and networks, separated by commas
_PORT_MAX = 65_535
_RETENTION_SUFFIX = "_retention_days"


class LogLevel(StrEnum):
    """The lowest level that is logged."""

    DEBUG = "debug"  # everything
    INFO = "info"  # what a running system does
    WARNING = "warning"  # what may need attention
    ERROR = "error"  # data is lost, or an operator must act


class LogFormat(StrEnum):
    """The format of log lines."""

    CONSOLE = "console"  # for people
    JSON = "json"  # for machines
    AUTO = "auto"  # console on a terminal, otherwise JSON


class TlsMode(StrEnum):
    """The origin of the certificate if it is not in a file."""

    NONE = ""  # no certificate: plain HTTP
    SELF_SIGNED = "self-signed"  # created by this process in the data folder


class Secret:
    """A text that is hidden in logs and tracebacks."""

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "Secret('••••')" if self._text else "Secret('')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting; `default.toml` describes them beside their defaults."""

    data: Path
    database_url: Secret  # may contain a password
    log_url: Secret
    log_partitions: int
    kafka_sasl_username: str
    kafka_sasl_password: Secret
    kafka_ssl_key_password: Secret
    lake_url: Secret
    secret_key: Secret
    secret_key_accepted: Secret
    log_level: LogLevel
    log_format: LogFormat
    host: str
    port: Port
    processes: int
    allowed_hosts: str
    public_url: PublicUrl
    oidc_issuer: str
    oidc_name: str
    oidc_client_id: str
    oidc_client_secret: Secret
    oidc_allowed_domains: str
    oidc_new_users: str
    tls_cert: str
    tls_key: str
    tls: TlsMode
    trusted_proxies: Networks
    request_head_seconds: float
    request_body_seconds: float
    request_line_bytes_max: int
    request_headers_bytes_max: int
    request_headers_max: int
    request_bodies_bytes_max: int
    keep_alive_seconds: float
    connections_max: int
    connections_per_address_max: int
    group_commit_records_max: int
    group_commit_bytes_max: int
    ingest_queue_bytes_max: int
    routing_batch_bytes: int
    dedupe_ids_min: int
    lake_flush_seconds: float
    lake_upload_seconds: float
    lake_rows_max: int
    lake_retention_days: Days
    log_retention_hours: float
    history_retention_days: Days
    delivery_details_retention_days: Days
    profile_history_retention_days: Days
    profile_retention_days: Days
    audit_log_retention_days: Days
    rejected_requests_retention_days: Days
    configuration_versions_max: int
    delivery_poll_seconds: float
    reconcile_at: TimeOfDay
    reconcile_days: int
    reconcile_pending_hours: float
    engage_poll_seconds: float
    engage_events_max: int
    engage_shards: int
    engage_snapshot_hours: float
    engage_check_hours: float
    alert_poll_seconds: float
    config_poll_seconds: float
    shutdown_seconds: float

    def share_of_process(self) -> "Settings":
        """Return the settings of one of several serving processes: each gets an equal share of what they may use."""
        shared = (
            "connections_max",
            "connections_per_address_max",
            "request_bodies_bytes_max",
            "ingest_queue_bytes_max",
        )
        return replace(self, **{name: -(-getattr(self, name) // self.processes) for name in shared})

    def retention_days(self) -> dict[str, int]:
        """Return the number of days by setting, for data sets of which no operator has set another one."""
        return {
            field.name: getattr(self, field.name) for field in fields(self) if field.name.endswith(_RETENTION_SUFFIX)
        }

    def store_url(self) -> str:
        """Return the URL of the store."""
        return self.database_url.reveal() or f"sqlite:///{self.data / 'punchcard.db'}"

    def event_log_url(self) -> str:
        """Return the URL of the event log; one in Kafka with the options that are settings of their own."""
        url = self.log_url.reveal()
        if not url.startswith("kafka://"):
            return url or f"sqlite:///{self.data / 'log.db'}"
        options = {
            "sasl.username": self.kafka_sasl_username,
            "sasl.password": self.kafka_sasl_password.reveal(),
            "ssl.key.password": self.kafka_ssl_key_password.reveal(),
        }
        query = urlencode({name: value for name, value in options.items() if value}, quote_via=quote)
        return url + ("&" if "?" in url else "?") * bool(query) + query

    def lake_location(self) -> str:
        """Return the location of the lake: a folder or a URL."""
        return self.lake_url.reveal() or str(self.data / "lake")

    def lake_write_interval_seconds(self) -> float:
        """Return the maximum time between routing an event and writing it to the lake, wherever that is."""
        return self.lake_upload_seconds if is_on_s3(self.lake_location()) else self.lake_flush_seconds

    def identity_provider(self) -> "OidcSettings | None":
        """Return the identity provider of the App, None if it is not set here.

        Raises:
            ConfigurationError: A setting of it is missing or invalid.
        """
        if not self.oidc_issuer:
            return None
        from punchcard.operations.oidc import read_oidc_settings  # a quarter of a second: not before it is needed

        try:
            return read_oidc_settings(
                name=self.oidc_name,
                issuer=self.oidc_issuer,
                client_id=self.oidc_client_id,
                client_secret=self.oidc_client_secret.reveal(),
                allowed_domains=self.oidc_allowed_domains,
                new_users=self.oidc_new_users,
            )
        except ConfigurationError as error:
            variable = f"{ENVIRONMENT_PREFIX}OIDC_{str(error.context.get('field', 'issuer')).upper()}"
            raise ConfigurationError(f"{variable}: {error.message}") from error

    def facts_path(self) -> Path:
        """Return the file in which audiences and computed traits are computed."""
        return self.data / "engage.duckdb"

    def secret_key_path(self) -> Path:
        """Return the file of the secret key if the operator sets none."""
        return self.data / "secret-key"

    def admin_token_path(self) -> Path:
        """Return the file of the first token of the Public API."""
        return self.data / "admin-token"


@dataclass(frozen=True, kw_only=True)
class SettingEntry:
    """A setting as declared in `default.toml`.

    Attributes:
        comment: The comment above it, as one paragraph.
    """

    name: str
    default: object
    comment: str
    section: str

    @property
    def variable(self) -> str:
        """The environment variable of the setting."""
        return ENVIRONMENT_PREFIX + self.name.upper()


def read_settings(environment: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Settings:
    """Read the settings of this process: overrides before the environment before `default.toml`.

    Args:
        environment: The process's environment; only variables that begin with `PUNCHCARD_` are read.
        overrides: Values of the command line by name; None stands for "not given".

    Raises:
        ConfigurationError: An unknown variable or override, or an invalid value; one line each.
    """
    values = {entry.name: (entry.default, "default.toml: " + entry.name) for entry in setting_entries()}
    problems: list[str] = []
    for variable, text in environment.items():
        if variable.startswith(ENVIRONMENT_PREFIX):
            name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            if name in values and variable.isupper():
                values[name] = (text, variable)
            else:
                problems.append(_unknown_variable(variable))
    for name, value in (overrides or {}).items():
        if name not in values:
            problems.append(f"{name}: There is no such setting.")
        elif value is not None:
            values[name] = (value, f"--{name.replace('_', '-')}")
    read: dict[str, object] = {}
    for field in fields(Settings):
        value, origin = values[field.name]
        try:
            read[field.name] = _READERS[field.type](value)  # type: ignore[index]  # a test checks that all types are included
            refuse_short_period(field.name, read[field.name])
        except ValueError as error:
            problems.append(f"{origin}: {error}")
    if problems:
        raise ConfigurationError("\n".join(problems))
    settings = Settings(**read)  # type: ignore[arg-type]  # the readers return each field's type
    settings.identity_provider()
    return settings


def setting_entries() -> list[SettingEntry]:
    """Return every setting in the order of `default.toml`, with its comment."""
    text = files("punchcard").joinpath("default.toml").read_text(encoding="utf-8")
    values = tomllib.loads(text)
    entries: list[SettingEntry] = []
    section = ""
    comment: list[str] = []
    for line in text.splitlines():
        if heading := re.fullmatch(r"# --- (.+) ---", line):
            section, comment = heading[1], []
        elif line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
        elif line:
            name = line.partition("=")[0].strip()
            entries.append(SettingEntry(name=name, default=values[name], comment=" ".join(comment), section=section))
            comment = []
        else:
            comment = []
    return entries


def reference_page() -> str:
    """Return the reference of all settings as Markdown, for `docs/reference/settings.md`."""
    lines: list[str] = []
    section = ""
    for entry in setting_entries():
        if entry.section != section:
            section = entry.section
            lines += ["", f"## {section}", "", "| setting | variable | default | meaning |", "|---|---|---|---|"]
        shown = f"`{entry.default}`" if entry.default != "" else "(empty)"
        lines.append(f"| `{entry.name}` | `{entry.variable}` | {shown} | {entry.comment} |")
    return "\n".join(lines).strip() + "\n"


def _unknown_variable(variable: str) -> str:
    known = [entry.variable for entry in setting_entries()]
    nearest = difflib.get_close_matches(variable.upper(), known, n=1, cutoff=0.0)[0]
    return f"{variable}: There is no such setting. Did you mean {nearest}?"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"Text is expected, not {value!r}.")
    return value


def _path(value: object) -> Path:
    if isinstance(value, Path):
        return value
    if not _text(value).strip():
        raise ValueError("This must not be empty.")
    return Path(_text(value))


def _whole(value: object) -> int:
    number = _as_int(value)
    if number is None or number < 1:
        raise ValueError(f"A whole number above 0 is expected, not {value!r}.")
    return number


def _port(value: object) -> Port:
    number = _as_int(value)
    if number is None or not 0 <= number <= _PORT_MAX:
        raise ValueError(f"A whole number from 0 to {_PORT_MAX} is expected, not {value!r}.")
    return Port(number)


def _days(value: object) -> Days:
    if (number := _as_int(value)) is None or not 0 <= number <= DAYS_MAX:
        raise ValueError(f"A whole number of days up to {DAYS_MAX:,}, or 0 for ever, is expected, not {value!r}.")
    return Days(number)


def _time_of_day(value: object) -> TimeOfDay:
    text = _text(value).strip()
    parse_time_of_day(text)
    return TimeOfDay(text)


def _public_url(value: object) -> PublicUrl:
    return read_public_url(_text(value))


def _networks(value: object) -> Networks:
    for part in filter(None, (part.strip() for part in _text(value).split(","))):
        try:
            ipaddress.ip_network(part, strict=False)
        except ValueError:
            raise ValueError(f"Addresses or networks separated by commas are expected, not {part!r}.") from None
    return Networks(_text(value))


def _as_int(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    try:
        return int(value)
    except ValueError:
        return None


def _number(value: object) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"A number above 0 is expected, not {value!r}.")
    return number


def _level(value: object) -> LogLevel:
    return LogLevel(_choice(value, tuple(LogLevel)))


def _format(value: object) -> LogFormat:
    return LogFormat(_choice(value, tuple(LogFormat)))


def _tls(value: object) -> TlsMode:
    if value not in tuple(TlsMode):
        raise ValueError(f"{TlsMode.SELF_SIGNED} or an empty text is expected, not {value!r}.")
    return TlsMode(str(value))


def _choice(value: object, choices: tuple[str, ...]) -> str:
    if isinstance(value, str) and value.lower() in choices:
        return value.lower()
    raise ValueError(f"One of {', '.join(choices)} is expected, not {value!r}.")


_READERS = {
    str: _text,
    Path: _path,
    Secret: lambda value: Secret(_text(value)),
    int: _whole,
    Port: _port,
    Days: _days,
    TimeOfDay: _time_of_day,
    PublicUrl: _public_url,
    Networks: _networks,
    float: _number,
    LogLevel: _level,
    LogFormat: _format,
    TlsMode: _tls,
}
