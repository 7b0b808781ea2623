"""Shared options of the commands, and the settings that they make."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from punchcard.errors import ConfigurationError

if TYPE_CHECKING:
    from punchcard.runtime.settings import Settings

DEFAULT_URL = "http://127.0.0.1:8080"

Data = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Data folder (PUNCHCARD_DATA; default ./data)."),
]
Host = Annotated[
    str | None, typer.Option(metavar="HOST", help="Address to listen on (PUNCHCARD_HOST; default 127.0.0.1).")
]
Port = Annotated[
    int | None,
    typer.Option(
        min=0, max=65_535, metavar="PORT", help="Port to listen on, 0 for any free port (PUNCHCARD_PORT; default 8080)."
    ),
]
TlsCert = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="TLS certificate, a PEM file (PUNCHCARD_TLS_CERT)."),
]
TlsKey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Private key, if it is not in the same file (PUNCHCARD_TLS_KEY)."),
]
Processes = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Number of serving processes on the port (PUNCHCARD_PROCESSES; default 1)."),
]
Tls = Annotated[
    str | None,
    typer.Option(metavar="self-signed", help="Use TLS with a generated certificate, for tests (PUNCHCARD_TLS)."),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON, one line per item, as in the Public API where it has the same list.")
]
ConfigFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Config file with sources and destinations.")]
WriteKey = Annotated[str, typer.Option(metavar="KEY", help="Write key of the source that the events come from.")]
Url = Annotated[str, typer.Option(metavar="URL", help="URL of Punchcard, or of any Tracking API.")]


def load_settings(
    *,
    data: Path | None = None,
    host: str | None = None,
    port: int | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    tls: str | None = None,
    processes: int | None = None,
) -> "Settings":
    """Return the settings of this process, overridden by the command line; None means "not given".

    Raises:
        ConfigurationError: A setting is invalid.
    """
    from punchcard.runtime.settings import read_settings

    overrides: dict[str, object] = {"data": data, "host": host, "port": port, "tls": tls, "processes": processes}
    overrides |= {"tls_cert": tls_cert and str(tls_cert), "tls_key": tls_key and str(tls_key)}
    return read_settings(os.environ, overrides)


def load_existing_settings(*, data: Path | None = None) -> "Settings":
    """Return the settings of a command that needs existing data, and configure quiet logs.

    Raises:
        ConfigurationError: A setting is invalid, or there is no data yet: the command must not create any.
    """
    settings = load_settings(data=data)
    if not has_data(settings):
        raise ConfigurationError(
            f"{settings.data}: This is not a data folder of Punchcard. Set it with --data or PUNCHCARD_DATA."
        )
    quiet_logs(settings)
    if not settings.database_url:
        from punchcard.runtime.data_folder import prepare_data_folder

        prepare_data_folder(settings.data)
    return settings


def has_data(settings: "Settings") -> bool:
    """Return whether the settings name a database, or a data folder that has one already."""
    return bool(settings.database_url) or (settings.data / "punchcard.db").exists()


def quiet_logs(settings: "Settings") -> None:
    """Log warnings and errors only: a command prints its own output."""
    from punchcard.runtime.logs import configure_logs

    level = settings.log_level if settings.log_level in ("debug", "error") else "warning"
    configure_logs(level=level, format=settings.log_format)


def example(*lines: str) -> str:
    """Return the examples for the end of a command's help."""
    return "\n".join(["\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)])


def unknown_name(option: str, name: str, known: Iterable[str], *, kind: str = "destination") -> ConfigurationError:
    """Return the error for a name that is not configured.

    Args:
        option: The option that has the name, "" for an argument.
        known: Configured names.
        kind: What is named, such as `destination`.
    """
    from punchcard.workspace.editing import not_found

    return ConfigurationError(f"{f'{option} {name}'.strip()}: {not_found(kind, name, known).message}")
