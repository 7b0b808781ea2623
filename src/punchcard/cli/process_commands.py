"""The commands that run one process of `up`, for installations with several processes or machines."""

from typing import Annotated

import typer

from punchcard.cli.options import Data, Host, Port, Processes, Tls, TlsCert, TlsKey, example, load_settings

SHORT_HELPS = {
    "serve": "Run the serving process of `up`.",
    "worker": "Run the worker of `up`: routing and delivery.",
    "engage": "Compute audiences and traits, beside workers that do not.",
}
_DATABASE = "PUNCHCARD_DATABASE_URL=postgresql://db/punchcard"
EXAMPLES = {
    "serve": example(f"{_DATABASE} punchcard serve --data /srv/punchcard --port 8080"),
    "worker": example(f"{_DATABASE} punchcard worker --data /srv/punchcard"),
    "engage": example(f"{_DATABASE} punchcard engage --data /srv/punchcard"),
}


def serve(
    data: Data = None,
    host: Host = None,
    port: Port = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls: Tls = None,
    processes: Processes = None,
) -> int:
    """Run the serving process of `up`: Tracking API, Public API and App.

    On one machine, `serve` and `worker` need the same data folder, which contains the event log. On several machines
    they need the same PUNCHCARD_DATABASE_URL, PUNCHCARD_LOG_URL and PUNCHCARD_SECRET_KEY. A database belongs to one
    event log: a process with another event log refuses to start.
    """
    from punchcard.runtime.processes import run_serve

    return run_serve(
        load_settings(data=data, host=host, port=port, tls_cert=tls_cert, tls_key=tls_key, tls=tls, processes=processes)
    )


def worker(
    data: Data = None,
    engage: Annotated[
        bool, typer.Option("--engage/--without-engage", help="Also compute audiences and traits, in a child process.")
    ] = True,
) -> int:
    """Run the worker of `up`: routing and delivery.

    On one machine, `serve` and `worker` need the same data folder, which contains the event log. On several machines
    they need the same PUNCHCARD_DATABASE_URL, PUNCHCARD_LOG_URL and PUNCHCARD_SECRET_KEY. A database belongs to one
    event log: a process with another event log refuses to start.
    """
    from punchcard.runtime.processes import run_worker

    return run_worker(load_settings(data=data), starts_engage=engage)


def engage(data: Data = None) -> int:
    """Compute profiles, audiences and traits, and sync them, for workers that run with --without-engage.

    It needs the settings of the workers, and reads the lake that they write (PUNCHCARD_LAKE_URL). Of several, one
    works and the others take over.
    """
    from punchcard.runtime.engage_process import run_engage

    return run_engage(load_settings(data=data), until_stdin_closes=False)
