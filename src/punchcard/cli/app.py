"""The commands: names, options and help. Imports are deferred until a command runs, so that help is fast."""

import os
from pathlib import Path
from typing import Annotated

import typer

from punchcard.cli import check_commands, conflict_commands, doubt_commands, schema_command
from punchcard.cli.alert_commands import alerts
from punchcard.cli.audience_commands import audience
from punchcard.cli.destination_commands import destination
from punchcard.cli.lake_commands import lake
from punchcard.cli.list_commands import audit, customers, events, source, transactions
from punchcard.cli.options import (
    DEFAULT_URL,
    ConfigFile,
    Data,
    Host,
    Port,
    Processes,
    Tls,
    TlsCert,
    TlsKey,
    Url,
    WriteKey,
    example,
    load_existing_settings,
    load_settings,
)
from punchcard.cli.plan_commands import plan
from punchcard.cli.privacy_commands import privacy
from punchcard.cli.process_commands import EXAMPLES, SHORT_HELPS, engage, serve, worker
from punchcard.cli.replay_commands import EPILOG, SHORT_HELP, replay
from punchcard.cli.retention_commands import retention
from punchcard.cli.secret_commands import secrets
from punchcard.cli.sending_commands import sending
from punchcard.cli.transformation_commands import transformation
from punchcard.cli.user_commands import user
from punchcard.cli.version_commands import versions

app = typer.Typer(
    name="punchcard",
    # Plain help: importing rich takes a quarter of a second.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="\b\nExamples:\n  punchcard demo\n  punchcard up --config punchcard.toml\n  punchcard trace MESSAGE_ID",
)

_COLUMNS = """

\b
Columns of CSV and Parquet:
  type event userId anonymousId timestamp messageId
  groupId previousId name category email
  properties.<key> traits.<key> context.<key> integrations.<key>
  (more dots for nested members, e.g. context.traits.email)
Amounts of the e-commerce spec (revenue, value, total, price, quantity …)
become numbers, digit by digit. Everything else is text unless the heading
has a type: properties.points:number, traits.vip:boolean,
properties.products:json. Empty cells are ignored. --map renames a column.
Tables that Segment wrote to a warehouse are recognized by their columns
(id, received_at, context_*)."""


MappedColumns = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="COLUMN=FIELD", help="Map a column to a field; without FIELD it is ignored."),
]
MappingFile = Annotated[
    Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Mapping written by --save-mapping.")
]
SavedMapping = Annotated[
    Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Save --map, --event and --decimal to a file.")
]
EventName = Annotated[
    str | None, typer.Option(metavar="NAME", help='Event name of rows without one, e.g. "Order Completed".')
]
DecimalSign = Annotated[
    str | None, typer.Option(metavar="comma|point", help="Decimal sign of amounts; detected by default.")
]
ApiToken = Annotated[
    str | None, typer.Option(metavar="TOKEN", help="Token of the Public API, to report what the rows earned.")
]


def _show_version(requested: bool) -> None:  # noqa: FBT001  # typer's callback
    if requested:
        from punchcard import __version__

        typer.echo(f"punchcard {__version__}")
        raise typer.Exit


