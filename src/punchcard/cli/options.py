"""Options that several commands share, and the settings that they make."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from punchcard.errors import ConfigurationError

if TYPE_CHECKING:
    from punchcard.runtime.settings import Settings

DEFAULT_URL = "http://127.0.0.1:8080"

Data = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of everything kept on this machine (PUNCHCARD_DATA; default ./data)."),
]
Host = Annotated[
    str | None, typer.Option(metavar="HOST", help="Address to listen on (PUNCHCARD_HOST; default 127.0.0.1).")
]
Port = Annotated[
    int | None,
    typer.Option(
        min=0, max=65_535, metavar="PORT", help="Port to listen on, 0 for any free one (PUNCHCARD_PORT; default 8080)."
    ),
]
TlsCert = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Certificate to speak TLS with, a PEM file (PUNCHCARD_TLS_CERT)."),
]
TlsKey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Its private key, if it is not in the same file (PUNCHCARD_TLS_KEY)."),
]
Tls = Annotated[
    str | None,
    typer.Option(
        metavar="self-signed", help="Speak TLS with a certificate made for trying things out (PUNCHCARD_TLS)."
    ),
]
ConfigFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Config file with sources and destinations.")]
WriteKey = Annotated[str, typer.Option(metavar="KEY", help="Write key of the source that the events come from.")]
Url = Annotated[str, typer.Option(metavar="URL", help="Where Punchcard, or any Tracking API, listens.")]


def load_settings(
    *,
    data: Path | None = None,
    host: str | None = None,
    port: int | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    tls: str | None = None,
) -> "Settings":
    """The settings of this process with what the command line says; None stands for "not given".

    Raises:
        ConfigurationError: a setting is wrong.
    """
    from punchcard.runtime.settings import read_settings

    overrides: dict[str, object] = {"data": data, "host": host, "port": port, "tls": tls}
    overrides |= {"tls_cert": tls_cert and str(tls_cert), "tls_key": tls_key and str(tls_key)}
    return read_settings(os.environ, overrides)


def load_existing_settings(*, data: Path | None = None) -> "Settings":
    """The settings of a command that looks at what is there already; sets up quiet logs.

    Raises:
        ConfigurationError: a setting is wrong, or there is no data yet: nothing must be made by looking at it.
    """
    settings = load_settings(data=data)
    if not settings.database_url and not (settings.data / "punchcard.db").exists():
        raise ConfigurationError(
            f"{settings.data}: Punchcard keeps nothing here; name its folder with --data or PUNCHCARD_DATA"
        )
    quiet_logs(settings)
    if not settings.database_url:
        from punchcard.runtime.data_folder import prepare_data_folder

        prepare_data_folder(settings.data)
    return settings


def quiet_logs(settings: "Settings") -> None:
    """Log only what needs attention: a command answers in its own words."""
    from punchcard.runtime.logs import configure_logs

    level = settings.log_level if settings.log_level in ("debug", "error") else "warning"
    configure_logs(level=level, format=settings.log_format)


def example(*lines: str) -> str:
    """The examples at the end of a command's help."""
    return "\n".join(["\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)])