@app.callback()
def punchcard(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and stop.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Turn customer events into loyalty points, each exactly once, with a reason for every event that earned none."""


@app.command(short_help="Run a demo with a simulated gym.", epilog=example("punchcard demo"))
def demo(
    port: Annotated[int, typer.Option(min=0, max=65_535, metavar="PORT", help="Port of Punchcard.")] = 8080,
) -> int:
    """Run a demo on this machine: the sandbox, Punchcard, and a simulated gym that sends events."""
    from punchcard.runtime.demo import run_demo

    return run_demo(port=port)


@app.command(
    short_help="Run Punchcard: Tracking API, Public API, App and worker.",
    epilog=example("punchcard up --config punchcard.toml --data ./data --port 8080"),
)
def up(
    config: ConfigFile = None,
    data: Data = None,
    host: Host = None,
    port: Port = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls: Tls = None,
    processes: Processes = None,
) -> int:
    """Run Punchcard on this machine: Tracking API, Public API, App and worker on embedded storage."""
    from punchcard.runtime.processes import run_up

    settings = load_settings(
        data=data, host=host, port=port, tls_cert=tls_cert, tls_key=tls_key, tls=tls, processes=processes
    )
    return run_up(settings, config=config)


for _process in (serve, worker, engage):
    app.command(short_help=SHORT_HELPS[_process.__name__], epilog=EXAMPLES[_process.__name__])(_process)


@app.command(
    short_help="Run a local loyalty partner for tests.",
    epilog=example("punchcard sandbox --data ./sandbox-data --port 9100"),
)
def sandbox(
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder for its state.")] = Path("sandbox-data"),
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, metavar="PORT", help="Port to listen on, 0 for any free port.")
    ] = 9100,
) -> None:
    """Run the sandbox, a local loyalty partner for tests: its API, its pages, and faults to switch on."""
    from punchcard.runtime.data_folder import prepare_data_folder
    from punchcard.sandbox.server import ready_line, serve_sandbox

    def announce(bound_port: int) -> None:
        print(ready_line(host, bound_port), flush=True)

    prepare_data_folder(data)
    serve_sandbox(data=data, host=host, port=port, on_ready=announce)


@app.command(
    short_help="Apply a config file.",
    epilog=example("punchcard apply punchcard.toml --dry-run", "punchcard apply punchcard.toml"),
)
def apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Config file, which manages what it names.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the changes.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation of renames.")] = False,
    release: Annotated[
        bool, typer.Option("--release", help="Leave everything to the App afterwards: no file manages it any more.")
    ] = False,
    data: Data = None,
) -> int:
    """Apply a config file as the running configuration, and show the changes.

    The file manages what it names: the App and the API can no longer change it, and what a file no longer names is
    removed. Everything else belongs to the App, and stays.

    Asks for confirmation if an audience or computed trait gets a new key because its name has changed.
    """
    from punchcard.cli.configuring import apply_file

    return apply_file(file, load_settings(data=data), dry_run=dry_run, assume_yes=yes, release=release)


@app.command(
    short_help="Print the running configuration as a config file.", epilog=example("punchcard export > punchcard.toml")
)
def export(
    write_keys: Annotated[
        bool,
        typer.Option("--write-keys", help="Include the write keys of sources, for another installation."),
    ] = False,
    data: Data = None,
) -> None:
    """Print the running configuration as a config file, with masked secrets and write keys.

    `punchcard apply` keeps the stored ones for each mask. `--write-keys` includes the write keys.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.configuring import print_configuration

    print_configuration(settings, includes_write_keys=write_keys)


for _examination in (check_commands.check, check_commands.doctor):
    app.command(**check_commands.HELP[_examination.__name__])(_examination)

app.add_typer(
    sending,
    name="send",
    short_help="Send events through the Tracking API.",
    epilog=example(
        'punchcard send --write-key wk_website track "Checked In" --user-id ann \\',
        '  --properties \'{"email": "ann@example.com"}\'',
        "punchcard trace $(punchcard send --write-key wk_website track Hello --user-id ann)",
        "punchcard send --write-key wk_website batch events.jsonl",
    ),
)


@app.command(
    name="import",
    short_help="Import a file of past events.",
    epilog=example(
        "punchcard import orders.csv --write-key wk_website",
        "punchcard import events.jsonl --write-key wk_pos --url http://punchcard.local:8080 --strict",
        "punchcard import sales.csv --write-key wk_pos --event 'Order Completed' --map 'Order No=properties.order_id'",
    )
    + _COLUMNS,
)
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            help="JSON, CSV or Parquet file, optionally .gz.",
        ),
    ],
    write_key: WriteKey,
    url: Url = DEFAULT_URL,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Stop at the first row that is not accepted; at most its batch of 100 is sent."),
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Start with the first row even if an earlier import was interrupted.")
    ] = False,
    columns: MappedColumns = None,
    mapping: MappingFile = None,
    save_mapping: SavedMapping = None,
    event: EventName = None,
    decimal: DecimalSign = None,
    token: ApiToken = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation of how amounts are read.")] = False,
) -> int:
    """Send a file of past events through the Tracking API, with a progress bar.

    An interrupted import continues where it stopped when it is run again. Rows sent twice count once.
    """
    from punchcard.cli.importing.command import ImportOptions, import_file
    from punchcard.cli.importing.mapping import read_mapping

    options = ImportOptions(
        strict=strict,
        restart=restart,
        is_confirmed=yes,
        save_mapping=save_mapping,
        token=token,
        data=Path(os.environ.get("PUNCHCARD_DATA") or "data"),
    )
    import_mapping = read_mapping(file=mapping, columns=columns or [], event=event, decimal=decimal)
    return import_file(file, url=url, write_key=write_key, mapping=import_mapping, options=options)


@app.command(
    short_help="Show the trace of one event.", epilog=example("punchcard trace 6f2c1a52-5a51-4d4c-a4ba-bd1bd4b0e6a1")
)
def trace(
    message_id: Annotated[str, typer.Argument(metavar="MESSAGE_ID", help="Message id of the event.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON, as in the API.")] = False,
    data: Data = None,
) -> int:
    """Show the trace of one event: received, result and reason per destination, transaction, attempts."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.tracing import print_trace

    return print_trace(message_id, settings, as_json=json)


@app.command(
    short_help="Put parked and rejected awards back in the queue.",
    epilog=example(
        "punchcard retry",
        "punchcard retry --destination loyalty --reason outcome_unknown",
        "punchcard retry MESSAGE_ID",
    ),
)
def retry(
    message_ids: Annotated[
        list[str] | None, typer.Argument(metavar="MESSAGE_ID", help="Only awards of these events.")
    ] = None,
    destination: Annotated[str | None, typer.Option(metavar="SLUG", help="Only awards of this destination.")] = None,
    reason: Annotated[str | None, typer.Option(metavar="CODE", help="Only awards with this reason.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    data: Data = None,
) -> int:
    """Put parked and rejected awards back in the queue, after showing them."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.retrying import retry_awards

    return retry_awards(settings, message_ids or [], destination=destination, reason=reason, assume_yes=yes)


@app.command(
    short_help="Read back awards after the data folder was restored.",
    epilog=example("punchcard recover --data ./data"),
)
def recover(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    data: Data = None,
) -> int:
    """Read back every queued award before it is sent, after the whole data folder was restored from a copy.

    If only the database was restored, Punchcard detects this automatically. Stop Punchcard before running this command.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.restoring import recover as recover_now

    return recover_now(settings, assume_yes=yes)


@app.command(
    name="adopt-log",
    short_help="Bind the database to the event log of this data folder.",
    epilog=example("PUNCHCARD_DATABASE_URL=postgresql://db/punchcard punchcard adopt-log --data /srv/punchcard"),
)
def adopt_log(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    data: Data = None,
) -> int:
    """Bind the database to the event log of this data folder, if its own event log is lost.

    Requests in this log are routed when Punchcard starts, except those that were routed before. Stop Punchcard before
    running this command.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.restoring import adopt_log as adopt_now

    return adopt_now(settings, assume_yes=yes)


app.command(name="schema", short_help=schema_command.SHORT_HELP, epilog=schema_command.EPILOG)(schema_command.schema)
app.command(name="replay", short_help=SHORT_HELP, epilog=EPILOG)(replay)
app.command(name="resolve", short_help=doubt_commands.SHORT_HELP, epilog=doubt_commands.EPILOG)(doubt_commands.resolve)
app.command(name="conflicts", short_help=conflict_commands.SHORT_HELP, epilog=conflict_commands.EPILOG)(
    conflict_commands.conflicts
)
app.add_typer(
    audience,
    name="audience",
    short_help="List, preview and resync audiences and computed traits.",
    epilog=example(
        "punchcard audience list",
        "punchcard audience preview \"event('Order Completed').within(30 days).count() >= 1\"",
        "punchcard audience resync big_spender",
    ),
)
app.add_typer(
    destination,
    name="destination",
    short_help="List destinations, pause them, switch them off, and write your own.",
    epilog=example("punchcard destination pause loyalty --until 2h", "punchcard destination new acme-rewards"),
)
app.add_typer(
    alerts,
    name="alerts",
    short_help="List and acknowledge alerts, and test alert channels.",
    epilog=example("punchcard alerts list", "punchcard alerts acknowledge 7", "punchcard alerts test ops"),
)
app.add_typer(versions)
app.add_typer(plan)
app.add_typer(privacy)
app.add_typer(transformation)
app.add_typer(retention)
app.add_typer(secrets)
for _lists in (source, transactions, events, customers, audit, user):
    app.add_typer(_lists)
app.add_typer(lake)


@app.command(
    short_help="Show what a configuration would have earned.",
    epilog=example(
        "punchcard simulate --map 'Class Booked=123460' --since 30d",
        "punchcard simulate --config new.toml --since 7d --format csv",
        "punchcard simulate --filter \"contains( properties.email, '@acme.example' )\"",
    ),
)
def simulate(
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Config file to plan under, not applied."),
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="EVENT=VALUE", help="Map an event to a value besides; without a value, to none."),
    ] = None,
    condition: Annotated[
        str | None, typer.Option("--filter", metavar="FQL", help="Drop besides what this condition is true for.")
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="TIME", help='Of events received since then: a time, or a distance such as "30d".')
    ] = "30d",
    destination: Annotated[str | None, typer.Option(metavar="SLUG", help="If several award points.")] = None,
    output: Annotated[
        str, typer.Option("--format", metavar="table|json|csv", help="How to print the result.")
    ] = "table",
    data: Data = None,
) -> int:
    """Show what a configuration would have earned, beside what was earned; changes nothing."""
    settings = load_existing_settings(data=data)
    from punchcard.cli.simulating import simulate_configuration

    return simulate_configuration(
        settings,
        destination=destination,
        config=config,
        maps=maps or [],
        condition=condition,
        since=since,
        output=output,
    )


@app.command(
    short_help="Compare the ledger with what the partner has booked.",
    epilog=example("punchcard reconcile", "punchcard reconcile --destination points --since 7d --format json"),
)
def reconcile(
    destination: Annotated[str | None, typer.Option(metavar="SLUG", help="Only this destination.")] = None,
    since: Annotated[
        str, typer.Option(metavar="TIME", help='Of events received since then: a time, or a distance such as "30d".')
    ] = "30d",
    output: Annotated[str, typer.Option("--format", metavar="table|json", help="How to print the result.")] = "table",
    data: Data = None,
) -> int:
    """Compare the ledger with what the partner has booked; ends with 1 if they differ. Nothing is corrected.

    Where `up` or a worker is running, that one reads the partner's list, within the rate limit of its deliveries.
    """
    settings = load_existing_settings(data=data)
    from punchcard.cli.reconciling import reconcile_ledger

    return reconcile_ledger(settings, destination=destination, since=since, output=output)
